"""From a recipe to a checkpoint: model, features, stages, each going on where the last ended."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from borealis.checkpoints import pack
from borealis.ctc.ngram import Ngram
from borealis.data.phrasings import load_phrasings
from borealis.errors import RecipeError
from borealis.files import write_text
from borealis.inference.scope import Scope
from borealis.model import BorealisForConditionalGeneration, BorealisProcessor
from borealis.training import processes
from borealis.training.data.features import (
    FeatureCache,
)
from borealis.training.data.sources import without_missing_datasets
from borealis.training.digests import weights_digest
from borealis.training.loop.checkpoints import clear_stage, drop_model, publish, save_whole
from borealis.training.loop.sharding import is_sharded
from borealis.training.loop.stage import run_stage
from borealis.training.preflight import check_model, check_stage
from borealis.training.prepare import (
    encode_features,
    encode_speech,
    make_batches,
    make_validation,
    read_speech,
)
from borealis.training.publish.mirror import Mirror
from borealis.training.recipe import Recipe, StageSection
from borealis.training.recipe.resolve import resolve
from borealis.training.run.folder import RunFolder
from borealis.training.run.places import check_apart, local_names
from borealis.training.run.record import FINAL, START, write_record
from borealis.training.start.model import make_model
from borealis.training.supplies import check_data, check_supplies
from borealis.training.tasks.scope import learn_scope
from borealis.training.tasks.task import BatchContext, load_sentences

logger = logging.getLogger(__name__)


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
    mirror: Mirror | None = None,
) -> Path:
    """Train a model; returns the folder of the finished checkpoint.

    Every stage leaves its weights in `output/<stage>`, so a run that was cut off goes on with the
    stage it was in, from that stage's newest checkpoint. A folder belongs to one recipe and one set
    of data; see `borealis.training.run.folder`.

    Args:
        recipe: what to do.
        data: folder with the manifests and corpora that the recipe names.
        output: folder of the run.
        stages: only these, in the recipe's order.
        max_steps: upper bound on the steps of each of these stages, for trial runs.
        resume: keep finished stages and checkpoints; otherwise stages are trained anew.
        pack_to: folder for the compact form (see `borealis.checkpoints.pack`).
        price: dollars for an hour of one GPU, for the progress line and the record.
        mirror: keeps a copy of the run on the hub; a run that isn't here goes on from it.

    Raises:
        HubError: the copy can't be begun, or not be finished.
        RecipeError: a stage, file, source or feature cache that is named doesn't exist; a library
            that a stage needs isn't there; `output` holds another run, or what is read.
        TrainingError: a loss isn't finite, the disk is full, or a row can't be learned from.
    """
    processes.start()
    recipe, chosen = _checked(recipe, data, output, stages, max_steps, pack_to)
    if mirror is not None:
        with processes.main_first():
            mirror.restore()
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
    if mirror is not None and processes.is_main():
        mirror.begin()
    with processes.main_first():
        features = encode_features(recipe, chosen, data, output / "features", model, processor)
        speech = encode_speech(recipe, chosen, data, output / "speech", model.config)
    sentences = load_sentences([data / name for name in recipe.data.corpora])
    log = _finished_stages(output / "run.json")
    log = {name: entry for name, entry in log.items() if name in plan.kept}
    at = START  # the part whose weights the model has
    for stage in chosen:
        folder, work, before = output / stage.name, plan.work[stage.name], plan.before[stage.name]
        if work == "done":
            steps = log.get(stage.name, {}).get("steps", stage.max_steps)
            logger.info("stage %s is done already: %d steps", stage.name, steps)
            continue
        if at != before:
            model = _read(output / before)
        at = stage.name
        seed = recipe.seed if stage.seed is None else stage.seed
        context = BatchContext(
            processor.tokenizer,
            model.config,
            replace(load_phrasings(), russian=stage.russian_prompts),
            FeatureCache([features[name] for name in stage.features]) if stage.features else None,
            sentences,
            seed,
            read_speech(stage, speech, model.config),
        )
        batches = make_batches(recipe, stage, context, data, output, model, processor)
        validation = None
        if stage.validation.sources or stage.validation.speech:
            validation = make_validation(recipe, stage, context, data, output, model, processor)
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
            validation=validation,
            saved=partial(mirror.follow, stage.name) if mirror is not None else None,
        )
        if is_sharded(stage):
            model = _read(folder)
        log[stage.name] = {"stage": stage.name, **took}
        if processes.is_main():
            run.finish(stage.name, int(took["steps"]))
            _write_log(output / "run.json", recipe, list(log.values()), price)
    if chosen and at != chosen[-1].name:
        model = _read(output / chosen[-1].name)
    if processes.is_main():
        _finish(recipe, model, processor, output, pack_to)
        if mirror is not None:
            mirror.finish()
    processes.wait()
    return output / FINAL


def _checked(
    recipe: Recipe,
    data: Path,
    output: Path,
    stages: Sequence[str] | None,
    max_steps: int | None,
    pack_to: Path | None,
) -> tuple[Recipe, list[StageSection]]:
    """The recipe as it will be used and its chosen stages, once nothing stands in their way."""
    recipe, chosen = resolve(recipe, data, stages, max_steps)
    with processes.main_first():
        recipe = without_missing_datasets(recipe, data)
    chosen = [recipe.stage(stage.name) for stage in chosen]
    check_apart(recipe, data, output, pack_to)
    for stage in chosen:
        check_stage(stage)
    check_data(recipe, chosen, data)
    check_supplies(recipe, chosen, data, output)
    return recipe, chosen


def _finish(
    recipe: Recipe,
    model: BorealisForConditionalGeneration,
    processor: BorealisProcessor,
    output: Path,
    pack_to: Path | None,
) -> None:
    """Write the finished checkpoint, and its compact form where one is wanted."""
    model.config.use_cache = True
    for key, value in recipe.model.decoding.items():
        setattr(model.config, key, value)
    start, final = output / START, output / FINAL
    save_whole(model, final, processor, Ngram.of_checkpoint(start), Scope.of_checkpoint(start))
    if pack_to is not None:
        logger.info("packed into %.1f MB", pack(final, pack_to) / 1e6)


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
        model, processor, ngram = make_model(recipe, data)
        partial = folder.with_name(f"{folder.name}.partial")
        save_whole(model, partial, processor, ngram, learn_scope() if recipe.model.scope else None)
        made = RunFolder(folder.parent, recipe, data).made_start()
        write_record(partial, replace(made, weights=weights_digest(partial)))
        publish(partial, folder)
    return _read(folder), BorealisProcessor.from_pretrained(folder)


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
