"""The log goes on where it was cut off, and trackers get what the checkpoints keep."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from borealis.training.loop.log import StageLog
from borealis.training.loop.progress import Meter
from borealis.training.loop.randomness import load_random, save_random
from borealis.training.loop.step import Step
from borealis.training.loop.trackers import TRACKERS
from tests.training.keys import a_stage

ROOT = Path(__file__).resolve().parents[3]


def log(tmp_path, **keys: Any) -> StageLog:
    stage = a_stage(max_steps=4, logging_steps=3, **keys)
    meter = Meter(4, price=None)
    return StageLog(stage, meter, tmp_path, torch.device("cpu"))


def test_a_row_that_was_cut_off_is_the_row_it_would_have_been(tmp_path):
    steps = [
        Step(n, loss=float(n), parts={"audio_lm": [n + 0.5]}, audio_seconds=36.0) for n in (1, 2, 3)
    ]
    whole, before, after = (log(tmp_path) for _ in range(3))
    for step in steps:
        whole.add(step)
    before.add(steps[0])
    before.add(steps[1])
    after.go_on(2, json.loads(json.dumps(before.state())))
    after.add(steps[2])
    [row], [again] = whole.rows, after.rows
    assert row["loss"] == 2.0 and row["audio_lm"] == 2.5 and row["audio_hours"] == 0.03
    assert {k: v for k, v in row.items() if k != "seconds"} == {
        k: v for k, v in again.items() if k != "seconds"
    }


def test_random_numbers_go_on(tmp_path):
    import random

    import numpy as np

    def draw() -> tuple[float, float, float]:
        return random.gauss(0, 1), float(np.random.standard_normal()), float(torch.rand(1))

    draw()  # an odd count: the generators keep the second number of a pair
    save_random(tmp_path)
    first = draw()
    draw()
    load_random(tmp_path)
    assert draw() == first
    assert [p.suffix for p in tmp_path.iterdir()] == [".safetensors"]


def told(name: str, folder: Path) -> None:
    """A tracker is given the numbers of a step."""
    tracker = TRACKERS[name]("run-stage", {"seed": 1}, folder)
    tracker.write(3, {"loss": 0.5})
    tracker.close()


def told_alone(name: str, folder: Path, **environment: str) -> None:
    """`told` in a Python of its own: what a tracker writes beside it, it ends when that ends."""
    code = (
        "import sys; from pathlib import Path; from tests.training.loop.test_log import told;"
        "told(sys.argv[1], Path(sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, name, str(folder)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_weights_and_biases_keeps_the_numbers_of_a_step(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    told_alone("wandb", tmp_path / "stage", WANDB_MODE="offline", WANDB_SILENT="true")
    [file] = (tmp_path / "stage").glob("wandb/offline-run-*/run-*.wandb")
    kept = file.read_bytes()
    assert b"train/loss\x82\x01\x030.5" in kept
    assert b"borealis" in kept and b"run-stage" in kept


@pytest.mark.slow
def test_trackio_keeps_the_numbers_of_a_step(tmp_path):
    folder = tmp_path / "trackio"
    told_alone("trackio", tmp_path, TRACKIO_DIR=str(folder))
    [file] = folder.rglob("borealis.db")
    with closing(sqlite3.connect(file)) as base:
        [row] = base.execute("select run_name, step, metrics from metrics").fetchall()
    assert row[:2] == ("run-stage", 3) and json.loads(row[2]) == {"train/loss": 0.5}
