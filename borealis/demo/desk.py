"""What the demo does with a recording, without a word about buttons.

`Desk` serves all visitors of one language. Everything a handler gets from it is a result,
`Waiting` (others come first) or `Failure` (what went wrong, in plain words); nothing is raised.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from borealis.audio import SAMPLING_RATE, AudioLimits, load_audio
from borealis.demo.texts import TEXTS, explain, number
from borealis.demo.turnstile import BusyError, Turnstile, Waiting
from borealis.demo.uploads import KEEP_MINUTES
from borealis.errors import AudioTooLongError, BorealisError
from borealis.inference import Borealis
from borealis.inference.inspection import Inspection, inspect
from borealis.inference.messages import TRANSCRIBE_PROMPTS
from borealis.inference.speech import Speech, SpeechPart
from borealis.inference.words import Progress, follow
from borealis.speech.sound import FASTEST, SLOWEST

T = TypeVar("T")
MEGABYTES, MINUTES = 25, 30
# Decoding holds up everybody in the line; a file that takes so long isn't an honest one.
LIMITS = AudioLimits(
    max_bytes=MEGABYTES * 1024 * 1024, max_seconds=MINUTES * 60, max_decode_seconds=60
)
_GLANCE = replace(LIMITS, max_seconds=0.1, max_decode_seconds=10)
CHARACTERS = 500  # of a text that is spoken; half a minute of speech
SPEAKING_SECONDS = 120  # of work on one text; the others in the line wait meanwhile
TURNS = 6  # of a conversation that the model is shown

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """What went wrong, for the visitor."""

    text: str


@dataclass(frozen=True, eq=False)
class Spoken:
    """A text that was spoken.

    Args:
        speech: what was said.
        cut: whether time ran out before the end of the text.
    """

    speech: Speech
    cut: bool


class _PlainError(BorealisError):
    """An error whose text is the visitor's already."""


class Desk:
    """Serves recordings.

    Args:
        model: answers for all visitors.
        language: `ru` or `en`.
        turnstile: the line, shared by both languages.
    """

    def __init__(self, model: Borealis, language: str, turnstile: Turnstile) -> None:
        self.model, self.language, self.turnstile = model, language, turnstile
        self.texts = TEXTS[language]
        self.numbers = {
            "megabytes": MEGABYTES,
            "minutes": MINUTES,
            "keep": KEEP_MINUTES,
            "ask_minutes": int(model.model.config.max_audio_seconds // 60),
            "characters": CHARACTERS,
        }

    def say(self, key: str, **values: Any) -> str:
        """A text with its numbers."""
        return self.texts[key].format(**self.numbers, **values)

    def refusal(self, path: str) -> Failure | None:
        """Why a file that was just sent can't be a recording; None if it looks like one.

        Only its first moments are decoded: a glance is cheap enough not to wait in the line.
        """
        try:
            load_audio(path, limits=_GLANCE)
        except AudioTooLongError:  # than a glance
            return None
        except BorealisError as error:
            return Failure(explain(error, self.language, **self.numbers))
        return None

    def transcribe(self, path: str | None) -> AsyncIterator[Progress | Waiting | Failure]:
        """A transcription that can be watched."""

        def work(clip: np.ndarray) -> Iterator[Progress]:
            # A visitor of either page speaks what they like.
            yield from follow(self.model, clip)

        return self._hear(path, work)

    def ask(
        self, path: str | None, question: str, history: Sequence[tuple[str, str]] = ()
    ) -> AsyncIterator[str | Waiting | Failure]:
        """The answer so far, growing.

        Args:
            path: the recording.
            question: what is asked.
            history: earlier questions and answers about the same recording.
        """

        def work(clip: np.ndarray) -> Iterator[str]:
            if not (question or "").strip():
                raise _PlainError(self.say("no_question"))
            if len(clip) > self.model.model.config.max_audio_seconds * SAMPLING_RATE:
                raise _PlainError(self.say("ask_too_long"))
            if len(known := self.model.possible_answers(question)) == 1:
                yield known[0]
                return
            answer = ""
            written = self.model.transcribe(clip).text if self.model.transcribes_first else None
            talk = _conversation(clip, question.strip(), history, written)
            for piece in self.model.chat(talk, stream=True):
                answer += piece
                yield answer.lstrip()
            if not answer.strip():
                yield self.say("no_answer")

        return self._hear(path, work)

    def speak(
        self, text: str | None, voice: str | None = None, speed: Any = 1.0
    ) -> AsyncIterator[SpeechPart | Spoken | Waiting | Failure]:
        """Sound as it is made, and at the end all of it.

        Args:
            text: what is said.
            voice: name of a voice; by default one that speaks the text's language.
            speed: 0.5 to 2.
        """

        def work() -> Iterator[SpeechPart | Spoken]:
            speaker = self.model.speaker
            order = speaker.order(text or "", voice=voice or None, speed=float(speed))
            parts: list[SpeechPart] = []
            cut, began = False, time.monotonic()
            with closing(speaker.stream(order)) as stream:  # type: ignore[type-var]
                for part in stream:
                    parts.append(part)
                    yield part
                    if cut := time.monotonic() - began > SPEAKING_SECONDS:
                        break
            waveform = np.concatenate([np.zeros(0, np.float32), *(p.waveform for p in parts)])
            if not len(waveform):
                raise _PlainError(self.say("no_answer"))
            speech = Speech(
                order.text,
                order.said.text,
                order.voice,
                waveform,
                speaker.codec.sampling_rate,
                [word for part in parts for word in part.words],
                [part.piece for part in parts if part.piece is not None],
                order.said.left_out,
            )
            yield Spoken(speech, cut)

        wrong = self._wrong_order(text, voice, speed)
        return self._say_once(wrong) if wrong else self._serve(work, otherwise="unspoken")

    def _wrong_order(self, text: Any, voice: Any, speed: Any) -> str:
        """Why a text isn't even put in the line; empty if nothing is wrong at a glance."""
        if not isinstance(text, str) or not text.strip():
            return self.say("no_text")
        if len(text) > CHARACTERS:
            return self.say("text_too_long", length=len(text))
        names = [known.name for known in self.model.voices]
        if voice and voice not in names:
            return self.say("no_voice", voices=", ".join(names))
        if isinstance(speed, bool) or not isinstance(speed, (int, float)):
            speed = float("nan")
        if not SLOWEST <= speed <= FASTEST:
            return self.say(
                "bad_speed",
                slowest=number(SLOWEST, 1, self.language),
                fastest=number(FASTEST, 0, self.language),
            )
        return ""

    async def _say_once(self, text: str) -> AsyncIterator[Failure]:
        yield Failure(text)

    def inspect(self, path: str | None) -> AsyncIterator[Inspection | Waiting | Failure]:
        """The inside of the model while it hears the recording."""

        def work(clip: np.ndarray) -> Iterator[Inspection]:
            yield inspect(self.model, clip)

        return self._hear(path, work)

    def _hear(
        self, path: str | None, work: Callable[[np.ndarray], Iterator[T]]
    ) -> AsyncIterator[T | Waiting | Failure]:
        if not path:
            return self._say_once(self.say("no_audio"))

        def steps() -> Iterator[T]:
            # Decoding waits in the line as well: it takes time and memory.
            yield from work(load_audio(path, limits=LIMITS))

        return self._serve(steps)

    async def _serve(
        self, work: Callable[[], Iterator[T]], *, otherwise: str = "failed"
    ) -> AsyncIterator[T | Waiting | Failure]:
        """What `work` yields when its turn comes; `otherwise` is said if it fails unexpectedly."""
        line = self.turnstile.serve(work)
        try:
            async for step in line:
                yield step
        except BusyError:
            yield Failure(self.say("busy"))
        except _PlainError as error:
            yield Failure(str(error))
        except BorealisError as error:
            yield Failure(explain(error, self.language, otherwise, **self.numbers))
        except Exception:
            log.exception("A visitor's request failed")
            yield Failure(self.say(otherwise))
        finally:
            await line.aclose()  # type: ignore[attr-defined]


def _conversation(
    clip: np.ndarray, question: str, history: Sequence[tuple[str, str]], written: str | None
) -> list[dict[str, Any]]:
    """Messages for `chat`: the recording comes first, with its transcript if that is `written`."""
    turns: list[tuple[str, str | None]] = [*history[-(TURNS - 1) :], (question, None)]
    if written is not None:  # as `Borealis.ask` does
        turns.insert(0, (TRANSCRIBE_PROMPTS["ru"], written))
    messages: list[dict[str, Any]] = []
    for place, (asked, answered) in enumerate(turns):
        content: list[dict[str, Any]] = [{"type": "text", "text": asked}]
        if place == 0:
            content.insert(0, {"type": "audio", "audio": clip})
        messages.append({"role": "user", "content": content})
        if answered is not None:
            messages.append({"role": "assistant", "content": answered})
    return messages
