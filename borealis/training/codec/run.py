"""Trains a codec by its recipe: clips, stages, the finished folder."""

from __future__ import annotations

import json
import logging
import platform
import shutil
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import torch

from borealis.codec.nano import BorealisCodec, BorealisCodecConfig
from borealis.errors import RecipeError
from borealis.files import write_text
from borealis.training import processes
from borealis.training.codec.clips import Clips, prepare_clips
from borealis.training.codec.recipe import CodecBatchSection, CodecRecipe, CodecStage
from borealis.training.codec.teacher import LetterTeacher
from borealis.training.codec.trainer import CodecTrainer
from borealis.training.loop.checkpoints import (
    STATE,
    clear_stage,
    is_whole,
    latest_checkpoint,
    publish,
    room_for,
    rotate,
    save_whole,
    step_of,
)
from borealis.training.loop.log import StageLog
from borealis.training.loop.progress import Meter
from borealis.training.run.record import FINAL

logger = logging.getLogger(__name__)
RUN, MADE, LOG = "run.json", "made-from.json", "log.json"
_SECONDS = 2.0  # of a crop that is measured
# Keys that change nothing of what comes out.
_FREE = ("log", "checkpoints", "validation")


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
    stages = [_bounded(stage, max_steps) for stage in recipe.stages]
    name, folder = recipe.data.teacher, output / "clips"
    digest = prepare_clips(
        recipe.data, data, folder, partial(LetterTeacher, name) if name else None
    )
    parts = recipe.data.train
    clips = Clips(folder, [p.manifest for p in parts], [p.weight for p in parts])
    measured = Clips(folder, recipe.data.validation) if recipe.data.validation else None
    torch.manual_seed(recipe.seed)
    model = BorealisCodec(BorealisCodecConfig(**recipe.codec.model_dump()))
    log: list[dict[str, Any]] = []
    for number, stage in enumerate(stages):
        made = _made(recipe, stages[: number + 1], digest)
        place = output / stage.name
        if not resume:
            clear_stage(place)
        _same_run(place, made)
        if is_whole(place):
            logger.info("stage %s is done already", stage.name)
            model = BorealisCodec.from_pretrained(place)
        else:
            place.mkdir(exist_ok=True)
            write_text(place / MADE, json.dumps(made, indent=1))
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


def _bounded(stage: CodecStage, max_steps: int | None) -> CodecStage:
    """A stage of a trial run: its quantizer begins after the same share of the steps."""
    if max_steps is None or stage.max_steps <= max_steps:
        return stage
    begin = stage.quantizer.begin * max_steps // stage.max_steps
    begin = max(begin, min(stage.quantizer.begin, 1))
    quantizer = stage.quantizer.model_copy(update={"begin": begin})
    return stage.model_copy(update={"max_steps": max_steps, "quantizer": quantizer})


def _made(recipe: CodecRecipe, stages: list[CodecStage], clips: str) -> dict[str, Any]:
    """What decides what comes out of the last of `stages`, by paths of keys."""
    values = recipe.model_dump(mode="json", include={"seed", "codec", "data"})
    values["data"]["clips"] = clips
    for stage in stages:
        values[f"stages.{stage.name}"] = stage.model_dump(mode="json", exclude=set(_FREE))
    return _flat(values)


def _flat(values: Any, place: str = "") -> dict[str, Any]:
    if not isinstance(values, dict) or not values:
        return {place: values}
    return {
        key: value
        for name, inner in values.items()
        for key, value in _flat(inner, f"{place}.{name}" if place else str(name)).items()
    }


def _same_run(place: Path, made: dict[str, Any]) -> None:
    """Refuse a folder in which something else was begun, by naming what differs."""
    if not (place / MADE).is_file():
        return
    there = json.loads((place / MADE).read_text(encoding="utf-8"))
    different = [key for key in {**there, **made} if there.get(key) != made.get(key)]
    if not different:
        return
    told = "; ".join(
        f"{key} was {there.get(key)!r}, now it is {made.get(key)!r}" for key in different[:8]
    )
    raise RecipeError(
        f"'{place}' holds a stage of another run: {told}. Give another --output, or --no-resume "
        "to train it anew."
    )


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
                _save(trainer, log, place, stage)
    save_whole(model, place)
    return {"stage": stage.name, "steps": trainer.taken, **meter.numbers(), "rows": log.rows}


def _crops(measured: Clips, stage: CodecStage, hop: int) -> torch.Tensor:
    batch = CodecBatchSection(clips=stage.validation.clips, seconds=_SECONDS)
    sound, _ = measured.batch(batch, "none", hop=hop, seed=0, step=0)
    return torch.from_numpy(sound)


def _save(trainer: CodecTrainer, log: StageLog, place: Path, stage: CodecStage) -> None:
    begun = place / ".checkpoint.partial"
    shutil.rmtree(begun, ignore_errors=True)
    with room_for(f"the checkpoint of step {trainer.taken}", place, begun):
        begun.mkdir(parents=True)
        trainer.save(begun)
        state = {"global_step": trainer.taken, "max_steps": stage.max_steps} | log.state()
        write_text(begun / STATE, json.dumps(state, indent=1) + "\n")
        publish(begun, place / f"checkpoint-{trainer.taken}")
        rotate(place, stage.checkpoints.keep)
