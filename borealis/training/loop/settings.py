"""What log, schedules and trackers ask of a stage, whichever kind of recipe it is of."""

from __future__ import annotations

from typing import Any, Protocol

from borealis.training.recipe.stage import LogSection, OptimizerSection


class LoopSettings(Protocol):
    """A stage of `Recipe` or of `CodecRecipe`."""

    @property
    def name(self) -> str:
        """Of the stage."""

    @property
    def max_steps(self) -> int:
        """Optimizer steps."""

    @property
    def optimizer(self) -> OptimizerSection:
        """AdamW and its learning rate."""

    @property
    def log(self) -> LogSection:
        """The log."""

    def model_dump(self, *, mode: str = ...) -> dict[str, Any]:
        """All keys."""
