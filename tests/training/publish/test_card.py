"""The card of a published model says how it was made, and nothing of its maker's disk."""

from __future__ import annotations

import pytest
import yaml
from transformers import AutoModelForSpeechSeq2Seq

from borealis.training.publish.card import model_card
from borealis.training.recipe import Recipe

STAGE = {"name": "tune", "max_steps": 2, "optimizer": {"learning_rate": 0.1}, "sources": ["own", "hub", "set"]}  # fmt: skip


def card_of(config, checkpoint: str, dataset: str, **record) -> tuple[dict, str, str]:
    """Head, text and recipe of the card of a run that began with a checkpoint."""
    recipe = Recipe(
        name="mine",
        model={"checkpoint": checkpoint},
        data={
            "sources": {
                "own": {"manifest": "/srv/anna/data/own.jsonl"},
                "hub": {"dataset": "golos"},
                "set": {"dataset": dataset, "columns": {"text": "said"}},
            }
        },
        stages=[STAGE],
        notes="Made by hand and/or luck: /dev/null, 3/4 of it.",
    )
    stages = [{"stage": "tune", "steps": 2, "seconds": 4.0}]
    run = {"recipe": recipe.model_dump(mode="json"), "stages": stages, "threads": 1} | record
    card = model_card(config, run, [], licence="mit")
    _, head, text = card.split("---\n", 2)
    return yaml.safe_load(head), text, text.split("```yaml\n")[1].split("```")[0]


@pytest.mark.parametrize(
    "checkpoint",
    [
        "/srv/anna/runs/base",
        "./runs/base",
        "../base",
        "~/base",
        "C:\\\\models\\\\base",
        "a/b/base",
    ],
)
def test_paths_are_shortened_to_their_last_part(checkpoint, tiny_config):
    checkpoint = checkpoint.replace("\\\\", "\\")
    head, text, shown = card_of(tiny_config, checkpoint, "/mnt/disk/voices")
    assert checkpoint not in text and "/mnt" not in text and "anna" not in text
    assert "base_model" not in head and head["datasets"] == ["bond005/sberdevices_golos_10h_crowd"]
    recipe = Recipe(**yaml.safe_load(shown))
    assert recipe.model.checkpoint == "base" and recipe.data.sources["set"].dataset == "voices"
    assert recipe.data.sources["own"].manifest == "own.jsonl"
    assert "only the last part is shown" in text and "and/or luck: /dev/null, 3/4 of it" in text


def test_a_folder_that_looks_like_a_hub_id_is_no_base_model(tiny_config):
    local = ["runs/base", "my/voices"]
    head, text, _ = card_of(tiny_config, *local, local=local)
    assert "base_model" not in head and "runs/base" not in text and "my/voices" not in text
    head, text, shown = card_of(tiny_config, "org/model", "org/voices", local=[])
    assert head["base_model"] == ["org/model"] and "org/voices" in head["datasets"]
    assert "checkpoint: org/model" in shown


def test_no_key_of_a_recipe_shows_a_place_on_the_disk(tiny_config):
    """Whatever may be a path is given as one: the maker's name is in none of the card."""
    home = "/srv/anna/disk"
    recipe = Recipe(
        name="mine",
        model={
            "audio_tower": f"{home}/whisper",
            "language_model": f"{home}/qwen",
            "ngram": {
                "corpora": [f"{home}/a.txt"],
                "word_bits": 8,
                "word_corpora": [f"{home}/b.txt"],
            },
        },
        data={
            "optional": [f"{home}/c.txt"],
            "corpora": [f"{home}/c.txt"],
            "features": {"clean": [{"manifest": f"{home}/d.jsonl"}]},
            "sources": {
                "calls": {"folder": f"{home}/calls"},
                "set": {"dataset": f"{home}/set", "columns": {"text": "said"}},
            },
        },
        stages=[STAGE | {"sources": ["calls", "set"], "validation": {"sources": ["calls"]}}],
    )
    stages = [{"stage": "tune", "steps": 2, "seconds": 4.0}]
    run = {"recipe": recipe.model_dump(mode="json"), "stages": stages, "threads": 1}
    measured = {
        "metrics": {"word_error_rate": 0.1},
        "data": {"manifest": {"manifest": f"{home}/e.jsonl"}},
    }
    card = model_card(tiny_config, run, [measured], licence="mit")
    assert "anna" not in card and "/srv" not in card
    assert all(name in card for name in ("whisper", "qwen", "calls", "d.jsonl", "| e.jsonl |"))


def test_the_card_declares_no_task_that_fails(tiny_config):
    """transformers' pipeline for speech recognition takes no model of this kind."""
    head, _, _ = card_of(tiny_config, "org/model", "org/voices", local=[])
    assert head["pipeline_tag"] == "audio-text-to-text"
    with pytest.raises(ValueError, match="Unrecognized configuration class"):
        AutoModelForSpeechSeq2Seq.from_config(tiny_config)
