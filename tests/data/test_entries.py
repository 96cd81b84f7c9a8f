"""Entries of datasets: files that say what they must, and mistakes that name the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from borealis.cli import main
from borealis.data.entries import EntryError, bundled_entries, known_entries, overlapping
from borealis.errors import RecipeError
from borealis.training.recipe import Recipe, bundled_recipes, load_recipe
from borealis.training.recipe.resolve import resolve


@pytest.mark.parametrize("name", bundled_entries())
def test_an_entry_of_the_package_says_what_one_must_know(name):
    entry = bundled_entries()[name]
    assert entry.repository.count("/") == 1 and entry.columns
    assert entry.licence and entry.known_from, "its licence, and how the columns are known"


def test_entries_that_share_recordings_say_so_both_ways():
    entries = known_entries()
    for name, entry in entries.items():
        assert all(name in entries[other].overlaps for other in entry.overlaps)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("columns: {text: said}", "key repository: it is needed"),
        ("repository: a/b\ncolour: red", "key colour: there is no such key; there are repository"),
        ("repository: a/b\ncolumns: {said: text}", "key columns.said: input should be 'audio'"),
        ("repository: a/b\nlanguage: de", "key language: input should be 'ru', 'en'"),
        ("repository: a/b\nhours: none", "key hours: input should be a valid number"),
        ("- a\n- b", "must hold keys: repository, config"),
        ("repository: [", "isn't a YAML file"),
        ("1: 2", "keys are words"),
    ],
)
def test_a_mistake_names_the_file_and_the_key(tmp_path, text, words):
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(EntryError, match=r"mine\.yaml") as caught:
        known_entries(tmp_path)
    assert words in str(caught.value)


def test_an_entry_of_ours_is_not_replaced_in_silence(tmp_path):
    (tmp_path / "golos.yaml").write_text("repository: a/b", encoding="utf-8")
    with pytest.raises(EntryError, match="an entry 'golos' already"):
        known_entries(tmp_path)
    (tmp_path / "golos.yaml").rename(tmp_path / "mine.yaml")
    (tmp_path / "mine.yaml").write_text("repository: a/b\noverlaps: [gollos]", encoding="utf-8")
    with pytest.raises(EntryError, match="key overlaps: there is no entry 'gollos'"):
        known_entries(tmp_path)


def test_a_folder_of_entries_is_named_in_the_command(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text("repository: org/calls\nnote: calls", encoding="utf-8")
    command = ["data", "hub", "--output", str(tmp_path / "data"), "--entries"]
    assert main([*command, str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "org/calls  (licence: see the card; calls)" in out
    assert "(licence: cc-by-4.0; with punctuation; 98 h; shares recordings with tone-ruls; " in out
    assert main([*command, str(tmp_path / "none")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def recipe(training: str, validation: str, **section: object) -> Recipe:
    """A recipe that learns from one dataset and is measured on another."""
    sources = {
        "learned": {"dataset": training} | section,
        "measured": {"dataset": validation, "split": "validation"},
    }
    stage = {"name": "tune", "max_steps": 1, "optimizer": {"learning_rate": 0.1}}
    stages = [stage | {"sources": ["learned"], "validation": {"sources": ["measured"]}}]
    return Recipe(
        name="mine", model={"checkpoint": "nano"}, data={"sources": sources}, stages=stages
    )


@pytest.mark.parametrize(
    ("training", "validation"),
    [
        ("tone-ruls", "ruls"),
        ("ruls", "tone-ruls"),
        ("Vikhrmodels/ToneRuLS", "istupakov/russian_librispeech"),
    ],
)
def test_validation_on_what_is_learned_is_refused(tmp_path, training, validation):
    made = recipe(training, validation)
    with pytest.raises(RecipeError, match="shares recordings with the validation 'measured'"):
        resolve(made, tmp_path, None, None)


def test_a_dry_run_tells_of_the_leak_too(tmp_path, capsys):
    changes = ["data.sources.ruls.dataset=tone-ruls", "--data", str(tmp_path)]
    output = ["--output", str(tmp_path / "run")]
    assert main(["train", "5b", "--dry-run", *changes, *output]) == 2
    assert "shares recordings with the validation" in capsys.readouterr().err


def test_splits_of_one_dataset_are_no_leak(tmp_path):
    made = recipe("ruls", "ruls")
    assert resolve(made, tmp_path, None, None)[0] == made
    assert not overlapping("ruls", "fleurs-ru", known_entries())


def test_an_own_entry_says_what_it_overlaps_with(tmp_path: Path):
    folder = tmp_path / "datasets"
    folder.mkdir()
    text = "repository: org/ours\noverlaps: [ruls]"
    (folder / "ours.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"'learned' \(ours\)"):
        resolve(recipe("ours", "ruls"), tmp_path, None, None)


def test_recipes_of_the_package_name_entries_and_leak_nothing(tmp_path):
    for name in bundled_recipes():
        made = load_recipe(name)
        datasets = {s.dataset for s in made.data.sources.values() if s.dataset}
        assert datasets <= set(bundled_entries())
        if datasets:
            for parts in made.data.speech.values():  # these are no datasets
                for part in parts:
                    (tmp_path / part.manifest).touch()
            resolve(made, tmp_path, None, None)
