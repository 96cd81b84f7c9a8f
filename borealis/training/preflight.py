"""What can be known before the first step: libraries, names of parts, where is read and written."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from borealis.errors import RecipeError
from borealis.training import processes
from borealis.training.lora import check_lora
from borealis.training.recipe import LoraSection, Recipe, StageSection
from borealis.training.run_folder import FOLDERS, local_path

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

    from borealis.training.kernels import check_liger
    from borealis.training.quantization import check_bitsandbytes

    lora = stage.lora or stage.encoder_lora
    for name in ("accelerate", *(["peft"] if lora else [])):
        if find_spec(name) is None:
            raise RecipeError(
                f"Training needs {name}, which isn't installed: "
                "pip install 'borealis-audio[train]'."
            )
    if stage.batches_per_step % processes.count():
        raise RecipeError(
            f"Stage '{stage.name}': {processes.count()} processes can't share "
            f"batches_per_step={stage.batches_per_step} evenly; make it a multiple."
        )
    for name in stage.log_to:
        _check_logger(stage.name, name)
    if stage.frozen_precision == "nf4":
        check_bitsandbytes()
    if stage.use_liger_kernel:
        check_liger(
            stage.name, use_cpu=not torch.cuda.is_available() if use_cpu is None else use_cpu
        )


def _check_logger(stage: str, name: str) -> None:
    if find_spec(name) is None:
        raise RecipeError(
            f"Stage '{stage}' logs to {name}, which isn't installed: "
            f"'pip install {name}', or leave it out of log_to."
        )
    module = "torch.utils.tensorboard" if name == "tensorboard" else name
    try:
        import_module(module)
    except Exception as error:  # of any kind: what it imports may be broken
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise RecipeError(
            f"Stage '{stage}' logs to {name}, which can't be imported ({first}): install it anew, "
            "or leave it out of log_to."
        ) from None


def check_model(model: BorealisForConditionalGeneration, stage: StageSection) -> None:
    """Whether a model has the parts that a stage names.

    Raises:
        RecipeError: it lacks a layer that is looked at, or a part that is to learn; or LoRA can't
            be put on what is named.
    """
    from borealis.training.losses import check_layers

    check_layers(stage, model.config.text_config.num_hidden_layers)
    names = [name.removeprefix("model.") for name, _ in model.named_parameters()]
    for prefix in stage.trainable:
        if not any(name == prefix or name.startswith(f"{prefix}.") for name in names):
            raise RecipeError(
                f"Stage '{stage.name}': no parameter begins with '{prefix}' (trainable). The parts "
                "are audio_tower, adapter, language_model, or longer beginnings of names."
            )
    for key, tower in (("lora", "language_model"), ("encoder_lora", "audio_tower")):
        settings: LoraSection | None = getattr(stage, key)
        if settings is not None:
            check_lora(model, settings, tower)


def check_apart(recipe: Recipe, data: Path, output: Path, pack_to: Path | None) -> None:
    """Whether what a run writes lies apart from what it reads.

    Raises:
        RecipeError: a folder that is written is one that is read, or holds it.
    """
    inputs = [("the data folder", data)]
    for key in ("checkpoint", "audio_tower", "language_model"):
        name = getattr(recipe.model, key)
        if name and (path := local_path(name)) is not None:
            inputs.append((f"model.{key}", path))
    targets = [("--output", output), *([("--pack", pack_to)] if pack_to else [])]
    for option, target in targets:
        for what, path in inputs:
            if _holds(target, path):
                raise RecipeError(
                    f"{option} '{target}' holds {what} '{path}', which is read; give another "
                    "folder."
                )
    if pack_to is not None:
        own = [output / name for name in (*FOLDERS, *(stage.name for stage in recipe.stages))]
        if _inside(pack_to, own) or pack_to.resolve() == output.resolve():
            raise RecipeError(
                f"--pack '{pack_to}' is a folder of the run itself; give another folder."
            )
        if (pack_to / "config.json").is_file() and not (pack_to / "bundle.safetensors").is_file():
            raise RecipeError(
                f"--pack '{pack_to}' holds a checkpoint of another form; give another folder."
            )


def _holds(folder: Path, path: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _inside(path: Path, folders: Iterable[Path]) -> bool:
    return any(_holds(folder, path) for folder in folders)
