"""A run that was cut off, or had no room, goes on exactly; a bad step stops it and is kept."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from borealis.training.loop.checkpoints import (
    best_checkpoint,
    disk_is_full,
    is_whole,
    latest_checkpoint,
    rotate,
    save_whole,
)

LORA = {"rank": 2, "alpha": 4, "dropout": 0.1}
ENCODER_LORA = {"rank": 2, "target_modules": ["q_proj", "v_proj"]}


def losses(run: Path) -> list[float]:
    state = json.loads((run / "instruct/checkpoint-4/trainer_state.json").read_text("utf-8"))
    return [row["loss"] for row in state["log_history"] if "loss" in row]


def cut_off(run: Path) -> None:
    """Leave of a finished run what was there after step 2."""
    shutil.rmtree(run / "final")
    shutil.rmtree(run / "instruct/checkpoint-4")
    (run / "instruct/model.safetensors").unlink()


@pytest.mark.slow
def test_recordings_with_lora_resume_exactly_and_a_full_disk_costs_nothing(
    world, large, run_train, tmp_path, capsys
):
    recipe = large(lora=LORA, encoder_lora=ENCODER_LORA, batches_per_step=2)
    run = tmp_path / "run"
    assert run_train(recipe, run) == 0
    whole, before = load_file(run / "final/model.safetensors"), losses(run)
    # No room: files may be as large as the state of a few numbers, not as large as the weights.
    cut_off(run)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, limits[1]))
    try:
        code = run_train(recipe, run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    error = capsys.readouterr().err
    assert code == 2 and "No room for the checkpoint of step 4" in error
    assert "checkpoint-2'" in error and "Traceback" not in error
    assert latest_checkpoint(run / "instruct").name == "checkpoint-2"
    assert not [p for p in (run / "instruct").iterdir() if "partial" in p.name]
    # Room again: the same weights and, step by step, the same data.
    assert run_train(recipe, run) == 0
    resumed = load_file(run / "final/model.safetensors")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert losses(run) == before


def test_a_loss_that_is_not_finite_stops_the_run(large, run_train, tmp_path, capsys):
    recipe = large(learning_rate=1e30, warmup_steps=0, tasks__conversations__share=0.0)
    assert run_train(recipe, tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert "At step 2" in error and "the stage before" in error
    [kept] = (tmp_path / "run/instruct").glob("bad-step-*.safetensors")
    assert "0.labels" in load_file(kept) and "0.input_features" in load_file(kept)
    rest = json.loads(kept.with_suffix(".json").read_text("utf-8"))
    assert rest["batches"][0]["mode"] == "audio"
    assert all(Path(clip).is_file() for clip in rest["batches"][0]["clips"])
    assert not (tmp_path / "run/instruct/model.safetensors").exists()


# ---- folders ----


def checkpoints(folder: Path, rates: dict[int, float | None]) -> None:
    for step, rate in rates.items():
        place = folder / f"checkpoint-{step}"
        place.mkdir()
        (place / "trainer_state.json").write_text("{}")
        if rate is not None:
            (place / "validation.json").write_text(json.dumps({"word_error_rate": rate}))


def test_the_newest_and_the_best_stay(tmp_path):
    checkpoints(tmp_path, {2: 0.5, 4: 0.3, 6: 0.3, 8: 0.4, 10: None})
    assert best_checkpoint(tmp_path).name == "checkpoint-4"
    rotate(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-4", "checkpoint-8"]  # fmt: skip


def test_without_a_measurement_the_newest_stay(tmp_path):
    checkpoints(tmp_path, {2: None, 4: None, 6: None})
    assert best_checkpoint(tmp_path) is None
    rotate(tmp_path, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-6"]


def test_a_model_that_was_half_saved_is_not_taken_for_whole(tiny_model, tmp_path):
    save_whole(tiny_model, tmp_path / "a")
    assert is_whole(tmp_path / "a")
    (tmp_path / "a/.model.partial").mkdir()
    assert not is_whole(tmp_path / "a")
    save_whole(tiny_model, tmp_path / "a")
    assert is_whole(tmp_path / "a")
    (tmp_path / "a/model.safetensors").unlink()
    assert not is_whole(tmp_path / "a")


def test_a_full_disk_is_known_by_any_library():
    assert disk_is_full(OSError(28, "No space left on device"))
    assert disk_is_full(RuntimeError("[enforce fail] PytorchStreamWriter failed writing file"))
    assert not disk_is_full(OSError(13, "Permission denied"))
    assert not disk_is_full(RuntimeError("shapes differ"))
