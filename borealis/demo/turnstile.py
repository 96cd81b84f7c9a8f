"""One line for all visitors: at most N runs of the model at once, first come, first served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
_END = object()


@dataclass(frozen=True)
class Waiting:
    """Somebody else is served; `ahead` visitors come before this one, those being served too."""

    ahead: int


class BusyError(Exception):
    """The line is full."""


class Turnstile:
    """Lets visitors in by turns. Lives in one event loop, so it needs no locks.

    Args:
        places: how many are served at once.
        line: how many may wait; the next one gets `BusyError`.
        pause: seconds between looks at the line.
    """

    def __init__(self, *, places: int = 1, line: int = 40, pause: float = 0.1) -> None:
        self.places, self.line, self.pause = places, line, pause
        self._visitors: list[object] = []

    def __len__(self) -> int:
        return len(self._visitors)

    async def serve(self, work: Callable[[], Iterator[T]]) -> AsyncIterator[Waiting | T]:
        """What `work` yields, step by step in a thread; before it `Waiting`, if there is a line.

        Closing the iterator, or cancelling the task that reads it, closes `work` as well.
        """
        if len(self._visitors) >= self.places + self.line:
            raise BusyError
        ticket = object()
        self._visitors.append(ticket)
        steps: Iterator[T] | None = None
        try:
            told = 0
            while (ahead := self._visitors.index(ticket)) >= self.places:
                if ahead != told:
                    yield Waiting(ahead)
                    told = ahead
                await asyncio.sleep(self.pause)
            steps = work()
            while (step := await _to_the_end(next, steps, _END)) is not _END:
                yield step
        finally:
            try:
                if steps is not None and hasattr(steps, "close"):
                    await _to_the_end(steps.close)
            finally:
                self._visitors.remove(ticket)


async def _to_the_end(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run in a thread; a cancelled task still waits until the thread is done with its step."""
    step = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        await asyncio.wait([step])
        if not step.cancelled():
            step.exception()  # whoever wanted it has left
        raise
