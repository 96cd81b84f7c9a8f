"""Labels of Audacity: lines of beginning, end and text with tabs between, in seconds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from borealis.data.importers import places
from borealis.data.importers.rows import Found, Importer, ImportProblem, Problem, Reading, Row, flat
from borealis.data.importers.text_files import decode, read_text

_LABEL = re.compile(r"\s*(\d+(?:[.,]\d+)?)\t(\d+(?:[.,]\d+)?)(?:\t(.*))?")
_LOOKED_AT = 1 << 16  # bytes


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, without empty ones and those of frequencies (`\\` and a tab)."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("\\"):
            yield number, line


def _sniff(path: Path) -> bool:
    """Whether the first lines are labels: a text that begins with two numbers has no tabs there."""
    if not path.is_file() or path.suffix.lower() != ".txt":
        return False
    with path.open("rb") as file:
        data = file.read(_LOOKED_AT)
    try:
        text, _ = decode(data[: data.rfind(b"\n") + 1 or None], path.name)
    except ImportProblem:
        return False
    head = [line for _, line in islice(_lines(text), 20)]
    return bool(head) and all(map(_LABEL.fullmatch, head))


def _read(path: Path, reading: Reading) -> Iterator[Found]:
    recording = places.same_name(path)
    if recording is None:
        yield Problem("no recording", f"beside '{path}' there is no recording of that name")
        return
    for number, line in _lines(read_text(path, reading)):
        place = f"'{path.name}', line {number}"
        label = _LABEL.fullmatch(line)
        if label is None:
            yield Problem("no label", f"{place} is no label: two times and a text, tabs between")
            continue
        start, end = (float(label[group].replace(",", ".")) for group in (1, 2))
        yield Row(recording, flat(label[3] or ""), start, end, joins=True, place=place)


IMPORTER = Importer("Audacity labels", _sniff, _read, order=60, beside=(".txt",))
