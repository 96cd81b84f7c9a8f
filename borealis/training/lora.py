"""LoRA for the language model, put in for a stage and merged when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from borealis.model import BorealisForConditionalGeneration
    from borealis.training.recipe import LoraSection


def add_lora(model: BorealisForConditionalGeneration, settings: LoraSection) -> None:
    """Give linear layers of the language model a low-rank update that alone learns there."""
    from peft import LoraConfig, inject_adapter_in_model

    inject_adapter_in_model(
        LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=list(settings.target_modules),
        ),
        model.model.language_model,
    )


def merge_lora(model: BorealisForConditionalGeneration) -> None:
    """Add the updates to the weights and take the extra layers out: files look as before."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.model.language_model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            parent, _, last = name.rpartition(".")
            owner: nn.Module = model.model.language_model.get_submodule(parent)
            setattr(owner, last, module.get_base_layer())
