"""What can be known before the first step: libraries, and names of parts."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from borealis.errors import RecipeError
from borealis.training import processes
from borealis.training.recipe import LoraSection, StageSection
from borealis.training.weights.lora import check_lora, lora_layers
from borealis.training.weights.rows import check_rows, row_names

if TYPE_CHECKING:
    from borealis.model import BorealisForConditionalGeneration


def check_stage(stage: StageSection, *, use_cpu: bool | None = None) -> None:
    """Whether this machine has what a stage needs.

    Args:
        stage: settings.
        use_cpu: stay on the CPU even if there is an accelerator; None: where there is none.

    Raises:
        RecipeError: a library isn't there or can't be imported, or the processes don't share a step
            evenly.
    """
    import torch

    from borealis.training.weights.kernels import check_liger
    from borealis.training.weights.quantization import check_bitsandbytes

    if (stage.lora or stage.encoder_lora) and find_spec("peft") is None:
        raise RecipeError(
            "LoRA needs peft, which isn't installed: pip install 'borealis-audio[train]'."
        )
    if stage.batch.per_step % processes.count():
        raise RecipeError(
            f"Stage '{stage.name}': {processes.count()} processes can't share "
            f"batch.per_step={stage.batch.per_step} evenly; make it a multiple."
        )
    for name in stage.log.to:
        _check_logger(stage.name, name)
    if stage.compute.frozen_precision == "nf4":
        check_bitsandbytes()
    if stage.compute.use_liger_kernel:
        check_liger(
            stage.name, use_cpu=not torch.cuda.is_available() if use_cpu is None else use_cpu
        )


def _check_logger(stage: str, name: str) -> None:
    if find_spec(name) is None:
        raise RecipeError(
            f"Stage '{stage}' logs to {name}, which isn't installed: "
            f"'pip install {name}', or leave it out of log.to."
        )
    module = "torch.utils.tensorboard" if name == "tensorboard" else name
    try:
        import_module(module)
    except Exception as error:  # of any kind: what it imports may be broken
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise RecipeError(
            f"Stage '{stage}' logs to {name}, which can't be imported ({first}): install it anew, "
            "or leave it out of log.to."
        ) from None


def check_model(model: BorealisForConditionalGeneration, stage: StageSection) -> None:
    """Whether a model has the parts that a stage names.

    Raises:
        RecipeError: it lacks a layer that is looked at, or a part that is to learn; LoRA can't be
            put on what is named, or a part that has a rate of its own doesn't learn.
    """
    from borealis.training.losses.stage import auxiliary_losses

    for loss in auxiliary_losses(stage):
        loss.check(stage.name, model.config.text_config.num_hidden_layers)
    if stage.speech_learns:
        check_rows(model, stage.name)
    if stage.speech_sets and not (model.config.speech or {}).get("voices"):
        raise RecipeError(
            f"Stage '{stage.name}' learns speech, and the model has no voices: name them and their "
            "codec by model.speech."
        )
    names = _names(model, stage)
    for prefix in stage.trainable:
        if not any(name == prefix or name.startswith(f"{prefix}.") for name in names):
            raise RecipeError(
                f"Stage '{stage.name}': no parameter begins with '{prefix}' (trainable). The parts "
                "are audio_tower, adapter, language_model, or longer beginnings of names, and "
                "speech where there is model.speech."
            )
    for key, tower in (("lora", "language_model"), ("encoder_lora", "audio_tower")):
        settings: LoraSection | None = getattr(stage, key)
        if settings is not None:
            check_lora(model, settings, tower)
    learning = _learning(model, stage)
    for prefix in stage.optimizer.rates:
        if not any(name == prefix or name.startswith(f"{prefix}.") for name in learning):
            raise RecipeError(
                f"Stage '{stage.name}': nothing that learns begins with '{prefix}' "
                "(optimizer.rates). Give a beginning of what trainable or LoRA names, or leave it "
                "out."
            )


def _learning(model: BorealisForConditionalGeneration, stage: StageSection) -> list[str]:
    """Names of the parameters that will learn, and of the layers that will get LoRA."""
    given = {"language_model": stage.lora, "audio_tower": stage.encoder_lora}
    towers = {tower: settings for tower, settings in given.items() if settings is not None}
    named = [
        name
        for name in _names(model, stage)
        if any(name == p or name.startswith(f"{p}.") for p in stage.trainable)
        and not name.startswith(tuple(f"{tower}." for tower in towers))
    ]
    return named + [
        f"{tower}.{layer}"
        for tower, settings in towers.items()
        for layer in lora_layers(model, settings, tower)
    ]


def _names(model: BorealisForConditionalGeneration, stage: StageSection) -> list[str]:
    """Names of the parameters that there will be, but for LoRA's."""
    names = [name.removeprefix("model.") for name, _ in model.named_parameters()]
    return names + (row_names(model) if stage.speech_learns else [])
