"""Recipes of every size: plan against the real model, changed keys, the dry run."""

from __future__ import annotations

import pytest
import torch

from borealis.cli import main
from borealis.errors import RecipeError
from borealis.model import BorealisForConditionalGeneration
from borealis.training.planner import GPUS, Options, plan_recipe
from borealis.training.planner.recipes import recipe_config
from borealis.training.recipe import bundled_recipes, load_recipe
from borealis.training.recipe.resolve import resolve

SIZES = ("0.6b", "0.6b-speech", "1.7b", "5b", "5b-adapter-only", "5b-turbo")


def test_every_size_has_a_recipe() -> None:
    assert set(bundled_recipes()) >= {"nano", "nano-speech", *SIZES}


@pytest.mark.parametrize("name", ["nano", *SIZES])
def test_planned_parameters_are_those_of_the_model(name: str) -> None:
    recipe = load_recipe(name)
    with torch.device("meta"):
        model = BorealisForConditionalGeneration(recipe_config(recipe.model))
    real = sum(p.numel() for p in model.parameters())
    assert plan_recipe(recipe, Options()).parameters["total"] == real


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("name", ["nano", *SIZES])
def test_the_whole_bill_of_a_recipe_stays_within_the_budget(name: str, gpu: str) -> None:
    bill = plan_recipe(load_recipe(name), Options(gpu=gpu)).bill
    assert bill.training < bill.total < 2000


@pytest.mark.parametrize("name", SIZES)
def test_large_recipes_fit_one_gpu_and_hear_what_they_say(name: str) -> None:
    recipe = load_recipe(name)
    plan = plan_recipe(recipe, Options())
    assert plan_recipe(recipe, Options(gpu="rtx4090")).fits
    for stage, cost in zip(recipe.stages, plan.stages, strict=True):
        heard = stage.max_steps * stage.batch.per_step * stage.batch.seconds / 3600
        silent = stage.tasks.share("conversations", "speech", "listening")
        assert cost.audio_hours == pytest.approx(heard * (1 - silent))
        # Recordings without a feature cache are encoded whenever they are heard.
        assert cost.encoded_hours == cost.audio_hours
        assert stage.batch.per_step % 4 == 0


@pytest.mark.parametrize("name", SIZES)
def test_every_key_of_a_large_recipe_is_in_its_place(name: str) -> None:
    recipe = load_recipe(name)
    for stage in recipe.stages:
        named = {*stage.sources, *stage.talk_sources, *stage.validation.sources}
        assert named <= set(recipe.data.sources)
        assert set(stage.speech_sets) <= set(recipe.data.speech)


def test_keys_are_changed_by_their_path() -> None:
    changes = ["seed=3", "stages.align.max_steps=7", "stages.*.checkpoints.every=9", "stages.align.optimizer.learning_rate=1e-5"]  # fmt: skip
    recipe = load_recipe("5b", [*changes, "model.config.adapter_type=deep"])
    assert recipe.seed == 3 and recipe.model.config["adapter_type"] == "deep"
    assert (
        recipe.stage("align").max_steps == 7
        and recipe.stage("align").optimizer.learning_rate == 1e-5
    )
    assert [s.checkpoints.every for s in recipe.stages] == [9, 9]
    nano = load_recipe("nano", ["stages.align.features.0=english"])
    # The two stages share the list in the file, not in the change.
    assert nano.stage("align").features[0] == "english"
    assert nano.stage("instruct").features[0] != "english"


def test_recordings_that_may_be_missing_end_no_stage(tmp_path) -> None:
    """The recipe of the tutorial does without recordings that are held back."""
    (tmp_path / "manifest.jsonl").write_text('{"audio": "a.wav"}', encoding="utf-8")
    recipe = load_recipe("examples/fine_tune.yaml")
    whole, _ = resolve(recipe, tmp_path, None, None)
    assert not whole.stages[0].validation.sources and whole.stages[0].validation.patience is None
    assert whole.stages[0].features == recipe.stages[0].features
    (tmp_path / "validation.jsonl").write_text('{"audio": "b.wav"}', encoding="utf-8")
    assert resolve(recipe, tmp_path, None, None)[0].stages == recipe.stages


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("stages.align.max_steps=0", "stages.align.max_steps: Input should be greater"),
        ("stages.align.colour=red", "stages.align.colour: Extra inputs"),
        ("stages.sing.max_steps=1", "no 'sing'; it has align, instruct"),
        ("model.audio_tower.size=1", "audio_tower"),
        ("seed.deep.er=1", "seed"),
        ("seed", "key=value"),
        ("seed=[", "isn't valid YAML"),
        ("stages.align.features=[a]", "give features or sources"),
        ("stages.align.augment.style_mix=0.1", "goes with features"),
        ("stages.instruct.compute.precision=auto", "needs precision bfloat16"),
        ("data.sources.golos.manifest=m", "one of manifest, folder, dataset"),
    ],
)
def test_mistakes_name_the_path(change: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says.replace("[", r"\[")):
        load_recipe("5b", [change])


def test_dry_run_tells_and_does_nothing(tmp_path, capsys) -> None:
    output = tmp_path / "run"
    arguments = ["train", "5b", "--dry-run", "--data", str(tmp_path), "--output", str(output)]
    assert (
        main([*arguments, "--gpu", "rtx4090", "stages.align.max_steps=90", "--price", "0.5"]) == 0
    )
    out = capsys.readouterr().out
    for words in ("4.68B", "RTX 4090", "$0.5 an hour", "align: 90 steps of 8 batches, 720 in all", "from golos, golos-far", "yet: 8 of 8", "bill        $"):  # fmt: skip
        assert words in out
    assert not output.exists()
    assert main([*arguments, "stage=align", "--gpu", "l4"]) == 0
    out = capsys.readouterr().out
    assert "instruct" not in out and f"$0.44 an hour: {GPUS['l4'].price_source}" in out
    assert main([*arguments, "stage=sing"]) == 2
    assert "no stage 'sing'" in capsys.readouterr().err
    assert main(["train", "nano", "--dry-run", "--price", "-1"]) == 2
