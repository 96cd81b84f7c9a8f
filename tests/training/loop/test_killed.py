"""kill -9 in any stage, at any step, in any state of a file: the run goes on as if nothing was."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.conftest import ROOT
from tests.training.keys import ASKED, spelled

STAGES = ("letters", "align", "instruct", "recordings")


@pytest.fixture
def recipe(world, tmp_path) -> str:
    """Every kind of stage: CTC has its own test; here all go through the language model.

    `letters` is plain text, `align` teaches an `mlp` adapter from a feature cache of a source
    through the frozen language model, `instruct` adds LoRA to that, `recordings` reads audio anew,
    with LoRA of both towers, distortions, conversations without sound and two batches a step.
    """
    common = {
        "max_steps": 4, "learning_rate": 1e-3, "warmup_steps": 1, "batch_seconds": 12,
        "batch_tokens": 1200, "precision": "float32", "logging_steps": 1, "save_steps": 1,
    }  # fmt: skip
    lora = {"rank": 2, "alpha": 4, "dropout": 0.1}
    value = {
        "name": "killed",
        "model": {
            "audio_tower": str(world / "whisper"), "language_model": str(world / "llm"),
            "config": {"adapter_type": "mlp", "encoder_window": "cut"},
        },
        "data": {
            "corpora": ["corpus.txt"],
            "sources": {name: {"manifest": f"{name}.jsonl"} for name in ("speech", "asked", "chat")},
            "features": {
                "clean": [{"source": "speech"}, {"source": "asked"}],
                "rough": [{"manifest": "speech.jsonl", "augment": "light"}],
            },
        },
        "stages": [
            common | {"name": "letters", "tasks": {"text": {}}, "trainable": ["language_model"]},
            common | {"name": "align", "trainable": ["adapter"], "features": ["clean", "rough"], "augment": {"time_mask": 0.1, "style_mix": 0.5}},
            common | {"name": "instruct", "trainable": ["adapter"], "features": ["clean", "rough"], "lora": lora, "tasks": {"text": {"share": 0.15}, "chat": {"share": 0.05}, "transcription": ASKED | {"share": 0.8}}},
            common | {"name": "recordings", "trainable": ["adapter"], "lora": lora, "encoder_lora": {"rank": 2, "target_modules": ["q_proj"]}, "sources": ["speech", "asked"], "tasks": {"conversations": {"share": 0.25, "sources": ["chat"]}, "transcription": ASKED | {"share": 0.75}}, "presets": ["none", "rough"], "batches_per_step": 2, "gradient_checkpointing": True},
        ],
    }  # fmt: skip
    (world / "corpus.txt").write_text("Мороз и солнце.\nДень чудесный!\n", encoding="utf-8")
    path = tmp_path / "killed.yaml"
    path.write_text(yaml.safe_dump(spelled(value), allow_unicode=True), encoding="utf-8")
    return str(path)


def rows(run: Path, stage: str) -> list[dict]:
    """What the log says of every step: losses by kind, gradient, rate; not the running totals."""
    state = json.loads((run / stage / "checkpoint-4/trainer_state.json").read_text("utf-8"))
    return [
        {key: value for key, value in row.items() if key not in ("seconds", "audio_hours")}
        for row in state["log_history"]
        if "loss" in row
    ]


@pytest.mark.slow
def test_killed_anywhere_it_goes_on_bit_by_bit(world, recipe, run_train, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run_train(recipe, whole) == 0
    # Every run begins with the stages that are done, so the kills of a stage come in its turn.
    # Checkpoints are written at every step: a kill in call n of a function leaves those before.
    chance = random.Random(5)
    kills: list[tuple[str, int]] = [("encode", chance.randint(1, 3))]
    for stage, place in zip(STAGES, ("checkpoint", "model", "learned", "update"), strict=True):
        step = chance.randint(2, 3)
        batches = 2 if stage == "recordings" else 1
        kills.append(("forward", (step - 1) * batches + chance.randint(1, batches)))
        # The model's own files are written after the checkpoints that are left.
        left = 4 - (step - 1)
        kills.append((place, left + 1 if place == "model" else 1))
    plan = {
        "arguments": ["train", recipe, "--data", str(world), "--output", str(cut), "--threads", "1"],
        "kills": kills,
    }  # fmt: skip
    (tmp_path / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    command = [sys.executable, "-m", "tests.training.loop.killed", str(tmp_path / "plan.json")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    statuses = json.loads(done.stdout.strip().splitlines()[-1])
    assert statuses == [-9] * len(kills) + [0], done.stderr[-3000:]
    # The same frames on the disk, the same weights after every stage, the same data in every step.
    for name in ("clean", "rough"):
        for file in ("frames.npy", "index.jsonl"):
            assert (whole / "features" / name / file).read_bytes() == (cut / "features" / name / file).read_bytes()  # fmt: skip
    for stage in (*STAGES, "final"):
        one, two = (load_file(run / stage / "model.safetensors") for run in (whole, cut))
        assert one.keys() == two.keys()
        assert [k for k in one if not torch.equal(one[k], two[k])] == [], stage
    for stage in STAGES:
        assert rows(whole, stage) == rows(cut, stage) and len(rows(whole, stage)) == 4
    assert not [p for p in cut.rglob("*") if "partial" in p.name]
