"""Data, disk and memory are looked at before the first step of a run, and in its dry run."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple

import pytest

from borealis.errors import RecipeError
from borealis.training import supplies
from borealis.training.planner import Options, plan_recipe
from borealis.training.recipe import load_recipe
from borealis.training.supplies import Room, check_room, planned_room, short_of_memory

Usage = namedtuple("Usage", "total used free")


def test_recordings_that_cannot_be_opened_stop_the_run_before_it(
    world, large, run_train, tmp_path, capsys
):
    rows = [{"audio": f"gone-{n}.wav", "text": "Мороз и солнце.", "duration": 2} for n in range(5)]
    (world / "gone.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    recipe = large(sources=["gone"], tasks={"transcription": {}})
    text = (tmp_path / "large.yaml").read_text("utf-8")
    text = text.replace("speech:\n      manifest: speech", "gone:\n      manifest: gone")
    (tmp_path / "large.yaml").write_text(text, encoding="utf-8")
    run = tmp_path / "run"
    assert run_train(recipe, run) == 2
    error = capsys.readouterr().err
    assert "'gone.jsonl' that were tried can be opened" in error and "gone-0.wav" in error
    assert "data check" in error and "Traceback" not in error and not run.exists()
    assert run_train(recipe, run, "--dry-run") == 0
    assert "gone-0.wav" in capsys.readouterr().out and not run.exists()


def test_one_bad_recording_does_not_stop_a_run(world, large, run_train, tmp_path, clips):
    rows = [{"audio": "gone.wav", "text": "Мороз.", "duration": 2}]
    rows += [{"audio": c.audio, "text": c.text, "duration": c.duration} for c in clips[:2]]
    (world / "speech-and-gap.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    recipe = load_recipe(large(sources=["speech"], tasks={"transcription": {}}))
    section = recipe.data.sources["speech"].model_copy(update={"manifest": "speech-and-gap.jsonl"})
    data = recipe.data.model_copy(update={"sources": {"speech": section}})
    recipe = recipe.model_copy(update={"data": data})
    supplies.check_data(recipe, recipe.stages, world)


def test_a_disk_without_room_is_told_with_what_takes_it(tmp_path, monkeypatch):
    room = Room(features=2e9, checkpoints=1e9, models=5e8)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(9e9, 6e9, 3e9))
    with pytest.raises(RecipeError, match=r"about 3\.5 GB .*features 2\.0, .*and 3\.0 GB are free"):
        check_room(room, tmp_path / "deep" / "run")
    check_room(Room(1e9, 1e9, 5e8), tmp_path / "deep" / "run")
    assert not (tmp_path / "deep").exists()


def test_what_a_run_has_already_is_not_needed_again(tmp_path, monkeypatch):
    (tmp_path / "frames.npy").write_bytes(b"0" * 2000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(9e9, 9e9, 100))
    check_room(Room(2000, 50, 0), tmp_path)
    with pytest.raises(RecipeError, match="keep fewer checkpoints"):
        check_room(Room(2000, 150, 0), tmp_path)


def test_the_planned_room_is_that_of_a_real_run(world, large, run_train, tmp_path):
    recipe = large(tasks={"transcription": {}}, max_steps=2, save_steps=1, keep_checkpoints=1)
    run = tmp_path / "run"
    assert run_train(recipe, run) == 0
    loaded = load_recipe(recipe)
    room = planned_room(plan_recipe(loaded, Options()), loaded.stages)
    weights = [*run.glob("*/model.safetensors"), *run.glob("*/checkpoint-*/*")]
    taken = sum(file.stat().st_size for file in weights)
    assert taken < room.total < 2.5 * taken


def test_a_lack_of_memory_is_told_with_what_saves_it(monkeypatch):
    recipe = load_recipe("5b")
    plan = plan_recipe(recipe, Options())
    monkeypatch.setattr(supplies, "_memory", lambda: (8e9, "the RTX 2080"))
    told = short_of_memory(plan, recipe.stages)
    assert len(told) == 2 and "'align' wants about" in told[0] and "the RTX 2080 has 8.0" in told[0]
    monkeypatch.setattr(supplies, "_memory", lambda: (1e12, "this computer"))
    assert not short_of_memory(plan, recipe.stages)
