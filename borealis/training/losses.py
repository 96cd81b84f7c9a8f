"""Losses of a batch: next token on the answers, CTC, guided attention, word numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from borealis.errors import RecipeError
from borealis.model import BorealisForConditionalGeneration
from borealis.model.modeling import BorealisOutputWithPast
from borealis.training.counting import counting_loss
from borealis.training.kernels import fused_loss
from borealis.training.recipe import StageSection


def stage_losses(
    model: BorealisForConditionalGeneration,
    batch: dict[str, Any],
    stage: StageSection,
    *,
    everywhere: bool = False,
) -> dict[str, torch.Tensor]:
    """The unweighted losses of a batch.

    Args:
        model: the model.
        batch: a batch of `StepBatches`.
        stage: says which losses have a weight.
        everywhere: go through the audio tower and the adapter even where there is no audio;
            processes that share a model have to take the same way through it.

    Returns:
        `lm` (next token, mean over answer tokens), `ctc`, `guide`, `counting`, `read_off`; those
        that apply.
    """
    losses: dict[str, torch.Tensor] = {}
    inner = model.model
    if batch["mode"] == "text":
        embeds = inner.get_input_embeddings()(batch["input_ids"])
        if everywhere:
            embeds = embeds + 0.0 * _silence(inner).to(embeds.dtype)
        losses["lm"] = _answers(model, embeds, batch, stage).loss
        return losses
    if "input_features" in batch:
        batch = batch | encode(inner, batch["input_features"], batch["num_samples"])
    mask = batch["frame_mask"]
    if batch["mode"] == "pseudo":
        tokens = inner.adapter.embed_posteriors(batch["posteriors"])
        flat, logits = tokens[inner.token_mask(mask, tokens.shape[1])], None
    elif "input_ids" in batch:
        heard = inner.hear_frames(batch["frames"], mask)
        flat, logits = heard.flat_tokens, heard.logits
    else:  # letters alone: nobody reads the audio tokens
        flat, logits = None, inner.adapter.encode(batch["frames"], mask)
    if stage.ctc_weight and logits is not None:
        losses["ctc"] = ctc_loss(logits, mask, batch["ctc_targets"], batch["ctc_lengths"])
    if flat is None:
        return losses
    embeds = inner.embed_prompt(batch["input_ids"], flat)
    guide = batch.get("guide")
    guided = guide is not None and len(guide) > 0
    counted = batch.get("counted")
    counting = counted is not None and len(counted) > 0
    read_off = counting and len(batch["count_guide"]) > 0
    asked = {"output_attentions": guided or read_off, "output_hidden_states": counting}
    outputs: Any = _answers(model, embeds, batch, stage, **{k: v for k, v in asked.items() if v})
    losses["lm"] = outputs.loss
    if guided:
        losses["guide"] = guide_loss(outputs.attentions, guide, stage.guide_layers)
    if counting:
        losses["counting"] = counting_loss(outputs.hidden_states[stage.counting_layer], counted)
    if read_off:
        # The first layer that sees the numbers.
        losses["read_off"] = guide_loss(
            outputs.attentions, batch["count_guide"], [stage.counting_layer]
        )
    return losses


def check_layers(stage: StageSection, layers: int) -> None:
    """Whether a language model of so many layers has those that the stage looks at.

    Raises:
        RecipeError: it has fewer.
    """
    if stage.guide_weight and not all(0 <= layer < layers for layer in stage.guide_layers):
        raise RecipeError(
            f"Stage {stage.name}: guide_layers is {stage.guide_layers}; the language model has "
            f"the layers 0 to {layers - 1}."
        )
    if stage.counting_weight and stage.counting_layer >= layers:
        raise RecipeError(
            f"Stage {stage.name}: counting_layer is {stage.counting_layer}; the language model "
            f"has {layers} layers, and one after it has to read the numbers."
        )


def _answers(
    model: BorealisForConditionalGeneration,
    embeds: torch.Tensor,
    batch: dict[str, Any],
    stage: StageSection,
    **kwargs: Any,
) -> BorealisOutputWithPast:
    """The language model's output on prompts and answers, with the loss on the answers."""
    # Rows are padded on the right, where a causal model can't see: no mask is needed. Packed
    # examples are told apart by positions that begin anew.
    given = {"inputs_embeds": embeds, "position_ids": batch.get("position_ids")}
    given |= {"use_cache": False, **kwargs}
    if not stage.use_liger_kernel:
        return model(**given, labels=batch["labels"])
    hidden = model.model(**given)[0].last_hidden_state
    return BorealisOutputWithPast(loss=fused_loss(model.lm_head.weight, hidden, batch["labels"]))


def _silence(inner: Any) -> torch.Tensor:
    """A number that depends on all of the audio tower and the adapter."""
    samples = inner.config.frame_length
    length = inner.config.encoder_samples(samples) // inner.config.hop_length
    features = torch.zeros(1, inner.config.audio_config.num_mel_bins, length)
    frames = encode(inner, features, torch.tensor([samples]))
    return inner.adapter(frames["frames"], frames["frame_mask"]).sum()


def encode(
    inner: Any, input_features: torch.Tensor, num_samples: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Encoder frames of recordings that have no cached ones; no gradient where none is wanted."""
    learns = any(p.requires_grad for p in inner.audio_tower.parameters())
    inner.audio_tower.train(learns and inner.training)
    with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
        frames, mask = inner.encode_audio(input_features, num_samples)
    return {"frames": frames, "frame_mask": mask}


class StepLosses(torch.nn.Module):
    """`stage_losses` as a module: what DistributedDataParallel wraps, so that gradients meet."""

    def __init__(self, model: BorealisForConditionalGeneration, stage: StageSection) -> None:
        super().__init__()
        self.model, self.stage = model, stage

    def forward(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See `stage_losses`."""
        return stage_losses(self.model, batch, self.stage)


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
