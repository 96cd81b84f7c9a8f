"""Makes a folder of a trained model that can be published: weights, processor, model card."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from borealis.ctc.ngram import Ngram
from borealis.errors import CheckpointError, RecipeError
from borealis.files import write_text
from borealis.inference.scope import Scope
from borealis.model import BorealisForConditionalGeneration, BorealisProcessor
from borealis.training.digests import local_path
from borealis.training.loop.checkpoints import (
    LEARNED,
    best_checkpoint,
    is_whole,
    load_learned,
    save_whole,
)
from borealis.training.publish.card import model_card
from borealis.training.recipe import Recipe
from borealis.training.run.record import RECORD, START, read_record
from borealis.training.weights.learning import finish_weights, prepare_weights
from borealis.training.weights.lora import split_lora

logger = logging.getLogger(__name__)


def export(
    source: Path,
    output: Path,
    *,
    checkpoint: str | None = None,
    dtype: str = "bfloat16",
    results: Sequence[Path] = (),
    licence: str = "other",
    separate_lora: bool = False,
) -> Path:
    """Write a hub-ready folder.

    Args:
        source: folder of a run (`borealis train --output`), or of a finished checkpoint.
        output: folder to write; must not hold anything yet.
        checkpoint: of a run: `STAGE`, `STAGE/checkpoint-N` or `STAGE/best`; the finished model by
            default. LoRA is merged.
        dtype: number format of the weights.
        results: result files of `borealis eval`, for the card.
        licence: identifier for the card; what the parts and data allow, only you can know.
        separate_lora: write LoRA of the language model into `output/lora` as a folder of peft, for
            servers that put it on as they run, and the model without it.

    Raises:
        CheckpointError: there is no such checkpoint, or the output isn't empty.
        RecipeError: the run's record doesn't fit its folder.
    """
    number = getattr(torch, dtype, None)
    if number not in (torch.float32, torch.bfloat16, torch.float16):
        raise CheckpointError(f"dtype is '{dtype}'; give float32, bfloat16 or float16.")
    if output.exists() and any(output.iterdir()):
        raise CheckpointError(f"'{output}' isn't empty; give a new folder.")
    record = _record(source)
    lora = output / "lora" if separate_lora else None
    model, processor = _load(source, checkpoint, lora)
    model.to(number)
    _name_codec(model)
    # Of a run the n-gram and the scope lie there, of a finished checkpoint beside it.
    start = source / "start"
    beside = start if start.is_dir() else source
    save_whole(model, output, processor, Ngram.of_checkpoint(beside), Scope.of_checkpoint(beside))
    measured = [json.loads(path.read_text(encoding="utf-8")) for path in results]
    card = model_card(model.config, record, measured, licence=licence)
    write_text(output / "README.md", card)
    return output


def _name_codec(model: BorealisForConditionalGeneration) -> None:
    """Leave the path of a codec on this machine out of what is published; its name stays."""
    speech = model.config.speech
    if speech is not None and local_path(speech["codec"]) is not None:
        name = Path(speech["codec"]).resolve().name
        logger.warning(
            "config.json calls the codec '%s' and not '%s', which is a folder of this machine. "
            "Publish the codec too, and put its hub id into config.json: speech.codec",
            *(name, speech["codec"]),
        )
        model.config.speech = speech | {"codec": name}


def _record(source: Path) -> dict[str, Any] | None:
    """`run.json` of a run, if `source` is one or lies in one."""
    for folder in (source, source.parent):
        if (file := folder / "run.json").is_file():
            return json.loads(file.read_text(encoding="utf-8"))
    return None


def _load(
    source: Path, checkpoint: str | None, lora: Path | None
) -> tuple[BorealisForConditionalGeneration, BorealisProcessor]:
    if lora is not None and (checkpoint is None or "/" not in checkpoint):
        raise CheckpointError(
            "LoRA is merged in a finished model and stage; name a checkpoint to have it apart: "
            "--checkpoint instruct/checkpoint-500."
        )
    if checkpoint is None:
        folder = source / "final" if is_whole(source / "final") else source
        if not is_whole(folder):
            raise CheckpointError(
                f"'{source}' holds no finished model. Of a run that isn't finished name a part: "
                "--checkpoint align, or instruct/checkpoint-500, or instruct/best."
            )
        start = source / "start"
        processors = folder if (folder / "processor_config.json").is_file() else start
        return _read(folder), BorealisProcessor.from_pretrained(processors)
    processor = BorealisProcessor.from_pretrained(source / "start")
    stage, _, part = checkpoint.partition("/")
    if not part:
        if not is_whole(source / stage):
            raise CheckpointError(f"The stage '{stage}' of '{source}' isn't finished.")
        return _read(source / stage), processor
    folder = source / stage / part
    if part == "best":
        best = best_checkpoint(source / stage)
        if best is None:
            raise CheckpointError(f"No checkpoint of '{stage}' has a measured word error rate.")
        folder = best
    if (folder / LEARNED).is_file():
        return _from_learned(source, stage, folder, lora), processor
    if not (folder / "model.safetensors").is_file():
        raise CheckpointError(f"There is no checkpoint '{folder}'.")
    if lora is not None:
        raise CheckpointError(f"The stage '{stage}' has no LoRA of the language model.")
    return _read(folder), processor


def _from_learned(
    source: Path, stage: str, folder: Path, lora: Path | None
) -> BorealisForConditionalGeneration:
    """What a stage began with, and on top of it what it has learned; LoRA merged, or apart."""
    recipe, before = _made(folder.parent, stage)
    settings = recipe.stage(stage)
    if lora is not None and settings.lora is None:
        raise CheckpointError(f"The stage '{stage}' has no LoRA of the language model.")
    model = _read(source / before)
    prepare_weights(model, settings)
    load_learned(model, folder)
    if lora is not None and settings.lora is not None:
        split_lora(model, settings.lora, lora)
    finish_weights(model, settings)
    return model


def _made(folder: Path, stage: str) -> tuple[Recipe, str]:
    """The recipe of a stage, and the part of the run that it began with."""
    if (made := read_record(folder)) is not None:
        return made.recipe, made.before
    path = folder / "recipe.json"  # what earlier versions kept
    if not path.is_file():
        raise RecipeError(f"'{folder / RECORD}' is missing: it says which parameters learn.")
    recipe = Recipe(**json.loads(path.read_text(encoding="utf-8")))
    names = [item.name for item in recipe.stages]
    before = [n for n in names[: names.index(stage)] if is_whole(folder.parent / n)]
    return recipe, before[-1] if before else START


def _read(folder: Path) -> BorealisForConditionalGeneration:
    return BorealisForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
