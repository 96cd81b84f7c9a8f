"""Text into speech: the language model writes codec tokens, the codec makes them heard."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch

from borealis import arguments
from borealis.arguments import number, whole
from borealis.codec import load_codec, load_refiner
from borealis.data.spoken import Speakable, speakable
from borealis.errors import PromptError, SpeechError
from borealis.files import aside
from borealis.inference.messages import language_of
from borealis.inference.transcript import Word
from borealis.speech.choosing import COLDEST, shaped
from borealis.speech.pieces import LONGEST, MAX_CHARACTERS, pieces
from borealis.speech.rule import Choice, StreamRule
from borealis.speech.sound import FASTEST, SLOWEST, Tempo, check_suffix, encoded
from borealis.speech.stream import prompt_ids
from borealis.speech.symbols import PAUSES, Spelling, spell
from borealis.speech.vocabulary import SpeechVocabulary

if TYPE_CHECKING:
    from borealis.codec import Codec
    from borealis.codec.protocol import StreamDecoder
    from borealis.model import BorealisForConditionalGeneration

TEMPERATURE, TOP_K = 0.6, 20
_LARGEST_SEED = 2**63 - 1
_GAP = 0.15  # seconds of silence between two pieces, beside what they end and begin with
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")


@dataclass(frozen=True)
class Voice:
    """A voice of a model.

    Args:
        name: what `speak` takes.
        language: `ru` or `en`: what it was learned from.
        gender: `male` or `female`; empty where it isn't known.
        description: a sentence about it, by language of the sentence.
    """

    name: str
    language: str
    gender: str = ""
    description: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class SpokenPiece:
    """A piece of speech as it was written: symbols and their codes.

    Args:
        start: where it begins, seconds of the finished sound.
        symbols: see `borealis.speech.symbols`.
        durations: frames of each symbol, int `[symbols]`.
        codes: int `[num_codebooks, frames]`, as the codec heard them.
        frame: seconds of the finished sound that a frame lasts.
    """

    start: float
    symbols: str
    durations: np.ndarray
    codes: np.ndarray
    frame: float


@dataclass(eq=False)
class Speech:
    """A text that was spoken.

    Args:
        text: as it was given.
        spoken: as it was said: numbers and signs in words.
        voice: who speaks.
        waveform: float32 `[num_samples]`.
        sampling_rate: Hz.
        words: of `text`, with their times.
        pieces: how it was written.
        left_out: characters of the text that can't be said: emoji and the like.
    """

    text: str
    spoken: str
    voice: str
    waveform: np.ndarray
    sampling_rate: int
    words: list[Word] = field(default_factory=list)
    pieces: list[SpokenPiece] = field(default_factory=list)
    left_out: tuple[str, ...] = ()

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.waveform) / self.sampling_rate

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """All but the sound in plain values, ready for JSON."""
        return {
            "text": self.text,
            "spoken": self.spoken,
            "voice": self.voice,
            "duration": round(self.duration, 3),
            "sampling_rate": self.sampling_rate,
            "words": [{"start": w.start, "end": w.end, "text": w.text} for w in self.words],
            "left_out": list(self.left_out),
        }

    def encode(self, form: str) -> bytes:
        """The sound as a file: `wav`, `flac`, `mp3`, `opus` (or `ogg`), or `pcm` without a header.

        Its metadata says that the speech is synthetic.

        Raises:
            SpeechError: another form, or the model made no sound.
        """
        if not len(self.waveform):
            raise SpeechError(
                f"The model made no sound of {self.text[:40]!r}: there is nothing to write. Try "
                "another seed."
            )
        return encoded(self.waveform, self.sampling_rate, form, voice=self.voice)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a .wav, .flac, .mp3, .opus or .ogg file.

        Its metadata says that the speech is synthetic.

        Raises:
            SpeechError: another suffix, or the model made no sound.
            OutputError: it can't be written.
        """
        form = check_suffix(path)
        data = self.encode(form)
        with aside(path) as partial:
            partial.write_bytes(data)


@dataclass(frozen=True, eq=False)
class SpeechPart:
    """Sound that is ready while the rest is still being made.

    Args:
        waveform: float32 `[num_samples]`; all of them joined are those of the whole speech.
        words: that have ended, with times from the beginning of the speech.
        piece: how the piece was written that ends here; None inside a piece.
    """

    waveform: np.ndarray
    words: list[Word]
    piece: SpokenPiece | None = None


@dataclass(frozen=True)
class Order:
    """What is to be spoken and how, checked.

    Args:
        text: as it was given.
        said: as it will be said.
        pieces: of what will be said, in order: where each begins, and its symbols.
        voice: its name.
        speed: 2 is twice as fast.
        temperature: 0 takes the most probable codes.
        top_k: how many of the most probable codes are drawn from.
        seed: of the draws.
    """

    text: str
    said: Speakable
    pieces: tuple[tuple[int, Spelling], ...]
    voice: str
    speed: float
    temperature: float
    top_k: int
    seed: int


class Manner(TypedDict, total=False):
    """How a text is said; see `Borealis.speak`."""

    voice: str | None
    language: str | None
    speed: float
    temperature: float
    top_k: int
    seed: int


class Narrator:
    """Turns texts into sound, whoever writes the tokens between.

    Args:
        speech: `config.speech` of a model.
        codec: by default the one that it names.
        device: of the codec, where it isn't given.

    Raises:
        SpeechError: the model wasn't taught to speak.
    """

    def __init__(
        self,
        speech: Mapping[str, Any] | None,
        codec: Codec | None = None,
        *,
        device: str = "cpu",
    ) -> None:
        if not speech or not speech.get("voices"):
            raise SpeechError(
                "This model wasn't taught to speak: it has no voices. Load one whose `voices` "
                "aren't empty."
            )
        self.vocabulary = SpeechVocabulary.of_settings(speech)
        self.voices = [Voice(**voice) for voice in speech["voices"]]
        self._given_codec, self._name, self._device = codec, speech["codec"], device

    @cached_property
    def codec(self) -> Codec:
        """What makes the tokens heard.

        Raises:
            CodecError: it can't be loaded.
        """
        return self._given_codec or load_codec(self._name, device=self._device)

    @cached_property
    def refiner(self) -> Any:
        """What adds the codebooks that the model doesn't write; None where it isn't needed."""
        if self.vocabulary.codec.num_codebooks == self.codec.num_codebooks:
            return None
        return load_refiner(self._name, device=self._device)

    @property
    def frame_rate(self) -> float:
        """Frames of the codec in a second."""
        return self.codec.sampling_rate / self.codec.hop_length

    def order(
        self,
        text: str,
        *,
        voice: str | None = None,
        language: str | None = None,
        speed: float = 1.0,
        temperature: float = TEMPERATURE,
        top_k: int = TOP_K,
        seed: int = 0,
    ) -> Order:
        """Check what is to be spoken; arguments as in `Borealis.speak`.

        Raises:
            PromptError: an argument is of the wrong kind or out of range.
            SpeechError: there is no such voice, or the text can't be said.
        """
        if not isinstance(text, str):
            raise PromptError(f"The text is of type {type(text).__name__}; a string is wanted.")
        if len(text) > MAX_CHARACTERS:
            raise SpeechError(
                f"The text has {len(text):,} characters; at most {MAX_CHARACTERS:,} are spoken at "
                "once. Speak it in parts."
            )
        whole("top_k", top_k)
        if whole("seed", seed, 0) > _LARGEST_SEED:
            raise PromptError(
                f"seed is {seed}; a whole number from 0 to {_LARGEST_SEED} is wanted."
            )
        number("temperature", temperature, 0, 2)
        number("speed", speed, SLOWEST, FASTEST)
        chosen = self._voice(voice, arguments.language(language), text)
        said = speakable(text, arguments.language(language) or chosen.language)
        return Order(
            text=text,
            said=said,
            pieces=self._spelled(said.text),
            voice=chosen.name,
            speed=float(speed),
            temperature=float(temperature),
            top_k=int(top_k),
            seed=int(seed),
        )

    def _spelled(self, said: str) -> tuple[tuple[int, Spelling], ...]:
        """Where each piece of a speakable text begins, and its symbols.

        A word that is longer than a piece is cut: nobody has taught a model to say it in one go.
        """
        found = []
        for begin, end in pieces(said):
            for at in range(begin, end, LONGEST):
                part = said[at : min(at + LONGEST, end)]
                if any(map(str.isalpha, part)):
                    try:
                        found.append((at, spell(part, self.vocabulary.symbols)))
                    except PromptError as error:  # the model lacks letters of this alphabet
                        raise SpeechError(str(error)) from None
        return tuple(found)

    def check_voice(self, name: str | None) -> str:
        """The name of a voice; without one the first one's.

        Raises:
            SpeechError: there is no such voice.
        """
        return self._voice(name, None, "").name

    def _voice(self, name: str | None, language: str | None, text: str) -> Voice:
        if name is None:
            language = language or language_of(text) or "ru"
            fitting = [voice for voice in self.voices if voice.language == language]
            return (fitting or self.voices)[0]
        found = [voice for voice in self.voices if voice.name == name]
        if not found:
            names = ", ".join(voice.name for voice in self.voices)
            raise SpeechError(f"There is no voice {name!r}; this model has {names}.")
        return found[0]

    def making(self, order: Order) -> Making:
        """An order on its way to sound."""
        return Making(self, order)

    def whole(self, order: Order, parts: Sequence[SpeechPart]) -> Speech:
        """The speech that all parts of an order make together."""
        return Speech(
            order.text,
            order.said.text,
            order.voice,
            np.concatenate([np.zeros(0, np.float32), *(part.waveform for part in parts)]),
            self.codec.sampling_rate,
            [word for part in parts for word in part.words],
            [part.piece for part in parts if part.piece is not None],
            order.said.left_out,
        )


class Speaker(Narrator):
    """Speaks with a model whose vocabulary has a codec's tokens and voices.

    Args:
        model: on its device, in evaluation mode.
        codec: by default the one that the model's configuration names.

    Raises:
        SpeechError: the model wasn't taught to speak.
    """

    def __init__(self, model: BorealisForConditionalGeneration, codec: Codec | None = None) -> None:
        super().__init__(model.config.speech, codec, device=str(model.device))
        self.model = model

    def speak(self, order: Order) -> Speech:
        """The whole speech."""
        return self.whole(order, list(self.stream(order)))

    def stream(self, order: Order) -> Iterator[SpeechPart]:
        """The speech as it is made; closing the iterator stops the work."""
        generator = torch.Generator(self.model.device).manual_seed(order.seed)
        making = self.making(order)
        for piece in making.pieces:
            rule = piece.rule()
            for token in self.write(rule, order.voice, order.temperature, order.top_k, generator):
                if part := piece.push(token):
                    yield part
            if gap := piece.gap():
                yield gap
        if rest := making.finish():
            yield rest

    def write(
        self,
        rule: StreamRule,
        voice: str,
        temperature: float,
        top_k: int,
        generator: torch.Generator,
    ) -> Iterator[int]:
        """The tokens of a stream behind its prompt; `rule` follows them.

        Args:
            rule: a fresh one.
            voice: its name.
            temperature: 0 takes the most probable codes.
            top_k: how many of the most probable codes are drawn from.
            generator: of the draws.
        """
        ids = prompt_ids(self.vocabulary, rule.symbols, voice)
        past: Any = None
        while not rule.done:
            given = torch.tensor([ids], device=self.model.device)
            with torch.inference_mode():  # a generator's body leaves it between two tokens
                out = self.model.model.language_model(
                    input_ids=given, past_key_values=past, use_cache=True
                )
                logits = self.model.lm_head(out.last_hidden_state[0, -1]).float()
                token = self._pick(logits, rule.choice(), temperature, top_k, generator)
            past = out.past_key_values
            rule.push(token)
            yield token
            ids = [token]

    def _pick(
        self,
        logits: torch.Tensor,
        choice: Choice,
        temperature: float,
        top_k: int,
        generator: torch.Generator,
    ) -> int:
        """The next token of those that may come."""
        over = None if choice.due is None else logits[self.vocabulary.next_id]
        codes, over = shaped(
            logits[choice.codes.start : choice.codes.stop], over, temperature, top_k
        )
        ids = list(choice.codes)
        if over is not None and choice.due is not None:
            codes = torch.cat([codes, over[None]])
            ids.append(choice.due)
        if temperature < COLDEST or len(ids) == 1:
            return ids[int(codes.argmax())]
        drawn = torch.multinomial((codes / temperature).softmax(-1), 1, generator=generator)
        return ids[int(drawn)]


class Making:
    """An order on its way to sound: its pieces are written one after another.

    Args:
        narrator: whose codec and voices are used.
        order: what is spoken.
    """

    def __init__(self, narrator: Narrator, order: Order) -> None:
        self.narrator, self.order = narrator, order
        self.clock = _Clock(order, narrator.codec.sampling_rate)
        last = len(order.pieces) - 1
        self.pieces = [
            PieceMaking(self, spelling, begin, last=number == last)
            for number, (begin, spelling) in enumerate(order.pieces)
        ]

    def finish(self) -> SpeechPart | None:
        """The sound that is left behind the last piece; None if there is none."""
        rest = self.clock.finish()
        return SpeechPart(rest, []) if len(rest) else None


class PieceMaking:
    """A piece of an order: its tokens come in, sound goes out.

    Args:
        making: of the order.
        spelling: of the piece.
        begin: its first character in what is said.
        last: no piece follows.
    """

    def __init__(self, making: Making, spelling: Spelling, begin: int, *, last: bool) -> None:
        self.making, self.spelling, self.begin, self.last = making, spelling, begin, last
        self._sounds: _Sounds | None = None
        self._start, self._frames = 0.0, 0

    def rule(self) -> StreamRule:
        """A fresh rule for whoever writes the tokens."""
        narrator = self.making.narrator
        return StreamRule(narrator.vocabulary, self.spelling.symbols, narrator.frame_rate)

    def push(self, token: int) -> SpeechPart | None:
        """Take the next token; what is ready by it, if anything is."""
        order, clock, narrator = self.making.order, self.making.clock, self.making.narrator
        symbols, rate = self.spelling.symbols, narrator.frame_rate * order.speed
        if self._sounds is None:  # the pieces before have been heard
            self._sounds = _Sounds(narrator, symbols, order.voice)
            self._start = clock.seconds
        sounds = self._sounds
        sound = sounds.push(token)
        if sound is None:
            return None
        # A symbol has ended.
        place = self.begin + self.spelling.places[len(sounds.durations) - 1]
        self._frames += sounds.durations[-1]
        clock.at(place, sounds.symbol, self._start, self._frames / rate)
        piece = None
        if len(sounds.durations) == len(symbols):
            sound = np.concatenate([sound, sounds.finish()])
            durations = np.array(sounds.durations, np.int32)
            piece = SpokenPiece(self._start, symbols, durations, sounds.codes(), 1 / rate)
        if not len(sound) and piece is None:
            return None
        part = SpeechPart(clock.sound(sound), clock.words(), piece)
        return part if len(part.waveform) or part.words or piece else None

    def gap(self) -> SpeechPart | None:
        """The silence behind it that is ready; None behind the last piece."""
        silence = None if self.last else self.making.clock.silence(_GAP)
        return SpeechPart(silence, []) if silence is not None and len(silence) else None


class _Sounds:
    """Tokens of one piece into sound, symbol by symbol."""

    def __init__(self, narrator: Narrator, symbols: str, voice: str) -> None:
        codec, vocabulary = narrator.codec, narrator.vocabulary.codec
        self.symbols, self.vocabulary = symbols, narrator.vocabulary
        self.durations: list[int] = []
        self._taken: list[np.ndarray] = []  # that the decoder got
        self._tokens: list[int] = []  # of the current symbol
        self._books = vocabulary.num_codebooks
        self._refined = narrator.refiner and narrator.refiner.stream(codec, symbols, voice)
        self._decoder: StreamDecoder = codec.stream_decoder(
            num_codebooks=codec.num_codebooks if self._refined else self._books
        )

    @property
    def symbol(self) -> str:
        """The one that ended last."""
        return self.symbols[len(self.durations) - 1]

    def push(self, token: int) -> np.ndarray | None:
        """Sound that is certain, when a symbol has ended; None within one."""
        first = self.vocabulary.next_id - self._books * self.vocabulary.codec.codebook_size
        if first <= token < self.vocabulary.next_id:
            self._tokens.append(token)
            return None
        codes = self.vocabulary.codec.codes(np.array(self._tokens, np.int64))
        self.durations.append(codes.shape[1])
        self._tokens = []
        if self._refined:
            codes = self._refined.push(codes, np.array(self.durations[-1:]))
        return self._heard(codes)

    def finish(self) -> np.ndarray:
        """The sound that is left."""
        rest = self._heard(self._refined.finish()) if self._refined else self._heard(None)
        return np.concatenate([rest, self._decoder.finish()])

    def codes(self) -> np.ndarray:
        """All codes `[num_codebooks, frames]`."""
        nothing = np.zeros((self._books, 0), np.int32)
        return np.concatenate(self._taken, 1) if self._taken else nothing

    def _heard(self, codes: np.ndarray | None) -> np.ndarray:
        if codes is None or not codes.shape[1]:
            return np.zeros(0, np.float32)
        self._taken.append(codes)
        return self._decoder.push(codes)


class _Clock:
    """When words are said, and the sound at its speed."""

    def __init__(self, order: Order, sampling_rate: int) -> None:
        self.order, self.sampling_rate = order, sampling_rate
        self.tempo = Tempo(order.speed, sampling_rate)
        self.seconds = 0.0  # of finished sound, the silence between pieces included
        self._samples = 0  # that were made, before the speed
        self._given = 0  # that were given away, at the speed
        # The spoken word of each character.
        found = list(_WORD.finditer(order.said.text))
        self._of = {i: n for n, m in enumerate(found) for i in range(*m.span())}
        # Of a word that is cut, where its last piece begins.
        starts = [begin for begin, _ in order.pieces if begin]
        self._cut = {
            self._of[i]: i for i in starts if i in self._of and self._of.get(i - 1) == self._of[i]
        }
        self._times: dict[int, list[float]] = {}  # of spoken words
        self._end, self._place = 0.0, 0  # of the last letter: its end, its character
        self._ended = self._told = 0  # spoken words that are over; whose words were given out

    def at(self, place: int, symbol: str, start: float, end: float) -> None:
        """A symbol has ended.

        Args:
            place: its character in the spoken text.
            symbol: itself.
            start: of its piece, seconds.
            end: of it, seconds from there.
        """
        begin, self._end = self._end, start + end
        if symbol not in PAUSES:
            if place in self._of:
                self._times.setdefault(self._of[place], [begin, begin])[1] = self._end
                self._place = place
        elif self._times:  # behind every word there is one; a cut word has some inside as well
            word = max(self._times)
            self._ended = word + (self._place >= self._cut.get(word, 0))

    def words(self) -> list[Word]:
        """Words of the text that have ended since the last call."""
        said, ready = self.order.said.words, []
        while self._told < self._ended:
            stretch = (said[self._told].start, said[self._told].end)
            stop = self._told
            while stop < len(said) and (said[stop].start, said[stop].end) == stretch:
                stop += 1
            if stop > self._ended:  # "25" has been said by half
                break
            times = [self._times[i] for i in range(self._told, stop) if i in self._times]
            self._told = stop
            if times:
                begin, end = round(times[0][0], 2), round(times[-1][1], 2)
                ready.append(Word(begin, end, self.order.text[slice(*stretch)], None))
        return ready

    def sound(self, waveform: np.ndarray) -> np.ndarray:
        """Made sound at its speed."""
        self._samples += len(waveform)
        self.seconds = self._samples / self.sampling_rate / self.order.speed
        made = self.tempo.push(waveform)
        self._given += len(made)
        return made

    def silence(self, seconds: float) -> np.ndarray:
        """A gap between two pieces."""
        sound = self.sound(np.zeros(round(seconds * self.sampling_rate), np.float32))
        self._end = self.seconds
        return sound

    def finish(self) -> np.ndarray:
        """The sound that is left: the filter is a few ms out, so cut, or filled with silence."""
        left = max(0, round(self._samples / self.order.speed) - self._given)
        rest = self.tempo.finish()[:left]
        return np.pad(rest, (0, left - len(rest)))
