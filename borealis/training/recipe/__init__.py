"""Recipes: YAML files that fix a model, its data and its stages."""

from borealis.training.recipe.data import DataSection, FeatureSourceSection, SourceSection
from borealis.training.recipe.model import (
    ModelSection,
    NgramSection,
    SpeechSection,
    VoiceSection,
)
from borealis.training.recipe.schema import (
    Recipe,
    bundled_recipes,
    kind_of,
    load_recipe,
    recipe_help,
    sections,
)
from borealis.training.recipe.stage import LoraSection, StageSection

__all__ = [
    "DataSection",
    "FeatureSourceSection",
    "LoraSection",
    "ModelSection",
    "NgramSection",
    "Recipe",
    "SourceSection",
    "SpeechSection",
    "StageSection",
    "VoiceSection",
    "bundled_recipes",
    "kind_of",
    "load_recipe",
    "recipe_help",
    "sections",
]
