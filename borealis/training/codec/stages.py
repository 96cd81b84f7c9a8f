"""Stages of a run that trains a codec or its refiner: what is begun, one after another, the record.

What differs is the network, what it hears and what a step is: these come in.
"""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from borealis.errors import RecipeError
from borealis.files import write_text
from borealis.training import processes
from borealis.training.loop.checkpoints import (
    STATE,
    clear_stage,
    is_whole,
    latest_checkpoint,
    step_of,
    write_checkpoint,
)
from borealis.training.loop.log import StageLog
from borealis.training.loop.progress import Meter
from borealis.training.loop.step import Step
from borealis.training.recipe.section import Section
from borealis.training.run.settings import changes, leaves

logger = logging.getLogger(__name__)
RUN, MADE, LOG = "run.json", "made-from.json", "log.json"
# Keys of a stage that change nothing of what comes out.
_FREE = {"log", "checkpoints", "validation"}


class StageTrainer(Protocol):
    """Takes the steps of a stage."""

    stage: Any
    taken: int
    device: torch.device

    def step(self) -> Step:
        """Take the next step."""

    def save(self, folder: Path) -> None:
        """Write weights and optimizers into a folder."""

    def load(self, folder: Path) -> None:
        """Take up what `save` wrote."""


def refuse_processes(what: str) -> None:
    """Stop where several processes were started.

    Raises:
        RecipeError: there are several.
    """
    if processes.count() > 1:
        raise RecipeError(f"{what} is trained by one process; start the command without torchrun.")


def stage_keys(stages: Sequence[Any]) -> dict[str, Any]:
    """Keys of stages that decide what comes out of the last of them, by their paths."""
    made: dict[str, Any] = {}
    for stage in stages:
        made |= leaves(f"stages.{stage.name}", stage.model_dump(mode="json", exclude=_FREE))
    return made


def work_of(
    stages: Sequence[Any], made: Callable[[int], dict[str, Any]], output: Path
) -> dict[str, str]:
    """What a run would do with each stage: `done`, `on` (from its newest checkpoint) or `new`.

    Args:
        stages: of the run.
        made: what decides what comes out of a stage, by its number.
        output: folder of the run.

    Raises:
        RecipeError: something else was begun there; the message names what differs.
    """
    work = {}
    for number, stage in enumerate(stages):
        place = output / stage.name
        if (place / MADE).is_file():
            there = json.loads((place / MADE).read_text(encoding="utf-8"))
            if different := changes(there, made(number)):
                raise RecipeError(
                    f"'{place}' holds a stage of another run. {'; '.join(different[:8])}. Give "
                    "another --output, or --no-resume to train it anew."
                )
        begun = latest_checkpoint(place) is not None
        work[stage.name] = "done" if is_whole(place) else "on" if begun else "new"
    return work


def open_stage(place: Path, made: dict[str, Any], *, anew: bool) -> int:
    """Make a stage's folder ready; returns the steps that were taken there.

    Args:
        place: the folder.
        made: what decides what comes out.
        anew: what is there is cleared first.
    """
    if anew:
        clear_stage(place)
    place.mkdir(parents=True, exist_ok=True)
    write_text(place / MADE, json.dumps(made, ensure_ascii=False, indent=1) + "\n")
    newest = latest_checkpoint(place)
    return step_of(newest) if newest else 0


def run_stage(
    trainer: StageTrainer,
    measure: Callable[[], dict[str, float]] | None,
    place: Path,
    price: float | None,
) -> None:
    """Take the steps of a stage from its newest checkpoint on; its log is left in its folder.

    Args:
        trainer: fresh.
        measure: measures on validation recordings; None where there are none.
        place: folder of the stage.
        price: dollars for an hour, for the progress line.
    """
    stage = trainer.stage
    meter = Meter(stage.max_steps, price=price)
    log = StageLog(stage, meter, place, trainer.device)
    if (newest := latest_checkpoint(place)) is not None:
        trainer.load(newest)
        state = json.loads((newest / STATE).read_text(encoding="utf-8"))
        log.go_on(trainer.taken, state)
    with closing(log):
        while trainer.taken < stage.max_steps:
            log.add(trainer.step())
            last = trainer.taken == stage.max_steps
            if measure is not None and (last or trainer.taken % stage.validation.every == 0):
                numbers = measure()
                log.write(trainer.taken, numbers)
                told = ", ".join(f"{k} {v:g}" for k, v in numbers.items())
                logger.info("validation: %s", told)
            if last or trainer.taken % stage.checkpoints.every == 0:
                write = partial(_write, trainer=trainer, log=log)
                write_checkpoint(place, trainer.taken, stage.checkpoints.keep, write)
    took = {"stage": stage.name, "steps": trainer.taken, **meter.numbers(), "rows": log.rows}
    write_text(place / LOG, json.dumps(took, indent=1) + "\n")


def _write(folder: Path, trainer: StageTrainer, log: StageLog) -> None:
    """Put a checkpoint into a folder."""
    trainer.save(folder)
    state = {"global_step": trainer.taken, "max_steps": trainer.stage.max_steps} | log.state()
    write_text(folder / STATE, json.dumps(state, indent=1) + "\n")


def write_record(recipe: Section, stages: Sequence[Any], output: Path) -> None:
    """Write down what a finished run was: recipe, logs of its stages, versions."""
    record = {
        "recipe": recipe.model_dump(mode="json"),
        "stages": [
            json.loads((output / stage.name / LOG).read_text(encoding="utf-8")) for stage in stages
        ],
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    write_text(output / RUN, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
