"""The log of a stage: rows in its checkpoints, a line on the console, trackers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from borealis.training import processes
from borealis.training.loop.progress import Meter
from borealis.training.loop.settings import LoopSettings
from borealis.training.loop.step import Step
from borealis.training.loop.trackers import Tracker, open_trackers

logger = logging.getLogger(__name__)


class StageLog:
    """Gathers steps to rows; every process has one, the main one's is kept and shown.

    Args:
        stage: settings.
        meter: what was heard and what it cost.
        folder: of the stage, for trackers that write files.
        device: that processes exchange tensors of.
    """

    def __init__(
        self, stage: LoopSettings, meter: Meter, folder: Path, device: torch.device
    ) -> None:
        self.stage, self.meter, self.device = stage, meter, device
        self.rows: list[dict[str, Any]] = []
        # Since the last row.
        self._steps, self._loss = 0, 0.0
        self._parts: dict[str, list[float]] = {}
        self.trackers: list[Tracker] = open_trackers(stage, folder) if processes.is_main() else []

    def add(self, step: Step) -> None:
        """Count a step; every `log.every` of them are a row. Every process has to call this."""
        self.meter.audio_seconds += step.audio_seconds
        self._steps += 1
        self._loss += step.loss
        for name, values in step.parts.items():
            self._parts.setdefault(name, []).extend(values)
        if step.number % self.stage.log.every:
            return
        loss = self._mean_loss() / self._steps
        row: dict[str, Any] = {
            "loss": loss, "grad_norm": step.gradient, "learning_rate": step.rate,
        }  # fmt: skip
        row |= {k: round(sum(v) / len(v), 4) for k, v in sorted(self._parts.items())}
        self.write(step.number, row | self.meter.numbers())
        self._steps, self._loss, self._parts = 0, 0.0, {}
        if processes.is_main():
            logger.info("%s", self.meter.line(step.number, loss))

    def write(self, step: int, row: dict[str, Any]) -> None:
        """Add a row and tell it to the trackers."""
        self.rows.append(row | {"step": step})
        known = {key: value for key, value in row.items() if value is not None}
        for tracker in self.trackers:
            tracker.write(step, known)

    def close(self) -> None:
        """Finish the trackers' files."""
        for tracker in self.trackers:
            tracker.close()

    def _mean_loss(self) -> float:
        [total] = processes.total(self._loss, device=self.device)
        return total / processes.count()

    # ---- checkpoints ----

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON; every process has to call this."""
        since = {"steps": self._steps, "loss": self._mean_loss(), "parts": self._parts}
        return {"log_history": self.rows, "since": since, "meter": self.meter.state()}

    def go_on(self, step: int, state: dict[str, Any]) -> None:
        """Take up what a checkpoint kept.

        Args:
            step: of the checkpoint.
            state: see `state`.
        """
        since = state["since"]
        self.rows = state["log_history"]
        self._steps, self._loss, self._parts = since["steps"], since["loss"], since["parts"]
        self.meter.go_on(step, state["meter"])
