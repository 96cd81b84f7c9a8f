"""`Borealis`: a loaded model with the three things people do with it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from numbers import Integral
from typing import Any, BinaryIO, Literal, TypedDict, Unpack, overload

import numpy as np
import torch
from transformers import LogitsProcessorList, TextIteratorStreamer

from borealis import arguments
from borealis.arguments import flag, number, whole
from borealis.audio import SAMPLING_RATE, AudioSource, level_db, load_audio, split_at_silence
from borealis.ctc.ngram import Ngram
from borealis.errors import PromptError
from borealis.inference.allowed import only_these
from borealis.inference.beams import read_prompt
from borealis.inference.decoding import Agreement, Decoding
from borealis.inference.joint import CTCPrefixScore, token_labels
from borealis.inference.loading import load_checkpoint
from borealis.inference.messages import (
    TRANSCRIBE_PROMPTS,
    after_transcript,
    audio_sources,
    user_message,
)
from borealis.inference.scope import Scope, text_of
from borealis.inference.stopping import StopOnDemand
from borealis.inference.streaming import Guess, read_along
from borealis.inference.transcript import Segment, Transcript
from borealis.model import BorealisForConditionalGeneration, BorealisProcessor
from borealis.model.markup import plain_messages
from borealis.model.processing import check_characters

# Quieter than this (RMS of the loudest 100 ms) nobody speaks; the model isn't asked.
SILENCE_DB = -60.0
_GREEDY = Decoding()
# Fast speech has about 20 letters a second, and a token is a letter at least; a bound keeps loops
# short.
_TOKENS_PER_SECOND = 25


def load(
    name_or_path: str | os.PathLike[str] = "nano",
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> Borealis:
    """Load a model.

    Args:
        name_or_path: `nano` (bundled, no network), a checkpoint folder, or a hub id.
        device: `cpu`, `cuda`, ...; by default CUDA where there is one.
        dtype: `float32`, `bfloat16` or `float16`; by default bfloat16 on CUDA and float32 else.

    Raises:
        CheckpointError: there is no such checkpoint, or it can't be read.
    """
    return Borealis.load(name_or_path, device=device, dtype=dtype)


class _Settings(TypedDict, total=False):
    """Arguments of `transcribe` that mean the same for one recording, several and a stream."""

    sampling_rate: int | None
    language: str | None
    batch_size: int
    max_segment_seconds: float | None
    ctc_weight: float | None
    ngram_weight: float | None
    num_beams: int | None


class Borealis:
    """A model and its processor.

    Args:
        model: the model, on its device, in evaluation mode.
        processor: the processor it was saved with.
    """

    def __init__(
        self, model: BorealisForConditionalGeneration, processor: BorealisProcessor
    ) -> None:
        self.model = model.eval()
        self.processor = processor

    @classmethod
    def load(
        cls,
        name_or_path: str | os.PathLike[str] = "nano",
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
    ) -> Borealis:
        """See `borealis.load`."""
        return cls(*load_checkpoint(name_or_path, device, dtype))

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def transcribes_first(self) -> bool:
        """Whether the checkpoint was trained to answer with the transcript in view."""
        return bool(getattr(self.model.config, "transcribe_before_answer", False))

    @property
    def longest_part(self) -> float:
        """Seconds: a longer recording is cut into parts, as those the model was trained on."""
        return float(getattr(self.model.config, "max_segment_seconds", 30.0))

    # ---- transcription ----

    @overload
    def transcribe(  # type: ignore[overload-overlap]  # an open file is an iterator as well
        self,
        audio: str | os.PathLike[str] | bytes | BinaryIO | np.ndarray | dict | tuple[int, Any],
        *,
        stream: Literal[False] = False,
        **settings: Unpack[_Settings],
    ) -> Transcript: ...
    @overload
    def transcribe(
        self,
        audio: list[Any] | tuple[Any, ...] | Iterator[Any],
        *,
        stream: Literal[False] = False,
        **settings: Unpack[_Settings],
    ) -> list[Transcript]: ...
    @overload
    def transcribe(
        self,
        audio: AudioSource,
        *,
        stream: Literal[True],
        guesses: bool = False,
        **settings: Unpack[_Settings],
    ) -> Iterator[str]: ...

    def transcribe(
        self,
        audio: Any,
        *,
        sampling_rate: int | None = None,
        language: str | None = None,
        batch_size: int = 8,
        stream: bool = False,
        guesses: bool = False,
        max_segment_seconds: float | None = None,
        ctc_weight: float | None = None,
        ngram_weight: float | None = None,
        num_beams: int | None = None,
    ) -> Transcript | list[Transcript] | Iterator[str]:
        """Write down what is said, in a recording of any length.

        Long recordings are cut at pauses, and the parts are decoded in batches.

        Args:
            audio: anything `borealis.load_audio` reads; or several such in a list, a tuple or an
                iterator. An iterator is read as the work goes on, so that few of its recordings
                are in memory at once. The pair `(rate, array)` is one recording.
            sampling_rate: rate of arrays in Hz; encoded audio carries its own.
            language: language of the prompt, `ru` or `en`; the model hears the speech's own.
                Names such as `Russian` and `en-US` are understood.
            batch_size: parts decoded at once.
            stream: yield the text in pieces as it is made (for one recording).
            guesses: in a stream of several beams yield `Guess`es too: what follows the pieces so
                far as it looks now, for a reader who can take it back.
            max_segment_seconds: longest part, from 1 to what one prompt can hold (with
                `ctc_weight` one window of the encoder, 30); by default what the checkpoint was
                trained on.
            ctc_weight: share of the CTC prefix score in decoding, 0 to 1 (see
                `borealis.inference.joint`); by default the checkpoint's own. 0 is plain greedy
                decoding, the only kind for adapters without CTC.
            ngram_weight: weight of the checkpoint's letter n-gram, 0 to 1, if it has one (see
                `borealis.ctc.ngram`); by default the checkpoint's own.
            num_beams: spellings followed at once (beam search); by default the checkpoint's own.
                A stream tells words as soon as all of them agree.

        Returns:
            A `Transcript`; for several recordings a list, in their order; with `stream` an
            iterator of pieces of text.

        Raises:
            AudioError: a recording can't be read.
            PromptError: an argument is of the wrong kind or out of range.
        """
        whole("batch_size", batch_size)
        decoding = Decoding.choose(self.model.config, ctc_weight, ngram_weight, num_beams)
        if decoding.ngram_weight and self._ngram is None:
            raise PromptError("ngram_weight needs a checkpoint with a letter n-gram.")
        longest = self._part_seconds(max_segment_seconds, decoding)
        prompt = TRANSCRIBE_PROMPTS[arguments.language(language) or "ru"]
        if flag("stream", stream):
            guesses = flag("guesses", guesses)
            if _several(audio):
                raise PromptError("stream=True takes one recording, not several.")
            clip = load_audio(audio, sampling_rate=sampling_rate)
            return self._stream_parts(clip, longest, prompt, decoding, guesses)
        if not _several(audio):
            clips = [load_audio(audio, sampling_rate=sampling_rate)]
            return self._write_down(clips, longest, prompt, decoding, batch_size)[0]
        read = (load_audio(item, sampling_rate=sampling_rate) for item in audio)
        # Of a list all are read first: a bad one is told before hours of work.
        groups = gather(read, batch_size * longest) if isinstance(audio, Iterator) else [list(read)]
        return [
            transcript
            for clips in groups
            for transcript in self._write_down(clips, longest, prompt, decoding, batch_size)
        ]

    def _part_seconds(self, asked: float | None, decoding: Decoding) -> float:
        """Longest part: what was asked for, or the checkpoint's own."""
        config = self.model.config
        window = config.window_length / config.sampling_rate
        limit = window if decoding.ctc_weight else config.max_audio_seconds
        if asked is None:
            return min(self.longest_part, limit)
        if number("max_segment_seconds", asked, 1) > limit:
            why = "CTC hears one window of the encoder" if decoding.ctc_weight else "of one prompt"
            raise PromptError(
                f"max_segment_seconds is {asked:g}; the limit of this model is {limit:g} ({why})."
            )
        return float(asked)

    def _write_down(
        self,
        clips: Sequence[np.ndarray],
        longest: float,
        prompt: str,
        decoding: Decoding,
        batch_size: int,
    ) -> list[Transcript]:
        parts = [split_at_silence(clip, max_seconds=longest) for clip in clips]
        jobs = [(i, a, b) for i, spans in enumerate(parts) for a, b in spans]
        texts = dict.fromkeys(jobs, "")
        loud = [job for job in jobs if level_db(clips[job[0]][job[1] : job[2]]) > SILENCE_DB]
        # Like lengths together: less padding, and no result depends on it.
        loud.sort(key=lambda job: job[2] - job[1])
        for at in range(0, len(loud), batch_size):
            batch = loud[at : at + batch_size]
            answers = self._generate(
                [user_message(prompt, 1)] * len(batch),
                [[clips[i][a:b]] for i, a, b in batch],
                decoding=decoding,
            )
            texts |= dict(zip(batch, answers, strict=True))
        results = []
        for i, (clip, spans) in enumerate(zip(clips, parts, strict=True)):
            segments = [
                Segment(round(a / SAMPLING_RATE, 2), round(b / SAMPLING_RATE, 2), texts[i, a, b])
                for a, b in spans
            ]
            segments = [s for s in segments if s.text]
            text = " ".join(s.text for s in segments)
            results.append(Transcript(text, round(len(clip) / SAMPLING_RATE, 2), segments))
        return results

    def _stream_parts(
        self,
        clip: np.ndarray,
        longest: float,
        prompt: str,
        decoding: Decoding,
        guesses: bool,
    ) -> Iterator[str]:
        begun = False
        for start, end in split_at_silence(clip, max_seconds=longest):
            part = clip[start:end]
            if level_db(part) <= SILENCE_DB:
                continue
            fresh = True
            conversation = user_message(prompt, 1)
            for piece in self._stream(conversation, [part], decoding=decoding, guesses=guesses):
                if fresh and begun and piece:
                    piece = type(piece)(" " + piece.lstrip())
                if not isinstance(piece, Guess):
                    fresh, begun = fresh and not piece, begun or bool(piece)
                yield piece

    # ---- questions ----

    @cached_property
    def scope(self) -> Scope | None:
        """What the checkpoint was taught; None if it doesn't say, and answers everything.

        Set to None it lets the model guess at the rest as well.
        """
        return Scope.of_checkpoint(self.model.name_or_path)

    def possible_answers(self, question: str, *, recording: bool = True) -> list[str]:
        """All answers that a question can get; empty where it may be any; one alone is a refusal.

        Args:
            question: what is asked.
            recording: whether it is asked about a recording.

        Raises:
            PromptError: the question has half a character.
        """
        check_characters(question)
        return [] if self.scope is None else self.scope.answers(question, recording=recording)

    def ask(
        self,
        audio: Any,
        question: str | list[str] | tuple[str, ...],
        *,
        sampling_rate: int | None = None,
        max_new_tokens: int = 128,
        batch_size: int = 8,
        stream: bool = False,
        transcribe_first: bool | None = None,
    ) -> str | list[str] | Iterator[str]:
        """Answer a question about a recording.

        A checkpoint that knows what it was taught (`scope`) refuses other questions with a sentence
        about what it can do, in the question's language.

        Args:
            audio: anything `borealis.load_audio` reads; or several such in a list, a tuple or an
                iterator. The pair `(rate, array)` is one recording.
            question: the question; for several recordings one for all or a list of as many.
            sampling_rate: rate of arrays in Hz; encoded audio carries its own.
            max_new_tokens: longest answer.
            batch_size: recordings answered at once.
            stream: yield the answer in pieces (for one recording).
            transcribe_first: write the recording down first and answer with the transcript in
                view; by default what the checkpoint was trained for. A small model reads better
                than it hears: its first words and numbers of words come out right more often.

        Returns:
            The answer; for several recordings a list; with `stream` an iterator of pieces.

        Raises:
            AudioError: a recording can't be read.
            PromptError: a question is empty, there aren't as many as recordings, or an argument
                is of the wrong kind or out of range.
        """
        whole("batch_size", batch_size)
        whole("max_new_tokens", max_new_tokens)
        if transcribe_first is None:
            transcribe_first = self.transcribes_first
        flag("transcribe_first", transcribe_first)
        many = _several(audio)
        if flag("stream", stream) and many:
            raise PromptError("stream=True takes one recording, not several.")
        audios = list(audio) if many else [audio]
        questions = (
            list(question) if isinstance(question, (list, tuple)) else [question] * len(audios)
        )
        if len(questions) != len(audios):
            raise PromptError(
                f"{len(questions)} questions and {len(audios)} recordings were given."
            )
        for one in questions if isinstance(question, (list, tuple)) else [question]:
            if not isinstance(one, str):
                raise PromptError(
                    f"A question is of type {type(one).__name__}; a text is wanted, or a list of "
                    "texts for several recordings."
                )
            if not one.strip():
                raise PromptError("The question is empty; ask something about the recording.")
        clips = [load_audio(item, sampling_rate=sampling_rate) for item in audios]
        possible = [self.possible_answers(q) for q in questions]
        # What the checkpoint wasn't taught isn't asked.
        answers = [known[0] if len(known) == 1 else "" for known in possible]
        asked = [i for i, known in enumerate(possible) if len(known) != 1]
        if not asked:
            return iter(answers) if stream else answers if many else answers[0]
        if transcribe_first:
            # A recording that is asked about several times is written down once.
            names = [a if isinstance(a, (str, os.PathLike)) else id(a) for a in audios]
            once = {names[i]: clips[i] for i in asked}
            written = self.transcribe(
                list(once.values()), sampling_rate=SAMPLING_RATE, batch_size=batch_size
            )
            texts = {name: t.text for name, t in zip(once, written, strict=True)}
            prompts = {i: after_transcript(texts[names[i]], questions[i].strip()) for i in asked}
        else:
            prompts = {i: user_message(questions[i].strip(), 1) for i in asked}
        if stream:
            return self._stream(prompts[0], [clips[0]], max_new_tokens, answers=possible[0])
        order = sorted(asked, key=lambda i: len(clips[i]))
        for at in range(0, len(order), batch_size):
            batch = order[at : at + batch_size]
            fresh = self._generate(
                [prompts[i] for i in batch],
                [[clips[i]] for i in batch],
                max_new_tokens,
                answers=[possible[i] for i in batch],
            )
            for i, answer in zip(batch, fresh, strict=True):
                answers[i] = answer
        return answers if many else answers[0]

    def chat(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        max_new_tokens: int = 128,
        stream: bool = False,
    ) -> str | Iterator[str]:
        """Continue a conversation of text and audio.

        The only recording of a message may stand before or after its text. As in `ask`, a last
        question that the checkpoint wasn't taught is refused; earlier ones that were aren't shown
        to the model.

        Args:
            messages: `{"role": ..., "content": ...}` with role `system`, `user` or `assistant`
                and content a string or a list of parts: `{"type": "text", "text": ...}` and
                `{"type": "audio", "audio": anything load_audio reads}`, with the
                `"sampling_rate"` of an array.
            max_new_tokens: longest answer.
            stream: yield the answer in pieces.

        Raises:
            AudioError: a recording can't be read.
            PromptError: a message or part isn't of this form, the last turn isn't the user's, or
                an argument is of the wrong kind or out of range.
        """
        whole("max_new_tokens", max_new_tokens)
        flag("stream", stream)
        clips = [load_audio(one, sampling_rate=rate) for one, rate in audio_sources(messages)]
        known = self.possible_answers(text_of(messages[-1]), recording=bool(clips))
        if len(known) == 1:
            return iter(known) if stream else known[0]
        if self.scope is not None:
            messages = self.scope.without_refusals(messages)
        if stream:
            return self._stream(messages, clips, max_new_tokens, answers=known)
        return self._generate([messages], [clips], max_new_tokens, answers=[known])[0]

    # ---- generation ----

    def _inputs(
        self,
        conversations: Sequence[Sequence[dict[str, Any]]],
        clips: Sequence[Sequence[np.ndarray]],
    ) -> dict[str, torch.Tensor]:
        prompts = [
            self.processor.tokenizer.apply_chat_template(
                plain_messages(self.processor.tokenizer, c),
                tokenize=False,
                add_generation_prompt=True,
                chat_template=self.processor.chat_template,
            )
            for c in conversations
        ]
        batch = self.processor(text=prompts, audio=[list(c) for c in clips])
        return {key: value.to(self.device) for key, value in batch.items()}

    def _budgets(
        self, clips: Sequence[Sequence[np.ndarray]], max_new_tokens: int | None
    ) -> list[int]:
        """Longest answer of each row in tokens; by default by the length of its audio."""
        if max_new_tokens is None:
            return [transcript_budget(sum(map(len, row))) for row in clips]
        return [max_new_tokens] * len(clips)

    @torch.inference_mode()
    def _generate(
        self,
        conversations: Sequence[Sequence[dict[str, Any]]],
        clips: Sequence[Sequence[np.ndarray]],
        max_new_tokens: int | None = None,
        decoding: Decoding = _GREEDY,
        answers: Sequence[Sequence[str]] = (),
    ) -> list[str]:
        inputs = self._inputs(conversations, clips)
        inputs |= only_these(answers, self.processor.tokenizer, inputs)
        prompt_length = inputs["input_ids"].shape[1]
        if decoding.ctc_weight:
            inputs |= self._joint(inputs, decoding)
            prompt_length = 0  # generate() returns only what is new after inputs_embeds
        budgets = self._budgets(clips, max_new_tokens)
        output = self.model.generate(
            **inputs,
            max_new_tokens=max(budgets),
            do_sample=False,
            num_beams=decoding.num_beams,
        )
        # Each row ends at its own budget, not at that of the longest clip it shares a batch with.
        fresh = [
            row[prompt_length : prompt_length + budget]
            for row, budget in zip(output, budgets, strict=True)
        ]
        texts = self.processor.tokenizer.batch_decode(fresh, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _joint(
        self,
        inputs: dict[str, torch.Tensor],
        decoding: Decoding,
        agreement: Agreement | None = None,
    ) -> dict[str, Any]:
        """Turn processor output (emptied) into arguments of `generate` that use CTC as well."""
        inner = self.model.model
        if self.model.config.adapter_type != "ctc":
            raise PromptError("ctc_weight needs a model whose adapter_type is 'ctc'.")
        ids = inputs.pop("input_ids")
        samples = inputs.pop("num_samples")
        if len(samples) != len(ids):
            raise PromptError("With ctc_weight a part must fit one encoder window (30 s).")
        heard = inner.hear(inputs.pop("input_features"), samples)
        score = CTCPrefixScore(
            heard.logits.float().log_softmax(-1),
            heard.mask.sum(1),
            self._token_labels,
            self.processor.tokenizer.eos_token_id,
            decoding.ctc_weight,
            self._ngram if decoding.ngram_weight else None,
            decoding.ngram_weight,
            agreement,
        )
        embeds = inner.embed_prompt(ids, heard.flat_tokens)
        joint = {"inputs_embeds": embeds, "logits_processor": LogitsProcessorList([score])}
        if decoding.num_beams > 1:
            joint["past_key_values"] = read_prompt(
                self.model, embeds, inputs["attention_mask"], decoding.num_beams
            )
        return joint

    @cached_property
    def _ngram(self) -> Ngram | None:
        return Ngram.of_checkpoint(self.model.name_or_path)

    @cached_property
    def _token_labels(self) -> torch.Tensor:
        config = self.model.config
        return token_labels(
            self.processor.tokenizer, config.ctc_labels, config.text_config.vocab_size
        )

    def _stream(
        self,
        conversation: Sequence[dict[str, Any]],
        clips: Sequence[np.ndarray],
        max_new_tokens: int | None = None,
        decoding: Decoding = _GREEDY,
        guesses: bool = False,
        answers: Sequence[str] = (),
    ) -> Iterator[str]:
        # Without ids in the call there is no prompt in the stream to skip.
        streamer = TextIteratorStreamer(
            self.processor.tokenizer,
            skip_prompt=not decoding.ctc_weight and decoding.num_beams == 1,
            skip_special_tokens=True,
        )
        agreement = None
        if decoding.num_beams > 1:  # what transformers doesn't stream
            tokenizer = self.processor.tokenizer

            def guess(tokens: list[int]) -> None:
                text = tokenizer.decode(tokens, skip_special_tokens=True)
                streamer.text_queue.put(Guess(text))

            agreement = Agreement(streamer.put, tokenizer.eos_token_id, guess if guesses else None)
        with torch.inference_mode():
            inputs = self._inputs([conversation], [clips])
            inputs |= only_these([answers], self.processor.tokenizer, inputs)
            if decoding.ctc_weight:
                inputs |= self._joint(inputs, decoding, agreement)
        budget = self._budgets([clips], max_new_tokens)[0]
        stop = StopOnDemand()
        settings = {"max_new_tokens": budget, "do_sample": False, "stopping_criteria": [stop]}

        def work() -> None:
            with torch.inference_mode():
                if agreement is None:
                    self.model.generate(**inputs, streamer=streamer, **settings)
                    return
                begin = 0 if decoding.ctc_weight else inputs["input_ids"].shape[1]
                beams = {"num_beams": decoding.num_beams}
                best = self.model.generate(**inputs, **beams, **settings)[0, begin:]
                agreement.finish(best.tolist())
                streamer.end()

        yield from read_along(work, streamer, stop)


def _several(audio: Any) -> bool:
    """Whether this is several recordings: a list, a tuple or an iterator, but no open file.

    Of a pair with a number in it `load_audio` takes care: it is a rate and an array.
    """
    if isinstance(audio, tuple) and len(audio) == 2:
        return not any(isinstance(item, Integral) for item in audio)
    return isinstance(audio, (list, tuple)) or (
        isinstance(audio, Iterator) and not hasattr(audio, "read")
    )


def gather(clips: Iterable[np.ndarray], seconds: float) -> Iterator[list[np.ndarray]]:
    """Recordings in groups of at least `seconds` together, read only as the groups are taken.

    Args:
        clips: float32 mono at 16 kHz `[num_samples]` each.
        seconds: enough to fill a batch.
    """
    group: list[np.ndarray] = []
    for clip in clips:
        group.append(clip)
        if sum(map(len, group)) >= seconds * SAMPLING_RATE:
            yield group
            group = []
    if group:
        yield group


def transcript_budget(num_samples: int) -> int:
    """Longest transcript of a clip of `num_samples` samples, in tokens."""
    return 16 + round(num_samples / SAMPLING_RATE * _TOKENS_PER_SECOND)
