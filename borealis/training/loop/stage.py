"""Runs one stage of a recipe: steps, log, validation, checkpoints, and the weights at its end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from borealis.errors import TrainingError
from borealis.model import BorealisForConditionalGeneration
from borealis.training import processes
from borealis.training.loop import sharding
from borealis.training.loop.checkpoints import (
    STATE,
    latest_checkpoint,
    load_learned,
    save_whole,
    step_of,
)
from borealis.training.loop.log import StageLog
from borealis.training.loop.progress import Meter
from borealis.training.loop.trainer import StageTrainer
from borealis.training.loop.validation import Validation, best_of, gain_of, row_of
from borealis.training.loop.writer import CheckpointWriter
from borealis.training.recipe import StageSection
from borealis.training.weights.kernels import leave_liger
from borealis.training.weights.learning import finish_weights, prepare_weights

logger = logging.getLogger(__name__)


def run_stage(
    model: BorealisForConditionalGeneration,
    stage: StageSection,
    batches: Dataset,
    output: Path,
    *,
    seed: int,
    resume: bool = True,
    use_cpu: bool | None = None,
    price: float | None = None,
    validation: Validation | None = None,
    saved: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Train one stage; the result is `output/model.safetensors` and the checkpoints beside it.

    Args:
        model: changed in place. What `compute.sharding` has cut up is of no further use: read the
            result from `output`.
        stage: settings.
        batches: a dataset that gives a batch for each number.
        output: folder of the stage.
        seed: seeds LoRA and dropout; the data have their own from the recipe.
        resume: go on from the newest checkpoint in `output`, if there is one.
        use_cpu: stay on the CPU even if there is an accelerator.
        price: dollars for an hour of one process, for the progress line.
        validation: measures the model before the first step, now and then, and at the end.
        saved: called by the main process after each checkpoint, with its step.

    Returns:
        What the whole stage took, interruptions included: `steps`, `seconds`, `audio_hours`,
        `dollars` (with a price), and `word_error_rate` with `before` and `after`.

    Raises:
        RecipeError: see `StageTrainer`.
        TrainingError: a loss isn't finite, the disk is full, a row can't be learned from, or the
            batches end before the steps; or it has to go back to a checkpoint that is gone.
    """
    newest = latest_checkpoint(output) if resume else None
    taken = step_of(newest) if newest else 0
    trainer = StageTrainer(model, stage, batches, output, seed=seed, use_cpu=use_cpu, taken=taken)
    meter = Meter(stage.max_steps, price=price, processes=processes.count())
    log = StageLog(stage, meter, output, trainer.device)
    writer = CheckpointWriter(trainer, log, output)
    if newest is not None:
        writer.restore(newest)
    stopped = _is_worn_out(stage, log)  # a run may be cut off after its last step, too
    with closing(log):
        if validation is not None and newest is None:
            measured = validation.measure(trainer)
            log.write(0, row_of(measured))
            if stage.validation.patience:  # what a stage ends with that never gets better
                writer.save(measured)
        while trainer.taken < stage.max_steps and not stopped:
            log.add(trainer.step())
            last = trainer.taken == stage.max_steps
            measured = None
            if validation is not None and (last or trainer.taken % stage.validation.every == 0):
                measured = validation.measure(trainer)
                log.write(trainer.taken, row_of(measured))
                stopped = _is_worn_out(stage, log)
            # The best has to be there when the stage ends by it.
            best = measured and stage.validation.patience and best_of(log.rows)[1] == 0
            if last or stopped or best or trainer.taken % stage.checkpoints.every == 0:
                writer.save(measured)
                if saved is not None and processes.is_main():
                    saved(trainer.taken)
    if stage.validation.patience and best_of(log.rows)[0] != trainer.taken:
        _take_best(trainer, log, output)
    _finish(trainer, output)
    gain = gain_of(log.rows, best=bool(stage.validation.patience))
    return {"steps": trainer.taken, **meter.numbers()} | ({"word_error_rate": gain} if gain else {})


def _is_worn_out(stage: StageSection, log: StageLog) -> bool:
    """Whether as many measurements in a row as a stage has patience for weren't the best."""
    patience = stage.validation.patience
    return patience is not None and best_of(log.rows)[1] >= patience


def _take_best(trainer: StageTrainer, log: StageLog, output: Path) -> None:
    """Go back to the best weights; to those before the first step, if none were better."""
    step, _ = best_of(log.rows)
    folder, name = output / f"checkpoint-{step}", trainer.stage.name
    if not (folder / STATE).is_file():
        raise TrainingError(
            f"Stage '{name}' ends with its best weights, and '{folder}', where they were, is "
            "gone. Put it back, or train the stage anew: --no-resume."
        )
    if step:
        logger.info("stage %s takes the weights of step %d, whose WER was the lowest", name, step)
    else:
        logger.warning("stage %s: no WER was below the one before it; its weights stay", name)
    load_learned(trainer.model, folder)


def _finish(trainer: StageTrainer, output: Path) -> None:
    """Make an ordinary model again of the one that learned, and write its weights."""
    model, stage = trainer.model, trainer.stage
    model.set_attn_implementation("sdpa")
    if stage.compute.use_liger_kernel:
        leave_liger(model)
    if stage.compute.gradient_checkpointing:
        model.gradient_checkpointing_disable()
    result: BorealisForConditionalGeneration | None = model
    if trainer.sharded is not None:
        result = sharding.whole_model(model, lambda fresh: prepare_weights(fresh, stage))
    if result is not None:
        finish_weights(result, stage)
    if processes.is_main():
        assert result is not None
        save_whole(result, output)
    processes.wait()
