"""From a recipe to a checkpoint: model, features, stages, each going on where the last ended."""

from __future__ import annotations

import json
import logging
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, WhisperFeatureExtractor

from borealis.checkpoints import pack, resolve_checkpoint
from borealis.ctc.ngram import Ngram
from borealis.data.manifest import read_manifest, write_manifest
from borealis.data.phrasings import load_phrasings
from borealis.data.text import CTC_CHARACTERS, read_lines
from borealis.errors import RecipeError
from borealis.files import aside, write_text
from borealis.inference.scope import Scope
from borealis.model import BorealisConfig, BorealisForConditionalGeneration, BorealisProcessor
from borealis.model.convert import assemble, load_encoder
from borealis.model.processing import AUDIO_TOKEN
from borealis.training import processes
from borealis.training.batches.cached import CachedBatches, cached_frames
from borealis.training.batches.recorded import RecordingBatches, Source
from borealis.training.data.features import (
    FeatureCache,
    FeatureSource,
    build_features,
    cache_key,
    plan_clips,
)
from borealis.training.data.sources import read_source
from borealis.training.digests import audio_sizes, weights_digest
from borealis.training.loop.checkpoints import clear_stage, drop_model, publish, save_whole
from borealis.training.loop.sharding import is_sharded
from borealis.training.loop.trainer import run_stage
from borealis.training.loop.validation import Validation
from borealis.training.preflight import check_model, check_stage
from borealis.training.recipe import FeatureSourceSection, ModelSection, Recipe, StageSection
from borealis.training.run_folder import (
    FINAL,
    START,
    RunFolder,
    check_apart,
    local_names,
    write_record,
)
from borealis.training.start.letters import start_from_letters
from borealis.training.start.ngram import count_ngrams
from borealis.training.start.tokenizer import train_tokenizer
from borealis.training.tasks.pieces import collect_pieces
from borealis.training.tasks.scope import learn_scope
from borealis.training.tasks.task import BatchContext, load_sentences

logger = logging.getLogger(__name__)

# A tokenizer needs examples of the language, not all of it.
_TOKENIZER_LINES = 120_000


def run_recipe(
    recipe: Recipe,
    *,
    data: Path,
    output: Path,
    stages: Sequence[str] | None = None,
    max_steps: int | None = None,
    resume: bool = True,
    pack_to: Path | None = None,
    price: float | None = None,
) -> Path:
    """Train a model; returns the folder of the finished checkpoint.

    Every stage leaves its weights in `output/<stage>`, so a run that was cut off goes on with the
    stage it was in, from that stage's newest checkpoint. A folder belongs to one recipe and one set
    of data; see `borealis.training.run_folder`.

    Args:
        recipe: what to do.
        data: folder with the manifests and corpora that the recipe names.
        output: folder of the run.
        stages: only these, in the recipe's order.
        max_steps: upper bound on the steps of each of these stages, for trial runs.
        resume: keep finished stages and checkpoints; otherwise stages are trained anew.
        pack_to: folder for the compact form (see `borealis.checkpoints.pack`).
        price: dollars for an hour of one GPU, for the progress line and the record.

    Raises:
        RecipeError: a stage, file, source or feature cache that is named doesn't exist; a library
            that a stage needs isn't there; `output` holds another run, or what is read.
        TrainingError: a loss isn't finite, the disk is full, or a row can't be learned from.
    """
    processes.start()
    recipe, chosen = resolve(recipe, data, stages, max_steps)
    check_apart(recipe, data, output, pack_to)
    for stage in chosen:
        check_stage(stage)
    run = RunFolder(output, recipe, data)
    plan = run.look([stage.name for stage in chosen], resume=resume)
    processes.wait()  # nobody changes the folder while others look
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError(f"'{output}' can't be made: {error.strerror}.") from None
    with processes.main_first():
        anew = plan.remake_start and processes.is_main()
        model, processor = build_model(recipe, data, output / START, anew=anew)
    for stage in chosen:
        check_model(model, stage)
    with processes.main_first():
        features = _features(recipe, chosen, data, output / "features", model, processor)
    sentences = load_sentences([data / name for name in recipe.data.corpora])
    log = _finished_stages(output / "run.json")
    log = {name: entry for name, entry in log.items() if name in plan.kept}
    at = START  # the part whose weights the model has
    for stage in chosen:
        folder, work, before = output / stage.name, plan.work[stage.name], plan.before[stage.name]
        if work == "done":
            logger.info("stage %s is done already: %d steps", stage.name, stage.max_steps)
            continue
        if at != before:
            model = _read(output / before)
        at = stage.name
        seed = recipe.seed if stage.seed is None else stage.seed
        context = BatchContext(
            processor.tokenizer,
            model.config,
            load_phrasings(),
            FeatureCache([features[name] for name in stage.features]) if stage.features else None,
            sentences,
            seed,
        )
        batches = _batches(recipe, stage, context, data, output, model, processor)
        validate = None
        if stage.validation:
            validate = _validation(recipe, stage, data, output, model, processor)
        if processes.is_main():
            drop_model(output / FINAL)
            (drop_model if work == "on" else clear_stage)(folder)
            run.begin(stage, before)
        processes.wait()
        took = run_stage(
            model,
            stage,
            batches,
            folder,
            seed=seed,
            resume=work == "on",
            price=price,
            validate=validate,
        )
        if is_sharded(stage):
            model = _read(folder)
        log[stage.name] = {"stage": stage.name, "steps": stage.max_steps, **took}
        if processes.is_main():
            run.finish(stage.name, stage.max_steps)
            _write_log(output / "run.json", recipe, list(log.values()), price)
    if chosen and at != chosen[-1].name:
        model = _read(output / chosen[-1].name)
    final = output / FINAL
    model.config.use_cache = True  # Trainer switches it off
    for key, value in recipe.model.decoding.items():
        setattr(model.config, key, value)
    if processes.is_main():
        start = output / START
        save_whole(model, final, processor, Ngram.of_checkpoint(start), Scope.of_checkpoint(start))
        if pack_to is not None:
            size = pack(final, pack_to)
            logger.info("packed into %.1f MB", size / 1e6)
    processes.wait()
    return final


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


def _read(folder: Path) -> BorealisForConditionalGeneration:
    return BorealisForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)


def build_model(
    recipe: Recipe, data: Path, folder: Path, *, anew: bool = False
) -> tuple[BorealisForConditionalGeneration, BorealisProcessor]:
    """The model a run begins with; kept in `folder`, so that a resumed run begins with the same.

    Args:
        recipe: what it is made of.
        data: data folder.
        folder: where it is, or will be.
        anew: make it again, although it is there.
    """
    if anew or not (folder / "config.json").is_file():
        section = recipe.model
        if section.checkpoint:
            source = resolve_checkpoint(section.checkpoint)
            model = BorealisForConditionalGeneration.from_pretrained(source, dtype=torch.float32)
            processor = BorealisProcessor.from_pretrained(source)
        elif section.language_model:
            model, processor = assemble(
                _audio_tower(section), section.language_model, seed=recipe.seed, **section.config
            )
        else:
            model, processor = _from_scratch(recipe, data)
        ngram = Ngram.of_checkpoint(source) if section.checkpoint else None
        if section.ngram:
            settings = section.ngram.model_dump()
            names = settings.pop("corpora") or recipe.data.corpora
            corpora = [data / name for name in names]
            settings["word_corpora"] = [data / name for name in settings["word_corpora"]]
            if not model.config.ctc_labels:
                raise RecipeError("model.ngram needs adapter_type ctc: it counts what CTC spells.")
            ngram = count_ngrams(corpora, model.config.ctc_labels, **settings)
        partial = folder.with_name(f"{folder.name}.partial")
        save_whole(model, partial, processor, ngram, learn_scope() if section.scope else None)
        made = RunFolder(folder.parent, recipe, data).made_start()
        write_record(partial, replace(made, weights=weights_digest(partial)))
        publish(partial, folder)
    return _read(folder), BorealisProcessor.from_pretrained(folder)


def _from_scratch(
    recipe: Recipe, data: Path
) -> tuple[BorealisForConditionalGeneration, BorealisProcessor]:
    section = recipe.model
    if not recipe.data.corpora:
        raise RecipeError("A language model from scratch needs data.corpora to learn from.")
    lines: list[str] = []
    for name in recipe.data.corpora:
        lines += read_lines(data / name)[:_TOKENIZER_LINES]
    tokenizer = train_tokenizer(
        lines, section.tokenizer_vocab_size, single_characters=section.tokenizer_single_characters
    )
    audio_config, weights = load_encoder(_audio_tower(section))
    values = dict(section.text_config or {}, vocab_size=len(tokenizer))
    text_config = AutoConfig.for_model(
        values.pop("model_type", "qwen3"),
        **values,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    config = dict(section.config)
    if config.get("adapter_type") == "ctc":
        config.setdefault("ctc_labels", CTC_CHARACTERS)
    torch.manual_seed(recipe.seed)
    model = BorealisForConditionalGeneration(
        BorealisConfig(
            audio_config=audio_config,
            text_config=text_config,
            audio_token_id=tokenizer.convert_tokens_to_ids(AUDIO_TOKEN),
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **config,
        )
    )
    model.model.audio_tower.load_state_dict(weights)
    if config.get("adapter_type") == "ctc":
        start_from_letters(model, tokenizer, seed=recipe.seed)
    extractor = WhisperFeatureExtractor(feature_size=audio_config.num_mel_bins)
    return model, BorealisProcessor.from_config(model.config, extractor, tokenizer)


def _audio_tower(section: ModelSection) -> str | Path:
    """Where the encoder comes from; the bundled checkpoint's is written out as a Whisper file."""
    assert section.audio_tower is not None
    if section.audio_tower != "nano":
        return section.audio_tower
    from safetensors.torch import load_file, save_file

    source = Path(resolve_checkpoint("nano"))
    target = source / "audio_tower.safetensors"
    if not target.is_file():
        prefix = "model.audio_tower."
        weights = load_file(source / "model.safetensors")
        encoder = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        config = BorealisConfig.from_pretrained(source).audio_config
        config.to_json_file(source / "audio_tower.config.json")
        with aside(target) as partial:
            save_file(encoder, partial, metadata={"format": "pt"})
    return target


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
    manifests = [part.manifest for parts in features.values() for part in parts if part.manifest]
    wanted = [
        (f"Features '{n}'", p.source) for n, parts in features.items() for p in parts if p.source
    ]
    for stage in recipe.stages:
        names = (*stage.sources, *stage.text_sources, *stage.validation)
        wanted += [(f"Stage '{stage.name}'", name) for name in names]
    for who, name in wanted:
        if name not in recipe.data.sources:
            raise RecipeError(
                f"{who} wants the source '{name}', which data.sources doesn't define."
            )
    used = {name for _, name in wanted}
    manifests += [m for n in sorted(used) if (m := recipe.data.sources[n].manifest) is not None]
    ngram = recipe.model.ngram
    counted, words = (ngram.corpora, ngram.word_corpora) if ngram else ([], [])
    files = [*recipe.data.corpora, *counted, *words, *manifests]
    missing = {name for name in files if not (data / name).is_file()}
    if needed := missing - set(recipe.data.optional):
        raise RecipeError(
            f"The data folder '{data}' has no {', '.join(sorted(needed))}. "
            "'borealis data nano' makes what the recipe nano needs."
        )
    if not missing:
        return recipe
    logger.warning("going on without %s: the model will be weaker", ", ".join(sorted(missing)))
    kept = {
        name: [part for part in parts if part.manifest not in missing]
        for name, parts in features.items()
    }
    kept = {name: parts for name, parts in kept.items() if parts}
    corpora = [name for name in recipe.data.corpora if name not in missing]
    model = recipe.model
    if model.ngram:
        left = {
            "corpora": [name for name in counted if name not in missing],
            "word_corpora": [name for name in words if name not in missing],
        }
        model = model.model_copy(update={"ngram": model.ngram.model_copy(update=left)})
    stages = [
        stage.model_copy(update={"features": [name for name in stage.features if name in kept]})
        for stage in recipe.stages
    ]
    return recipe.model_copy(
        update={
            "model": model,
            "stages": stages,
            "data": recipe.data.model_copy(update={"features": kept, "corpora": corpora}),
        }
    )


def _features(
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


def _feature_source(
    recipe: Recipe, part: FeatureSourceSection, data: Path, folder: Path, config: BorealisConfig
) -> FeatureSource:
    """One pass; what a source gives is written down as a manifest beside the caches."""
    values = part.model_dump(exclude={"source"})
    if part.source is not None:
        longest = config.window_length / config.sampling_rate
        [source] = _sources(recipe, [part.source], data, folder.parent, longest, audio=True)
        folder.mkdir(parents=True, exist_ok=True)
        path = write_manifest(folder / f"{part.source}.jsonl", source.utterances)
        values["manifest"] = str(path.resolve())
    return FeatureSource(**values)


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


def _batches(
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
        if stage.ctc_weight:  # CTC reads one encoder window
            longest = model.config.window_length / model.config.sampling_rate
        heard = _sources(recipe, stage.sources, data, output, longest, audio=True)
        talks = _sources(recipe, stage.text_sources, data, output, longest, audio=False)
        return RecordingBatches(stage, context, heard, talks, processor)
    pieces = None
    if stage.pseudo_share and stage.pseudo_source == "clips":
        frames = cached_frames(stage, context)
        pieces = collect_pieces(model, frames, stage.pseudo_clips, context.seed)
    return CachedBatches(stage, context, pieces)


def _validation(
    recipe: Recipe,
    stage: StageSection,
    data: Path,
    output: Path,
    model: BorealisForConditionalGeneration,
    processor: BorealisProcessor,
) -> Callable[[], Validation]:
    """Makes the measurement of a stage: recordings with texts, spread over its sources."""
    longest = model.config.max_audio_seconds
    sources = _sources(recipe, stage.validation, data, output, longest, audio=True)
    items = [item for source in sources for item in source.utterances if item.text]
    if not items:
        raise RecipeError(f"Stage '{stage.name}': no recording of validation has a text.")
    step = len(items) / min(len(items), stage.validation_clips)
    chosen = [items[int(i * step)] for i in range(min(len(items), stage.validation_clips))]

    def make() -> Validation:
        return Validation(
            model, processor, chosen, every=stage.validation_steps, max_steps=stage.max_steps
        )

    return make


def _finished_stages(path: Path) -> dict[str, dict[str, Any]]:
    """What an earlier run of the same folder recorded, by stage."""
    if not path.is_file():
        return {}
    try:
        stages = json.loads(path.read_text(encoding="utf-8"))["stages"]
    except (ValueError, KeyError):
        return {}
    return {stage["stage"]: stage for stage in stages}


def _write_log(
    path: Path, recipe: Recipe, stages: list[dict[str, Any]], price: float | None
) -> None:
    record = {
        "recipe": recipe.model_dump(mode="json"),
        "local": local_names(recipe),
        "stages": stages,
        "processes": processes.count(),
        "dollars_per_hour": price,
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    write_text(path, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
