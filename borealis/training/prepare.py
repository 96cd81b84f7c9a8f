"""What a stage needs before its first step: features, batches, the recordings it is measured on."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from borealis.codec import Codec, load_codec
from borealis.data.manifest import Utterance, read_manifest, write_manifest
from borealis.data.row_groups import group_of
from borealis.errors import RecipeError
from borealis.files import write_text
from borealis.model import BorealisConfig, BorealisForConditionalGeneration, BorealisProcessor
from borealis.speech.vocabulary import SpeechVocabulary
from borealis.training import processes
from borealis.training.batches.cached import CachedBatches, frames_of
from borealis.training.batches.recorded import RecordingBatches, Source
from borealis.training.data.aligner import Aligner
from borealis.training.data.features import FeatureSource, build_features, cache_key, plan_clips
from borealis.training.data.sources import read_source
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
from borealis.training.digests import audio_sizes
from borealis.training.loop.validation import Validation
from borealis.training.recipe import FeatureSourceSection, Recipe, StageSection
from borealis.training.tasks.pieces import collect_pieces
from borealis.training.tasks.task import BatchContext

logger = logging.getLogger(__name__)

T = TypeVar("T")


def make_batches(
    recipe: Recipe,
    stage: StageSection,
    context: BatchContext,
    data: Path,
    output: Path,
    model: BorealisForConditionalGeneration,
    processor: BorealisProcessor,
) -> CachedBatches | RecordingBatches:
    """What a stage learns from, of recordings or of cached features."""
    if stage.sources:
        longest = model.config.max_audio_seconds
        if stage.losses.ctc.weight:  # CTC reads one encoder window
            longest = model.config.window_length / model.config.sampling_rate
        heard = _sources(recipe, stage.sources, data, output, longest, audio=True)
        talks = _sources(recipe, stage.talk_sources, data, output, longest, audio=False)
        return RecordingBatches(stage, context, heard, talks, processor)
    pieces = None
    if stage.makes_pseudo_audio and stage.pseudo_audio.source == "clips":
        frames = frames_of(stage, context)
        pieces = collect_pieces(model, frames, stage.pseudo_audio.clips, context.seed)
    return CachedBatches(stage, context, pieces)


def encode_features(
    recipe: Recipe,
    stages: Sequence[StageSection],
    data: Path,
    folder: Path,
    model: BorealisForConditionalGeneration,
    processor: BorealisProcessor,
) -> dict[str, Path]:
    """Encode what the stages listen to, once; the encoder is frozen."""
    wanted = dict.fromkeys(name for stage in stages for name in stage.features)
    for name in wanted:
        sources = [
            _feature_source(recipe, part, data, folder, model.config)
            for part in recipe.data.features[name]
        ]
        key = cache_key(
            sources,
            data,
            model.model.audio_tower,
            model.config,
            processor.feature_extractor,
            seed=recipe.seed,
        )
        note = folder / name / "key.json"
        heard = [audio_sizes(u.audio for u in read_manifest(data / s.manifest)) for s in sources]
        # Caches of before keys existed are taken as they are, and so are recordings where a key
        # says nothing of them.
        known = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else key
        same = known in (key, {"key": key, "recordings": heard})
        if same and (folder / name / "frames.npy").is_file():
            continue
        clips = plan_clips(sources, data, seed=recipe.seed)  # a mistake in a pass costs no cache
        if not same:
            logger.warning("features %s: made from something else, making them anew", name)
            shutil.rmtree(folder / name)
        note.parent.mkdir(parents=True, exist_ok=True)
        write_text(note, json.dumps({"key": key, "recordings": heard}))
        counts = build_features(
            clips,
            folder / name,
            audio_tower=model.model.audio_tower.eval(),
            feature_extractor=processor.feature_extractor,
            config=model.config,
        )
        logger.info("features %s: %s", name, counts)
    return {name: folder / name for name in wanted}


def encode_speech(
    recipe: Recipe,
    stages: Sequence[StageSection],
    data: Path,
    folder: Path,
    config: BorealisConfig,
) -> dict[str, Path]:
    """Encode and align what the stages learn to speak from, once.

    Args:
        recipe: says which recordings.
        stages: chosen ones.
        data: data folder.
        folder: of the caches.
        config: of the model, with its voices.

    Raises:
        RecipeError: the model has no such voice, or nothing of a set can be used.
        CodecError: it has no voices at all, or its codec can't be loaded.
    """
    wanted = dict.fromkeys(name for stage in stages for name in stage.speech_sets)
    if not wanted:
        return {}
    known = SpeechVocabulary.of_settings(config.speech or {}).voices
    planned: dict[str, list[SpeechSource]] = {}
    for name in wanted:
        planned[name] = [SpeechSource(**part.model_dump()) for part in recipe.data.speech[name]]
        for source in planned[name]:
            if strange := [voice for voice in source.voices.values() if voice not in known]:
                raise RecipeError(
                    f"data.speech.{name}: the model has no voice '{strange[0]}'; it has "
                    f"{', '.join(known)} (model.speech.voices)."
                )
    speech = config.speech
    assert speech is not None
    aligner: Aligner | None = None
    codec: Codec | None = None
    for name, sources in planned.items():
        place, symbols = folder / name, speech["symbols"]
        recordings = plan_recordings(sources, data, seed=recipe.seed)
        key = alignment_key(sources, data, symbols, recipe.data.aligner, seed=recipe.seed)
        if not is_made(place, ALIGNED, ALIGNED_KEY, key):
            aligner = aligner or Aligner(recipe.data.aligner)
            align_recordings(recordings, place, symbols=symbols, aligner=aligner)
        if not is_made(place, CODES, CODES_KEY, codes_key(sources, speech, key)):
            codec = codec or load_codec(speech["codec"], device="cpu")
            books = speech["num_codebooks"]
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
    return {name: folder / name for name in planned}


def read_speech(
    stage: StageSection, folders: Mapping[str, Path], config: BorealisConfig
) -> dict[str, SpeechCache]:
    """The caches of a stage, by their names in `data.speech`."""
    books = config.speech["num_codebooks"] if config.speech else 0
    return {name: SpeechCache([folders[name]], books) for name in stage.speech_sets}


def _feature_source(
    recipe: Recipe, part: FeatureSourceSection, data: Path, folder: Path, config: BorealisConfig
) -> FeatureSource:
    """One pass; what a source gives is written down as a manifest beside the caches."""
    values = part.model_dump(exclude={"source"})
    if part.source is not None:
        longest = config.window_length / config.sampling_rate
        [source] = _sources(recipe, [part.source], data, folder.parent, longest, audio=True)
        _refuse_streamed(f"The features of '{part.source}'", source.utterances)
        folder.mkdir(parents=True, exist_ok=True)
        path = write_manifest(folder / f"{part.source}.jsonl", source.utterances)
        values["manifest"] = str(path.resolve())
    return FeatureSource(**values)


def _refuse_streamed(what: str, items: Sequence[Utterance]) -> None:
    """Recordings in parquet files are only learned from, in the order that suits them."""
    if found := next((item for item in items if group_of(item.audio) is not None), None):
        raise RecipeError(
            f"{what} can't be made of recordings that are streamed, such as '{found.audio}': take "
            "a manifest of files."
        )


def _sources(
    recipe: Recipe, names: Sequence[str], data: Path, output: Path, longest: float, *, audio: bool
) -> list[Source]:
    """Examples of the sources a stage names; what is left out is counted in the log and listed."""
    found = []
    for name in names:
        section = recipe.data.sources[name]
        with processes.main_first():
            examples = read_source(name, section, data, audio=audio, longest=longest)
        source = Source(name, examples.utterances, section.weight)
        logger.info(
            "source %s: %d examples, %.2f h", name, len(source.utterances), source.seconds / 3600
        )
        for reason, count in sorted(examples.dropped.items()):
            logger.warning("source %s: %d left out: %s", name, count, reason)
        if examples.listed and processes.is_main():
            folder = output / "left-out"
            folder.mkdir(exist_ok=True)
            write_text(folder / f"{name}.txt", "\n".join(examples.listed) + "\n")
        found.append(source)
    return found


def make_validation(
    recipe: Recipe,
    stage: StageSection,
    context: BatchContext,
    data: Path,
    output: Path,
    model: BorealisForConditionalGeneration,
    processor: BorealisProcessor,
) -> Validation:
    """The measurement of a stage: recordings with texts, spread over its sources, and speech."""
    spoken = [clip for name in stage.validation.speech for clip in context.speech[name].clips]
    spoken = _spread(spoken, stage.validation.clips)
    if not stage.validation.sources:
        return Validation(stage, context, processor, [], spoken)
    longest = model.config.max_audio_seconds
    sources = _sources(recipe, stage.validation.sources, data, output, longest, audio=True)
    items = [item for source in sources for item in source.utterances if item.text]
    _refuse_streamed(f"The validation of '{stage.name}'", items)
    if not items:
        raise RecipeError(f"Stage '{stage.name}': no recording of validation has a text.")
    chosen = _spread(items, stage.validation.clips)
    return Validation(stage, context, processor, chosen, spoken)


def _spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many, evenly from the first to the last."""
    count = min(len(items), most)
    return [items[int(i * (len(items) / count))] for i in range(count)]
