"""Datasets that share recordings: a stage may not be measured on what it learns from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from borealis.data.entries import known_entries, overlapping
from borealis.errors import RecipeError
from borealis.training.recipe.schema import Recipe
from borealis.training.recipe.stage import StageSection


def refuse_leaks(recipe: Recipe, data: Path) -> None:
    """Refuse a recipe in which validation is known to share recordings with training.

    Args:
        recipe: all stages count: what one has learned, the next one knows.
        data: data folder; a user's entries are in `datasets/` there.

    Raises:
        RecipeError: a source of training overlaps with one of validation.
        EntryError: an entry of the user's can't be used.
    """
    entries = known_entries(data / "datasets")
    datasets = {name: s.dataset for name, s in recipe.data.sources.items() if s.dataset}
    measured = {name for stage in recipe.stages for name in stage.validation.sources}
    for stage in recipe.stages:
        for name in _learned(recipe, stage):
            for other in sorted(measured):
                one, two = datasets.get(name), datasets.get(other)
                if one and two and overlapping(one, two, entries):
                    raise RecipeError(
                        f"Stage '{stage.name}' learns from '{name}' ({one}), which shares "
                        f"recordings with the validation '{other}' ({two}): its error rate would "
                        "look better than it is. Leave one of the two out."
                    )


def _learned(recipe: Recipe, stage: StageSection) -> Iterator[str]:
    yield from stage.sources
    for feature in stage.features:
        parts = recipe.data.features.get(feature, ())
        yield from (part.source for part in parts if part.source)
