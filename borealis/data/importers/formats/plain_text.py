"""A text beside a recording, without times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from borealis.data.importers import places
from borealis.data.importers.rows import Found, Importer, Problem, Reading, Row, flat
from borealis.data.importers.text_files import read_text


def _sniff(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() == ".txt"


def _read(path: Path, reading: Reading) -> Iterator[Found]:
    recording = places.same_name(path)
    if recording is None:
        yield Problem("no recording", f"beside '{path}' there is no recording of that name")
        return
    text = flat(read_text(path, reading))
    if text:
        yield Row(recording, text, place=f"'{path.name}'")
    else:
        yield Problem("no text", f"'{recording}' has no text: '{path.name}' is empty")


IMPORTER = Importer("text", _sniff, _read, order=80, beside=(".txt",))
