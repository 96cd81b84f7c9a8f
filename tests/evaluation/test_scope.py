"""What the bundled model refuses: little of what it was taught, and most of the rest."""

from __future__ import annotations

import json

import numpy as np
import pytest

from borealis.checkpoints import SCOPE, bundled
from borealis.evaluation import scope as evaluation
from borealis.inference.scope import Scope


@pytest.fixture(scope="module")
def metrics() -> dict:
    return evaluation.evaluate_scope(Scope.load(bundled()["nano"] / SCOPE))


def test_questions_it_was_taught_are_answered(metrics) -> None:
    results, people = metrics["taught"]["results"], metrics["taught"]["people"]
    assert results["refused"] < 0.01, results["wrongly_refused"]
    assert results["kinds_told"] > 0.95
    # Wordings of people who don't know the ones of training.
    assert people["refused"] < 0.05, people["wrongly_refused"]
    assert people["questions"] > 150


def test_other_questions_are_refused(metrics) -> None:
    other = metrics["other"]
    assert other["questions"] > 400
    assert other["refused"] > 0.9, other["wrongly_answered"]
    assert len(other["wrongly_answered"]) == round((1 - other["refused"]) * other["questions"])


def test_who_refuses_everything_or_nothing_is_seen(metrics) -> None:
    scope = Scope.load(bundled()["nano"] / SCOPE)
    scope.threshold = 0.0
    every = evaluation.evaluate_scope(scope)
    assert every["taught"]["results"]["refused"] == every["other"]["refused"] == 1.0
    scope.threshold = 1.1
    none = evaluation.evaluate_scope(scope)
    assert none["taught"]["people"]["refused"] == none["other"]["refused"] == 0.0
    scope.weights = np.zeros_like(scope.weights)
    assert evaluation.evaluate_scope(scope)["taught"]["people"]["kinds_told"] < 0.2


def test_the_command_writes_a_result_file(tmp_path, capsys, metrics) -> None:
    assert evaluation.main(["--output", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "nano-scope.json").read_text(encoding="utf-8"))
    assert record["metrics"] == metrics
    assert record["scope"]["file"] == SCOPE and len(record["scope"]["sha256"]) == 64
    assert {"commit", "dirty", "data", "versions"} <= set(record)
    assert "of what wasn't taught" in capsys.readouterr().out


def test_a_checkpoint_that_refuses_nothing_is_told(tmp_path, capsys) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert evaluation.main(["--model", str(tmp_path), "--output", str(tmp_path)]) == 2
    assert "it refuses nothing" in capsys.readouterr().err
