"""Processes with copies of a model, or shares of it (FSDP), have the losses of one process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from borealis.errors import TrainingError
from borealis.training.loop.optimizer import load_optimizer
from tests.training.keys import a_stage

ENCODER_LORA = {"rank": 2, "target_modules": ["q_proj", "v_proj"]}
KEYS = {"trainable": ["adapter", "language_model"], "encoder_lora": ENCODER_LORA, "packing": True, "gradient_checkpointing": True, "batches_per_step": 2, "max_steps": 6, "save_steps": 3, "augment.time_mask": 0.0, "validation": {"sources": ["speech"], "every": 3, "clips": 2}, "tasks.conversations.share": 0.4, "tasks.transcription.share": 0.6}  # fmt: skip

KEYS_OF_COPIES = {"batches_per_step": 2, "max_steps": 5, "save_steps": 5, "trainable": ["adapter", "language_model"], "time_mask": 0.0}  # fmt: skip


def losses(run: Path, step: int = 6) -> list[float]:
    state = json.loads((run / f"instruct/checkpoint-{step}/trainer_state.json").read_text("utf-8"))
    return [row["loss"] for row in state["log_history"] if "loss" in row]


@pytest.mark.slow
def test_two_that_share_nothing_equal_one(large, run_train, two, tmp_path):
    recipe = large(**KEYS_OF_COPIES)
    assert run_train(recipe, tmp_path / "one") == 0
    two(recipe, tmp_path / "two")
    one, both = (losses(tmp_path / name, 5) for name in ("one", "two"))
    assert len(one) == 5 and one == pytest.approx(both, abs=1e-5)
    a, b = (load_file(tmp_path / name / "final/model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(a[k], b[k], atol=1e-4) for k in a)
    log = json.loads((tmp_path / "two" / "run.json").read_text("utf-8"))
    assert log["processes"] == 2


@pytest.mark.slow
def test_two_that_share_equal_one_and_go_on(large, run_train, two, tmp_path):
    recipe = large(**KEYS)
    assert run_train(recipe, tmp_path / "one") == 0
    shared = tmp_path / "two"
    log = two(recipe, shared, "stages.*.compute.sharding=fsdp")
    # Both processes measure: before, on the way, at the end.
    assert log.count("validation: 2 recordings, WER") == 6
    one, both = losses(tmp_path / "one"), losses(shared)
    assert len(one) == 6 and one == pytest.approx(both, abs=1e-5)
    a, b = (load_file(run / "final/model.safetensors") for run in (tmp_path / "one", shared))
    assert a.keys() == b.keys()
    for name, weight in a.items():
        torch.testing.assert_close(b[name].float(), weight.float(), atol=1e-4, rtol=1e-4)
    # Checkpoints: what learns and the optimizer whole, nothing of torch's own formats.
    folder = shared / "instruct/checkpoint-3"
    state, learned = load_file(folder / "optimizer.safetensors"), load_file(folder / "learned.safetensors")  # fmt: skip
    assert {name.rpartition("/")[0] for name in state} == learned.keys()
    assert all(state[f"{name}/exp_avg"].shape == weight.shape for name, weight in learned.items())
    assert not [p for p in shared.rglob("*") if p.suffix in (".bin", ".distcp", ".pt")]
    # Cut off after step 3, it ends with the same weights.
    shutil.rmtree(shared / "final")
    shutil.rmtree(shared / "instruct/checkpoint-6")
    (shared / "instruct/model.safetensors").unlink()
    two(recipe, shared, "stages.*.compute.sharding=fsdp")
    assert losses(shared) == both
    again = load_file(shared / "final/model.safetensors")
    assert all(torch.equal(again[name], weight) for name, weight in b.items())


@pytest.mark.slow
def test_two_stop_early_as_one_and_one_goes_on_from_two(large, run_train, two, tmp_path):
    # A rate at which no transcript changes: what was there before stays the best.
    measured = {"sources": ["speech"], "every": 2, "clips": 2, "patience": 2}
    keys = {"lora": {"rank": 2, "use_dora": True}, "learning_rate": 1e-7, "logging_steps": 4}
    recipe = large(**(KEYS | keys | {"max_steps": 9, "save_steps": 9, "validation": measured}))
    one, shared = tmp_path / "one", tmp_path / "two"
    assert run_train(recipe, one) == 0
    two(recipe, shared, "stages.*.compute.sharding=fsdp")
    [stage] = json.loads((shared / "run.json").read_text("utf-8"))["stages"]
    assert stage["steps"] == 4
    expected = load_file(one / "final/model.safetensors")
    for _ in range(2):
        found = load_file(shared / "final/model.safetensors")
        for name, weight in expected.items():
            torch.testing.assert_close(found[name], weight, atol=1e-5, rtol=1e-5)
        # Cut off after the best step, one process goes on with what two have written.
        shutil.rmtree(shared / "final")
        shutil.rmtree(shared / "instruct/checkpoint-4")
        (shared / "instruct/model.safetensors").unlink()
        assert run_train(recipe, shared, "stages.*.compute.sharding=fsdp") == 0


def test_a_checkpoint_of_an_earlier_version_is_named(tmp_path):
    with pytest.raises(TrainingError, match="an earlier version of Borealis made it"):
        load_optimizer(torch.nn.Linear(1, 1), None, tmp_path)


def test_sharding_needs_sources():
    with pytest.raises(ValueError, match="sharding need sources"):
        a_stage(sharding="fsdp", tasks={"text": {}})
