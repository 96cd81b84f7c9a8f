"""Recipes: YAML files that fix a model, its data and its stages."""

from borealis.training.recipe.schema import (
    DataSection,
    FeatureSourceSection,
    LoraSection,
    ModelSection,
    NgramSection,
    Recipe,
    SourceSection,
    StageSection,
    bundled_recipes,
    load_recipe,
    recipe_help,
)

__all__ = [
    "DataSection",
    "FeatureSourceSection",
    "LoraSection",
    "ModelSection",
    "NgramSection",
    "Recipe",
    "SourceSection",
    "StageSection",
    "bundled_recipes",
    "load_recipe",
    "recipe_help",
]
