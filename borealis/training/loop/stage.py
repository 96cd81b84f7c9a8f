"""Runs one stage of a recipe: steps, log, validation, checkpoints, and the weights at its end."""

from __future__ import annotations

from pathlib import Path

from torch.utils.data import Dataset

from borealis.model import BorealisForConditionalGeneration
from borealis.training import processes
from borealis.training.loop import sharding
from borealis.training.loop.checkpoints import latest_checkpoint, save_whole, step_of
from borealis.training.loop.log import StageLog
from borealis.training.loop.progress import Meter
from borealis.training.loop.trainer import StageTrainer
from borealis.training.loop.validation import Validation
from borealis.training.loop.writer import CheckpointWriter
from borealis.training.recipe import StageSection
from borealis.training.weights.kernels import leave_liger
from borealis.training.weights.learning import finish_weights, prepare_weights


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
) -> dict[str, float]:
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
        validation: measures the model now and then.

    Returns:
        What the whole stage took, interruptions included: `seconds`, `audio_hours`, `dollars`
        (with a price).

    Raises:
        RecipeError: see `StageTrainer`.
        TrainingError: a loss isn't finite, the disk is full, a row can't be learned from, or the
            batches end before the steps.
    """
    newest = latest_checkpoint(output) if resume else None
    taken = step_of(newest) if newest else 0
    trainer = StageTrainer(model, stage, batches, output, seed=seed, use_cpu=use_cpu, taken=taken)
    meter = Meter(stage.max_steps, price=price, processes=processes.count())
    log = StageLog(stage, meter, output, trainer.device)
    writer = CheckpointWriter(trainer, log, output)
    if newest is not None:
        writer.restore(newest)
    while trainer.taken < stage.max_steps:
        log.add(trainer.step())
        last = trainer.taken == stage.max_steps
        measured = None
        if validation is not None and (last or trainer.taken % stage.validation.every == 0):
            measured = validation.measure(trainer)
            if measured is not None:
                log.write(trainer.taken, {"wer": measured["word_error_rate"]})
        if last or trainer.taken % stage.checkpoints.every == 0:
            writer.save(measured)
    log.close()
    _finish(trainer, output)
    return meter.numbers()


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
