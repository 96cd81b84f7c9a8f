"""Notices that vLLM's engine has died, and ends the server: a dead one must not look alive."""

from __future__ import annotations

import asyncio
import logging
import signal
from types import TracebackType
from typing import Any

_EVERY = 1.0  # seconds

log = logging.getLogger("borealis.serving")


class Watch:
    """A context around the work of a server; in it the engine is looked after.

    vLLM looks after it too, but only once it has answered a request.

    Args:
        engine: vLLM's `AsyncLLM`.
    """

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.died = False
        self._told_to_stop = False
        self._stop = engine.shutdown

    async def __aenter__(self) -> Watch:
        def shutdown(*args: Any, **kwargs: Any) -> Any:
            self._told_to_stop = True
            return self._stop(*args, **kwargs)

        self.engine.shutdown = shutdown
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._task.cancel()
        self._notice()

    def _notice(self) -> bool:
        # One that was told to stop is dead as well, but of no fault.
        if self.engine.errored and not self._told_to_stop:
            self.died = True
        return self.died

    async def _look(self) -> None:
        while not self._notice():
            await asyncio.sleep(_EVERY)
        log.error("The engine has died; the server stops.")
        signal.raise_signal(signal.SIGTERM)  # the road of every other end
