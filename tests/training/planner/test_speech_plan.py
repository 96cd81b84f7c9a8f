"""A codec's tokens in a plan: as many rows as the run gets, counted where they learn."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from borealis.cli import main
from borealis.training.planner import Options, PlanError, plan_recipe
from borealis.training.planner.recipes import recipe_config, vocabulary_line
from borealis.training.recipe import load_recipe
from borealis.training.start.model import make_model
from tests.training.planner.test_plan_command import a_recipe

LARGE = {"audio_tower": "openai/whisper-large-v3", "language_model": "Qwen/Qwen3-4B"}


def with_speech(trainable: list[str], lora: bool = False, **speech):
    stage = {"name": "speak", "max_steps": 10, "optimizer": {"learning_rate": 1e-4}, "features": ["all"], "trainable": trainable}  # fmt: skip
    speech = {"codec": "encodec_24khz", "num_codebooks": 2} | speech
    return a_recipe(
        model=LARGE | {"speech": speech}, stages=[stage | ({"lora": {}} if lora else {})]
    )


def test_rows_of_a_large_model_and_what_they_cost():
    plain = plan_recipe(a_recipe(), Options())
    result = plan_recipe(with_speech(["speech"]), Options())
    # Of 151,936 rows 264 are spare; 2,051 tokens want 1,787 more, and a multiple of 64 is kept.
    added = 1792 * 2560
    assert result.parameters["total"] == plain.parameters["total"] + added
    assert recipe_config(with_speech([]).model).speech["first_id"] == 151_672
    rows = 2051 * 2560  # the embeddings are tied
    [speak] = result.stages
    adapter = result.parameters["adapter"]
    assert (speak.train, speak.learned_parameters) == ("adapter", adapter + rows)
    assert speak.memory["learned"] == 18 * (adapter + rows)
    assert speak.memory["frozen"] == 2 * (result.parameters["total"] - adapter)
    [both] = plan_recipe(with_speech(["speech"], lora=True), Options()).stages
    assert both.train == "lora" and both.learned_parameters > speak.learned_parameters
    embeddings = (151_936 + 1792) * 2560
    [whole] = plan_recipe(with_speech(["language_model.embed_tokens"]), Options()).stages
    assert (whole.train, whole.learned_parameters) == ("adapter", adapter + embeddings)
    assert whole.memory["total"] > 10 * 2**30 and speak.memory["total"] < whole.memory["total"]


def test_a_line_says_what_is_in_the_vocabulary():
    assert vocabulary_line(with_speech([])) == (
        "153,728 rows: 151,672 of text, 2,051 of the codec encodec_24khz (3 marks, 2 x 1,024 "
        "codes), 5 spare"
    )
    assert vocabulary_line(a_recipe()) == ""


def test_the_plan_has_the_rows_of_the_run(large, codec, world, capsys, tmp_path):
    value = yaml.safe_load(Path(large()).read_text("utf-8"))
    value["model"]["speech"] = {"codec": str(codec), "num_codebooks": 3}
    path = tmp_path / "speaks.yaml"
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    recipe = load_recipe(path)
    planned, (model, _, _) = recipe_config(recipe.model), make_model(recipe, world)
    assert planned.text_config.vocab_size == model.config.text_config.vocab_size
    assert planned.speech == model.config.speech
    assert main(["plan", str(path)]) == 0
    assert "51 of the codec" in capsys.readouterr().out


def test_what_the_planner_cannot_see_is_told():
    with pytest.raises(PlanError, match="can't see the codec 'someone/codec'"):
        plan_recipe(with_speech(["speech"], codec="someone/codec"), Options())
    recipe = with_speech(["speech"])
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"speech": None})})
    with pytest.raises(PlanError, match=r"trains speech; say of which codec: model\.speech"):
        plan_recipe(recipe, Options())
