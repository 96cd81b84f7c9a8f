"""What of a model learns in a stage, and in which number format the rest is held."""

from __future__ import annotations

import torch

from borealis.errors import RecipeError
from borealis.model import BorealisForConditionalGeneration
from borealis.training.recipe import StageSection
from borealis.training.recipe.stage import EMBEDDINGS
from borealis.training.weights.lora import add_lora, merge_lora
from borealis.training.weights.quantization import dequantize, quantize
from borealis.training.weights.rows import add_rows, merge_rows


def set_trainable(
    model: torch.nn.Module, prefixes: list[str], *, lora: bool | tuple[str, ...] = False
) -> int:
    """Freeze everything but parameters under `prefixes`; returns how many numbers learn.

    With `lora` (of the language model, or of the towers named) the updates learn too, and of those
    towers nothing but them and what is named of the embeddings.
    """
    towers = lora if isinstance(lora, tuple) else ("language_model",) * lora
    count = 0
    for name, parameter in model.named_parameters():
        short = name.removeprefix("model.")
        learns = any(short == p or short.startswith(p + ".") for p in prefixes)
        if short.startswith(tuple(f"{tower}." for tower in towers)):
            embedding = EMBEDDINGS in prefixes and short == f"{EMBEDDINGS}.weight"
            learns = "lora_" in short or embedding
        parameter.requires_grad = learns
        count += parameter.numel() if parameter.requires_grad else 0
    if not count:
        raise RecipeError(f"No parameter begins with any of {prefixes}; nothing would be trained.")
    return count


def prepare_weights(
    model: BorealisForConditionalGeneration, stage: StageSection, device: str = "cpu"
) -> int:
    """Put LoRA and a codec's rows in, say what learns, and give both kinds their number format.

    Args:
        model: changed in place; `finish_weights` makes it an ordinary one again.
        stage: settings.
        device: where weights are rounded to 4 bits, if the stage wants it.

    Returns:
        How many numbers learn.
    """
    if stage.compute.frozen_precision == "nf4":
        quantize(model, device, keep=stage.lora is None)
    if stage.speech_learns:
        add_rows(model)
    if stage.lora is not None:
        add_lora(model, stage.lora)
    if stage.encoder_lora is not None:
        add_lora(model, stage.encoder_lora, "audio_tower")
    learning = set_trainable(model, stage.trainable, lora=_lora_towers(stage))
    frozen = torch.float32 if stage.compute.frozen_precision == "float32" else torch.bfloat16
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point():  # 4 bits, two in a byte
            continue
        tower = name.removeprefix("model.").startswith(("audio_tower.", "language_model."))
        kept = parameter.requires_grad or not tower
        parameter.data = parameter.data.to(torch.float32 if kept else frozen)
    return learning


def finish_weights(model: BorealisForConditionalGeneration, stage: StageSection) -> None:
    """Undo `prepare_weights` when a stage ends: no 4 bits, rows back in place, LoRA merged."""
    if stage.compute.frozen_precision == "nf4":
        dequantize(model)
    if stage.speech_learns:
        merge_rows(model)
    if _lora_towers(stage):
        merge_lora(model)


def _lora_towers(stage: StageSection) -> tuple[str, ...]:
    given = {"language_model": stage.lora, "audio_tower": stage.encoder_lora}
    return tuple(tower for tower, settings in given.items() if settings is not None)
