"""What the demo does with a recording, without a word about buttons.

`Desk` serves all visitors of one language. Everything a handler gets from it is a result,
`Waiting` (others come first) or `Failure` (what went wrong, in plain words); nothing is raised.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from borealis.audio import SAMPLING_RATE, AudioLimits, load_audio
from borealis.demo.texts import TEXTS, explain
from borealis.demo.turnstile import BusyError, Turnstile, Waiting
from borealis.demo.uploads import KEEP_MINUTES
from borealis.errors import AudioTooLongError, BorealisError
from borealis.inference import Borealis
from borealis.inference.inspection import Inspection, inspect
from borealis.inference.messages import TRANSCRIBE_PROMPTS
from borealis.inference.words import Progress, follow

T = TypeVar("T")
MEGABYTES, MINUTES = 25, 30
# Decoding holds up everybody in the line; a file that takes so long isn't an honest one.
LIMITS = AudioLimits(
    max_bytes=MEGABYTES * 1024 * 1024, max_seconds=MINUTES * 60, max_decode_seconds=60
)
_GLANCE = replace(LIMITS, max_seconds=0.1, max_decode_seconds=10)
TURNS = 6  # of a conversation that the model is shown

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """What went wrong, for the visitor."""

    text: str


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

        return self._serve(path, work)

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

        return self._serve(path, work)

    def inspect(self, path: str | None) -> AsyncIterator[Inspection | Waiting | Failure]:
        """The inside of the model while it hears the recording."""

        def work(clip: np.ndarray) -> Iterator[Inspection]:
            yield inspect(self.model, clip)

        return self._serve(path, work)

    async def _serve(
        self, path: str | None, work: Callable[[np.ndarray], Iterator[T]]
    ) -> AsyncIterator[T | Waiting | Failure]:
        if not path:
            yield Failure(self.say("no_audio"))
            return

        def steps() -> Iterator[T]:
            # Decoding waits in the line as well: it takes time and memory.
            yield from work(load_audio(path, limits=LIMITS))

        line = self.turnstile.serve(steps)
        try:
            async for step in line:
                yield step
        except BusyError:
            yield Failure(self.say("busy"))
        except _PlainError as error:
            yield Failure(str(error))
        except BorealisError as error:
            yield Failure(explain(error, self.language, **self.numbers))
        except Exception:
            log.exception("A visitor's request failed")
            yield Failure(self.say("failed"))
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
    for number, (asked, answered) in enumerate(turns):
        content: list[dict[str, Any]] = [{"type": "text", "text": asked}]
        if number == 0:
            content.insert(0, {"type": "audio", "audio": clip})
        messages.append({"role": "user", "content": content})
        if answered is not None:
            messages.append({"role": "assistant", "content": answered})
    return messages
