"""The scripts of examples/ run as they stand."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

import borealis
from borealis.checkpoints import resolve_checkpoint
from borealis.cli import main
from borealis.inference.scope import Scope
from borealis.training.recipe import load_recipe

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted(p.name for p in (ROOT / "examples").glob("*.py")))
def test_script(script, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    runpy.run_path(f"examples/{script}", run_name="__main__")
    assert len(capsys.readouterr().out.strip()) > 20


@pytest.mark.slow
def test_the_lesson_on_speech_runs_with_a_model_that_speaks(speaking_folder, capsys, monkeypatch):
    model = borealis.load(speaking_folder)
    model.scope = Scope.of_checkpoint(resolve_checkpoint("nano"))  # its answers are words
    monkeypatch.setattr(borealis, "load", lambda: model)
    monkeypatch.chdir(ROOT)
    runpy.run_path("examples/speak.py", run_name="__main__")
    printed = capsys.readouterr().out
    assert "anna: ru, female" in printed and "Synthetic speech" in printed
    assert "Посылка весит 25 кг её привезут в 18:30 True" in printed


@pytest.mark.slow
def test_a_program_has_a_text_read_by_the_demo(speaking_folder, capsys, monkeypatch):
    model = borealis.load(speaking_folder)
    monkeypatch.setattr(borealis, "load", lambda: model)
    runpy.run_path(str(ROOT / "examples" / "demo_speak.py"), run_name="__main__")
    assert "train twenty five leaves at" in capsys.readouterr().out


@pytest.mark.slow
def test_fine_tuning_recipe(tmp_path, monkeypatch):
    assert load_recipe(ROOT / "examples" / "fine_tune.yaml").stages[0].max_steps == 600
    monkeypatch.chdir(ROOT)
    command = ["train", "examples/fine_tune.yaml", "--data", "examples/audio", "--max-steps", "2"]
    assert main([*command, "--output", str(tmp_path), "--threads", "1"]) == 0
    assert (tmp_path / "final" / "model.safetensors").is_file()
