"""A folder of recordings, or one recording, each with a file of the same name beside it."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from borealis.data.importers import registry
from borealis.data.importers.rows import (
    Found,
    Importer,
    ImportProblem,
    Problem,
    Reading,
    is_audio,
)

_TABLES = (".csv", ".tsv", ".jsonl", ".json")


def _sniff(path: Path) -> bool:
    return path.is_dir() or (path.is_file() and is_audio(path))


def _read(path: Path, reading: Reading) -> Iterator[Found]:
    """Rows of all recordings in and under a folder, in the order of their paths."""
    recordings = [path] if path.is_file() else []
    listings: dict[Path, dict[str, list[Path]]] = {}
    for root, folders, names in os.walk(path if path.is_dir() else path.parent):
        folders.sort()
        if path.is_file():
            folders.clear()
        files = [Path(root) / name for name in sorted(names)]
        listings[Path(root)] = _by_stem(files)
        if path.is_dir():  # a pipe would never end
            recordings += [file for file in files if is_audio(file) and file.is_file()]
    if not recordings:
        raise ImportProblem(f"'{path}' has no recording in it ({_tables(path)}).")
    reading.inputs.update(recordings)
    kinds: Counter[str] = Counter()
    for recording in sorted(recordings):
        fitting = _beside(recording, listings[recording.parent])
        if not fitting:
            yield Problem("no text", f"'{recording}' has no text")
            continue
        found, importer = fitting[0]
        kinds[importer.name] += 1
        if others := [file.name for file, _ in fitting[1:]]:
            reading.note(f"'{recording.name}': '{found.name}' is used, not {', '.join(others)}")
        try:
            yield from importer.read(found, reading)
        except ImportProblem as error:
            yield Problem("a text that can't be read", str(error).rstrip("."))
    shown = ", ".join(f"{name} ({count})" for name, count in kinds.most_common())
    reading.note(f"beside the recordings: {shown or 'nothing; ' + _tables(path)}")


def _by_stem(files: list[Path]) -> dict[str, list[Path]]:
    """Files by what stands before each of the dots in their names."""
    out: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        parts = file.name.split(".")
        for count in range(1, len(parts)):
            out[".".join(parts[:count])].append(file)
    return out


def _beside(recording: Path, files: dict[str, list[Path]]) -> list[tuple[Path, Importer]]:
    """Files that tell what is said in a recording, the one to prefer first."""
    own = [*files.get(recording.stem, ()), *files.get(recording.name, ())]
    own = [file for file in dict.fromkeys(own) if file != recording]
    found: list[tuple[Path, Importer]] = []
    for importer in registry.beside():
        fitting = [f for f in own if f.name.lower().endswith(importer.beside) and importer.sniff(f)]
        known = {file for file, _ in found}
        found += [(file, importer) for file in fitting if file not in known]
    return found


def _tables(path: Path) -> str:
    """Which tables one might have meant."""
    tables = sorted(p.name for p in path.glob("*") if p.suffix.lower() in _TABLES)
    if not tables:
        return "and no table"
    return f"tables lie there, give one of them: {', '.join(tables[:8])}"


IMPORTER = Importer("recordings with files beside them", _sniff, _read, order=90)
