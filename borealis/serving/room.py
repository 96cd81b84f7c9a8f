"""How many requests the server takes on at once: those beyond are sent away at once, kindly."""

from __future__ import annotations

import math
import time
from types import TracebackType

from borealis.serving.errors import RequestError

_LONGEST_WAIT = 60  # seconds that a client is asked to wait at most
_SHARE = 0.1  # of the newest request in the running mean


class Room:
    """Requests that were taken and aren't answered yet, and the memory they hold.

    A request that is only being received has no place yet, so slow senders keep nobody out.

    Args:
        places: requests at work or waiting.
        max_bytes: what bodies and decoded sound of all requests may take together.
    """

    def __init__(self, places: int, max_bytes: int) -> None:
        self.places, self.max_bytes = places, max_bytes
        self.taken = self.held = 0
        self.mean_seconds = 1.0  # that a request has kept its place

    def visit(self) -> Visit:
        """A new request, to be used as a context; what it holds is given back at its end.

        Raises:
            RequestError: every place is taken.
        """
        self.check()
        return Visit(self)

    def check(self) -> None:
        """Raise RequestError if there is no place for one more request."""
        if self.taken >= self.places:
            raise self.full()

    def full(self) -> RequestError:
        wait = min(_LONGEST_WAIT, max(1, math.ceil(self.mean_seconds)))
        return RequestError(
            f"The server has as many requests as it takes at once; try again in {wait} s.",
            503,
            code="overloaded",
            retry_after=wait,
        )


class Visit:
    """One request in the room.

    Args:
        room: where it is.
    """

    def __init__(self, room: Room) -> None:
        self.room, self.held = room, 0
        self.began: float | None = None

    def __enter__(self) -> Visit:
        return self

    def take_place(self) -> None:
        """The request has come whole, and waits from now on or is worked on.

        Raises:
            RequestError: every place is taken.
        """
        self.room.check()
        self.room.taken += 1
        self.began = time.monotonic()

    def hold(self, count: int) -> None:
        """Count `count` bytes more.

        Raises:
            RequestError: the requests hold too much together.
        """
        if self.room.held + count > self.room.max_bytes:
            raise self.room.full()
        self.room.held += count
        self.held += count

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.room.held -= self.held
        if self.began is not None:
            self.room.taken -= 1
            lasted = time.monotonic() - self.began
            self.room.mean_seconds += _SHARE * (lasted - self.room.mean_seconds)
