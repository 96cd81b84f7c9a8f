"""Trains a codec by its recipe: clips, stages, the finished folder."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import torch

from borealis.codec.nano import BorealisCodec, BorealisCodecConfig
from borealis.errors import RecipeError
from borealis.files import write_text
from borealis.training import processes
from borealis.training.codec.clips import Clips, clips_digest, prepare_clips
from borealis.training.codec.recipe import CodecBatchSection, CodecRecipe, CodecStage
from borealis.training.codec.teacher import LetterTeacher
from borealis.training.codec.trainer import CodecTrainer
from borealis.training.loop.checkpoints import (
    STATE,
    clear_stage,
    is_whole,
    latest_checkpoint,
    save_whole,
    step_of,
    write_checkpoint,
)
from borealis.training.loop.log import StageLog
from borealis.training.loop.progress import Meter
from borealis.training.run.record import FINAL
from borealis.training.run.settings import changes, leaves

logger = logging.getLogger(__name__)
RUN, MADE, LOG = "run.json", "made-from.json", "log.json"
_SECONDS = 2.0  # of a crop that is measured
# Keys that change nothing of what comes out.
_FREE = {"log", "checkpoints", "validation"}


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
    if processes.count() > 1:
        raise RecipeError("A codec is trained by one process; start the command without torchrun.")
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
    log: list[dict[str, Any]] = []
    for number, stage in enumerate(stages):
        place = output / stage.name
        if work[stage.name] == "done":
            logger.info("stage %s is done already", stage.name)
            model = BorealisCodec.from_pretrained(place)
        else:
            if work[stage.name] == "new":
                clear_stage(place)
            place.mkdir(exist_ok=True)
            made = _made(recipe, stages[: number + 1], digest)
            write_text(place / MADE, json.dumps(made, ensure_ascii=False, indent=1) + "\n")
            seed = recipe.seed * 1000 + number
            took = _run_stage(model, stage, clips, measured, place, seed, price)
            write_text(place / LOG, json.dumps(took, indent=1) + "\n")
        log.append(json.loads((place / LOG).read_text(encoding="utf-8")))
    save_whole(model.eval(), output / FINAL)
    record = {
        "recipe": recipe.model_dump(mode="json"),
        "stages": log,
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    write_text(output / RUN, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
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
    work = {}
    for number, stage in enumerate(stages):
        place = output / stage.name
        if (place / MADE).is_file():
            there = json.loads((place / MADE).read_text(encoding="utf-8"))
            if different := changes(there, _made(recipe, stages[: number + 1], clips)):
                raise RecipeError(
                    f"'{place}' holds a stage of another run. {'; '.join(different[:8])}. Give "
                    "another --output, or --no-resume to train it anew."
                )
        begun = latest_checkpoint(place) is not None
        work[stage.name] = "done" if is_whole(place) else "on" if begun else "new"
    return work


def _made(recipe: CodecRecipe, stages: Sequence[CodecStage], clips: str) -> dict[str, Any]:
    """What decides what comes out of the last of `stages`, by paths of keys."""
    made = {"seed": recipe.seed, "recordings": clips}
    made |= leaves("codec", recipe.codec.model_dump(mode="json"))
    made |= leaves("data", recipe.data.model_dump(mode="json", exclude={"validation"}))
    for stage in stages:
        made |= leaves(f"stages.{stage.name}", stage.model_dump(mode="json", exclude=_FREE))
    return made


def _run_stage(
    model: BorealisCodec,
    stage: CodecStage,
    clips: Clips,
    measured: Clips | None,
    place: Path,
    seed: int,
    price: float | None,
) -> dict[str, Any]:
    newest = latest_checkpoint(place)
    taken = step_of(newest) if newest else 0
    trainer = CodecTrainer(model, stage, clips, place, seed=seed, taken=taken)
    meter = Meter(stage.max_steps, price=price)
    log = StageLog(stage, meter, place, trainer.device)
    if newest is not None:
        trainer.load(newest)
        log.go_on(taken, json.loads((newest / STATE).read_text(encoding="utf-8")))
    crops = _crops(measured, stage, model.config.hop_length) if measured else None
    with closing(log):
        while trainer.taken < stage.max_steps:
            log.add(trainer.step())
            last = trainer.taken == stage.max_steps
            if crops is not None and (last or trainer.taken % stage.validation.every == 0):
                numbers = trainer.measure(crops.to(trainer.device))
                log.write(trainer.taken, numbers)
                told = ", ".join(f"{k} {v:g}" for k, v in numbers.items())
                logger.info("validation: %s", told)
            if last or trainer.taken % stage.checkpoints.every == 0:
                keep = stage.checkpoints.keep
                write = partial(_write, trainer=trainer, log=log)
                write_checkpoint(place, trainer.taken, keep, write)
    save_whole(model, place)
    return {"stage": stage.name, "steps": trainer.taken, **meter.numbers(), "rows": log.rows}


def _crops(measured: Clips, stage: CodecStage, hop: int) -> torch.Tensor:
    batch = CodecBatchSection(clips=stage.validation.clips, seconds=_SECONDS)
    sound, _ = measured.batch(batch, "none", hop=hop, seed=0, step=0)
    return torch.from_numpy(sound)


def _write(folder: Path, trainer: CodecTrainer, log: StageLog) -> None:
    """Put a checkpoint into a folder."""
    trainer.save(folder)
    state = {"global_step": trainer.taken, "max_steps": trainer.stage.max_steps} | log.state()
    write_text(folder / STATE, json.dumps(state, indent=1) + "\n")
