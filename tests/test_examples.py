"""The scripts of examples/ run as they stand."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from borealis.cli import main
from borealis.training.recipe import load_recipe

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted(p.name for p in (ROOT / "examples").glob("*.py")))
def test_script(script, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    runpy.run_path(f"examples/{script}", run_name="__main__")
    assert len(capsys.readouterr().out.strip()) > 20


@pytest.mark.slow
def test_fine_tuning_recipe(tmp_path, monkeypatch):
    assert load_recipe(ROOT / "examples" / "fine_tune.yaml").stages[0].max_steps == 600
    monkeypatch.chdir(ROOT)
    command = ["train", "examples/fine_tune.yaml", "--data", "examples/audio", "--max-steps", "2"]
    assert main([*command, "--output", str(tmp_path), "--threads", "1"]) == 0
    assert (tmp_path / "final" / "model.safetensors").is_file()
