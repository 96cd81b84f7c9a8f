"""Twenty steps of `align` and of `instruct` with LoRA lose what they lost when this was written.

    GOLDEN_UPDATE=1 python -m pytest tests/training/loop/test_golden.py

writes the curves anew, after a change that is meant to change them; `git diff` shows by how much.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

GOLDEN = Path(__file__).with_name("golden_losses.json")
STEPS = 20
# A step's rounding differs between processors, and each step adds to it.
FIRST, FIRST_TOLERANCE, TOLERANCE = 3, 1e-4, 1e-3
STAGES = {
    "align": {
        "trainable": ["adapter"],
        "sources": ["speech"],
        "tasks": {"transcription": {}},
        "presets": ["none"],
        "learning_rate": 0.05,
    },
    "instruct": {
        "trainable": ["adapter"],
        "lora": {
            "rank": 4,
            "alpha": 16,
            "dropout": 0.05,
            "target_modules": ["q_proj", "v_proj", "up_proj", "down_proj"],
        },
        "presets": ["none", "light"],
        "batches_per_step": 2,
        "learning_rate": 0.02,
    },
}


def curve(large, run_train, folder: Path, stage: str) -> list[float]:
    """Losses of a stage of the tiny world, in float32 on one thread."""
    recipe = large(max_steps=STEPS, save_steps=STEPS, **STAGES[stage])
    assert run_train(recipe, folder) == 0
    state = json.loads(
        (folder / "instruct" / f"checkpoint-{STEPS}/trainer_state.json").read_text("utf-8")
    )
    return [row["loss"] for row in state["log_history"] if "loss" in row]


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_the_loss_curve_is_the_golden_one(stage, large, run_train, tmp_path):
    losses = curve(large, run_train, tmp_path, stage)
    golden = json.loads(GOLDEN.read_text("utf-8")) if GOLDEN.is_file() else {}
    if os.environ.get("GOLDEN_UPDATE"):
        golden[stage] = [round(loss, 6) for loss in losses]
        GOLDEN.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
    assert len(losses) == STEPS
    assert losses[:FIRST] == pytest.approx(golden[stage][:FIRST], rel=FIRST_TOLERANCE)
    assert losses == pytest.approx(golden[stage], rel=TOLERANCE)
    # It falls further than the tolerance; not far, for the random model's embeddings are frozen.
    assert min(losses[-5:]) < (1 - 3 * TOLERANCE) * min(losses[:FIRST])
