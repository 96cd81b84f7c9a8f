"""Steps of a stage: batches in, gradients, AdamW; who calls for them decides when to stop."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset
from transformers import set_seed

from borealis.errors import TrainingError
from borealis.model import BorealisForConditionalGeneration
from borealis.training import processes
from borealis.training.data.batch import Batch
from borealis.training.data.loading import CheckedBatches, raise_errors
from borealis.training.data.packing import check_packing
from borealis.training.data.talks import IGNORE
from borealis.training.loop import sharding
from borealis.training.loop.failure import stop_at_bad_step
from borealis.training.loop.optimizer import make_optimizer, set_rate
from borealis.training.loop.schedules import schedule
from borealis.training.loop.step import Step
from borealis.training.losses.stage import StepLosses, auxiliary_losses
from borealis.training.preflight import check_model, check_stage
from borealis.training.recipe import StageSection
from borealis.training.weights.kernels import use_liger
from borealis.training.weights.learning import prepare_weights
from borealis.training.weights.precision import use_bfloat16

logger = logging.getLogger(__name__)


class StageTrainer:
    """A stage that is ready to go: `step()` takes one step after another.

    Args:
        model: changed in place.
        stage: settings.
        batches: a dataset that gives a batch for each number.
        output: folder of the stage, for a batch that turns out bad.
        seed: seeds LoRA and dropout.
        use_cpu: stay on the CPU even if there is an accelerator.
        taken: steps that are taken already; their batches aren't read.

    Raises:
        RecipeError: the processes don't share a step evenly, a library isn't there, or the language
            model can't be packed, has no Liger kernels, or lacks a layer that is looked at.
    """

    def __init__(
        self,
        model: BorealisForConditionalGeneration,
        stage: StageSection,
        batches: Dataset,
        output: Path,
        *,
        seed: int,
        use_cpu: bool | None = None,
        taken: int = 0,
    ) -> None:
        check_stage(stage, use_cpu=use_cpu)
        check_model(model, stage)
        self.model, self.stage, self.output, self.taken = model, stage, output, taken
        use_cpu = not torch.cuda.is_available() if use_cpu is None else use_cpu
        kind = "cpu" if use_cpu else "cuda"
        self.device = torch.device("cpu" if use_cpu else f"cuda:{torch.cuda.current_device()}")
        self.bfloat16 = use_bfloat16(stage.compute.precision, use_cpu=use_cpu)
        torch.manual_seed(seed)  # LoRA is drawn at random, and the same on every process
        learning = prepare_weights(model, stage, kind)
        logger.info("stage %s: %.2fM parameters learn", stage.name, learning / 1e6)
        if any(loss.looks_inside for loss in auxiliary_losses(stage)):
            model.set_attn_implementation("eager")  # the only one that gives its attention
        if stage.compute.use_liger_kernel:
            use_liger(model, stage.name, use_cpu=use_cpu)
        if stage.compute.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        self.sharded: sharding.ShardedLosses | None = None
        if sharding.is_sharded(stage):
            self.sharded = sharding.shard(model, stage, kind, bfloat16=self.bfloat16)
        elif stage.compute.sharding != "none":
            logger.warning("stage %s: one process, so nothing is shared out", stage.name)
        set_seed(seed)
        model.to(self.device)  # type: ignore[arg-type]
        if stage.batch.packing:
            check = partial(check_packing, model, stage.name)
            self.sharded.run(check) if self.sharded else check()
        self.losses = self._wrapped()
        self.optimizer = make_optimizer(model, stage.optimizer)
        self._rate = schedule(stage)
        self._weights = {
            name: loss.weight for loss in auxiliary_losses(stage) for name in loss.names
        }
        self._batches = self._open(batches)
        self._seen: list[Batch] = []  # of the step, in case it turns out bad

    def _wrapped(self) -> torch.nn.Module:
        """The losses as a module, with the model in it as the processes share it."""
        if self.sharded is not None:
            return self.sharded
        losses = StepLosses(self.model, self.stage, bfloat16=self.bfloat16)
        if processes.count() == 1:
            return losses
        return DistributedDataParallel(
            losses,
            device_ids=[self.device.index] if self.device.type == "cuda" else None,
            find_unused_parameters=True,  # a batch of text leaves the adapter out
        )

    def _open(self, batches: Dataset) -> Iterator[Batch]:
        """This process's batches from the step to come on, by their numbers."""
        per_step, count = self.stage.batch.per_step, processes.count()
        first, end = self.taken * per_step + processes.rank(), self.stage.max_steps * per_step
        return iter(
            DataLoader(
                CheckedBatches(batches),  # type: ignore[arg-type]
                batch_size=None,
                sampler=range(first, end, count),
                collate_fn=_as_it_is,
                num_workers=self.stage.batch.workers,
                pin_memory=self.device.type == "cuda",
            )
        )

    def step(self) -> Step:
        """Take the next step.

        Raises:
            TrainingError: a loss or the gradient isn't finite, or a batch can't be made.
        """
        step = Step(self.taken + 1)
        batches = self._read()
        answers, audio = self._count(batches)
        self.losses.train()
        for place, batch in enumerate(batches, start=1):
            with self._gradients_meet(place == len(batches)):
                loss = self._loss(batch, answers, step)
                loss.backward()
            step.loss += float(loss.detach())
        step.gradient = self._clip(audio)
        rate = self._rate(self.taken)
        step.rate = self.stage.optimizer.learning_rate * rate
        set_rate(self.optimizer, rate)
        self.optimizer.step()
        self.losses.zero_grad()
        self._seen.clear()
        self.taken = step.number
        return step

    def _read(self) -> list[Batch]:
        """The batches of a step that this process learns from."""
        batches = []
        for _ in range(self.stage.batch.per_step // processes.count()):
            batch = next(self._batches, None)
            if batch is None:
                raise TrainingError(
                    f"Stage '{self.stage.name}': the batches ended at step {self.taken} of "
                    f"{self.stage.max_steps}; it isn't finished. Run the same command again: it "
                    "goes on from its newest checkpoint."
                )
            raise_errors([batch])
            batches.append(batch)
        return batches

    def _count(self, batches: Sequence[Batch]) -> tuple[float, bool]:
        """Answer tokens of the whole step, on all processes, and whether any of it is heard."""
        own = sum(int(_answers(batch)) for batch in batches if "labels" in batch)
        heard = sum(batch["mode"] == "audio" for batch in batches)
        answers, audio = processes.total(own, heard, device=self.device)
        return max(1, answers), bool(audio)

    def _loss(self, batch: Batch, answers: float, step: Step) -> torch.Tensor:
        """What a batch adds to the loss of its step."""
        self._seen.append(batch)
        parts = self.losses(self.on_device(batch))
        for name, value in parts.items():
            key = f"{batch['mode']}_{name}"
            step.parts.setdefault(key, []).append(float(value.detach()))
        if self.stage.batch.per_step > 1:
            parts = self._share_of_step(parts, batch, answers)
        loss = sum(value * self._weights.get(name, 1.0) for name, value in parts.items())
        if not bool(torch.isfinite(loss)):
            self._stop("the loss", float(loss.detach()))
        config, samples = self.model.config, 0.0
        if "num_samples" in batch:
            samples = float(batch["num_samples"].sum())
        elif batch["mode"] == "audio":
            samples = float(batch["frame_mask"].sum()) * config.frame_length
        step.audio_seconds += samples / config.sampling_rate
        return loss

    def on_device(self, batch: Batch) -> Batch:
        """A batch where the model is."""
        moved = {
            key: value.to(self.device, non_blocking=True)
            if isinstance(value, torch.Tensor)
            else value
            for key, value in batch.items()
        }
        return cast(Batch, moved)

    def _share_of_step(
        self, parts: dict[str, torch.Tensor], batch: Batch, answers: float
    ) -> dict[str, torch.Tensor]:
        """What a batch adds to its step: every answer token of a step counts the same.

        DistributedDataParallel takes the mean over processes, so the share is made up for it.
        """
        count = processes.count()
        shares = {name: count / self.stage.batch.per_step for name in parts}
        if "lm" in parts:
            shares["lm"] = float(_answers(batch)) * count / answers
        return {name: value * shares[name] for name, value in parts.items()}

    def _gradients_meet(self, last: bool) -> AbstractContextManager:
        """Processes exchange gradients in the last batch of a step."""
        if isinstance(self.losses, DistributedDataParallel) and not last:
            return self.losses.no_sync()
        return nullcontext()

    def _clip(self, audio: bool) -> float:
        """Clip the gradient; returns its norm before."""
        if self.sharded is not None and not audio:
            # As in one process: what no batch of the step went through isn't touched at all.
            for part in (self.model.model.audio_tower, self.model.model.adapter):
                part.zero_grad(set_to_none=True)
        norm = torch.nn.utils.clip_grad_norm_(
            self.losses.parameters(), self.stage.optimizer.max_grad_norm
        )
        value = float(processes.whole(norm))
        if not bool(torch.isfinite(torch.tensor(value))):
            self._stop("the gradient", value)
        return value

    def _stop(self, what: str, value: float) -> None:
        stop_at_bad_step(what, value, self.taken + 1, self._seen, self.output)


def _answers(batch: Batch) -> torch.Tensor:
    """Tokens of a batch that are learned."""
    return batch["labels"][..., 1:].ne(IGNORE).sum()


def _as_it_is(batch: Batch) -> Batch:
    """Collate for a loader whose items are whole batches."""
    return batch
