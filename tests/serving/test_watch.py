"""An engine that dies ends the server; one that is told to stop is none of that."""

from __future__ import annotations

import asyncio
import signal

import pytest

from borealis.serving import watch
from borealis.serving.watch import Watch


class Engine:
    """As much of vLLM's engine as is watched."""

    errored = False

    def shutdown(self, timeout: float = 0) -> float:
        self.errored = True
        return timeout


async def _life(engine: Engine, kill: bool) -> tuple[bool, bool]:
    """Whether a signal came, and whether the engine counts as dead of itself."""
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, signalled.set)
    async with Watch(engine) as watching:
        if kill:
            engine.errored = True
            await asyncio.wait_for(signalled.wait(), 60)
        assert engine.shutdown(timeout=3) == 3
        await asyncio.sleep(0)
    loop.remove_signal_handler(signal.SIGTERM)
    return signalled.is_set(), watching.died


@pytest.mark.parametrize("kill", [True, False])
def test_only_a_death_of_its_own_is_told(kill, monkeypatch) -> None:
    monkeypatch.setattr(watch, "_EVERY", 0.01)
    assert asyncio.run(_life(Engine(), kill)) == (kill, kill)
