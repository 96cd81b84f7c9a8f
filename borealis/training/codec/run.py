"""Trains a codec by its recipe: clips, stages, the finished folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from borealis.codec.nano import BorealisCodec, BorealisCodecConfig
from borealis.training.codec.clips import Clips, clips_digest, prepare_clips
from borealis.training.codec.recipe import CodecBatchSection, CodecRecipe, CodecStage
from borealis.training.codec.stages import (
    open_stage,
    refuse_processes,
    run_stage,
    stage_keys,
    work_of,
    write_record,
)
from borealis.training.codec.teacher import LetterTeacher
from borealis.training.codec.trainer import CodecTrainer
from borealis.training.loop.checkpoints import save_whole
from borealis.training.run.record import FINAL
from borealis.training.run.settings import leaves

logger = logging.getLogger(__name__)
_SECONDS = 2.0  # of a crop that is measured


def run_codec_recipe(
    recipe: CodecRecipe,
    *,
    data: Path,
    output: Path,
    max_steps: int | None = None,
    resume: bool = True,
    price: float | None = None,
) -> Path:
    """Train a codec; returns the folder of the finished one.

    Every stage leaves its weights in `output/<stage>`; a run that was cut off goes on from the
    newest checkpoint.

    Args:
        recipe: what to do.
        data: folder with the manifests that the recipe names.
        output: folder of the run.
        max_steps: upper bound on the steps of each stage, for trial runs.
        resume: go on with what is there; otherwise every stage is trained anew.
        price: dollars for an hour, for the progress line.

    Raises:
        RecipeError: a manifest is missing, or the folder holds another run.
        TrainingError: a loss isn't finite, or the disk is full.
    """
    refuse_processes("A codec")
    stages = bounded_stages(recipe, max_steps)
    digest = clips_digest(recipe.data, data)
    if resume:
        work = check_run(recipe, stages, digest, output)
    else:
        work = {stage.name: "new" for stage in stages}
    name, folder = recipe.data.teacher, output / "clips"
    prepare_clips(recipe.data, data, folder, partial(LetterTeacher, name) if name else None)
    parts = recipe.data.train
    clips = Clips(folder, [p.manifest for p in parts], [p.weight for p in parts])
    measured = Clips(folder, recipe.data.validation) if recipe.data.validation else None
    torch.manual_seed(recipe.seed)
    model = BorealisCodec(BorealisCodecConfig(**recipe.codec.model_dump()))
    for number, stage in enumerate(stages):
        place = output / stage.name
        if work[stage.name] == "done":
            logger.info("stage %s is done already", stage.name)
            model = BorealisCodec.from_pretrained(place)
            continue
        made = _made(recipe, stages[: number + 1], digest)
        taken = open_stage(place, made, anew=work[stage.name] == "new")
        seed = recipe.seed * 1000 + number
        trainer = CodecTrainer(model, stage, clips, place, seed=seed, taken=taken)
        run_stage(trainer, measured and partial(_measure, trainer, measured), place, price)
        save_whole(model, place)
    save_whole(model.eval(), output / FINAL)
    write_record(recipe, stages, output)
    return output / FINAL


def bounded_stages(recipe: CodecRecipe, max_steps: int | None) -> list[CodecStage]:
    """The stages of a recipe with at most so many steps each, for trial runs."""
    return [_bounded(stage, max_steps) for stage in recipe.stages]


def _bounded(stage: CodecStage, max_steps: int | None) -> CodecStage:
    """A stage of a trial run: its quantizer begins after the same share of the steps."""
    if max_steps is None or stage.max_steps <= max_steps:
        return stage
    begin = stage.quantizer.begin * max_steps // stage.max_steps
    begin = max(begin, min(stage.quantizer.begin, 1))
    quantizer = stage.quantizer.model_copy(update={"begin": begin})
    return stage.model_copy(update={"max_steps": max_steps, "quantizer": quantizer})


def check_run(
    recipe: CodecRecipe, stages: Sequence[CodecStage], clips: str, output: Path
) -> dict[str, str]:
    """What a run would do with each stage: `done`, `on` (from its newest checkpoint) or `new`.

    Args:
        recipe: as it will be used.
        stages: its stages, bounded.
        clips: digest of the recordings, see `clips_digest`.
        output: folder of the run.

    Raises:
        RecipeError: something else was begun there; the message names what differs.
    """
    return work_of(stages, lambda number: _made(recipe, stages[: number + 1], clips), output)


def _made(recipe: CodecRecipe, stages: Sequence[CodecStage], clips: str) -> dict[str, Any]:
    """What decides what comes out of the last of `stages`, by paths of keys."""
    made = {"seed": recipe.seed, "recordings": clips}
    made |= leaves("codec", recipe.codec.model_dump(mode="json"))
    made |= leaves("data", recipe.data.model_dump(mode="json", exclude={"validation"}))
    return made | stage_keys(stages)


def _measure(trainer: CodecTrainer, measured: Clips) -> dict[str, float]:
    """Numbers of crops of the validation recordings, the same every time."""
    batch = CodecBatchSection(clips=trainer.stage.validation.clips, seconds=_SECONDS)
    hop = trainer.model.config.hop_length
    sound, _ = measured.batch(batch, "none", hop=hop, seed=0, step=0)
    return trainer.measure(torch.from_numpy(sound).to(trainer.device))
