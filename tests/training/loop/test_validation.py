"""What is measured on the way: losses beside the error rate; a stage that gets no better ends."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from borealis.audio import load_audio
from borealis.data.manifest import read_manifest
from borealis.errors import RecipeError
from borealis.training.loop.stage import run_stage
from borealis.training.loop.validation import Validation, best_of, gain_of
from borealis.training.recipe import load_recipe
from borealis.training.run.settings import stage_settings
from tests.training.keys import a_stage


@pytest.mark.parametrize("adapter", ["mlp", "ctc"])
def test_losses_are_measured_and_training_is_not_touched(
    adapter, make_tiny, batches_of, world, tmp_path
):
    keys = {"validation": {"sources": ["v"], "every": 1}, "max_steps": 2, "warmup_steps": 0}
    keys |= {"precision": "float32", "lora": {"rank": 2, "dropout": 0.5}}
    keys |= {"losses.ctc.weight": 0.3} if adapter == "ctc" else {}
    weights = []
    for watched in (True, False):
        model, processor = make_tiny(adapter)
        batches = batches_of(model, processor, **keys)
        items = read_manifest(world / "speech.jsonl")[:3]
        validation = Validation(batches.stage, batches.context, processor, items)
        run_stage(
            model, batches.stage, batches, tmp_path / str(watched), seed=0, use_cpu=True,
            validation=validation if watched else None,
        )  # fmt: skip
        weights.append({name: p.detach().clone() for name, p in model.named_parameters()})
    assert all(torch.equal(weights[1][name], p) for name, p in weights[0].items())
    folder = tmp_path / "True/checkpoint-2"
    measured = json.loads((folder / "validation.json").read_text("utf-8"))
    names = {"mlp": {"lm"}, "ctc": {"lm", "ctc"}}[adapter]
    assert measured["losses"].keys() == names and all(
        0 < v < 99 for v in measured["losses"].values()
    )
    state = json.loads((folder / "trainer_state.json").read_text("utf-8"))
    rows = [row for row in state["log_history"] if "wer" in row]
    assert [row["step"] for row in rows] == [0, 1, 2]  # before the first step, too
    assert all(row.keys() == {"step", "wer", *(f"eval_{name}" for name in names)} for row in rows)
    assert rows[0]["eval_lm"] != rows[1]["eval_lm"]


def test_a_loss_is_the_mean_over_all_answer_tokens(make_tiny, batches_of, world, tmp_path):
    """One after another, the recordings lose what they lose in one padded batch."""
    from borealis.training.data.packing import padded
    from borealis.training.loop.trainer import StageTrainer
    from borealis.training.losses.stage import stage_losses

    model, processor = make_tiny("mlp")
    batches = batches_of(model, processor, max_steps=1, precision="float32")
    items = read_manifest(world / "speech.jsonl")[:3]
    validation = Validation(batches.stage, batches.context, processor, items)
    trainer = StageTrainer(model, batches.stage, batches, tmp_path, seed=0, use_cpu=True)
    found = validation.measure(trainer)["losses"]["lm"]
    single = list(validation._batches())
    rows = [(b["input_ids"][0].tolist(), b["labels"][0].tolist()) for b in single]
    heard = processor.extract_features([load_audio(item.audio) for item in items])
    together = {"mode": "audio"} | padded(rows, processor.tokenizer.pad_token_id) | {
        key: heard[key] for key in ("input_features", "num_samples")
    }  # fmt: skip
    model.eval()
    with torch.no_grad():
        expected = float(stage_losses(model, together, batches.stage)["lm"])
    assert found == pytest.approx(expected, abs=1e-4)


def test_the_best_is_the_earliest_of_the_lowest():
    rows = [{"step": n, "wer": w} for n, w in ((2, None), (4, 0.5), (6, 0.3), (8, 0.3), (10, None))]
    assert best_of([]) == best_of(rows[:1]) == (0, 0)
    assert best_of([*rows, {"step": 11, "loss": 1.0}]) == (6, 2)


# ---- patience ----


def history(run) -> list[dict]:
    newest = max((run / "instruct").glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    return [
        {k: v for k, v in row.items() if k not in ("seconds", "audio_hours")}
        for row in json.loads((newest / "trainer_state.json").read_text("utf-8"))["log_history"]
    ]


@pytest.mark.slow
def test_a_stage_that_gets_no_better_ends_with_its_best_weights(
    large, run_train, tmp_path, caplog, capsys
):
    caplog.set_level("INFO")
    # A rate at which no transcript changes: what was there before the first step stays the best.
    recipe = large(
        max_steps=9, save_steps=9, learning_rate=1e-7, keep_checkpoints=1,
        validation={"sources": ["speech"], "every": 2, "clips": 2, "patience": 2},
    )  # fmt: skip
    run = tmp_path / "run"
    assert run_train(recipe, run) == 0
    assert "no WER was below the one before it; its weights stay" in caplog.text
    assert "no better than before" in capsys.readouterr().out
    [stage] = json.loads((run / "run.json").read_text("utf-8"))["stages"]
    assert (
        stage["steps"] == 4
        and stage["word_error_rate"]["before"] == stage["word_error_rate"]["after"]
    )
    kept = sorted(p.name for p in (run / "instruct").glob("checkpoint-*"))
    assert kept == ["checkpoint-0", "checkpoint-4"]
    end, best, last = (
        load_file(run / "instruct" / name / "model.safetensors") for name in (".", *kept)
    )
    assert all(torch.equal(end[name], best[name]) for name in end)
    assert not all(torch.equal(end[name], last[name]) for name in end)
    # Run again it is done; cut off at any place it ends the same way.
    caplog.clear()
    assert run_train(recipe, run) == 0
    assert "stage instruct is done already: 4 steps" in caplog.text
    rows = history(run)
    for gone in (["model.safetensors"], ["model.safetensors", "checkpoint-4"]):
        shutil.rmtree(run / "final")
        for name in gone:
            place = run / "instruct" / name
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        assert run_train(recipe, run) == 0
        again = load_file(run / "final/model.safetensors")
        assert all(torch.equal(end[name], again[name]) for name in end)
        assert history(run) == rows
    # Without its best checkpoint there is nothing to go back to.
    (run / "instruct/model.safetensors").unlink()
    shutil.rmtree(run / "instruct/checkpoint-0")
    assert run_train(recipe, run) == 2
    assert "checkpoint-0', where they were, is gone" in capsys.readouterr().err


def test_validation_that_may_end_a_stage_belongs_to_the_run(large):
    measured = {"sources": ["speech"], "every": 2, "clips": 2}
    harmless = stage_settings(load_recipe(large(validation=measured)), "instruct")
    assert not [key for key in harmless if "validation" in key]
    ending = stage_settings(load_recipe(large(validation=measured | {"patience": 3})), "instruct")
    assert ending["stages.instruct.validation.patience"] == 3
    assert "stages.instruct.validation.every" in ending
    with pytest.raises(RecipeError, match=r"needs validation\.sources"):
        load_recipe(large(validation={"patience": 1}))
    assert a_stage().validation.patience is None


def test_the_gain_is_told_of_the_weights_that_a_stage_ends_with():
    rows = [{"step": n, "wer": rate} for n, rate in ((0, 0.5), (2, 0.3), (4, 0.4), (6, 0.45))]
    assert gain_of(rows, best=False) == {"before": 0.5, "after": 0.45}
    assert gain_of(rows, best=True) == {"before": 0.5, "after": 0.3}
    assert gain_of(rows[1:3], best=False) == {"after": 0.4}
    assert gain_of([{"step": 1, "loss": 3.0}, {"step": 2, "wer": None}], best=False) == {}


def test_what_was_measured_before_the_first_step_may_stay_the_best():
    rows = [{"step": n, "wer": rate} for n, rate in ((0, 0.2), (2, 0.4), (4, 0.5))]
    assert best_of(rows) == (0, 2)


def test_letters_of_recordings_are_learned_and_measured_at_any_length(
    make_tiny, batches_of, world, tmp_path
):
    """Recordings have as many encoder frames as they have; nobody rounds them up for CTC alone."""
    keys = {"tasks": {"letters": {}}, "losses.ctc.weight": 1.0, "trainable": ["adapter"]}
    keys |= {"max_steps": 3, "validation": {"sources": ["v"], "every": 3}, "precision": "float32"}
    model, processor = make_tiny("ctc")
    batches = batches_of(model, processor, **keys)
    items = read_manifest(world / "speech.jsonl")
    validation = Validation(batches.stage, batches.context, processor, items)
    run_stage(
        model, batches.stage, batches, tmp_path, seed=0, use_cpu=True, validation=validation
    )  # fmt: skip
    measured = json.loads((tmp_path / "checkpoint-3/validation.json").read_text("utf-8"))
    assert measured["losses"].keys() == {"ctc"} and 0 < measured["losses"]["ctc"] < 99
