"""Trains a refiner by its recipe: recordings, stages, the finished folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from borealis.codec import load_codec
from borealis.codec.loading import REFINER
from borealis.codec.nano import CodeRefiner, CodeRefinerConfig
from borealis.codec.nano.refiner import codebook_entries
from borealis.speech.stream import Spoken
from borealis.speech.symbols import SYMBOLS
from borealis.training.codec.refiner.recipe import RefinerRecipe, RefinerStage
from borealis.training.codec.refiner.spoken import (
    codec_digest,
    prepare_spoken,
    read_spoken,
    spoken_digest,
)
from borealis.training.codec.refiner.trainer import RefinerTrainer
from borealis.training.codec.stages import (
    open_stage,
    refuse_processes,
    run_stage,
    stage_keys,
    work_of,
    write_record,
)
from borealis.training.loop.checkpoints import (
    save_whole,
)
from borealis.training.run.record import FINAL
from borealis.training.run.settings import leaves

logger = logging.getLogger(__name__)
SPOKEN = "spoken"


def run_refiner_recipe(
    recipe: RefinerRecipe,
    *,
    data: Path,
    output: Path,
    max_steps: int | None = None,
    resume: bool = True,
    price: float | None = None,
) -> Path:
    """Train a refiner; returns the folder of the codec with its refiner.

    Every stage leaves its weights in `output/<stage>`; a run that was cut off goes on from the
    newest checkpoint. Prepared recordings stay in `output/spoken`.

    Args:
        recipe: what to do.
        data: folder with the manifests that the recipe names.
        output: folder of the run.
        max_steps: upper bound on the steps of each stage, for trial runs.
        resume: go on with what is there; otherwise every stage is trained anew.
        price: dollars for an hour, for the progress line.

    Raises:
        CodecError: there is no such codec.
        RecipeError: a manifest is missing, or the folder holds another run.
        TrainingError: a loss isn't finite, or the disk is full.
    """
    refuse_processes("A refiner")
    codec: Any = load_codec(recipe.refiner.codec)
    stages = bounded_stages(recipe, max_steps)
    if resume:
        work = check_refiner_run(recipe, stages, data, output)
    else:
        work = {stage.name: "new" for stage in stages}
    folder = output / SPOKEN
    prepare_spoken(recipe, data, folder, codec, recipe.refiner.symbols or SYMBOLS)
    clips = read_spoken(folder, recipe.data.train, codec.num_codebooks)
    weights = np.array([recipe.data.weights.get(clip.voice, 1.0) for clip in clips])
    _tell(clips)
    torch.manual_seed(recipe.seed)
    refiner = CodeRefiner(refiner_config(recipe, codec))
    for number, stage in enumerate(stages):
        place = output / stage.name
        if work[stage.name] == "done":
            logger.info("stage %s is done already", stage.name)
            refiner = CodeRefiner.from_pretrained(place)
            continue
        made = _made(recipe, stages[: number + 1], data)
        taken = open_stage(place, made, anew=work[stage.name] == "new")
        seed = recipe.seed * 1000 + number
        trainer = RefinerTrainer(
            refiner, codec, stage, clips, weights, place, seed=seed, taken=taken
        )
        if number == 0 and not taken:
            trainer.begin()
        measured = _measured(folder, recipe, stage, codec.num_codebooks)
        measure = partial(trainer.measure, measured) if measured else None
        run_stage(trainer, measure, place, price)
        save_whole(refiner, place)
    final = output / FINAL
    save_whole(codec.model, final)
    save_whole(refiner.eval(), final / REFINER)
    write_record(recipe, stages, output)
    return final


def refiner_config(recipe: RefinerRecipe, codec: Any) -> CodeRefinerConfig:
    """Sizes of a recipe's refiner, for the codec it completes codes of."""
    sizes = recipe.refiner.model_dump(exclude={"codec", "symbols"})
    return CodeRefinerConfig(
        symbols=recipe.refiner.symbols or SYMBOLS,
        voices=recipe.data.voices,
        num_codebooks=codec.num_codebooks,
        codebook_size=codec.codebook_size,
        latent_size=codebook_entries(codec, 1)[0].shape[1],
        **sizes,
    )


def bounded_stages(recipe: RefinerRecipe, max_steps: int | None) -> list[RefinerStage]:
    """The stages of a recipe with at most so many steps each, for trial runs."""
    if max_steps is None:
        return list(recipe.stages)
    return [
        stage.model_copy(update={"max_steps": min(max_steps, stage.max_steps)})
        for stage in recipe.stages
    ]


def check_refiner_run(
    recipe: RefinerRecipe,
    stages: Sequence[RefinerStage],
    data: Path,
    output: Path,
) -> dict[str, str]:
    """What a run would do with each stage: `done`, `on` (from its newest checkpoint) or `new`.

    Args:
        recipe: as it will be used.
        stages: its stages, bounded.
        data: folder of the manifests.
        output: folder of the run.

    Raises:
        RecipeError: something else was begun there; the message names what differs.
    """
    return work_of(stages, lambda number: _made(recipe, stages[: number + 1], data), output)


def _made(recipe: RefinerRecipe, stages: Sequence[RefinerStage], data: Path) -> dict[str, Any]:
    """What decides what comes out of the last of `stages`, by paths of keys."""
    symbols = recipe.refiner.symbols or SYMBOLS
    made = {
        "seed": recipe.seed,
        "recordings": spoken_digest(recipe, recipe.data.train, data, symbols),
        "codec": codec_digest(recipe.refiner.codec),
    }
    made |= leaves("refiner", recipe.refiner.model_dump(mode="json", exclude={"codec"}))
    data_keys = recipe.data.model_dump(mode="json", include={"train", "weights"})
    made |= leaves("data", data_keys)
    return made | stage_keys(stages)


def _measured(
    folder: Path, recipe: RefinerRecipe, stage: RefinerStage, num_codebooks: int
) -> list[Spoken]:
    """Recordings of the validation, evenly taken: they lie by name and length."""
    clips = read_spoken(folder, recipe.data.validation, num_codebooks)
    count = min(stage.validation.clips, len(clips))
    places = (np.arange(count) + 0.5) * len(clips) / max(1, count)
    return [clips[int(i)] for i in places]


def _tell(clips: Sequence[Spoken]) -> None:
    frames: dict[str, int] = {}
    for clip in clips:
        frames[clip.voice] = frames.get(clip.voice, 0) + clip.codes.shape[1]
    told = ", ".join(f"{voice} {count}" for voice, count in sorted(frames.items()))
    logger.info("frames of each voice: %s", told)
