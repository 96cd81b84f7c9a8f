"""A recipe as a run will use it: stages chosen and bounded, missing optional files left out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from borealis.errors import RecipeError
from borealis.training.recipe.leaks import refuse_leaks
from borealis.training.recipe.reduced import without
from borealis.training.recipe.schema import Recipe
from borealis.training.recipe.stage import StageSection

logger = logging.getLogger(__name__)


def resolve(
    recipe: Recipe, data: Path, stages: Sequence[str] | None, max_steps: int | None
) -> tuple[Recipe, list[StageSection]]:
    """The recipe as it will be used, and its chosen stages.

    Args:
        recipe: as it was read.
        data: data folder; optional files that it lacks are left out.
        stages: names of the chosen ones; all by default.
        max_steps: upper bound on the steps of each of them.

    Raises:
        RecipeError: a stage or file that is named doesn't exist.
    """
    names = {recipe.stage(name).name for name in stages} if stages else None
    recipe = _available(recipe, data)
    bounded = [
        stage.model_copy(update={"max_steps": max_steps})
        if max_steps is not None
        and stage.max_steps > max_steps
        and (names is None or stage.name in names)
        else stage
        for stage in recipe.stages
    ]
    recipe = recipe.model_copy(update={"stages": bounded})
    return recipe, [stage for stage in bounded if names is None or stage.name in names]


def _available(recipe: Recipe, data: Path) -> Recipe:
    """The recipe without optional files that aren't there; any other missing file is an error."""
    features = recipe.data.features
    for stage in recipe.stages:
        for name in stage.features:
            if name not in features:
                raise RecipeError(
                    f"Stage '{stage.name}' wants the features '{name}', which data.features "
                    "doesn't define."
                )
    for stage in recipe.stages:
        for name in stage.speech_sets:
            if name not in recipe.data.speech:
                raise RecipeError(
                    f"Stage '{stage.name}' wants the speech '{name}', which data.speech doesn't "
                    "define."
                )
    _check_voices(recipe)
    manifests = [part.manifest for parts in features.values() for part in parts if part.manifest]
    wanted = [
        (f"Features '{n}'", p.source) for n, parts in features.items() for p in parts if p.source
    ]
    copied = list(wanted)  # those that are read in an order of their own, or again and again
    for stage in recipe.stages:
        names = (*stage.sources, *stage.talk_sources, *stage.validation.sources)
        wanted += [(f"Stage '{stage.name}'", name) for name in names]
        copied += [(f"Validation of '{stage.name}'", n) for n in stage.validation.sources]
    for who, name in wanted:
        if name not in recipe.data.sources:
            raise RecipeError(
                f"{who} wants the source '{name}', which data.sources doesn't define."
            )
    for who, name in copied:
        if recipe.data.sources[name].streaming:
            raise RecipeError(
                f"{who} wants the source '{name}', which is streamed: a stage can learn from it, "
                "but it can't be cached as features nor measured on. Take another without "
                "streaming, with a limit where its dataset is large."
            )
    used = {name for _, name in wanted}
    manifests += [m for n in sorted(used) if (m := recipe.data.sources[n].manifest) is not None]
    heard = {name for stage in recipe.stages for name in stage.speech_sets}
    manifests += [part.manifest for name in sorted(heard) for part in recipe.data.speech[name]]
    ngram = recipe.model.ngram
    counted, words = (ngram.corpora, ngram.word_corpora) if ngram else ([], [])
    refuse_leaks(recipe, data)
    files = [*recipe.data.corpora, *counted, *words, *manifests]
    missing = {name for name in files if not (data / name).is_file()}
    if needed := missing - set(recipe.data.optional):
        raise RecipeError(
            f"The data folder '{data}' has no {', '.join(sorted(needed))}. "
            "For the recipe nano, 'python -m lab.nano.data' in a clone of the repository makes it."
        )
    if not missing:
        return recipe
    logger.warning("going on without %s (data.optional)", ", ".join(sorted(missing)))
    return without(recipe, files=missing)


def _check_voices(recipe: Recipe) -> None:
    """Whether recordings to speak from are of voices that the recipe gives the model.

    Raises:
        RecipeError: they aren't; nothing is said where a checkpoint has voices of its own.
    """
    speech = recipe.model.speech
    if speech is None or not speech.voices:
        return
    known = [voice.name for voice in speech.voices]
    for name, parts in recipe.data.speech.items():
        for voice in (voice for part in parts for voice in part.voices.values()):
            if voice not in known:
                raise RecipeError(
                    f"data.speech.{name}: there is no voice '{voice}' in model.speech.voices; "
                    f"there are {', '.join(known)}."
                )
    for stage in recipe.stages:
        for section in (stage.tasks.speech, stage.tasks.listening):
            for voice in section.voices if section else ():
                if voice not in known:
                    raise RecipeError(
                        f"Stage '{stage.name}': there is no voice '{voice}' in "
                        f"model.speech.voices; there are {', '.join(known)}."
                    )
