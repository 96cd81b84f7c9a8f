"""Parts learn at their own rates; norms and biases aren't pulled towards zero."""

from __future__ import annotations

import pytest
import torch

from borealis.errors import RecipeError
from borealis.training.loop.optimizer import make_optimizer, set_rate
from borealis.training.loop.stage import run_stage
from borealis.training.preflight import check_model
from borealis.training.weights.learning import prepare_weights
from tests.training.keys import a_stage


def rates(model, optimizer) -> dict[str, float]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[p]: g["lr"] for g in optimizer.param_groups for p in g["params"]}


def test_parts_have_rates_of_their_own_and_the_longest_name_counts(make_tiny):
    model, _ = make_tiny("mlp")
    own = {"adapter": 0.1, "adapter.w_in": 0.2}
    stage = a_stage(learning_rate=0.01, rates=own, trainable=["adapter", "language_model"])
    check_model(model, stage)
    prepare_weights(model, stage)
    optimizer = make_optimizer(model, stage.optimizer)
    set_rate(optimizer, 0.5)
    found = rates(model, optimizer)
    assert found["model.adapter.w_in.weight"] == 0.1
    rest = {rate for name, rate in found.items() if "adapter" in name and "w_in" not in name}
    assert rest == {0.05}
    assert {rate for name, rate in found.items() if "language_model" in name} == {0.005}


def test_norms_and_biases_do_not_decay(make_tiny):
    model, _ = make_tiny("mlp")
    stage = a_stage(trainable=["adapter", "language_model", "audio_tower"])
    prepare_weights(model, stage)
    names = {parameter: name for name, parameter in model.named_parameters()}
    for group in make_optimizer(model, stage.optimizer).param_groups:
        for parameter in group["params"]:
            free = names[parameter].endswith("bias") or "norm" in names[parameter]
            assert group["weight_decay"] == (0.0 if free else 0.01), names[parameter]


def test_a_rate_of_what_does_not_learn_is_refused(make_tiny):
    model, _ = make_tiny("mlp")
    lora = {"rank": 2, "target_modules": ["q_proj"]}
    check_model(model, a_stage(rates={"language_model.layers.0": 1.0}, lora=lora))
    for own in ("language_model.layers.0.mlp", "audio_tower", "adaptor"):
        with pytest.raises(RecipeError, match=rf"begins with '{own}' \(optimizer.rates\)"):
            check_model(model, a_stage(rates={own: 1.0}, lora=lora))
    with pytest.raises(ValueError, match="rates"):
        a_stage(rates={"adapter": 0})


def test_a_part_learns_at_its_own_rate(make_tiny, batches_of, tmp_path):
    model, processor = make_tiny()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    keys = {"learning_rate": 1e-9, "rates": {"adapter": 1e-2}, "warmup_steps": 0}
    batches = batches_of(model, processor, max_steps=2, tasks={"transcription": {}}, **keys)
    run_stage(model, batches.stage, batches, tmp_path, seed=0, use_cpu=True)
    moved = {n: float((p.detach() - before[n]).abs().max()) for n, p in model.named_parameters()}
    assert max(v for n, v in moved.items() if ".adapter." in n) > 1e-3
    assert max(v for n, v in moved.items() if ".adapter." not in n) < 1e-6
    assert torch.isfinite(torch.tensor(list(moved.values()))).all()
