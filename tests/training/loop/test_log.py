"""The log goes on where it was cut off, and trackers get what the checkpoints keep."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from borealis.training.loop.log import StageLog
from borealis.training.loop.progress import Meter
from borealis.training.loop.randomness import load_random, save_random
from borealis.training.loop.step import Step
from borealis.training.loop.trackers import TRACKERS
from tests.training.keys import a_stage


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


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_is_given_the_numbers_of_a_step(name, tmp_path, monkeypatch):
    """The library's own part is a stand-in here: neither is installed where tests run."""
    told: list[Any] = []

    class Run:
        def log(self, row: dict[str, float], step: int) -> None:
            told.append((step, row))

        def finish(self) -> None:
            told.append("finished")

    module = ModuleType(name)
    module.init = lambda **settings: told.append(settings) or Run()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    tracker = TRACKERS[name]("run-stage", {"seed": 1}, tmp_path / "stage")
    tracker.write(3, {"loss": 0.5})
    tracker.close()
    assert told[0]["project"] == "borealis" and told[0]["name"] == "run-stage"
    assert told[1:] == [(3, {"train/loss": 0.5}), "finished"]
