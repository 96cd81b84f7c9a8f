"""Progress of a stage: audio heard, speed, time left, dollars."""

from __future__ import annotations

import logging
import time
from typing import Any

from transformers import TrainerCallback

logger = logging.getLogger(__name__)


class Meter(TrainerCallback):
    """Counts what a stage heard and took, over interruptions too; prints a line at every log.

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

    def heard(self, batch: dict[str, Any]) -> None:
        """Count a batch."""
        if "num_samples" in batch:
            self.audio_seconds += float(batch["num_samples"].sum()) / 16_000
        elif batch["mode"] == "audio":
            self.audio_seconds += float(batch["frame_mask"].sum()) / 50

    def numbers(self) -> dict[str, float]:
        """Seconds, hours of audio and dollars of the whole stage up to now."""
        seconds = self.seconds_before + time.perf_counter() - self.start
        heard = self.audio_before + self.audio_seconds * self.processes
        numbers = {"seconds": round(seconds, 1), "audio_hours": round(heard / 3600, 6)}
        if self.price is not None:
            numbers["dollars"] = round(seconds / 3600 * self.price * self.processes, 6)
        return numbers

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take up the count where the checkpoint left it."""
        self.start = time.perf_counter()
        self.first_step = state.global_step
        for row in reversed(state.log_history):
            if "audio_hours" in row:
                self.seconds_before = row["seconds"]
                self.audio_before = row["audio_hours"] * 3600
                break

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """The line."""
        if logs and "loss" in logs and state.is_world_process_zero:
            logger.info("%s", self.line(state.global_step, logs))

    def line(self, step: int, logs: dict[str, float]) -> str:
        """Step, loss, speed, time left, money, as far as they are known."""
        spent = time.perf_counter() - self.start
        done = max(1, step - self.first_step)
        left = spent / done * (self.max_steps - step)
        speed = self.audio_seconds * self.processes / max(spent, 1e-9)
        line = f"step {step}/{self.max_steps}  loss {logs['loss']:.4f}"
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
