"""Recipes: YAML files that fix a model, its data and its stages."""

from borealis.training.recipe.schema import (
    DataSection,
    FeatureSourceSection,
    LoraSection,
    LossesSection,
    ModelSection,
    NgramSection,
    PseudoSection,
    QuestionsSection,
    Recipe,
    SourceSection,
    StageSection,
    TextSection,
    bundled_recipes,
    load_recipe,
    recipe_help,
    recorded_recipe,
)

__all__ = [
    "DataSection",
    "FeatureSourceSection",
    "LoraSection",
    "LossesSection",
    "ModelSection",
    "NgramSection",
    "PseudoSection",
    "QuestionsSection",
    "Recipe",
    "SourceSection",
    "StageSection",
    "TextSection",
    "bundled_recipes",
    "load_recipe",
    "recipe_help",
    "recorded_recipe",
]
