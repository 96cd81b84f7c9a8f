"""The scripts of examples/ run as they stand."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from borealis.training.recipe import load_recipe

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted(p.name for p in (ROOT / "examples").glob("*.py")))
def test_script(script, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    runpy.run_path(f"examples/{script}", run_name="__main__")
    assert len(capsys.readouterr().out.strip()) > 20


@pytest.mark.slow
def test_fine_tuning_recipe(tmp_path):
    assert load_recipe(ROOT / "examples" / "fine_tune.yaml").stages[0].max_steps == 600
    command = [sys.executable, "-m", "borealis", "train", "examples/fine_tune.yaml", "--data", "examples/audio", "--output", str(tmp_path), "--max-steps", "2"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "final" / "model.safetensors").is_file()
