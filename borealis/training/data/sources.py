"""Reads the sources of a recipe: manifests, folders and datasets; counts what is left out."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from borealis.data.manifest import Utterance, read_manifest, write_manifest
from borealis.data.opening import DatasetError
from borealis.data.row_groups import is_there, recording, streamed_note
from borealis.errors import AudioError, RecipeError
from borealis.training.digests import folder_digest
from borealis.training.recipe import Recipe, SourceSection
from borealis.training.recipe.reduced import without

logger = logging.getLogger(__name__)

_LISTED = 200


@dataclass
class Examples:
    """What a source gives.

    Args:
        utterances: examples that can be learned from, in the order of the source.
        dropped: how many aren't, by reason.
        listed: the first of those, a line each.
    """

    utterances: list[Utterance]
    dropped: Counter[str] = field(default_factory=Counter)
    listed: list[str] = field(default_factory=list)

    def drop(self, reason: str, item: Utterance, detail: str = "") -> None:
        """Count an example that is left out."""
        self.dropped[reason] += 1
        if len(self.listed) < _LISTED:
            self.listed.append(f"{reason}: {item.audio}{' ' + detail if detail else ''}")


def made_manifest(name: str) -> str:
    """Where in the data folder the manifest of a folder's or dataset's source is kept."""
    return f"sources/{name}.jsonl"


def source_manifest(name: str, section: SourceSection, data: Path) -> Path:
    """The manifest of a source; a folder's or a dataset's is made on the first call.

    What it was made from is kept beside it. A folder that has changed is read again; a dataset is
    not, as other runs may learn from what is there.

    Raises:
        BorealisError: the folder or dataset can't be read, or the manifest is of another dataset.
    """
    if section.manifest is not None:
        return data / section.manifest
    made = data / made_manifest(name)
    note = made.with_suffix(".made-from.json")
    origin = _origin(section, data)
    if made.is_file():
        # A copy does for a run that would stream; an index doesn't for one that wants a copy.
        if section.dataset and not section.streaming and streamed_note(made).is_file():
            raise RecipeError(
                f"Source '{name}': '{made}' is an index of recordings that are streamed. Set "
                "streaming: true, or remove it to have the recordings kept in the data folder."
            )
        known = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
        if not note.is_file() and section.folder is None:
            return made  # put there by 'borealis data hub', or by an earlier version
        other = [key for key in origin if known.get(key) != origin[key]]
        if not other:
            return made
        if section.folder is None:
            told = [f"{key}: {known.get(key)!r} -> {origin[key]!r}" for key in other]
            raise RecipeError(
                f"Source '{name}': '{made}' was made from something else ({'; '.join(told)}). "
                "Remove it to have it made anew, or give the source another name."
            )
        logger.warning("source %s: the folder has changed, reading it again", name)
    made = _make_manifest(name, section, data, made)
    partial = note.with_suffix(".partial")
    partial.write_text(json.dumps(origin, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(note)
    return made


def _origin(section: SourceSection, data: Path) -> dict[str, Any]:
    """What the manifest of a source depends on; how the source is used is another matter."""
    if section.folder is not None:
        digest = folder_digest(data / section.folder)
        return {"folder": section.folder, "language": section.language, "recordings": digest}
    keys = {"dataset", "config", "split", "revision", "columns", "language", "limit"}
    return section.model_dump(mode="json", include=keys)


def _make_manifest(name: str, section: SourceSection, data: Path, made: Path) -> Path:
    place = made.parent
    place.mkdir(parents=True, exist_ok=True)
    if section.folder is not None:
        from borealis.data.importers.recordings import measured_folder

        items, problems = measured_folder(data / section.folder, section.language)
        for problem in problems:
            logger.warning("source %s: %s", name, problem)
        if not items:
            raise RecipeError(f"Source '{name}': '{data / section.folder}' has nothing to use.")
        return write_manifest(made, items)
    from borealis.data.entries import known_entries
    from borealis.data.hub import read_dataset

    assert section.dataset is not None
    logger.info("source %s: reading the dataset '%s'", name, section.dataset)
    report = read_dataset(
        section.dataset,
        place,
        output=name,
        config=section.config,
        split=section.split,
        revision=section.revision,
        streaming=section.streaming,
        columns=section.columns,
        language=section.language if "language" in section.model_fields_set else None,
        limit=section.limit,
        entries=known_entries(data / "datasets"),
    )
    logger.info("source %s: %s", name, report)
    return report.manifest


def without_missing_datasets(recipe: Recipe, data: Path) -> Recipe:
    """The recipe without optional datasets that can't be read; the others of them are read now.

    Raises:
        RecipeError: nothing is left for a stage to learn from.
    """
    optional = [name for name in recipe.data.optional if name in recipe.data.sources]
    gone = {name for name in optional if not _readable(name, recipe.data.sources[name], data)}
    if not gone:
        return recipe
    return without(recipe, sources=gone)


def _readable(name: str, section: SourceSection, data: Path) -> bool:
    """Whether a source's manifest is there, or can be made."""
    if section.dataset is None:
        return True
    try:
        source_manifest(name, section, data)
    except DatasetError as error:
        logger.warning("going on without the source %s: %s", name, error)
        return False
    return True


def read_source(
    name: str, section: SourceSection, data: Path, *, audio: bool, longest: float
) -> Examples:
    """Examples of a source that a stage can learn from.

    Args:
        name: of the source.
        section: what the recipe says of it.
        data: data folder.
        audio: recordings are wanted; else conversations without one.
        longest: seconds that the model or the stage takes, besides the source's own limit.

    Raises:
        BorealisError: the source can't be read, or nothing of it can be used.
    """
    items: Sequence[Utterance] = read_manifest(source_manifest(name, section, data))
    found = Examples([])
    longest = min(longest, section.max_seconds)
    for item in items[: section.limit]:
        if not audio:
            if item.audio or not item.messages:
                found.drop("not a conversation without audio", item)
            else:
                found.utterances.append(item)
            continue
        problem, detail, item = _problem(item, section.min_seconds, longest)
        if problem:
            found.drop(problem, item, detail)
        else:
            found.utterances.append(item)
    if not found.utterances:
        why = f" (for instance, {found.listed[0]})" if found.listed else ""
        raise RecipeError(f"Source '{name}' has no example that can be used{why}.")
    return found


def _problem(item: Utterance, shortest: float, longest: float) -> tuple[str, str, Utterance]:
    """Why a recording isn't used ("" if it is), a detail, and it with its length."""
    if not item.audio:
        return "no audio", "", item
    if not is_there(item.audio):
        return "the file is missing", "", item
    if item.kind == "speech" and not (item.text or item.answer or item.messages):
        return "speech without a text", "", item
    if not item.duration:
        from borealis.audio import SAMPLING_RATE, load_audio

        try:
            seconds = len(load_audio(recording(item.audio))) / SAMPLING_RATE
            item = replace(item, duration=round(seconds, 2))
        except AudioError as error:
            return "unreadable", str(error), item
    if item.duration < shortest:
        return "too short", f"{item.duration:g} s", item
    if item.duration > longest:
        return "too long", f"{item.duration:g} s, at most {longest:g}", item
    return "", "", item
