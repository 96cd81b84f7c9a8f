"""Runs one stage of a recipe with transformers' Trainer."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, SequentialSampler
from transformers import Trainer, TrainingArguments

from borealis.model import BorealisForConditionalGeneration
from borealis.training.batches import StepBatches, first
from borealis.training.lora import add_lora, merge_lora
from borealis.training.precision import use_bfloat16
from borealis.training.recipe import StageSection

logger = logging.getLogger(__name__)


class StageTrainer(Trainer):
    """Trainer whose dataset gives a whole batch for each step.

    The loss is put together here from what a batch carries: next-token loss on the answers, CTC on
    recorded clips, guided attention on pseudo-audio.
    """

    def __init__(self, *, stage: StageSection, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stage = stage
        self.parts: dict[str, list[float]] = {}

    def get_train_dataloader(self) -> DataLoader:
        # Batches are made in order and in this process, so that a resumed run skips by number.
        batches = cast(StepBatches, self.train_dataset)
        loader = DataLoader(
            batches, batch_size=1, sampler=SequentialSampler(batches), collate_fn=first
        )
        return self.accelerator.prepare(loader)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Loss of one batch; the parts are remembered for the log."""
        parts = stage_losses(self.accelerator.unwrap_model(model), inputs, self.stage)
        weights = {"ctc": self.stage.ctc_weight, "guide": self.stage.guide_weight}
        for name, value in parts.items():
            key = f"{inputs['mode']}_{name}"
            self.parts.setdefault(key, []).append(float(value.detach()))
        loss = sum(value * weights.get(name, 1.0) for name, value in parts.items())
        return (loss, {}) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "loss" in logs:
            logs |= {k: round(sum(v) / len(v), 4) for k, v in sorted(self.parts.items())}
            self.parts.clear()
        super().log(logs, *args, **kwargs)


def stage_losses(
    model: BorealisForConditionalGeneration, batch: dict[str, Any], stage: StageSection
) -> dict[str, torch.Tensor]:
    """The unweighted losses of a batch.

    Args:
        model: the model.
        batch: a batch of `StepBatches`.
        stage: says which losses have a weight.

    Returns:
        `lm` (next token, mean over answer tokens), `ctc`, `guide`; those that apply.
    """
    losses: dict[str, torch.Tensor] = {}
    inner = model.model
    if batch["mode"] == "text":
        losses["lm"] = model(input_ids=batch["input_ids"], labels=batch["labels"]).loss
        return losses
    mask = batch["frame_mask"]
    if batch["mode"] == "pseudo":
        tokens = inner.adapter.embed_posteriors(batch["posteriors"])
    elif stage.ctc_weight:
        if "input_ids" in batch:
            tokens, logits = inner.adapter.forward_with_logits(batch["frames"], mask)
        else:
            tokens, logits = None, inner.adapter.encode(batch["frames"], mask)
        losses["ctc"] = ctc_loss(logits, mask, batch["ctc_targets"], batch["ctc_lengths"])
    else:
        tokens = inner.adapter(batch["frames"], mask)
    if tokens is None or "input_ids" not in batch:
        return losses
    flat = tokens[inner.token_mask(mask, tokens.shape[1])]
    embeds = inner.embed_prompt(batch["input_ids"], flat)
    guide = batch.get("guide")
    outputs = model(
        inputs_embeds=embeds,
        # Rows are padded on the right, where a causal model can't see: no mask is needed.
        labels=batch["labels"],
        output_attentions=guide is not None and len(guide) > 0,
        use_cache=False,
    )
    losses["lm"] = outputs.loss
    if guide is not None and len(guide):
        losses["guide"] = guide_loss(outputs.attentions, guide, stage.guide_layers)
    return losses


def ctc_loss(
    logits: torch.Tensor, mask: torch.Tensor, targets: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """CTC loss (Graves et al. 2006), mean over the letters of each clip.

    Args:
        logits: `[clips, T, num_classes]`, class 0 is the blank.
        mask: `[clips, T]`, true where there is audio.
        targets: classes of all clips one after another `[sum(lengths)]`.
        lengths: letters of each clip `[clips]`; clips without speech have none and learn blanks.
    """
    log_probs = logits.float().log_softmax(-1).transpose(0, 1)
    return (
        F.ctc_loss(log_probs, targets, mask.sum(1), lengths, zero_infinity=True, reduction="none")
        .div(lengths.clamp(min=10).to(log_probs.device))
        .mean()
    )


def guide_loss(
    attentions: tuple[torch.Tensor, ...], guide: torch.Tensor, layers: list[int]
) -> torch.Tensor:
    """Push two heads of some layers to listen where the next piece was said.

    Guided attention (Tachibana et al. 2018) with exact targets: the alignment of pseudo-audio is
    known. The loss is minus the log of the attention that falls into the wanted span.

    Args:
        attentions: per layer `[batch, heads, sequence, sequence]`.
        guide: `[N, 4]`: row, query position, first and last wanted position.
        layers: guided layers.
    """
    row, query, low, high = guide.unbind(1)
    places = torch.arange(attentions[0].shape[-1], device=guide.device)[None]
    wanted = (places >= low[:, None]) & (places <= high[:, None])
    total = attentions[0].new_zeros(())
    for layer in layers:
        rows = attentions[layer][row, :2, query]  # [N, 2, sequence]
        mass = (rows.float() * wanted[:, None]).sum(-1)
        total = total - mass.clamp(min=1e-7).log().mean()
    return total / len(layers)


def set_trainable(model: torch.nn.Module, prefixes: list[str], *, lora: bool = False) -> int:
    """Freeze everything but parameters under `prefixes`; returns how many numbers learn.

    With `lora` the updates learn too, and of the language model nothing but them.
    """
    count = 0
    for name, parameter in model.named_parameters():
        short = name.removeprefix("model.")
        parameter.requires_grad = any(short == p or short.startswith(p + ".") for p in prefixes)
        if lora and short.startswith("language_model."):
            parameter.requires_grad = "lora_" in short
        count += parameter.numel() if parameter.requires_grad else 0
    if not count:
        raise ValueError(f"No parameter begins with any of {prefixes}; nothing would be trained.")
    return count


def run_stage(
    model: BorealisForConditionalGeneration,
    stage: StageSection,
    batches: StepBatches | Dataset,
    output: Path,
    *,
    seed: int,
    resume: bool = True,
    use_cpu: bool | None = None,
) -> None:
    """Train one stage; the result is `output/model.safetensors` and the checkpoints beside it.

    Args:
        model: changed in place.
        stage: settings.
        batches: a dataset that gives a batch for each step.
        output: folder of the stage.
        seed: seeds dropout; the data have their own from the recipe.
        resume: go on from the newest checkpoint in `output`, if there is one.
        use_cpu: stay on the CPU even if there is an accelerator.
    """
    if stage.lora is not None:
        add_lora(model, stage.lora)
    learning = set_trainable(model, stage.trainable, lora=stage.lora is not None)
    logger.info("stage %s: %.2fM parameters learn", stage.name, learning / 1e6)
    if stage.guide_weight:
        model.set_attn_implementation("eager")  # guided attention looks at the weights
    use_cpu = not torch.cuda.is_available() if use_cpu is None else use_cpu
    kwargs: dict[str, Any] = {}
    if stage.scheduler == "cosine":
        scheduler = "cosine_with_min_lr"
        kwargs["lr_scheduler_kwargs"] = {"min_lr_rate": stage.min_learning_rate_ratio}
    else:
        scheduler = stage.scheduler
    arguments = TrainingArguments(
        output_dir=str(output),
        max_steps=stage.max_steps,
        per_device_train_batch_size=1,
        learning_rate=stage.learning_rate,
        warmup_steps=stage.warmup_steps,
        lr_scheduler_type=scheduler,
        weight_decay=stage.weight_decay,
        adam_beta2=stage.adam_beta2,
        max_grad_norm=stage.max_grad_norm,
        logging_steps=stage.logging_steps,
        save_steps=stage.save_steps,
        save_total_limit=2,
        save_strategy="steps",
        seed=seed,
        report_to=[],
        use_cpu=use_cpu,
        bf16=use_bfloat16(stage.precision, use_cpu=use_cpu),
        remove_unused_columns=False,
        dataloader_pin_memory=not use_cpu,
        accelerator_config={"dispatch_batches": False},
        **kwargs,
    )
    trainer = StageTrainer(stage=stage, model=model, args=arguments, train_dataset=batches)
    newest = latest_checkpoint(output) if resume else None
    trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    model.set_attn_implementation("sdpa")
    if stage.lora is not None:
        merge_lora(model)
    model.save_pretrained(output)


def latest_checkpoint(output: Path) -> Path | None:
    """The newest complete `checkpoint-N` folder of a stage.

    Trainer writes its state last, so a folder without it was cut off while saving.
    """
    found = [p for p in output.glob("checkpoint-*") if (p / "trainer_state.json").is_file()]
    return max(found, key=lambda p: int(p.name.split("-")[1]), default=None)
