"""Progress of a stage: audio heard, speed, time left, dollars."""

from __future__ import annotations

import time
from typing import Any


class Meter:
    """Counts what a stage heard and took, over interruptions too.

    Args:
        max_steps: steps of the stage.
        price: dollars for an hour of one process; None: money isn't mentioned.
        processes: of the run, taken to hear as much as this one.
    """

    def __init__(self, max_steps: int, *, price: float | None, processes: int = 1) -> None:
        self.max_steps, self.price, self.processes = max_steps, price, processes
        self.audio_seconds = 0.0
        self.seconds_before = 0.0
        self.audio_before = 0.0
        self.first_step = 0
        self.start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Of the whole stage up to now."""
        return self.seconds_before + time.perf_counter() - self.start

    @property
    def heard(self) -> float:
        """Seconds of audio in the whole stage up to now, on all processes."""
        return self.audio_before + self.audio_seconds * self.processes

    def state(self) -> dict[str, float]:
        """What a checkpoint keeps."""
        return {"seconds": self.seconds, "audio_seconds": self.heard}

    def go_on(self, step: int, state: dict[str, Any]) -> None:
        """Take up the count where a checkpoint left it.

        Args:
            step: of the checkpoint.
            state: see `state`.
        """
        self.start, self.first_step = time.perf_counter(), step
        self.seconds_before, self.audio_before = state["seconds"], state["audio_seconds"]

    def numbers(self) -> dict[str, float]:
        """Seconds, hours of audio and dollars of the whole stage up to now."""
        seconds = self.seconds
        numbers = {"seconds": round(seconds, 1), "audio_hours": round(self.heard / 3600, 6)}
        if self.price is not None:
            numbers["dollars"] = round(seconds / 3600 * self.price * self.processes, 6)
        return numbers

    def line(self, step: int, loss: float) -> str:
        """Step, loss, speed, time left, money, as far as they are known."""
        spent = time.perf_counter() - self.start
        done = max(1, step - self.first_step)
        left = spent / done * (self.max_steps - step)
        speed = self.audio_seconds * self.processes / max(spent, 1e-9)
        line = f"step {step}/{self.max_steps}  loss {loss:.4f}"
        if speed:
            # Hours of audio in an hour and seconds in a second are the same number.
            line += f"  {speed:.1f} audio h/h, {self.numbers()['audio_hours']:.3g} h heard"
        line += f"  {_clock(left)} left"
        if self.price is not None:
            paid = self.numbers()["dollars"]
            rest = left / 3600 * self.price * self.processes
            line += f"  ${paid:.2f} of about ${paid + rest:.2f}"
        return line


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
