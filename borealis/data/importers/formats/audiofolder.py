"""Folders of recordings with a table of them: audiofolder of datasets, LJSpeech and their kin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from borealis.data.importers.columns import split_of
from borealis.data.importers.formats import json_lines, table
from borealis.data.importers.rows import Found, Importer, Reading, Row

_TABLES = ("metadata.jsonl", "metadata.csv", "metadata.tsv")


def _tables(folder: Path) -> list[Path]:
    """Tables of a folder, and of the folders in it that are named after splits or lie in `data`."""
    inner = sorted(path for path in folder.iterdir() if path.is_dir())
    places = [folder, *(p for p in inner if split_of(p.name))]
    places += [p for p in sorted((folder / "data").glob("*/")) if p.is_dir() and split_of(p.name)]
    # The first of each folder: the same rows lie in all of them.
    found = (next((p / name for name in _TABLES if (p / name).is_file()), None) for p in places)
    return [path for path in found if path is not None]


def _sniff(path: Path) -> bool:
    return path.is_dir() and bool(_tables(path))


def _read(path: Path, reading: Reading) -> Iterator[Found]:
    for found in _tables(path):
        kind = json_lines if found.suffix == ".jsonl" else table
        for row in kind.read(found, reading):
            if isinstance(row, Row) and not row.split:
                row = replace(row, split=_split(row, found, path))
            yield row


def _split(row: Row, found: Path, folder: Path) -> str:
    """After the folder of the table, or the folder in it where the recording lies."""
    if found.parent != folder:
        return split_of(found.parent.name)
    if not isinstance(row.audio, Path) or not row.audio.is_relative_to(folder):
        return ""
    parts = row.audio.relative_to(folder).parts[:-1]
    return next((split for part in parts if (split := split_of(part))), "")


IMPORTER = Importer("folder with a metadata table", _sniff, _read, order=10)
