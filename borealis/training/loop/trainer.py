"""Runs one stage of a recipe with transformers' Trainer."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, SequentialSampler
from transformers import Trainer, TrainingArguments

from borealis.errors import TrainingError
from borealis.model import BorealisForConditionalGeneration
from borealis.training import processes
from borealis.training.data.batch import Batch
from borealis.training.data.loading import CheckedBatches, raise_errors
from borealis.training.data.packing import check_packing
from borealis.training.data.talks import IGNORE
from borealis.training.loop import sharding
from borealis.training.loop.checkpoints import (
    LEARNED,
    latest_checkpoint,
    load_learned,
    publish,
    room_for,
    rotate,
    save_learned,
    save_whole,
)
from borealis.training.loop.failure import stop_at_bad_step
from borealis.training.loop.progress import Meter
from borealis.training.loop.schedules import schedule_of
from borealis.training.loop.validation import Validation
from borealis.training.losses.stage import StepLosses, auxiliary_losses, stage_losses
from borealis.training.preflight import check_model, check_stage
from borealis.training.recipe import StageSection
from borealis.training.weights.kernels import leave_liger, use_liger
from borealis.training.weights.learning import finish_weights, prepare_weights
from borealis.training.weights.precision import use_bfloat16

logger = logging.getLogger(__name__)

# Checkpoints of a larger model, and of LoRA, hold what learns and not the frozen rest again.
_WHOLE_BELOW = 200_000_000


class StageTrainer(Trainer):
    """Trainer whose dataset gives a whole batch for each step.

    Args:
        stage: settings.
        meter: counts what was heard and what it cost.
        validation: measures the word error rate now and then, if given.
        sharded: the losses of a model that is spread over processes; its model is `model`.
        **kwargs: of `Trainer`.
    """

    def __init__(
        self,
        *,
        stage: StageSection,
        meter: Meter,
        validation: Validation | None = None,
        sharded: sharding.ShardedLosses | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sharded, self._step_has_audio = sharded, True
        self.stage, self.meter, self.validation = stage, meter, validation
        self.part_weights = {
            name: loss.weight for loss in auxiliary_losses(stage) for name in loss.names
        }
        self.parts: dict[str, list[float]] = {}
        self._step_batches: list[Batch] = []
        self._partial: Path | None = None
        self._accumulates = stage.batch.per_step > 1
        size = sum(p.numel() for p in cast(torch.nn.Module, self.model).parameters())
        lora = stage.lora is not None or stage.encoder_lora is not None
        rounded = stage.compute.frozen_precision == "nf4"
        self.learned_only = lora or rounded or size >= _WHOLE_BELOW or sharded is not None

    # ---- data and losses ----

    def get_train_dataloader(self) -> DataLoader:
        # Batches are made in order, so that a resumed run skips by number.
        batches = CheckedBatches(self.train_dataset)
        loader = DataLoader(
            cast(Dataset, batches),
            batch_size=1,
            sampler=SequentialSampler(batches),
            collate_fn=_whole,
            num_workers=self.stage.batch.workers,
        )
        return self.accelerator.prepare(loader)

    def _wrap_model(self, model: Any, training: bool = True, dataloader: Any = None) -> Any:
        # The losses are computed outside of the model's own forward pass: that is what is wrapped.
        if self.sharded is not None and training:
            return self.sharded
        if self.args.world_size > 1 and training:
            device = self.args.device
            return DistributedDataParallel(
                StepLosses(model, self.stage),
                device_ids=[device.index] if device.type == "cuda" else None,
                find_unused_parameters=True,  # a batch of text leaves the adapter out
            )
        return super()._wrap_model(model, training, dataloader)

    def training_step(self, model: Any, inputs: Batch, *args: Any) -> torch.Tensor:
        """One batch; remembered until its step is done, in case it turns out bad."""
        self._step_batches.append(inputs)
        return super().training_step(model, inputs, *args)

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Loss of one batch; the parts are remembered for the log."""
        with self.all_in_bfloat16():
            if isinstance(model, DistributedDataParallel | StepLosses):
                parts = model(inputs)
            else:
                parts = stage_losses(self.accelerator.unwrap_model(model), inputs, self.stage)
        for name, value in parts.items():
            key = f"{inputs['mode']}_{name}"
            self.parts.setdefault(key, []).append(float(value.detach()))
        if self._accumulates:
            parts = self._share_of_step(parts, inputs, num_items_in_batch)
        loss = sum(value * self.part_weights.get(name, 1.0) for name, value in parts.items())
        if isinstance(loss, torch.Tensor) and not bool(torch.isfinite(loss)):
            self._stop("the loss", float(loss.detach()))
        self.meter.heard(inputs)
        return (loss, {}) if return_outputs else loss

    def all_in_bfloat16(self) -> AbstractContextManager:
        """Autocast for encoder, adapter and language model, of a stage on recordings.

        Accelerate does it for the model's own forward pass only; stages on cached features train
        the adapter in float32, which is how nano was made.
        """
        enabled = bool(self.args.bf16 and self.stage.sources)
        return torch.autocast(self.args.device.type, torch.bfloat16, enabled=enabled)

    def _share_of_step(
        self, parts: dict[str, torch.Tensor], inputs: Batch, items: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """What a batch adds to its step: every answer token of a step counts the same.

        DistributedDataParallel takes the mean over processes, so the share is made up for it.
        """
        shares = {name: 1 / self.args.gradient_accumulation_steps for name in parts}
        if "lm" in parts:
            own = inputs["labels"][..., 1:].ne(IGNORE).sum()
            shares["lm"] = own * self.args.world_size / items
        return {name: value * shares[name] for name, value in parts.items()}

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> Any:
        """Answer tokens of the whole step, on all processes."""
        raise_errors(batch_samples)
        if not self._accumulates:
            return super()._get_num_items_in_batch(batch_samples, device)
        own = [b["labels"][..., 1:].ne(IGNORE).sum() for b in batch_samples if "labels" in b]
        total = torch.tensor(sum(int(n) for n in own), device=device)
        audio = torch.tensor(sum(b["mode"] == "audio" for b in batch_samples), device=device)
        if self.args.world_size > 1:
            total, audio = self.accelerator.gather(torch.stack([total, audio])[None]).sum(0)
        self._step_has_audio = bool(audio)
        return total.clamp(min=1)

    def _clip_grad_norm(self, model: Any) -> Any:
        if self.sharded is not None and not self._step_has_audio:
            # As in one process: what no batch of the step went through isn't touched at all.
            for part in (self.sharded.model.model.audio_tower, self.sharded.model.model.adapter):
                part.zero_grad(set_to_none=True)
        norm = processes.whole(torch.as_tensor(super()._clip_grad_norm(model)))
        if not bool(torch.isfinite(norm)):
            self._stop("the gradient", float(norm))
        self._step_batches.clear()
        return norm

    def _stop(self, what: str, value: float) -> None:
        output, step = Path(str(self.args.output_dir)), self.state.global_step + 1
        stop_at_bad_step(what, value, step, self._step_batches, output)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "loss" in logs:
            logs |= {k: round(sum(v) / len(v), 4) for k, v in sorted(self.parts.items())}
            logs |= self.meter.numbers()
            self.parts.clear()
        super().log(logs, *args, **kwargs)

    # ---- checkpoints ----

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._partial or super()._get_output_dir(trial))

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As `Trainer`'s; of a sharded model every process gives its part."""
        if self.sharded is not None:
            self._save(output_dir)
        else:
            super().save_model(output_dir, _internal_call)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.sharded is None:
            super()._save_optimizer_and_scheduler(output_dir)
        else:
            state = (self.sharded.model, self.optimizer, self.lr_scheduler)
            sharding.save_optimizer(*state, Path(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self.sharded is None or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
        else:
            state = (self.sharded.model, self.optimizer, self.lr_scheduler)
            sharding.load_optimizer(*state, Path(checkpoint))

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        model = cast(BorealisForConditionalGeneration, self.model)
        if self.learned_only:
            save_learned(model, folder)
        else:
            model.save_pretrained(folder)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint aside and give it its name when all of it is on the disk."""
        output = Path(str(self.args.output_dir))
        self._partial = output / ".checkpoint.partial"
        name = f"checkpoint-{self.state.global_step}"
        if processes.is_main():
            shutil.rmtree(self._partial, ignore_errors=True)
        processes.wait()
        try:
            with room_for(
                f"the checkpoint of step {self.state.global_step}", output, self._partial
            ):
                super()._save_checkpoint(model, trial)
                processes.wait()
                if processes.is_main():
                    if self.validation is not None:
                        self.validation.write(self._partial / name, self.state.global_step)
                    publish(self._partial / name, output / name)
        finally:
            partial, self._partial = self._partial, None
        if processes.is_main():
            shutil.rmtree(partial, ignore_errors=True)
            rotate(output, self.stage.checkpoints.keep)
        processes.wait()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        if (folder / LEARNED).is_file():
            load_learned(cast(torch.nn.Module, model or self.model), folder)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)


def _whole(batch: Sequence[Batch]) -> Batch:
    """Collate for a loader whose items are whole batches."""
    return batch[0]


def stage_trainer(
    model: BorealisForConditionalGeneration,
    stage: StageSection,
    batches: Dataset,
    output: Path,
    *,
    seed: int,
    use_cpu: bool | None = None,
    price: float | None = None,
    validate: Callable[[], Validation] | None = None,
) -> StageTrainer:
    """The trainer of a stage, ready to go; for its arguments see `run_stage`.

    Raises:
        RecipeError: the processes don't share a step evenly, a library isn't there, or the language
            model can't be packed, has no Liger kernels, or lacks a layer that is looked at.
    """
    check_stage(stage, use_cpu=use_cpu)
    check_model(model, stage)
    torch.manual_seed(seed)  # LoRA is drawn at random, and the same on every process
    use_cpu = not torch.cuda.is_available() if use_cpu is None else use_cpu
    device = "cpu" if use_cpu else "cuda"
    learning = prepare_weights(model, stage, device)
    logger.info("stage %s: %.2fM parameters learn", stage.name, learning / 1e6)
    if any(loss.looks_inside for loss in auxiliary_losses(stage)):
        model.set_attn_implementation("eager")  # the only one that gives its attention
    if stage.compute.use_liger_kernel:
        use_liger(model, stage.name, use_cpu=use_cpu)
    sharded = None
    if sharding.is_sharded(stage):
        sharded = sharding.shard(model, stage, device)
    elif stage.compute.sharding != "none":
        logger.warning("stage %s: one process, so nothing is shared out", stage.name)
    meter = Meter(stage.max_steps, price=price, processes=processes.count())
    trainer = StageTrainer(
        stage=stage,
        meter=meter,
        validation=validate() if validate else None,
        sharded=sharded,
        model=model,
        args=_arguments(stage, output, seed=seed, use_cpu=use_cpu),
        train_dataset=batches,
    )
    trainer.add_callback(meter)
    if stage.batch.packing:
        check = partial(check_packing, model, stage.name)
        sharded.run(check) if sharded else check()
    if trainer.validation is not None:
        trainer.validation.around = trainer.all_in_bfloat16
        trainer.validation.through = sharded.run if sharded else None
        trainer.add_callback(trainer.validation)
    return trainer


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
    validate: Callable[[], Validation] | None = None,
) -> dict[str, float]:
    """Train one stage; the result is `output/model.safetensors` and the checkpoints beside it.

    Args:
        model: changed in place. What `compute.sharding` has cut up is of no further use: read the
            result from `output`.
        stage: settings.
        batches: a dataset that gives a batch for each number.
        output: folder of the stage.
        seed: seeds dropout; the data have their own from the recipe.
        resume: go on from the newest checkpoint in `output`, if there is one.
        use_cpu: stay on the CPU even if there is an accelerator.
        price: dollars for an hour of one process, for the progress line.
        validate: makes the measurement of the word error rate.

    Returns:
        What the whole stage took, interruptions included: `seconds`, `audio_hours`, `dollars`
        (with a price).

    Raises:
        RecipeError: see `stage_trainer`.
        TrainingError: a loss isn't finite, the disk is full, a row can't be learned from, or fewer
            steps were taken than asked.
    """
    trainer = stage_trainer(
        model,
        stage,
        batches,
        output,
        seed=seed,
        use_cpu=use_cpu,
        price=price,
        validate=validate,
    )
    sharded = trainer.sharded
    newest = latest_checkpoint(output) if resume else None
    trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    if (taken := trainer.state.global_step) != stage.max_steps:
        raise TrainingError(
            f"Stage '{stage.name}' ended at step {taken} of {stage.max_steps}, though nothing said "
            "why; it isn't finished. Run the same command again: it goes on from there."
        )
    model.set_attn_implementation("sdpa")
    if stage.compute.use_liger_kernel:
        leave_liger(model)
    if stage.compute.gradient_checkpointing:
        model.gradient_checkpointing_disable()
    result = model
    if sharded is not None:
        result = sharding.whole_model(model, lambda fresh: prepare_weights(fresh, stage))
    if result is not None:
        finish_weights(result, stage)
    if processes.is_main():
        save_whole(result, output)
    processes.wait()
    return trainer.meter.numbers()


def _arguments(stage: StageSection, output: Path, *, seed: int, use_cpu: bool) -> TrainingArguments:
    kwargs: dict[str, Any] = {}
    scheduler, settings = schedule_of(stage)
    if settings:
        kwargs["lr_scheduler_kwargs"] = settings
    if processes.count() > 1 and use_cpu:
        kwargs["ddp_backend"] = "gloo"
    if stage.compute.gradient_checkpointing:
        kwargs["gradient_checkpointing"] = True
        kwargs["gradient_checkpointing_kwargs"] = {"use_reentrant": False}
    return TrainingArguments(
        output_dir=str(output),
        max_steps=stage.max_steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=stage.batch.per_step // processes.count(),
        learning_rate=stage.optimizer.learning_rate,
        warmup_steps=stage.optimizer.warmup_steps,
        lr_scheduler_type=scheduler,
        weight_decay=stage.optimizer.weight_decay,
        adam_beta2=stage.optimizer.adam_beta2,
        max_grad_norm=stage.optimizer.max_grad_norm,
        logging_steps=stage.log.every,
        logging_nan_inf_filter=False,
        save_steps=stage.checkpoints.every,
        save_strategy="steps",
        seed=seed,
        report_to=list(stage.log.to),
        use_cpu=use_cpu,
        bf16=use_bfloat16(stage.compute.precision, use_cpu=use_cpu),
        remove_unused_columns=False,
        dataloader_pin_memory=not use_cpu,
        accelerator_config={"dispatch_batches": False},
        **kwargs,
    )
