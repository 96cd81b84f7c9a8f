"""LoRA of each kind: what is merged, or put on by peft, computes what was trained."""

from __future__ import annotations

import pytest
import torch
from peft import PeftModel

from borealis.model import BorealisForConditionalGeneration
from borealis.training.loop.stage import run_stage
from borealis.training.recipe import LoraSection
from borealis.training.weights.learning import finish_weights, prepare_weights
from borealis.training.weights.lora import split_lora
from tests.training.keys import a_stage

KINDS = {"lora": {}, "rslora": {"use_rslora": True}, "dora": {"use_dora": True}}
COMMON = {"rank": 4, "alpha": 8, "target_modules": ["q_proj", "up_proj"]}


def logits(model: BorealisForConditionalGeneration) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(input_ids=torch.arange(1, 13)[None]).logits


def learned(model: BorealisForConditionalGeneration, kind: str):
    """A stage with LoRA, and the model with updates as if it had learned."""
    stage = a_stage(lora=COMMON | KINDS[kind])
    torch.manual_seed(1)
    prepare_weights(model, stage)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return stage


@pytest.mark.parametrize("kind", KINDS)
def test_merged_equals_unmerged(kind, make_tiny):
    model, _ = make_tiny("mlp")
    names, before = dict(model.named_parameters()).keys(), logits(model)
    stage = learned(model, kind)
    apart = logits(model)
    assert (apart - before).abs().max() > 1e-3
    assert ("magnitude" in " ".join(n for n, _ in model.named_parameters())) == (kind == "dora")
    finish_weights(model, stage)
    assert dict(model.named_parameters()).keys() == names
    torch.testing.assert_close(logits(model), apart, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_of_peft_equals_it_too(kind, make_tiny, tmp_path):
    model, _ = make_tiny("mlp")
    stage = learned(model, kind)
    apart = logits(model)
    split_lora(model, stage.lora, tmp_path / "lora")
    on = PeftModel.from_pretrained(model, tmp_path / "lora").eval()
    with torch.no_grad():
        put_on = on(input_ids=torch.arange(1, 13)[None]).logits
    torch.testing.assert_close(put_on, apart, atol=1e-5, rtol=1e-5)


def test_the_scale_of_rslora_goes_by_the_root_of_the_rank(make_tiny):
    scales = []
    for kind in ("lora", "rslora"):
        model, _ = make_tiny("mlp")
        learned(model, kind)
        [scale] = {m.scaling["default"] for m in model.modules() if hasattr(m, "lora_A")}
        scales.append(scale)
    assert scales == [2.0, 4.0]
    assert LoraSection().use_rslora is False


def test_dora_learns_in_a_stage_and_leaves_an_ordinary_model(make_tiny, batches_of, tmp_path):
    model, processor = make_tiny()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    lora = COMMON | KINDS["dora"]
    keys = {"tasks": {"transcription": {}}, "lora": lora, "warmup_steps": 0, "gradient_checkpointing": True}  # fmt: skip
    batches = batches_of(model, processor, max_steps=2, **keys)
    run_stage(model, batches.stage, batches, tmp_path, seed=0, use_cpu=True)
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    moved = {n for n in after if "language_model" in n and not torch.equal(after[n], before[n])}
    assert moved and all("q_proj" in n or "up_proj" in n for n in moved)
