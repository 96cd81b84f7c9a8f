"""Which keys of a recipe and which data a part of a run depends on, and how two of them differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from borealis.training.data.sources import made_manifest
from borealis.training.recipe import ModelSection, Recipe, SourceSection, StageSection
from borealis.training.run.record import Made

# Keys that change no weight; all others may not differ when a part of a run is used again. Nor does
# it matter where data and run lie, how many threads, processes or GPUs there are, what an hour
# costs, and where the compact form is put: none of that is a key. Validation matters where a stage
# may end by it.
HARMLESS: dict[type[BaseModel], dict[str, Any]] = {
    ModelSection: {"decoding": True},  # every command puts it into the finished model
    SourceSection: {"streaming": True},
    StageSection: {
        "checkpoints": True,
        "log": True,
        "validation": True,
        "batch": {"workers"},
        "compute": {"gradient_checkpointing"},
    },
}

_GONE = object()


def start_settings(recipe: Recipe) -> dict[str, Any]:
    """Keys that the model of the beginning depends on, with their values."""
    found = {"seed": recipe.seed} | leaves("model", _values(recipe.model))
    if start_reads_corpora(recipe.model):
        found["data.corpora"] = recipe.data.corpora
    return found


def stage_settings(recipe: Recipe, name: str) -> dict[str, Any]:
    """Keys that a stage depends on besides the part before it, with their values."""
    stage = stage_of(recipe, name)
    if stage is None:
        return {}
    data = recipe.data
    found = {"seed": recipe.seed} | leaves(f"stages.{name}", _values(stage))
    for key in stage.features:
        passes = [_values(part) for part in data.features.get(key, [])]
        found |= leaves(f"data.features.{key}", passes)
    for key in _learned_speech(stage):
        found |= leaves(f"data.speech.{key}", [_values(part) for part in data.speech.get(key, [])])
        found["data.aligner"] = data.aligner
    for key in _sources(recipe, stage):
        if key in data.sources:
            found |= leaves(f"data.sources.{key}", _values(data.sources[key]))
    if stage.reads_corpora:
        found["data.corpora"] = data.corpora
    return found


def _values(section: BaseModel) -> dict[str, Any]:
    harmless = HARMLESS.get(type(section))
    if isinstance(section, StageSection) and section.validation.patience and harmless:
        harmless = {key: value for key, value in harmless.items() if key != "validation"}
    return section.model_dump(mode="json", exclude=harmless)


def leaves(key: str, value: Any) -> dict[str, Any]:
    """Leaves of nested values by their paths; a list of plain values is a leaf."""
    if isinstance(value, dict) and value:
        return {
            k: v for name, sub in value.items() for k, v in leaves(f"{key}.{name}", sub).items()
        }
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return {k: v for i, sub in enumerate(value) for k, v in leaves(f"{key}.{i}", sub).items()}
    return {key: value}


def stage_of(recipe: Recipe, name: str) -> StageSection | None:
    return next((stage for stage in recipe.stages if stage.name == name), None)


def _sources(recipe: Recipe, stage: StageSection, *, measured: bool = False) -> list[str]:
    parts = [part for name in stage.features for part in recipe.data.features.get(name, [])]
    passed = [part.source for part in parts if part.source]
    counts = measured or stage.validation.patience
    last = stage.validation.sources if counts else []
    return list(dict.fromkeys([*stage.sources, *stage.talk_sources, *passed, *last]))


def _learned_speech(stage: StageSection, *, measured: bool = False) -> list[str]:
    if measured:
        return stage.speech_sets
    return stage.changed({"validation.speech": []}).speech_sets


def manifests_of(recipe: Recipe, stage: StageSection, *, measured: bool = False) -> list[str]:
    """Names in the data folder of all manifests and folders that a stage learns from.

    Args:
        recipe: has the stage.
        stage: which.
        measured: those that it is measured on, too, even if they don't change its weights.
    """
    parts = [part for name in stage.features for part in recipe.data.features.get(name, [])]
    names = [part.manifest for part in parts if part.manifest]
    for name in _learned_speech(stage, measured=measured):
        names += [part.manifest for part in recipe.data.speech.get(name, [])]
    for name in _sources(recipe, stage, measured=measured):
        if (section := recipe.data.sources.get(name)) is not None:
            names.append(section.manifest or section.folder or made_manifest(name))
    return list(dict.fromkeys(names))


def start_reads_corpora(model: ModelSection) -> bool:
    return bool(model.text_config) or (model.ngram is not None and not model.ngram.corpora)


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Which values by paths are other ones, as `key: old -> new`."""
    found = []
    for key in dict.fromkeys((*before, *after)):
        a, b = before.get(key, _GONE), after.get(key, _GONE)
        if a != b:
            found.append(f"{key}: {_shown(a)} -> {_shown(b)}")
    return found


def differences(old: Made, new: Made, settings: Any, *name: str) -> list[str]:
    """What of one part differs between two records, as `key: old -> new`.

    Args:
        old: the record in the folder.
        new: what is wanted.
        settings: `start_settings` or `stage_settings`.
        name: of the stage.
    """
    told = changes(*(settings(made.recipe, *name) for made in (old, new)))
    for key in dict.fromkeys((*old.files, *new.files)):
        one, two = old.files.get(key), new.files.get(key)
        if key.startswith("model."):
            # A hub id has no digest, and weights that are gone aren't needed: `start` has them.
            if one and two and one != two and not any(t.startswith(f"{key}:") for t in told):
                told.append(f"{key}: the weights there have changed")
        elif one != two:
            what = "has changed" if one and two else "wasn't there" if two else "is gone"
            told.append(f"'{key}' {what}")
    return told


def _shown(value: Any) -> str:
    return "nothing" if value is _GONE else json.dumps(value, ensure_ascii=False)
