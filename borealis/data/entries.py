"""Entries of datasets: a YAML file each says where one is and what its columns mean.

Those of the package are in `borealis/data/datasets/`; a user's own are in `datasets/` of the data
folder, or in a folder given to the command. The file's name is the entry's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from borealis.errors import BorealisError

Meaning = Literal[
    "audio", "text", "voice", "gender", "language", "question", "answer", "messages", "duration"
]
COLUMNS: tuple[str, ...] = get_args(Meaning)
CONVERTED = "refs/convert/parquet"  # where the hub keeps its own parquet of a dataset
_BUNDLED = Path(__file__).parent / "datasets"


class EntryError(BorealisError):
    """A file of an entry can't be used; the message names the file and the key."""


class Entry(BaseModel):
    """A dataset: where it is, what its columns mean, what to know before use."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repository: str = Field(min_length=1, description="Hub id, or a folder of data files.")
    config: str | None = Field(None, description="Configuration.")
    revision: str | None = Field(
        None,
        description=f"Commit, tag or branch; {CONVERTED} where the original is a loading script.",
    )
    columns: dict[Meaning, str] = Field(
        default_factory=dict,
        description="Column of the dataset by what it is; `json.text` is a field of a column.",
    )
    remove: list[str] = Field(
        default_factory=list, description="Marks taken off questions: where the recording belongs."
    )
    language: Literal["ru", "en", ""] = Field("ru", description="Where no column says it.")
    licence: str = Field("see the card", description="As the dataset's card says.")
    marks: bool | None = Field(
        None, description="Whether texts have capitals and punctuation; left out if not known."
    )
    hours: float | None = Field(None, gt=0, description="Of the split train, if known.")
    overlaps: list[str] = Field(
        default_factory=list, description="Entries that share recordings with this one."
    )
    note: str = Field("", description="What to know before use.")
    known_from: str = Field("", description="How the columns are known.")

    def __str__(self) -> str:
        """One line: where it is, and what to know before use."""
        place = f"{self.repository} {self.config or ''}".strip()
        facts = [f"licence: {self.licence}"]
        if self.marks is not None:
            facts.append(f"{'with' if self.marks else 'without'} punctuation")
        if self.hours:
            facts.append(f"{self.hours:g} h")
        if self.overlaps:
            facts.append(f"shares recordings with {', '.join(self.overlaps)}")
        if self.note:
            facts.append(self.note)
        return f"{place}  ({'; '.join(facts)})"


@cache
def bundled_entries() -> dict[str, Entry]:
    """Entries of the package by name."""
    return _read_folder(_BUNDLED)


def known_entries(*folders: Path) -> dict[str, Entry]:
    """Entries of the package and of a user's folders, by name.

    Args:
        folders: of YAML files; one that isn't there has none.

    Raises:
        EntryError: a file can't be used, or two entries share a name.
    """
    entries = dict(bundled_entries())
    for folder in folders:
        own = _read_folder(folder)
        if taken := sorted(set(own) & set(entries)):
            raise EntryError(
                f"'{folder / taken[0]}.yaml': there is an entry '{taken[0]}' already; "
                "give the file another name."
            )
        entries |= own
    for name, entry in entries.items():
        if unknown := [other for other in entry.overlaps if other not in entries]:
            raise EntryError(
                f"Entry '{name}', key overlaps: there is no entry '{unknown[0]}'; "
                f"there are {', '.join(entries)}."
            )
    return entries


def overlapping(first: str, second: str, entries: Mapping[str, Entry]) -> bool:
    """Whether two different entries share recordings, as either of them says.

    Args:
        first: name of an entry, or a hub id.
        second: another.
        entries: known entries.
    """
    ones, others = _named(first, entries), _named(second, entries)
    return any(
        one != other and (other in entries[one].overlaps or one in entries[other].overlaps)
        for one in ones
        for other in others
    )


def _named(name: str, entries: Mapping[str, Entry]) -> list[str]:
    """Entries of that name, or of that repository."""
    if name in entries:
        return [name]
    return [known for known, entry in entries.items() if entry.repository == name]


def _read_folder(folder: Path) -> dict[str, Entry]:
    return {path.stem: _read(path) for path in _files(folder)}


def _files(folder: Path) -> Iterable[Path]:
    return sorted(folder.glob("*.yaml"))


def _read(path: Path) -> Entry:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        first = str(error).splitlines()[0]
        raise EntryError(f"'{path}' isn't a YAML file in UTF-8: {first}.") from None
    if not isinstance(values, dict):
        raise EntryError(f"'{path}' must hold keys: {', '.join(Entry.model_fields)}.")
    try:
        return Entry(**values)
    except ValidationError as error:
        raise EntryError(f"'{path}', {_first(error)}") from None
    except TypeError:  # a key that isn't a word
        raise EntryError(f"'{path}': keys are words: {', '.join(Entry.model_fields)}.") from None


def _first(error: ValidationError) -> str:
    """The first mistake in one sentence, with its key."""
    mistake = error.errors()[0]
    place = [str(part) for part in mistake["loc"] if part != "[key]"]
    key = ".".join(place)
    if mistake["type"] == "extra_forbidden":
        return f"key {key}: there is no such key; there are {', '.join(Entry.model_fields)}."
    if mistake["type"] == "missing":
        return f"key {key}: it is needed."
    return f"key {key}: {mistake['msg'][0].lower()}{mistake['msg'][1:]}."
