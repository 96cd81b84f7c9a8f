"""The protocol of a loss beside that of the next token; one file has one loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch

from borealis.training.data.batch import Batch, Example, Vocabulary

# What is learned in a batch: writing down, answering, or either with made-up sound.
Lesson = Literal["transcription", "questions", "pseudo"]


@dataclass
class Passed:
    """What a batch gave on its way through the model.

    Args:
        mask: where there is audio `[clips, T]`.
        logits: CTC logits `[clips, T, classes]`; None without a `ctc` adapter.
        outputs: of the language model; None where nobody reads the audio tokens.
    """

    mask: torch.Tensor
    logits: torch.Tensor | None = None
    outputs: Any = None


class AuxiliaryLoss(Protocol):
    """A loss of a stage beside that of the next token.

    Attributes:
        weight: in the sum of all losses; also of its parts.
        names: of its parts in the log.
        looks_inside: it looks at attention or at a layer, so outputs have to be kept.
    """

    weight: float
    names: tuple[str, ...]
    looks_inside: bool

    def check(self, stage: str, layers: int) -> None:
        """Whether a language model of so many layers has what is looked at.

        Raises:
            RecipeError: it hasn't.
        """

    def targets(
        self, lesson: Lesson, batch: Batch, examples: Sequence[Example], vocabulary: Vocabulary
    ) -> Batch:
        """What a batch has to carry for it; empty where it learns nothing from this lesson.

        Args:
            lesson: what is learned.
            batch: has `input_ids` and `labels` already, if it has conversations.
            examples: what its rows were made from.
            vocabulary: how they were spelled.
        """

    def wants(self, batch: Batch) -> dict[str, bool]:
        """What the language model has to give beside its logits, such as `output_attentions`."""

    def values(self, batch: Batch, passed: Passed) -> dict[str, torch.Tensor]:
        """Its parts by name, unweighted; those that apply."""
