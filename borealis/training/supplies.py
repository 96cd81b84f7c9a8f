"""Whether data, disk and memory suffice for a run: looked at before its first step."""

from __future__ import annotations

import itertools
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from borealis.data.manifest import Utterance, read_manifest
from borealis.data.row_groups import MOST_BYTES, group_of, kept_groups, size_text, streamed_note
from borealis.errors import AudioError, RecipeError
from borealis.files import free_bytes
from borealis.training.batches.recorded import WINDOW_SECONDS
from borealis.training.data.sources import made_manifest
from borealis.training.loop.checkpoints import WHOLE_BELOW
from borealis.training.recipe import Recipe, StageSection
from borealis.training.run.settings import manifests_of

if TYPE_CHECKING:
    from borealis.training.planner import Plan

logger = logging.getLogger(__name__)

# Rows of a manifest whose recordings are opened: the first, and others spread over the rest.
_OPENED = 3


def check_data(recipe: Recipe, stages: Sequence[StageSection], data: Path) -> None:
    """Whether the manifests of the stages can be read, and a few of the recordings in each.

    What isn't there is passed over: a missing file is told elsewhere, a dataset is read later.

    Args:
        recipe: as it will be used.
        stages: chosen ones.
        data: data folder.

    Raises:
        BorealisError: a line of a manifest isn't one, or its recordings can't be opened; the
            message names the manifest and what is wrong.
    """
    named = (manifests_of(recipe, stage, measured=True) for stage in stages)
    for name in dict.fromkeys(itertools.chain.from_iterable(named)):
        path = data / name
        if not path.is_file():
            continue
        # What is streamed was read when its index was made; a dry run asks nobody for it.
        heard = [i for i in read_manifest(path) if i.audio and group_of(i.audio) is None]
        step = max(1, len(heard) // _OPENED)
        problems = [told for item in heard[::step][:_OPENED] if (told := _problem(item))]
        if problems and len(problems) == len(heard[::step][:_OPENED]):
            raise RecipeError(
                f"None of the recordings of '{name}' that were tried can be opened: {problems[0]} "
                f"'borealis data check {path}' lists what is wrong."
            )


def _problem(item: Utterance) -> str:
    from borealis.audio import load_audio

    try:
        load_audio(item.audio)
    except AudioError as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class Room:
    """Bytes that a run needs on the disk.

    Args:
        features: of the caches.
        checkpoints: of the stage with the largest, all that are kept at once.
        models: of the weights that stages leave.
    """

    features: float
    checkpoints: float
    models: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.features + self.checkpoints + self.models


def planned_room(plan: Plan, stages: Sequence[StageSection]) -> Room:
    """What the planner says of a run's disk.

    Args:
        plan: of the same stages.
        stages: chosen ones.
    """
    total = plan.parameters["total"]
    checkpoints = [0.0]
    for stage, cost in zip(stages, plan.stages, strict=True):
        apart = stage.lora or stage.encoder_lora or stage.speech_learns
        small = total < WHOLE_BELOW and not apart
        weights = total if small else cost.learned_parameters
        # Two moments of the optimizer; one checkpoint more while it is written.
        one = 4.0 * (weights + 2 * cost.learned_parameters)
        checkpoints.append(one * (stage.checkpoints.keep + 1))
    return Room(plan.feature_cache, max(checkpoints), 4.0 * total * (len(stages) + 2))


def check_room(room: Room, output: Path) -> None:
    """Whether the disk of a run has so much room.

    Args:
        room: what is needed.
        output: folder of the run; needn't be there.

    Raises:
        RecipeError: it hasn't; the message says what takes how much.
    """
    there = sum(f.stat().st_size for f in output.rglob("*") if f.is_file())
    free = free_bytes(output)
    if room.total - there <= free:
        return
    raise RecipeError(
        f"The run needs about {room.total / 1e9:.1f} GB in '{output}' (features "
        f"{room.features / 1e9:.1f}, checkpoints {room.checkpoints / 1e9:.1f}, weights "
        f"{room.models / 1e9:.1f}), and {free / 1e9:.1f} GB are free. Free some space, give "
        "another --output, or keep fewer checkpoints (checkpoints.keep)."
    )


@dataclass(frozen=True)
class Streamed:
    """A source whose recordings stay in parquet files.

    Args:
        name: of the source.
        dataset: as the recipe names it.
        known: of its index, see `streamed_note`; empty where it isn't made yet.
    """

    name: str
    dataset: str
    known: dict[str, Any]

    @property
    def window_bytes(self) -> float:
        """What is drawn from at once; 0 where the index isn't made yet."""
        seconds = 3600 * self.known.get("hours", 0.0)
        return self.known.get("bytes", 0) * min(1.0, WINDOW_SECONDS / max(seconds, 1.0))

    def __str__(self) -> str:
        if not self.known:
            return f"{self.name}: the index of '{self.dataset}' is made first"
        files = self.known["files"]
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        return (
            f"{self.name}: {size_text(self.known['bytes'])} an epoch in "
            f"{self.known['groups']:,} row groups of '{files[0]}'{more}"
        )


def streamed_sources(recipe: Recipe, stages: Sequence[StageSection], data: Path) -> list[Streamed]:
    """The sources of stages that are streamed.

    Args:
        recipe: as it will be used.
        stages: chosen ones.
        data: data folder.
    """
    found = []
    names = dict.fromkeys(name for s in stages for name in (*s.sources, *s.talk_sources))
    for name in names:
        section = recipe.data.sources.get(name)
        if section is None or section.dataset is None or not section.streaming:
            continue
        made = data / made_manifest(name)
        note = streamed_note(made)
        known = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
        if known or not made.is_file():  # else a copy is there already, and it is used
            found.append(Streamed(name, section.dataset, known))
    return found


def check_cache(streamed: Sequence[Streamed]) -> None:
    """Whether the cache folder has room for the row groups that are kept at once.

    Raises:
        RecipeError: it hasn't.
    """
    wanted = min(MOST_BYTES, sum(source.known.get("bytes", MOST_BYTES) for source in streamed))
    if not wanted:
        return
    groups = kept_groups()
    free = free_bytes(groups.folder)
    if wanted - groups.size() > free:
        raise RecipeError(
            f"Of what is streamed up to {wanted / 1e9:.1f} GB are kept at once in "
            f"'{groups.folder}', and {free / 1e9:.1f} GB are free. Free some space, or set "
            "BOREALIS_CACHE to a folder that has it."
        )


def short_of_cache(streamed: Sequence[Streamed]) -> list[str]:
    """Whether more is drawn from at once than is kept, a sentence."""
    wanted = sum(source.window_bytes for source in streamed)
    if wanted <= MOST_BYTES:
        return []
    return [
        f"the streamed sources draw from {size_text(wanted)} at once, and {size_text(MOST_BYTES)} "
        "are kept: some row groups will be fetched more than once an epoch. Smaller recordings "
        "(another encoding, 16 kHz) or fewer such sources help"
    ]


def check_supplies(
    recipe: Recipe, stages: Sequence[StageSection], data: Path, output: Path
) -> None:
    """Whether the disk has room for a run; a lack of memory is told in the log.

    Of parts that the planner doesn't know nothing is said.

    Raises:
        RecipeError: see `check_room` and `check_cache`.
    """
    from borealis.training.planner import Options, PlanError, plan_recipe

    streamed = streamed_sources(recipe, stages, data)
    check_cache(streamed)
    for told in short_of_cache(streamed):
        logger.warning("%s", told)
    try:
        plan = plan_recipe(recipe.model_copy(update={"stages": list(stages)}), Options())
    except PlanError as error:
        logger.info("room on the disk wasn't checked: %s", error)
        return
    check_room(planned_room(plan, stages), output)
    for told in short_of_memory(plan, stages):
        logger.warning("%s", told)


def short_of_memory(plan: Plan, stages: Sequence[StageSection]) -> list[str]:
    """Stages for which this machine's memory won't do, by the planner, a sentence each.

    Args:
        plan: of the same stages.
        stages: chosen ones.
    """
    have, what = _memory()
    return [
        f"stage '{stage.name}' wants about {cost.memory['total'] / 1e9:.1f} GB, {what} has "
        f"{have / 1e9:.1f}: smaller batches (batch.seconds, batch.tokens), "
        "compute.gradient_checkpointing or compute.frozen_precision save memory"
        for stage, cost in zip(stages, plan.stages, strict=True)
        if cost.memory["total"] > have
    ]


def _memory() -> tuple[float, str]:
    import torch

    if torch.cuda.is_available():
        properties: Any = torch.cuda.get_device_properties(0)
        return float(properties.total_memory), f"the {torch.cuda.get_device_name()}"
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")), "this computer"
