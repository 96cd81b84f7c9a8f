"""Where the log of a stage goes beside its checkpoints: tensorboard, wandb, trackio."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from borealis.training.loop.settings import LoopSettings

_PROJECT = "borealis"


class Tracker(ABC):
    """Takes rows of numbers.

    Args:
        name: of the run.
        settings: of the stage.
        folder: where files may go.
    """

    @abstractmethod
    def __init__(self, name: str, settings: dict[str, Any], folder: Path) -> None: ...

    @abstractmethod
    def write(self, step: int, row: dict[str, float]) -> None:
        """Take the numbers of a step, each by its name."""

    @abstractmethod
    def close(self) -> None:
        """Nothing more comes."""


class TensorBoard(Tracker):
    """Event files in `log/` of the stage's folder."""

    def __init__(self, name: str, settings: dict[str, Any], folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "log"))

    def write(self, step: int, row: dict[str, float]) -> None:
        """See `Tracker`."""
        for key, value in row.items():
            self.writer.add_scalar(f"train/{key}", value, step)
        self.writer.flush()

    def close(self) -> None:
        """See `Tracker`."""
        self.writer.close()


class WandB(Tracker):
    """A run of Weights & Biases; WANDB_PROJECT, WANDB_MODE and its other variables count."""

    def __init__(self, name: str, settings: dict[str, Any], folder: Path) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        project = os.environ.get("WANDB_PROJECT", _PROJECT)
        self.run = wandb.init(project=project, name=name, config=settings, dir=str(folder))

    def write(self, step: int, row: dict[str, float]) -> None:
        """See `Tracker`."""
        self.run.log({f"train/{key}": value for key, value in row.items()}, step=step)

    def close(self) -> None:
        """See `Tracker`."""
        self.run.finish()


class Trackio(Tracker):
    """A run of trackio, in its own folder of the machine."""

    def __init__(self, name: str, settings: dict[str, Any], folder: Path) -> None:
        import trackio

        self.run = trackio.init(project=_PROJECT, name=name, config=settings)

    def write(self, step: int, row: dict[str, float]) -> None:
        """See `Tracker`."""
        self.run.log({f"train/{key}": value for key, value in row.items()}, step=step)

    def close(self) -> None:
        """See `Tracker`."""
        self.run.finish()


TRACKERS: dict[str, type[Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "trackio": Trackio,
}


def open_trackers(stage: LoopSettings, folder: Path) -> list[Tracker]:
    """The trackers that a stage names; `folder` is the stage's."""
    name = f"{folder.resolve().parent.name}-{stage.name}"
    settings = stage.model_dump(mode="json")
    return [TRACKERS[kind](name, settings, folder) for kind in stage.log.to]
