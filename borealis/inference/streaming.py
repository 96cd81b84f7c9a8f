"""Text of a generation while it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Thread

from transformers import TextIteratorStreamer

from borealis.inference.stopping import StopOnDemand


def read_along(
    work: Callable[[], None], streamer: TextIteratorStreamer, stop: StopOnDemand
) -> Iterator[str]:
    """Run `work` in a thread and yield what it puts into `streamer`.

    A reader who leaves early stops the work.

    Args:
        work: generates, and ends the streamer.
        streamer: where pieces of text arrive.
        stop: stops the generation.

    Raises:
        Exception: whatever `work` raised.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except Exception as error:  # handed to the reader's thread below
            failures.append(error)
            streamer.end()

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        for piece in streamer:
            if piece:
                yield piece
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]
