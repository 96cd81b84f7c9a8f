"""All losses of a batch: the next token of the answers, and what a stage adds to it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from borealis.model import BorealisForConditionalGeneration
from borealis.model.modeling import BorealisOutputWithPast
from borealis.training.data.batch import Batch
from borealis.training.losses.auxiliary import AuxiliaryLoss, Passed
from borealis.training.losses.counting import CountingLoss
from borealis.training.losses.ctc import CTCLoss
from borealis.training.losses.guides import GuideLoss
from borealis.training.recipe import StageSection
from borealis.training.weights.kernels import fused_loss


def auxiliary_losses(stage: StageSection) -> list[AuxiliaryLoss]:
    """The losses that a stage adds to that of the next token, in the order of its log."""
    losses: list[AuxiliaryLoss] = []
    if stage.losses.ctc.weight:
        losses.append(CTCLoss(stage.losses.ctc.weight))
    if stage.losses.guide.weight:
        losses.append(GuideLoss(stage.losses.guide.weight, tuple(stage.losses.guide.layers)))
    if stage.losses.counting.weight:
        losses.append(CountingLoss(stage.losses.counting.weight, stage.losses.counting.layer))
    return losses


def stage_losses(
    model: BorealisForConditionalGeneration,
    batch: Batch,
    stage: StageSection,
    *,
    everywhere: bool = False,
    bfloat16: bool = False,
) -> dict[str, torch.Tensor]:
    """The unweighted losses of a batch.

    Args:
        model: the model.
        batch: what to learn from.
        stage: says which losses have a weight.
        everywhere: go through the audio tower and the adapter even where there is no audio;
            processes that share a model have to take the same way through it.
        bfloat16: compute the language model in it, and of a stage on recordings the encoder and the
            adapter too. From cached features the adapter learns in float32: nano was made so.

    Returns:
        `lm` (next token, mean over answer tokens), and the parts of `auxiliary_losses` that apply.
    """
    with autocast(model, enabled=bfloat16 and bool(stage.sources)):
        return _parts_of_batch(model, batch, stage, everywhere, bfloat16)


def autocast(model: torch.nn.Module, *, enabled: bool) -> AbstractContextManager:
    """Compute in bfloat16 what is worth it; the weights stay as they are."""
    device = next(model.parameters()).device.type
    return torch.autocast(device, torch.bfloat16) if enabled else nullcontext()


def _parts_of_batch(
    model: BorealisForConditionalGeneration,
    batch: Batch,
    stage: StageSection,
    everywhere: bool,
    bfloat16: bool,
) -> dict[str, torch.Tensor]:
    inner = model.model
    if batch["mode"] in ("text", "speech"):
        embeds = inner.get_input_embeddings()(batch["input_ids"])
        if everywhere:
            embeds = embeds + 0.0 * _silence(inner).to(embeds.dtype)
        return {"lm": _answers(model, embeds, batch, stage, bfloat16).loss}
    if "input_features" in batch:
        batch = batch | encode(inner, batch["input_features"], batch["num_samples"])
    mask = batch["frame_mask"]
    logits: torch.Tensor | None = None
    if batch["mode"] == "pseudo":
        tokens = inner.adapter.embed_posteriors(batch["posteriors"])
        flat = tokens[inner.token_mask(mask, tokens.shape[1])]
    elif "input_ids" in batch:
        heard = inner.hear_frames(batch["frames"], mask)
        flat, logits = heard.flat_tokens, heard.logits
    else:  # letters alone: nobody reads the audio tokens
        flat, logits = None, inner.adapter.encode(batch["frames"], mask)
    passed, losses = Passed(mask, logits), auxiliary_losses(stage)
    parts: dict[str, torch.Tensor] = {}
    for loss in losses:
        if not loss.looks_inside:
            parts |= loss.values(batch, passed)
    if flat is None:
        return parts
    inside = [loss for loss in losses if loss.looks_inside]
    kept = [name for loss in inside for name, wanted in loss.wants(batch).items() if wanted]
    embeds = inner.embed_prompt(batch["input_ids"], flat)
    passed.outputs = _answers(model, embeds, batch, stage, bfloat16, **dict.fromkeys(kept, True))
    parts["lm"] = passed.outputs.loss
    for loss in inside:
        parts |= loss.values(batch, passed)
    return parts


def _answers(
    model: BorealisForConditionalGeneration,
    embeds: torch.Tensor,
    batch: Batch,
    stage: StageSection,
    bfloat16: bool,
    **kwargs: Any,
) -> BorealisOutputWithPast:
    """The language model's output on prompts and answers, with the loss on the answers."""
    # Rows are padded on the right, where a causal model can't see: no mask is needed. Packed
    # examples are told apart by positions that begin anew.
    given = {"inputs_embeds": embeds, "position_ids": batch.get("position_ids")}
    given |= {"use_cache": False, **kwargs}
    if not stage.compute.use_liger_kernel:
        with autocast(model, enabled=bfloat16):
            outputs = model(**given, labels=batch["labels"])
        for name in ("attentions", "hidden_states"):  # losses of them are computed in float32
            if (layers := outputs.get(name)) is not None:
                outputs[name] = tuple(layer.float() for layer in layers)
        return outputs
    hidden = model.model(**given)[0].last_hidden_state
    return BorealisOutputWithPast(loss=fused_loss(model.lm_head.weight, hidden, batch["labels"]))


def _silence(inner: Any) -> torch.Tensor:
    """A number that depends on all of the audio tower and the adapter."""
    samples = inner.config.frame_length
    length = inner.config.encoder_samples(samples) // inner.config.hop_length
    features = torch.zeros(1, inner.config.audio_config.num_mel_bins, length)
    frames = encode(inner, features, torch.tensor([samples]))
    return inner.adapter(frames["frames"], frames["frame_mask"]).sum()


def encode(inner: Any, input_features: torch.Tensor, num_samples: torch.Tensor) -> Batch:
    """Encoder frames of recordings that have no cached ones; no gradient where none is wanted."""
    learns = any(p.requires_grad for p in inner.audio_tower.parameters())
    inner.audio_tower.train(learns and inner.training)
    with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
        frames, mask = inner.encode_audio(input_features, num_samples)
    return {"frames": frames, "frame_mask": mask}


class StepLosses(torch.nn.Module):
    """`stage_losses` as a module: what DistributedDataParallel wraps, so that gradients meet.

    Args:
        model: the model.
        stage: settings.
        bfloat16: see `stage_losses`.
    """

    everywhere = False

    def __init__(
        self, model: BorealisForConditionalGeneration, stage: StageSection, *, bfloat16: bool
    ) -> None:
        super().__init__()
        self.model, self.stage, self.bfloat16 = model, stage, bfloat16

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """See `stage_losses`."""
        return stage_losses(
            self.model, batch, self.stage, everywhere=self.everywhere, bfloat16=self.bfloat16
        )
