"""`Borealis`: a loaded model with the three things people do with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypedDict, Unpack, overload

import numpy as np
import torch
from transformers import TextIteratorStreamer

from borealis import arguments
from borealis.arguments import flag, number, whole
from borealis.audio import SAMPLING_RATE, level_db, load_audio, open_audio, split_at_silence
from borealis.checkpoints import resolve_checkpoint
from borealis.ctc.ngram import Ngram
from borealis.errors import PromptError, SpeechError
from borealis.inference.allowed import only_these
from borealis.inference.decoding import CTCDecoding, Decoding, choose
from borealis.inference.drafts import DraftWriter
from borealis.inference.hearing import Hearing
from borealis.inference.loading import load_checkpoint
from borealis.inference.messages import (
    TRANSCRIBE_PROMPTS,
    after_transcript,
    audio_sources,
    language_of,
    user_message,
)
from borealis.inference.scope import Scope, text_of
from borealis.inference.speech import TEMPERATURE, TOP_K, Manner, Speaker, Speech, SpeechPart, Voice
from borealis.inference.stopping import StopOnDemand
from borealis.inference.streaming import read_along
from borealis.inference.transcript import Guess, Segment, Transcript, Word, placed
from borealis.inference.words import time_words
from borealis.long_audio import LongAudio
from borealis.model import BorealisForConditionalGeneration, BorealisProcessor
from borealis.model.processing import check_characters
from borealis.prompts import render

# Quieter than this (RMS of the loudest 100 ms) nobody speaks; the model isn't asked.
SILENCE_DB = -60.0
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
    """Arguments that mean the same for one recording, several and a stream."""

    language: str | None
    words: bool
    hot_words: Sequence[str]
    sampling_rate: int | None
    decoding: Decoding | None
    max_segment_seconds: float | None
    progress: Callable[[float], Any] | None


@dataclass(frozen=True)
class _Task:
    """How recordings are to be written down, checked."""

    language: str | None
    words: bool
    hot_words: tuple[str, ...]
    decoding: Decoding
    longest: float  # seconds of a part


@dataclass
class Written:
    """What was said in a part of a recording.

    Args:
        text: with marks and capitals; empty where nobody speaks.
        words: with times from the part's beginning; None if they weren't asked for.
        log_prob: of the letters as CTC heard them, natural log; None with other adapters.
    """

    text: str
    words: list[Word] | None = None
    log_prob: float | None = None


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
        self.hear = Hearing(self.model.model)
        self._ngram: Future[Ngram | None] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_ngram": None}  # a copy reads its own

    @classmethod
    def load(
        cls,
        name_or_path: str | os.PathLike[str] = "nano",
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
    ) -> Borealis:
        """See `borealis.load`."""
        path = resolve_checkpoint(name_or_path)
        # Unpacking the n-gram takes longer than the weights do, on another core.
        pool = ThreadPoolExecutor(1)
        ngram = pool.submit(Ngram.of_checkpoint, path) if isinstance(path, Path) else None
        pool.shutdown(wait=False)
        engine = cls(*load_checkpoint(name_or_path, device, dtype))
        engine._ngram = ngram
        return engine

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
        batch_size: int = 8,
        **settings: Unpack[_Settings],
    ) -> Transcript: ...
    @overload
    def transcribe(
        self,
        audio: list[Any] | tuple[Any, ...] | Iterator[Any],
        *,
        batch_size: int = 8,
        **settings: Unpack[_Settings],
    ) -> list[Transcript]: ...

    def transcribe(
        self,
        audio: Any,
        *,
        language: str | None = None,
        words: bool = False,
        hot_words: Sequence[str] = (),
        sampling_rate: int | None = None,
        decoding: Decoding | None = None,
        batch_size: int = 8,
        max_segment_seconds: float | None = None,
        progress: Callable[[float], Any] | None = None,
    ) -> Transcript | list[Transcript]:
        """Write down what is said, in a recording of any length.

        Long recordings are cut at pauses, and the parts are decoded in batches.

        Args:
            audio: anything `borealis.load_audio` reads; or several such in a list, a tuple or an
                iterator. An iterator is read as the work goes on, so that few of its recordings
                are in memory at once. The pair `(rate, array)` is one recording.
            language: of the speech, `ru` or `en`; names such as `Russian` and `en-US` are
                understood. It binds the letters: Russian is never written in Latin ones. Without
                it each part is of the language that it sounds like.
            words: tell when each word was said, and how sure the model is (adapter `ctc`).
            hot_words: words, names or phrases that are expected, in any case (adapter `ctc`).
            sampling_rate: rate of arrays in Hz; encoded audio carries its own.
            decoding: settings of the search, `CTCDecoding` or `LLMDecoding`, by the adapter; by
                default the checkpoint's own.
            batch_size: parts decoded at once.
            max_segment_seconds: longest part, from 1 to what one prompt can hold (with a `ctc`
                adapter one window of the encoder, 30); by default what the checkpoint was trained
                on.
            progress: called after each batch with the seconds of sound that it took.

        Returns:
            A `Transcript`; for several recordings a list, in their order.

        Raises:
            AudioError: a recording can't be read.
            PromptError: an argument is of the wrong kind or out of range, or the model's adapter
                can't do what is asked.
        """
        whole("batch_size", batch_size)
        task = self._task(language, words, hot_words, decoding, max_segment_seconds)
        if not _several(audio):
            clips = [open_audio(audio, sampling_rate=sampling_rate)]
            return self._write_down(clips, task, batch_size, progress)[0]
        read = (open_audio(item, sampling_rate=sampling_rate) for item in audio)
        # Of a list all are read first: a bad one is told before hours of work.
        several = isinstance(audio, Iterator)
        groups = gather(read, batch_size * task.longest) if several else [list(read)]
        return [
            transcript
            for clips in groups
            for transcript in self._write_down(clips, task, batch_size, progress)
        ]

    def transcribe_stream(
        self,
        audio: Any,
        *,
        language: str | None = None,
        words: bool = False,
        hot_words: Sequence[str] = (),
        sampling_rate: int | None = None,
        decoding: Decoding | None = None,
        max_segment_seconds: float | None = None,
    ) -> Iterator[Segment | Guess]:
        """Write down one recording and tell each segment as soon as it is final.

        Between segments there may be guesses: what the next one says as it looks now, for a reader
        who can take it back. Closing the iterator stops the work.

        Args:
            audio: anything `borealis.load_audio` reads, one recording.
            language: see `transcribe`, as for the other arguments.
            words: tell when each word was said.
            hot_words: words that are expected.
            sampling_rate: rate of an array in Hz.
            decoding: settings of the search.
            max_segment_seconds: longest segment.

        Returns:
            An iterator of `Segment`s, which together are those of `transcribe`, and `Guess`es.

        Raises:
            AudioError: the recording can't be read.
            PromptError: as in `transcribe`, or there are several recordings.
        """
        task = self._task(language, words, hot_words, decoding, max_segment_seconds)
        if _several(audio):
            raise PromptError("transcribe_stream takes one recording; transcribe takes several.")
        clip = open_audio(audio, sampling_rate=sampling_rate)
        return self._stream_parts(clip, task)

    def _task(
        self,
        language: str | None,
        words: bool,
        hot_words: Sequence[str],
        decoding: Decoding | None,
        max_segment_seconds: float | None,
    ) -> _Task:
        """The settings of a transcription, checked."""
        config = self.model.config
        chosen = choose(config, decoding)
        hot = arguments.texts("hot_words", hot_words)
        ctc = isinstance(chosen, CTCDecoding)
        for name, asked in (("words", flag("words", words)), ("hot_words", bool(hot))):
            if asked and not ctc:
                raise PromptError(
                    f"{name} needs a model with a 'ctc' adapter; this one has "
                    f"'{config.adapter_type}'."
                )
        if self._writer is not None and isinstance(chosen, CTCDecoding):
            self._writer.search(chosen, hot)  # a bad word is told before the work
        window = config.window_length / config.sampling_rate
        limit = window if ctc else config.max_audio_seconds
        longest = min(self.longest_part, limit)
        if max_segment_seconds is not None:
            longest = number("max_segment_seconds", max_segment_seconds, 1)
            if longest > limit:
                why = "CTC hears one window of the encoder" if ctc else "of one prompt"
                raise PromptError(
                    f"max_segment_seconds is {max_segment_seconds:g}; the limit of this model is "
                    f"{limit:g} ({why})."
                )
        return _Task(arguments.language(language), words, hot, chosen, longest)

    @cached_property
    def _writer(self) -> DraftWriter | None:
        """What writes with a `ctc` adapter; None with others."""
        if self.model.config.adapter_type != "ctc":
            return None
        return DraftWriter(self.model, self.processor, self.hear, self._ngram)

    def write_parts(
        self,
        parts: Sequence[np.ndarray],
        *,
        language: str | None = None,
        words: bool = False,
        hot_words: Sequence[str] = (),
        decoding: Decoding | None = None,
    ) -> list[Written]:
        """Write down parts as `transcribe` makes them, all in one batch.

        Args:
            parts: float32 mono at 16 kHz `[num_samples]` each, none longer than a window.
            language: see `transcribe`, as for the other arguments.
            words: tell when each word was said.
            hot_words: words that are expected.
            decoding: settings of the search.
        """
        return self._write(parts, self._task(language, words, hot_words, decoding, None))

    def _write(self, parts: Sequence[np.ndarray], task: _Task) -> list[Written]:
        written = [Written("", [] if task.words else None) for _ in parts]
        loud = [i for i, part in enumerate(parts) if level_db(part) > SILENCE_DB]
        if not loud:
            return written
        prompt = user_message(TRANSCRIBE_PROMPTS[task.language or "ru"], 1)
        clips = [[parts[i]] for i in loud]
        if self._writer is None:
            beams = task.decoding.num_beams
            texts = self._generate([prompt] * len(loud), clips, num_beams=beams)
            for i, text in zip(loud, texts, strict=True):
                written[i].text = text
            return written
        assert isinstance(task.decoding, CTCDecoding)
        drafts = self._writer.write(
            self._inputs([prompt] * len(loud), clips),
            task.decoding,
            language=task.language,
            hot_words=task.hot_words,
            confidences=task.words,
        )
        for i, draft in zip(loud, drafts, strict=True):
            written[i] = Written(draft.text, None, draft.log_prob)
            if task.words:
                seconds = len(parts[i]) / SAMPLING_RATE
                words = self.time_words(draft.text, draft.log_probs, seconds, task.decoding)
                # An apostrophe alone is no word of a text.
                spelled = zip(draft.letters.split(), draft.confidences, strict=True)
                sure = (share for word, share in spelled if any(c.isalnum() for c in word))
                for word in words:
                    spoken = any(c.isalnum() for c in word.text)
                    word.confidence = round(next(sure), 3) if spoken else None
                written[i].words = words
        return written

    def time_words(
        self,
        text: str,
        log_probs: np.ndarray,
        seconds: float,
        decoding: CTCDecoding | None = None,
    ) -> list[Word]:
        """When each word of a text was said; see `borealis.inference.words.time_words`."""
        config = self.model.config
        chosen = choose(config, decoding)
        assert self._writer is not None and isinstance(chosen, CTCDecoding)
        step = config.frame_length / config.sampling_rate
        alphabet, delay = self._writer.alphabet, chosen.letter_delay
        return time_words(text, log_probs, alphabet, step, seconds, delay)

    def _write_down(
        self,
        clips: Sequence[np.ndarray | LongAudio],
        task: _Task,
        batch_size: int,
        progress: Callable[[float], Any] | None = None,
    ) -> list[Transcript]:
        parts = [split_at_silence(clip, max_seconds=task.longest) for clip in clips]
        jobs = [(i, a, b) for i, spans in enumerate(parts) for a, b in spans]
        # Like lengths together: less padding, and no result depends on it.
        jobs.sort(key=lambda job: job[2] - job[1])
        done: dict[tuple[int, int, int], Written] = {}
        for at in range(0, len(jobs), batch_size):
            batch = jobs[at : at + batch_size]
            written = self._write([clips[i][a:b] for i, a, b in batch], task)
            done |= dict(zip(batch, written, strict=True))
            if progress is not None:
                progress(sum(b - a for _, a, b in batch) / SAMPLING_RATE)
        results = []
        for i, (clip, spans) in enumerate(zip(clips, parts, strict=True)):
            segments = [_segment(a, b, done[i, a, b]) for a, b in spans]
            segments = [s for s in segments if s.text]
            text = " ".join(s.text for s in segments)
            language = task.language or language_of(text)
            results.append(
                Transcript(text, round(len(clip) / SAMPLING_RATE, 2), segments, language)
            )
        return results

    def _stream_parts(self, clip: np.ndarray | LongAudio, task: _Task) -> Iterator[Segment | Guess]:
        for start, end in split_at_silence(clip, max_seconds=task.longest):
            part = clip[start:end]
            if self._writer is not None or task.decoding.num_beams > 1:
                written = self._write([part], task)[0]
            elif level_db(part) <= SILENCE_DB:
                continue
            else:
                text = ""
                prompt = user_message(TRANSCRIBE_PROMPTS[task.language or "ru"], 1)
                for piece in self._stream(prompt, [part]):
                    text += piece
                    yield Guess(start / SAMPLING_RATE, end / SAMPLING_RATE, text.strip())
                written = Written(text.strip())
            if written.text:
                yield _segment(start, end, written)

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

    @overload
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
        speak: Literal[False] = False,
        voice: None = None,
    ) -> str | list[str] | Iterator[str]: ...
    @overload
    def ask(
        self,
        audio: Any,
        question: str | list[str] | tuple[str, ...],
        *,
        sampling_rate: int | None = None,
        max_new_tokens: int = 128,
        batch_size: int = 8,
        transcribe_first: bool | None = None,
        speak: Literal[True],
        voice: str | None = None,
    ) -> Speech | list[Speech]: ...

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
        speak: bool = False,
        voice: str | None = None,
    ) -> str | list[str] | Iterator[str] | Speech | list[Speech]:
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
            speak: say the answer as well; a model that has `voices` can.
            voice: one of `voices`; by default the first one of the answer's language.

        Returns:
            The answer; for several recordings a list; with `stream` an iterator of pieces. With
            `speak` a `Speech` in place of each answer, whose `text` is the answer; an empty answer
            has no sound.

        Raises:
            AudioError: a recording can't be read.
            PromptError: a question is empty, there aren't as many as recordings, or an argument
                is of the wrong kind or out of range.
            SpeechError: the model wasn't taught to speak, there is no such voice, or an answer
                can't be said.
        """
        if self._aloud(speak, voice, stream):
            written = self.ask(
                audio,
                question,
                sampling_rate=sampling_rate,
                max_new_tokens=max_new_tokens,
                batch_size=batch_size,
                transcribe_first=transcribe_first,
            )
            if isinstance(written, list):
                return [self._said(str(answer), voice) for answer in written]
            return self._said(str(written), voice)
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
            transcripts = self.transcribe(
                list(once.values()), sampling_rate=SAMPLING_RATE, batch_size=batch_size
            )
            texts = {name: t.text for name, t in zip(once, transcripts, strict=True)}
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

    @overload
    def chat(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        max_new_tokens: int = 128,
        stream: bool = False,
        speak: Literal[False] = False,
        voice: None = None,
    ) -> str | Iterator[str]: ...
    @overload
    def chat(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        max_new_tokens: int = 128,
        speak: Literal[True],
        voice: str | None = None,
    ) -> Speech: ...

    def chat(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        max_new_tokens: int = 128,
        stream: bool = False,
        speak: bool = False,
        voice: str | None = None,
    ) -> str | Iterator[str] | Speech:
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
            speak: say the answer as well; a model that has `voices` can.
            voice: one of `voices`; by default the first one of the answer's language.

        Returns:
            The answer; with `stream` an iterator of pieces; with `speak` a `Speech`, whose `text`
            is the answer; an empty answer has no sound.

        Raises:
            AudioError: a recording can't be read.
            PromptError: a message or part isn't of this form, the last turn isn't the user's, or
                an argument is of the wrong kind or out of range.
            SpeechError: the model wasn't taught to speak, there is no such voice, or the answer
                can't be said.
        """
        if self._aloud(speak, voice, stream):
            return self._said(str(self.chat(messages, max_new_tokens=max_new_tokens)), voice)
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

    # ---- speech ----

    @cached_property
    def speaker(self) -> Speaker:
        """What speaks.

        Raises:
            SpeechError: the model wasn't taught to.
        """
        return Speaker(self.model)

    @property
    def voices(self) -> list[Voice]:
        """Voices that `speak` takes; empty where the model wasn't taught to speak."""
        return [Voice(**voice) for voice in (self.model.config.speech or {}).get("voices", ())]

    def speak(
        self,
        text: str,
        *,
        voice: str | None = None,
        language: str | None = None,
        speed: float = 1.0,
        temperature: float = TEMPERATURE,
        top_k: int = TOP_K,
        seed: int = 0,
    ) -> Speech:
        """Say a text.

        Numbers, dates, abbreviations are said in words (`borealis.data.spoken.speakable`). The same
        arguments give the same sound.

        Args:
            text: what is to be said, Russian or English.
            voice: one of `voices`; by default the first one of the text's language.
            language: that numbers and signs are said in, `ru` or `en`; by default the voice's.
            speed: from 0.5 to 2; 2 is twice as fast, at the same pitch.
            temperature: how much is left to chance; 0 takes the most probable codes every time,
                and ends a sound when that is more probable than not.
            top_k: how many of the most probable codes are drawn from.
            seed: of the draws.

        Raises:
            SpeechError: the model wasn't taught to speak, there is no such voice, or the text
                can't be said.
            PromptError: an argument is of the wrong kind or out of range.
        """
        speaker = self.speaker
        return speaker.speak(
            speaker.order(
                text,
                voice=voice,
                language=language,
                speed=speed,
                temperature=temperature,
                top_k=top_k,
                seed=seed,
            )
        )

    def speak_stream(self, text: str, **manner: Unpack[Manner]) -> Iterator[SpeechPart]:
        """Say a text and give the sound away as soon as it is ready; arguments as in `speak`.

        Closing the iterator stops the work.

        Returns:
            An iterator of parts, whose waveforms joined are that of `speak`.

        Raises:
            SpeechError: as in `speak`.
            PromptError: as in `speak`.
        """
        speaker = self.speaker
        return speaker.stream(speaker.order(text, **manner))

    def _aloud(self, speak: bool, voice: str | None, stream: bool) -> bool:
        """Whether answers are to be said, checked before there are any."""
        if not flag("speak", speak):
            if voice is not None:
                raise PromptError("voice is of a spoken answer; give speak=True with it.")
            return False
        if flag("stream", stream):
            raise PromptError(
                "stream=True gives the answer as text; to hear it as it is made, give the answer "
                "to speak_stream."
            )
        self.speaker.check_voice(voice)
        return True

    def _said(self, answer: str, voice: str | None) -> Speech:
        """An answer as speech; what it says isn't lost if it can't be said."""
        if not answer.strip():
            silence = np.zeros(0, np.float32)
            rate = self.speaker.codec.sampling_rate
            return Speech(answer, "", self.speaker.check_voice(voice), silence, rate)
        try:
            return self.speak(answer, voice=voice)
        except SpeechError as error:
            raise SpeechError(f"The answer {answer[:200]!r} can't be said. {error}") from None

    # ---- generation ----

    def _inputs(
        self,
        conversations: Sequence[Sequence[dict[str, Any]]],
        clips: Sequence[Sequence[np.ndarray]],
    ) -> dict[str, torch.Tensor]:
        tokenizer, template = self.processor.tokenizer, self.processor.chat_template
        prompts = [render(tokenizer, c, template=template) for c in conversations]
        batch = self.processor(text=prompts, audio=[list(c) for c in clips])
        return {key: value.to(self.device) for key, value in batch.items()}

    def _heard(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Audio tokens instead of features: of a recording that was heard before they are known."""
        if (features := inputs.pop("input_features", None)) is not None:
            inputs["audio_tokens"] = self.hear(features, inputs["num_samples"]).tokens
        return inputs

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
        num_beams: int = 1,
        answers: Sequence[Sequence[str]] = (),
    ) -> list[str]:
        inputs = self._heard(self._inputs(conversations, clips))
        inputs |= only_these(answers, self.processor.tokenizer, inputs)
        prompt_length = inputs["input_ids"].shape[1]
        budgets = self._budgets(clips, max_new_tokens)
        output = self.model.generate(
            **inputs, max_new_tokens=max(budgets), do_sample=False, num_beams=num_beams
        )
        # Each row ends at its own budget, not at that of the longest clip it shares a batch with.
        fresh = [
            row[prompt_length : prompt_length + budget]
            for row, budget in zip(output, budgets, strict=True)
        ]
        texts = self.processor.tokenizer.batch_decode(fresh, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _stream(
        self,
        conversation: Sequence[dict[str, Any]],
        clips: Sequence[np.ndarray],
        max_new_tokens: int | None = None,
        answers: Sequence[str] = (),
    ) -> Iterator[str]:
        streamer = TextIteratorStreamer(
            self.processor.tokenizer, skip_prompt=True, skip_special_tokens=True
        )
        with torch.inference_mode():
            inputs = self._heard(self._inputs([conversation], [clips]))
            inputs |= only_these([answers], self.processor.tokenizer, inputs)
        budget = self._budgets([clips], max_new_tokens)[0]
        stop = StopOnDemand()

        def work() -> None:
            with torch.inference_mode():
                self.model.generate(
                    **inputs,
                    streamer=streamer,
                    max_new_tokens=budget,
                    do_sample=False,
                    stopping_criteria=[stop],
                )

        yield from read_along(work, streamer, stop)


def _segment(start: int, end: int, written: Written) -> Segment:
    """A part from sample `start` to `end` with its place in the recording."""
    first, last = round(start / SAMPLING_RATE, 2), round(end / SAMPLING_RATE, 2)
    words = None if written.words is None else placed(written.words, first, last)
    return Segment(first, last, written.text, words)


def _several(audio: Any) -> bool:
    """Whether this is several recordings: a list, a tuple or an iterator, but no open file.

    Of a pair with a number in it `load_audio` takes care: it is a rate and an array.
    """
    if isinstance(audio, tuple) and len(audio) == 2:
        return not any(isinstance(item, Integral) for item in audio)
    return isinstance(audio, (list, tuple)) or (
        isinstance(audio, Iterator) and not hasattr(audio, "read")
    )


def gather(
    clips: Iterable[np.ndarray | LongAudio], seconds: float
) -> Iterator[list[np.ndarray | LongAudio]]:
    """Recordings in groups of at least `seconds` together, read only as the groups are taken.

    Args:
        clips: float32 mono at 16 kHz `[num_samples]` each.
        seconds: enough to fill a batch.
    """
    group: list[np.ndarray | LongAudio] = []
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
