"""A language model in 4 bits: what is rounded, what learns, what comes out at the end."""

from __future__ import annotations

import importlib.util
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from borealis.cli import main
from borealis.errors import RecipeError
from borealis.training.recipe import StageSection
from borealis.training.weights import quantization
from borealis.training.weights.learning import finish_weights, prepare_weights
from tests.training.keys import a_stage

NF4 = {"precision": "bfloat16", "frozen_precision": "nf4"}
LORA = {"rank": 2, "alpha": 4, "target_modules": ["q_proj", "v_proj"]}
needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes isn't installed"
)


def stage(**values) -> StageSection:
    return a_stage(**values)


@pytest.mark.parametrize(("values", "says"), [
    ({"frozen_precision": "nf4"}, "nf4 needs precision bfloat16"),
    (NF4 | {"trainable": ["language_model"]}, "nf4 needs lora"),
    (NF4 | {"sharding": "fsdp", "sources": ["a"]}, "nf4 can't be sharded"),
])  # fmt: skip
def test_what_does_not_go_together(values, says):
    with pytest.raises(ValueError, match=says):
        stage(**values)


def test_a_missing_library_is_named(make_tiny, monkeypatch):
    monkeypatch.setattr(quantization, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match="pip install bitsandbytes"):
        prepare_weights(make_tiny()[0], stage(**NF4))


@needs_bitsandbytes
def test_settings_are_those_of_qlora():
    settings = quantization.four_bits()
    assert settings.quantization_method() == "nf4"
    assert settings.bnb_4bit_use_double_quant and settings.bnb_4bit_compute_dtype == torch.bfloat16


@needs_bitsandbytes
def test_linear_layers_are_rounded_and_little_is_lost(make_tiny):
    model, _ = make_tiny()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    ids = torch.arange(20)[None] + 5
    with torch.no_grad():
        exact = model(input_ids=ids).logits
    chosen = stage(**NF4, lora=LORA, trainable=["adapter", "language_model"])
    learning = prepare_weights(model, chosen)
    assert learning == sum(p.numel() for n, p in model.named_parameters() if "lora_" in n or ".adapter." in n)  # fmt: skip
    linear = {n: p for n, p in model.named_parameters() if n.endswith("proj.weight") and "language_model" in n}  # fmt: skip
    linear |= {n: p for n, p in model.named_parameters() if "base_layer.weight" in n}
    assert len(linear) == 2 * 7 and {p.dtype for p in linear.values()} == {torch.uint8}
    assert all(2 * p.numel() == before[n.replace(".base_layer", "")].numel() for n, p in linear.items())  # fmt: skip
    assert model.get_input_embeddings().weight.dtype == torch.bfloat16
    assert model.model.audio_tower.conv1.weight.dtype == torch.bfloat16
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rounded = model(input_ids=ids).logits.float()
    assert torch.cosine_similarity(rounded.flatten(), exact.flatten(), dim=0) > 0.95
    # Ordinary layers come out, near the weights of before.
    finish_weights(model, chosen)
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    for name, weight in before.items():
        assert (after[name].float() - weight).abs().mean() <= 0.2 * weight.abs().mean() + 1e-6


@needs_bitsandbytes
def test_weights_that_nothing_is_added_to_come_back(make_tiny):
    model, _ = make_tiny()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    prepare_weights(model, stage(**NF4))
    finish_weights(model, stage(**NF4))
    for name, weight in model.named_parameters():
        if name.endswith("proj.weight") and "language_model" in name:
            assert torch.equal(weight, before[name])


@needs_bitsandbytes
@pytest.mark.slow
def test_a_run_in_4_bits_goes_on_and_is_exported(large, run_train, tmp_path):
    recipe = large(**NF4, lora=LORA, packing=True, validation={"sources": ["speech"], "every": 4, "clips": 1})  # fmt: skip
    run = tmp_path / "run"
    assert run_train(recipe, run) == 0
    end, learned = load_file(run / "final/model.safetensors"), load_file(run / "instruct/checkpoint-4/learned.safetensors")  # fmt: skip
    state = json.loads((run / "instruct/checkpoint-4/trainer_state.json").read_text("utf-8"))
    losses = [row["loss"] for row in state["log_history"] if "loss" in row]
    assert len(losses) == 4 and torch.tensor(losses).isfinite().all()
    start = load_file(run / "start/model.safetensors")
    assert end.keys() == start.keys() and all(t.is_floating_point() for t in end.values())
    # Rounded weights and what LoRA has learned on them.
    import bitsandbytes.functional as F

    prefix = "model.language_model.layers.1.self_attn.q_proj"
    rounded = F.dequantize_4bit(*F.quantize_4bit(start[f"{prefix}.weight"].bfloat16(), quant_type="nf4", compress_statistics=True)).float()  # fmt: skip
    a, b = (learned[f"{prefix}.lora_{side}.default.weight"] for side in "AB")
    assert b.abs().max() > 0
    torch.testing.assert_close(end[f"{prefix}.weight"].float(), rounded + 2 * b @ a)
    # A checkpoint on the way, and a run that was cut off.
    part = ["--checkpoint", "instruct/checkpoint-4", "--dtype", "float32"]
    assert main(["export", str(run), "--output", str(tmp_path / "hub"), *part]) == 0
    exported = load_file(tmp_path / "hub/model.safetensors")
    assert all(torch.equal(exported[name], weight.float()) for name, weight in end.items())
    shutil.rmtree(run / "final")
    shutil.rmtree(run / "instruct/checkpoint-4")
    (run / "instruct/model.safetensors").unlink()
    assert run_train(recipe, run) == 0
    again = load_file(run / "final/model.safetensors")
    assert all(torch.equal(again[name], weight) for name, weight in end.items())
