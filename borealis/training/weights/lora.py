"""LoRA for the language model or the audio tower, put in for a stage and merged when it ends."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from borealis.errors import RecipeError
from borealis.files import aside

if TYPE_CHECKING:
    from borealis.model import BorealisForConditionalGeneration
    from borealis.training.recipe import LoraSection

TOWERS = ("language_model", "audio_tower")


def lora_layers(
    model: BorealisForConditionalGeneration, settings: LoraSection, tower: str
) -> list[str]:
    """Names, within a tower, of the layers that get an update."""
    names = [name for name, _ in getattr(model.model, tower).named_modules()]
    return [n for n in names if any(n == t or n.endswith(f".{t}") for t in settings.target_modules)]


def check_lora(model: BorealisForConditionalGeneration, settings: LoraSection, tower: str) -> None:
    """Whether LoRA can be put on the layers that are named, and merged.

    Raises:
        RecipeError: the tower has none of them, or one shares its weights with the output layer.
    """
    modules = dict(getattr(model.model, tower).named_modules())
    found = lora_layers(model, settings, tower)
    if not found:
        raise RecipeError(
            f"LoRA of the {tower}: it has no layer called "
            f"{', '.join(settings.target_modules) or 'nothing'} (target_modules)."
        )
    if tower != "language_model":
        return
    output: Any = model.get_output_embeddings()
    for name in found:
        if getattr(modules[name], "weight", None) is output.weight:
            raise RecipeError(
                f"LoRA of the {tower}: '{name}' shares its weights with the output layer "
                "(tie_word_embeddings). An update of the input alone would change the output too "
                "when it is merged, and the model with it; leave it out of target_modules."
            )


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
        RecipeError: see `check_lora`.
    """
    check_lora(model, settings, tower)
    from peft import LoraConfig, inject_adapter_in_model

    wanted = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        use_rslora=settings.use_rslora,
        use_dora=settings.use_dora,
        lora_dropout=settings.dropout,
        target_modules=list(settings.target_modules),
    )
    try:
        inject_adapter_in_model(wanted, getattr(model.model, tower))
    except ValueError as error:
        raise RecipeError(f"LoRA of the {tower}: {str(error).splitlines()[0]}") from None


def split_lora(
    model: BorealisForConditionalGeneration, settings: LoraSection, folder: Path
) -> None:
    """Write the language model's updates as a folder of peft and take them out of the model.

    Args:
        model: with LoRA in the language model; afterwards without it, its weights as they were.
        settings: rank, scale, layers.
        folder: where `adapter_config.json` and `adapter_model.safetensors` go.
    """
    from peft import LoraConfig, get_peft_model_state_dict
    from safetensors.torch import save_file

    tower: Any = model.model.language_model
    tensors = get_peft_model_state_dict(tower, adapter_name="default")
    # Names as peft gives them for the whole model: that is what the updates are put on.
    named = {
        f"base_model.model.model.language_model.{name}": tensor.detach().float().contiguous()
        for name, tensor in tensors.items()
    }
    folder.mkdir(parents=True)
    with aside(folder / "adapter_model.safetensors") as partial:
        save_file(named, partial, metadata={"format": "pt"})
    layers = "|".join(map(re.escape, settings.target_modules))
    LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        use_rslora=settings.use_rslora,
        use_dora=settings.use_dora,
        target_modules=rf".*language_model.*\.({layers})",
        task_type="CAUSAL_LM",
        inference_mode=True,
    ).save_pretrained(str(folder))
    _take_out(tower, merge=False)


def merge_lora(model: BorealisForConditionalGeneration) -> None:
    """Add the updates to the weights and take the extra layers out: files look as before."""
    for tower in TOWERS:
        _take_out(getattr(model.model, tower), merge=True)


def _take_out(tower: Any, *, merge: bool) -> None:
    """Remove the extra layers, adding their updates to the weights or not."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(tower.named_modules()):
        if isinstance(module, BaseTunerLayer):
            if merge:
                # A small update would be lost between the steps of bfloat16.
                base: Any = module.get_base_layer()
                base.weight.data = base.weight.data.float()
                module.merge(safe_merge=True)
            parent, _, last = name.rpartition(".")
            owner: nn.Module = tower.get_submodule(parent)
            setattr(owner, last, module.get_base_layer())
    # peft leaves its settings on the tower.
    if hasattr(tower, "peft_config"):
        del tower.peft_config
