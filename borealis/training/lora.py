"""LoRA for the language model or the audio tower, put in for a stage and merged when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from borealis.errors import RecipeError

if TYPE_CHECKING:
    from borealis.model import BorealisForConditionalGeneration
    from borealis.training.recipe import LoraSection

TOWERS = ("language_model", "audio_tower")


def add_lora(
    model: BorealisForConditionalGeneration,
    settings: LoraSection,
    tower: str = "language_model",
) -> None:
    """Give linear layers of a tower a low-rank update that alone learns there.

    Args:
        model: changed in place.
        settings: rank, scale, layers.
        tower: `language_model` or `audio_tower`.

    Raises:
        RecipeError: the tower has none of the layers that the settings name.
    """
    from peft import LoraConfig, inject_adapter_in_model

    wanted = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.target_modules),
    )
    try:
        inject_adapter_in_model(wanted, getattr(model.model, tower))
    except ValueError as error:
        raise RecipeError(f"LoRA of the {tower}: {str(error).splitlines()[0]}") from None


def merge_lora(model: BorealisForConditionalGeneration) -> None:
    """Add the updates to the weights and take the extra layers out: files look as before."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for tower in TOWERS:
        root: Any = getattr(model.model, tower)
        for name, module in list(root.named_modules()):
            if isinstance(module, BaseTunerLayer):
                # A small update would be lost between the steps of bfloat16.
                base: Any = module.get_base_layer()
                base.weight.data = base.weight.data.float()
                module.merge(safe_merge=True)
                parent, _, last = name.rpartition(".")
                owner: nn.Module = root.get_submodule(parent)
                setattr(owner, last, module.get_base_layer())
