"""CTC on the adapter's letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional as F

from borealis.ctc.alphabet import Alphabet
from borealis.training.data.batch import Batch, Example, Vocabulary
from borealis.training.losses.auxiliary import Lesson, Passed


@dataclass(frozen=True)
class CTCLoss:
    """See `AuxiliaryLoss`.

    Args:
        weight: of the loss.
    """

    weight: float
    names: ClassVar[tuple[str, ...]] = ("ctc",)
    looks_inside: ClassVar[bool] = False

    def check(self, stage: str, layers: int) -> None:
        """Nothing of the language model is looked at."""

    def targets(
        self, lesson: Lesson, batch: Batch, examples: Sequence[Example], vocabulary: Vocabulary
    ) -> Batch:
        """Letters of all clips one after another, and how many each has."""
        if lesson == "pseudo":  # made from the letters themselves
            return {}
        alphabet = Alphabet(vocabulary.ctc_labels)
        rows = [alphabet.spell(example.text) for example in examples]
        return {
            "ctc_targets": torch.tensor([label for row in rows for label in row]),
            "ctc_lengths": torch.tensor([len(row) for row in rows]),
        }

    def wants(self, batch: Batch) -> dict[str, bool]:
        """Nothing."""
        return {}

    def values(self, batch: Batch, passed: Passed) -> dict[str, torch.Tensor]:
        """`ctc`, of what has been heard."""
        if passed.logits is None:
            return {}
        targets, lengths = batch["ctc_targets"], batch["ctc_lengths"]
        return {"ctc": mean_ctc_loss(passed.logits, passed.mask, targets, lengths)}


def mean_ctc_loss(
    logits: torch.Tensor, mask: torch.Tensor, targets: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """CTC loss (Graves et al. 2006), mean over the letters of each clip.

    Args:
        logits: `[clips, T, num_classes]`, class 0 is the blank.
        mask: `[clips, T]`, true where there is audio.
        targets: classes of all clips one after another `[sum(lengths)]`.
        lengths: letters of each clip `[clips]`; clips without speech have none and learn blanks.
    """
    log_probs = logits.float().log_softmax(-1).transpose(0, 1)
    return (
        F.ctc_loss(log_probs, targets, mask.sum(1), lengths, zero_infinity=True, reduction="none")
        .div(lengths.clamp(min=10).to(log_probs.device))
        .mean()
    )
