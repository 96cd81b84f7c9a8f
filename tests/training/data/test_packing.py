"""Packed examples: same loss and gradients as in rows of their own, and no padding."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from transformers import (
    GemmaConfig,
    LlamaConfig,
    Qwen2Config,
    Qwen3Config,
    RecurrentGemmaConfig,
)

from borealis.errors import RecipeError
from borealis.training.data.epochs import length_buckets
from borealis.training.data.packing import check_packing, packed, padded
from borealis.training.loop.stage import run_stage
from borealis.training.losses.stage import stage_losses
from borealis.training.weights.learning import prepare_weights
from tests.training.keys import a_stage

FAMILIES = [Qwen2Config, Qwen3Config, LlamaConfig, GemmaConfig]
WAYS = {
    "all weights": {},
    "LoRA": {"lora": {"rank": 2}, "encoder_lora": {"rank": 2, "target_modules": ["q_proj"]}},
    "checkpointing": {"gradient_checkpointing": True},
}


def unpacked(batch: dict, pad: int) -> dict:
    """The same batch with a row for each example."""
    positions = batch["position_ids"][0]
    starts = [*(positions == 0).nonzero()[:, 0].tolist(), len(positions)]
    ids, labels = (batch[name][0].tolist() for name in ("input_ids", "labels"))
    rows = [(ids[a:b], labels[a:b]) for a, b in pairwise(starts)]
    rest = {name: value for name, value in batch.items() if name != "position_ids"}
    return rest | padded(rows, pad)


def step(model, batch, stage) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Losses of a batch, and the gradient of everything that learns."""
    model.zero_grad()
    losses = stage_losses(model, batch, stage)
    sum(losses.values()).backward()
    grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return {name: float(value.detach()) for name, value in losses.items()}, grads


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", FAMILIES)
def test_same_loss_and_gradients(family, way, make_tiny, batches_of, tokenizer, small):
    model, processor = make_tiny("mlp", text_config=family(vocab_size=len(tokenizer), **small))
    batches = batches_of(model, processor, packing=True, **WAYS[way])
    torch.manual_seed(0)
    prepare_weights(model, batches.stage)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at first: then nothing before it would learn
            torch.nn.init.normal_(parameter, std=0.02)
    if batches.stage.compute.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    check_packing(model, "s")
    seen = set()
    for number in range(len(batches)):
        batch = batches[number]
        assert batch["input_ids"].shape[0] == 1
        rows = unpacked(batch, tokenizer.pad_token_id)
        if batch["mode"] in seen or len(rows["input_ids"]) == 1:
            continue
        seen.add(batch["mode"])
        (loss, grads), (wanted, plain) = (step(model, b, batches.stage) for b in (batch, rows))
        assert loss == pytest.approx(wanted, abs=1e-5)
        assert grads.keys() == plain.keys() and grads
        for name, grad in grads.items():
            torch.testing.assert_close(grad, plain[name], atol=1e-5, rtol=1e-4)
    assert seen == {"audio", "text"}


def test_a_ctc_adapter_may_be_packed_too(make_tiny, batches_of, tokenizer):
    model, processor = make_tiny("ctc")
    batches = batches_of(model, processor, packing=True, losses__ctc__weight=0.5, tasks__conversations__share=0.0)  # fmt: skip
    prepare_weights(model, batches.stage)
    batch = next(b for b in batches if len(b["num_samples"]) > 1)
    rows = unpacked(batch, tokenizer.pad_token_id)
    (loss, grads), (wanted, plain) = (step(model, b, batches.stage) for b in (batch, rows))
    assert loss.keys() == {"lm", "ctc"} and loss == pytest.approx(wanted, abs=1e-5)
    for name, grad in grads.items():
        torch.testing.assert_close(grad, plain[name], atol=1e-5, rtol=1e-4)


def test_labels_are_those_of_the_answers():
    rows = [([5, 6, 7], [5, -100, 7]), ([8, 9], [8, 9])]
    batch = packed(rows)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    # What comes first in an example would be guessed from another one's end.
    assert batch["labels"].tolist() == [[-100, -100, 7, -100, 9]]


def test_budgets_are_of_sums(tiny, batches_of):
    lengths = np.random.default_rng(0).integers(10, 400, 300).tolist()
    buckets = length_buckets(lengths, 1200, np.random.default_rng(1), padded=False)
    assert sorted(i for b in buckets for i in b) == list(range(300))
    assert all(sum(lengths[i] for i in b) <= 1200 for b in buckets)
    assert len(buckets) < len(length_buckets(lengths, 1200, np.random.default_rng(1)))
    model, processor = tiny
    batches = batches_of(model, processor, packing=True)
    for batch in batches:
        assert not (batch["input_ids"] == processor.tokenizer.pad_token_id).any()


def test_a_family_that_cannot_is_named(make_tiny, batches_of, tokenizer, small, tmp_path):
    config = RecurrentGemmaConfig(vocab_size=len(tokenizer), **small)
    model, processor = make_tiny("mlp", text_config=config)
    batches = batches_of(model, processor, packing=True)
    with pytest.raises(RecipeError, match="doesn't work with a recurrent_gemma"):
        run_stage(model, batches.stage, batches, tmp_path, seed=0, use_cpu=True)


@pytest.mark.slow
def test_a_packed_stage_trains(make_tiny, batches_of, tmp_path):
    model, processor = make_tiny()
    batches = batches_of(model, processor, packing=True, max_steps=2, lora={"rank": 2})
    run_stage(model, batches.stage, batches, tmp_path, seed=0, use_cpu=True)
    assert (tmp_path / "model.safetensors").is_file()


def test_packing_needs_sources():
    with pytest.raises(ValueError, match="sharding need sources"):
        a_stage(packing=True, tasks={"text": {}})
