"""A recipe without files and sources that aren't there and may be missing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from borealis.errors import RecipeError
from borealis.training.recipe.schema import Recipe
from borealis.training.recipe.stage import StageSection


def without(
    recipe: Recipe, *, files: Collection[str] = (), sources: Collection[str] = ()
) -> Recipe:
    """The recipe as if it had never named them.

    Args:
        recipe: as it was read.
        files: manifests and corpora.
        sources: names of `data.sources`.

    Raises:
        RecipeError: nothing is left for a stage to learn from.
    """
    gone = {*sources, *(n for n, s in recipe.data.sources.items() if s.manifest in files)}
    features = {
        name: [p for p in parts if p.manifest not in files and p.source not in gone]
        for name, parts in recipe.data.features.items()
    }
    features = {name: parts for name, parts in features.items() if parts}
    speech = {
        name: left
        for name, parts in recipe.data.speech.items()
        if (left := [p for p in parts if p.manifest not in files])
    }
    corpora = [name for name in recipe.data.corpora if name not in files]
    model = recipe.model
    if model.ngram:
        left = {
            key: [name for name in getattr(model.ngram, key) if name not in files]
            for key in ("corpora", "word_corpora")
        }
        model = model.model_copy(update={"ngram": model.ngram.model_copy(update=left)})
    kept = {"features": features, "speech": speech, "corpora": corpora}
    data = recipe.data.model_copy(update=kept)
    stages = [_stage(stage, gone, features, speech) for stage in recipe.stages]
    return recipe.model_copy(update={"model": model, "data": data, "stages": stages})


def _stage(
    stage: StageSection, gone: set[str], features: Collection[str], speech: Collection[str]
) -> StageSection:
    def left(names: Sequence[str]) -> list[str]:
        return [name for name in names if name not in gone]

    update: dict[str, Any] = {
        "sources": left(stage.sources),
        "validation.sources": left(stage.validation.sources),
        "features": [name for name in stage.features if name in features],
    }
    if (stage.sources and not update["sources"]) or (stage.features and not update["features"]):
        raise RecipeError(
            f"Stage '{stage.name}' has nothing to learn from: none of its data are there."
        )
    update["validation.speech"] = [name for name in stage.validation.speech if name in speech]
    for task in ("speech", "listening"):
        if (section := getattr(stage.tasks, task)) is not None:
            update[f"tasks.{task}.sets"] = [name for name in section.sets if name in speech]
            if section.share and not update[f"tasks.{task}.sets"]:
                raise RecipeError(
                    f"Stage '{stage.name}' has nothing to learn {task} from: none of its "
                    "recordings (data.speech) are there."
                )
    if not update["validation.sources"]:
        update["validation.patience"] = None  # nothing to be patient with
    if stage.talk_sources:
        update["tasks.conversations.sources"] = left(stage.talk_sources)
        if not update["tasks.conversations.sources"]:
            update["tasks.conversations.share"] = 0.0
    return stage.changed(update)
