"""A whole recipe: one YAML file fixes a model, its data and its stages.

Every key has its help and default in the sections; `borealis train --help-recipe` and the
documentation print them from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import Field, ValidationError

from borealis.errors import RecipeError
from borealis.training.recipe.data import DataSection
from borealis.training.recipe.model import ModelSection
from borealis.training.recipe.overrides import key_path, override
from borealis.training.recipe.section import Section
from borealis.training.recipe.stage import StageSection

KINDS = ("codec", "refiner")  # of recipes beside those of models
AnyRecipe = TypeVar("AnyRecipe", bound=Section)


class Recipe(Section):
    """A whole recipe."""

    name: str = Field(description="Name of the model.")
    seed: int = Field(0, description="Seed of everything random.")
    model: ModelSection
    data: DataSection = Field(default_factory=DataSection)
    stages: list[StageSection]
    notes: str = Field("", description="How the published checkpoint was made.")

    def stage(self, name: str) -> StageSection:
        """The stage called `name`; RecipeError names the ones there are."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        known = ", ".join(s.name for s in self.stages)
        raise RecipeError(f"The recipe '{self.name}' has no stage '{name}'; it has {known}.")


def bundled_recipes(kind: str = "") -> dict[str, Path]:
    """Recipes that come with the package, by name.

    Args:
        kind: one of `KINDS`; those of models if empty.
    """
    folder = Path(str(resources.files("borealis") / "recipes")) / kind
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def kind_of(name_or_path: str | Path) -> str:
    """What a recipe is of: `codec`, `refiner`, or a model, then empty.

    Args:
        name_or_path: the name of a bundled one, or a file; its keys tell.
    """
    for kind in KINDS:
        if str(name_or_path) in bundled_recipes(kind):
            return kind
    path = Path(name_or_path)
    if not path.is_file():
        return ""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return ""  # told by who reads it
    found = [kind for kind in KINDS if isinstance(data, dict) and kind in data]
    return found[0] if found else ""


def check_names(stages: Sequence[Any]) -> None:
    """Whether every stage has a name of its own, for validators.

    Raises:
        ValueError: two have the same.
    """
    if len({stage.name for stage in stages}) < len(stages):
        raise ValueError("stages: every stage needs a name of its own")


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by the name of a bundled one or by path; see `read_recipe`."""
    return read_recipe(Recipe, name_or_path, bundled_recipes(), overrides)


def read_recipe(
    kind: type[AnyRecipe],
    name_or_path: str | Path,
    bundled: Mapping[str, Path],
    overrides: Sequence[str] = (),
) -> AnyRecipe:
    """Read a recipe of some kind.

    Args:
        kind: its schema.
        name_or_path: the name of a bundled one, or a path.
        bundled: those of the kind that come with the package, by name.
        overrides: keys to change, `seed=1` or `stages.align.max_steps=100`; a stage is named, an
            item of another list numbered from 0, `*` is every one. Values are YAML.

    Raises:
        RecipeError: no such file, not YAML, or a key is unknown, missing or out of range; the
            message names the key.
    """
    path = bundled.get(str(name_or_path), Path(name_or_path))
    if not path.is_file():
        known = ", ".join(bundled)
        raise RecipeError(f"There is no recipe '{name_or_path}'. Bundled: {known}; or give a path.")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except yaml.YAMLError as error:
        raise RecipeError(f"'{path}' isn't valid YAML: {error}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"'{path}' isn't text in UTF-8.") from None
    if not isinstance(data, dict):
        raise RecipeError(f"'{path}' should hold keys and values, as recipes/nano.yaml does.")
    for text in overrides:
        override(data, text)
    try:
        return kind(**data)
    except ValidationError as error:
        lines = [f"{key_path(data, e['loc'])}: {e['msg']}" for e in error.errors()[:5]]
        raise RecipeError(f"'{path.name}' has mistakes: " + "; ".join(lines) + ".") from None


def recipe_help(recipe: type[Section] = Recipe) -> str:
    """Every recipe key with its type, default and meaning, as plain text.

    Args:
        recipe: kind of recipe.
    """
    lines: list[str] = []
    for place, section in sections(recipe):
        lines.append(f"{place or 'recipe'}: {section.__doc__}")
        for name, info in section.model_fields.items():
            if info.description:
                default = info.get_default(call_default_factory=True)
                default = "required" if info.is_required() else default
                default = "keys below" if isinstance(default, Section) else default
                lines.append(f"  {name} ({default}): {info.description}")
        lines.append("")
    return "\n".join(lines)


def sections(section: type[Section] = Recipe, place: str = "") -> list[tuple[str, type[Section]]]:
    """Every section of a recipe with its place (`stages.optimizer`), the outer one first.

    Args:
        section: the outer one.
        place: its own.
    """
    found = [(place, section)]
    for name, info in section.model_fields.items():
        inner = f"{place}.{name}" if place else name
        for kind in _section_types(info.annotation):
            if all(kind is not known for _, known in found):
                found += sections(kind, inner)
    return found


def _section_types(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [kind for part in get_args(annotation) for kind in _section_types(part)]
