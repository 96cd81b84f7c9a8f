"""What `borealis train` says at its end: before and after, and what to do with the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from borealis.cli import main
from borealis.data.manifest import read_manifest, write_manifest
from borealis.training.command import summary

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_of(tmp_path, *stages: dict) -> str:
    (tmp_path / "run.json").write_text(json.dumps({"stages": list(stages)}), encoding="utf-8")
    return summary(tmp_path / "final")


def test_before_and_after_are_told_for_each_stage(tmp_path):
    rates = {"before": 0.688, "after": 0.398}
    told = run_of(tmp_path, {"stage": "align"}, {"stage": "tune", "word_error_rate": rates})
    assert told.splitlines()[0] == "stage tune, WER on validation: 68.8 % before, 39.8 % after"
    assert "no better" not in told


def test_a_stage_that_did_not_help_says_so(tmp_path):
    told = run_of(tmp_path, {"stage": "tune", "word_error_rate": {"before": 0.2, "after": 0.2}})
    assert "no better than before" in told


@pytest.mark.slow
def test_commands_of_the_summary_work(large, run_train, tmp_path, capsys, clips):
    recipe = large(
        tasks={"transcription": {}}, max_steps=2, validation={"sources": ["speech"], "clips": 2}
    )
    run = tmp_path / "run"
    assert run_train(recipe, run) == 0
    out = capsys.readouterr().out
    assert "WER on validation:" in out and "% before," in out and "% after" in out
    commands = {
        line.split()[0]: line.split()[1:] for line in out.splitlines() if "borealis" in line
    }
    assert set(commands) == {"use", "measure", "serve", "publish"}
    command = " ".join(commands["use"]).replace("FILE", clips[0].audio).split()[1:]
    assert main(command) == 0
    command = " ".join(commands["publish"]).partition(",")[0].replace("DIR", str(tmp_path / "hub"))
    assert main(command.split()[1:]) == 0
    assert (tmp_path / "hub" / "README.md").is_file()


@pytest.mark.slow
def test_the_recipe_that_large_models_are_tuned_by_runs(world, make_tiny, tmp_path, capsys):
    """On a tiny model, in float32: what it says of steps, parts, LoRA and validation is done."""
    model, processor = make_tiny("mlp")
    model.save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    data = tmp_path / "data"
    data.mkdir()
    items = read_manifest(world / "speech.jsonl")
    write_manifest(data / "manifest.jsonl", items[:4])
    write_manifest(data / "validation.jsonl", items[4:6])
    stage = ["max_steps=4", "validation.every=2", "log.to=[]", "batch.workers=0"]
    stage += ["compute.precision=float32", "compute.frozen_precision=float32"]
    changes = [f"model.checkpoint={tmp_path / 'base'}", *(f"stages.tune.{key}" for key in stage)]
    command = ["train", str(EXAMPLES / "fine_tune_0.6b.yaml"), *changes, "--data", str(data)]
    assert main([*command, "--output", str(tmp_path / "run"), "--threads", "1"]) == 0
    assert "stage tune, WER on validation" in capsys.readouterr().out
    state = json.loads((tmp_path / "run/tune/checkpoint-4/trainer_state.json").read_text("utf-8"))
    assert [row["step"] for row in state["log_history"] if "eval_lm" in row] == [0, 2, 4]
