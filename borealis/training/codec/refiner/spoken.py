"""Recordings of a refiner's training: symbols, durations and codes of each, made once and kept.

They are kept as those of a model that speaks are, see `borealis.training.data.speech`, but for the
codes, which are those of all codebooks. `aligned.jsonl` and its key may be taken over from there.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from borealis.codec.loading import bundled
from borealis.codec.protocol import Codec
from borealis.errors import RecipeError
from borealis.speech.stream import Spoken
from borealis.training.codec.refiner.recipe import RefinerRecipe
from borealis.training.data.aligner import Aligner
from borealis.training.data.speech import (
    ALIGNED,
    ALIGNED_KEY,
    CODES,
    CODES_KEY,
    SpeechCache,
    SpeechSource,
    align_recordings,
    alignment_key,
    codes_key,
    counts_of,
    encode_recordings,
    is_made,
    plan_recordings,
)
from borealis.training.digests import weights_of
from borealis.training.loop.checkpoints import room_for

logger = logging.getLogger(__name__)


def spoken_digest(recipe: RefinerRecipe, names: Sequence[str], data: Path, symbols: str) -> str:
    """Of all that symbols and durations of recordings depend on.

    Args:
        recipe: says which.
        names: of `data.speech`.
        data: folder of the manifests.
        symbols: that can be spoken.

    Raises:
        RecipeError: a manifest is missing.
    """
    told = []
    for name in names:
        sources = _sources(recipe, name, data)
        key = _key_of(recipe, sources, data, symbols)
        told.append([key, [[dict(s.voices), s.commas] for s in sources]])
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def codec_digest(name: str) -> str:
    """Of a codec's weights and sizes where they are on this machine, else its name."""
    return weights_of(str(bundled().get(name, name))) or name


def prepare_spoken(
    recipe: RefinerRecipe, data: Path, folder: Path, codec: Codec, symbols: str
) -> None:
    """Align recordings with their texts and encode them, unless that is done already.

    Args:
        recipe: says which.
        data: folder of the manifests.
        folder: where they are kept.
        codec: that encodes.
        symbols: that can be spoken.

    Raises:
        RecipeError: a manifest is missing, or lacks a voice; none of its recordings can be used;
            the aligner hears no letters.
        TrainingError: the disk became full.
    """
    aligner: Aligner | None = None
    speech = {"codec": recipe.refiner.codec, "num_codebooks": codec.num_codebooks}
    for name in recipe.data.used:
        sources, place = _sources(recipe, name, data), folder / name
        key = _key_of(recipe, sources, data, symbols)
        recordings = plan_recordings(sources, data, seed=recipe.seed)
        with room_for("aligned recordings", folder.parent, place / f"{ALIGNED}.partial"):
            if not is_made(place, ALIGNED, ALIGNED_KEY, key):
                aligner = aligner or Aligner(recipe.data.aligner)
                align_recordings(recordings, place, symbols=symbols, aligner=aligner)
        with room_for("codes of recordings", folder.parent, place / f"{CODES}.partial"):
            if not is_made(place, CODES, CODES_KEY, codes_key(sources, speech, key)):
                books = codec.num_codebooks
                encode_recordings(recordings, place, codec=codec, num_codebooks=books)
        counts = counts_of(place)
        kept = counts.pop("kept", 0)
        logger.info("speech %s: %d recordings", name, kept)
        for reason, count in sorted(counts.items()):
            logger.warning("speech %s: %d left out: %s", name, count, reason)
        if not kept:
            raise RecipeError(
                f"data.speech.{name}: none of its {counts.total()} recordings can be used; the log "
                "says why."
            )


def read_spoken(folder: Path, names: Sequence[str], num_codebooks: int) -> list[Spoken]:
    """Recordings that `prepare_spoken` kept, as they are learned; codes are int64."""
    cache = SpeechCache([folder / name for name in names], num_codebooks)
    return [replace(c.spoken, codes=c.spoken.codes.astype(np.int64)) for c in cache.clips]


def _sources(recipe: RefinerRecipe, name: str, data: Path) -> list[SpeechSource]:
    parts = recipe.data.speech[name]
    for part in parts:
        if not (data / part.manifest).is_file():
            raise RecipeError(
                f"The data folder '{data}' has no {part.manifest}. For the recipe nano-refiner, "
                "'python -m lab.nano.data' in a clone of the repository makes it."
            )
    return [SpeechSource(**part.model_dump()) for part in parts]


def _key_of(
    recipe: RefinerRecipe, sources: Sequence[SpeechSource], data: Path, symbols: str
) -> str:
    return alignment_key(sources, data, symbols, recipe.data.aligner, seed=recipe.seed)
