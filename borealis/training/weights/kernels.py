"""Liger kernels for the language model: norms and gated layers in one piece, logits never whole.

Hsu et al., 2024 (https://arxiv.org/abs/2410.10989), by the library liger-kernel; its kernels are
Triton's, so they want a GPU.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from borealis.errors import RecipeError

if TYPE_CHECKING:
    from borealis.model import BorealisForConditionalGeneration

logger = logging.getLogger(__name__)


def check_liger(stage_name: str, *, use_cpu: bool) -> None:
    """Whether the kernels can run here; see `use_liger`.

    Raises:
        RecipeError: no liger-kernel, or no GPU.
    """
    start = f"Stage '{stage_name}': use_liger_kernel"
    if find_spec("liger_kernel") is None:
        raise RecipeError(f"{start} needs 'pip install liger-kernel', or leave it out.")
    if use_cpu and os.environ.get("TRITON_INTERPRET") != "1":
        raise RecipeError(f"{start} needs a GPU that Triton knows; leave it out on a CPU.")


def use_liger(
    model: BorealisForConditionalGeneration, stage_name: str, *, use_cpu: bool
) -> dict[str, int]:
    """Let the language model's layers compute with Liger's kernels; nothing else is touched.

    Args:
        model: changed in place; `leave_liger` undoes it.
        stage_name: for the log and errors.
        use_cpu: an error, but for Triton's interpreter (`TRITON_INTERPRET=1`), which is slow and
            made for tests.

    Returns:
        How many layers of each class have changed.

    Raises:
        RecipeError: no liger-kernel, no GPU, or a family that it doesn't know.
    """
    check_liger(stage_name, use_cpu=use_cpu)
    start = f"Stage '{stage_name}': use_liger_kernel"
    from liger_kernel.transformers import monkey_patch

    decoder = model.model.language_model
    kind = decoder.config.model_type
    if kind not in monkey_patch.MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise RecipeError(
            f"{start}: liger-kernel has none for a {kind} language model; leave it out."
        )
    before = {name: module.forward for name, module in decoder.named_modules()}
    # It also changes classes of the family for all models to come: those are put back.
    family = vars(sys.modules[type(decoder).__module__])
    names = dict(family)
    # A fused loss is ours to call, in `losses`; rotary positions would change every model's.
    monkey_patch._apply_liger_kernel_to_instance(
        model=decoder, rope=False, cross_entropy=False, fused_linear_cross_entropy=False
    )
    family.update(names)
    changed = Counter(
        type(module).__name__
        for name, module in decoder.named_modules()
        if module.forward != before[name]
    )
    if not changed:
        raise RecipeError(f"{start}: liger-kernel changed nothing in a {kind} language model.")
    what = ", ".join(f"{count} {name}" for name, count in sorted(changed.items()))
    logger.info("stage %s: Liger kernels in %s, and in the loss", stage_name, what)
    return dict(changed)


def leave_liger(model: BorealisForConditionalGeneration) -> None:
    """The layers' own forward passes again."""
    for module in model.model.language_model.modules():
        for name in ("forward", "_get_name"):
            vars(module).pop(name, None)


def fused_loss(weight: torch.Tensor, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean loss of the next token, by pieces of the sequence: no logits are kept.

    Args:
        weight: of the output layer `[vocabulary, hidden_size]`.
        hidden: last hidden states `[rows, sequence, hidden_size]`.
        labels: `[rows, sequence]`; -100 isn't learned.
    """
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    inputs = hidden[:, :-1].reshape(-1, hidden.shape[-1]).to(dtype)
    return LigerFusedLinearCrossEntropyLoss()(weight.to(dtype), inputs, labels[:, 1:].reshape(-1))
