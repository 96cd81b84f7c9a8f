"""JSON Lines: manifests of Borealis, of NeMo, of audiofolders; and a JSON list of the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from borealis.data.importers import places
from borealis.data.importers.columns import tell, understand
from borealis.data.importers.formats.table import complete
from borealis.data.importers.rows import Found, Importer, ImportProblem, Problem, Reading
from borealis.data.importers.text_files import MOST_TABLE_BYTES, read_text

_SUFFIXES = (".jsonl", ".ndjson", ".json")
_LOOKED_AT = 100  # objects by which the keys are known


def _sniff(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in _SUFFIXES


def read(path: Path, reading: Reading) -> Iterator[Found]:
    """Rows of a file of JSON objects, one a line or in a list.

    A transcript of Whisper or of `borealis transcribe --format json` is one object with segments;
    they are of the recording with its name.

    Raises:
        ImportProblem: it isn't text, no line is a JSON object, or no key is known as that of
            recordings.
    """
    text = read_text(path, reading, most=MOST_TABLE_BYTES)
    objects = list(_objects(text, path))
    known = [values for _, values in objects if isinstance(values, dict)]
    if not known:
        raise ImportProblem(f"'{path.name}' has no line that is a JSON object.")
    columns = list(dict.fromkeys(key for values in known[:_LOOKED_AT] for key in values))
    mapping = understand(columns, reading.columns)
    own = places.same_name(path) if "audio" not in mapping else None
    if own is None and not {"audio", "messages"} & mapping.keys():
        raise ImportProblem(
            f"'{path.name}' has no key for the recordings (audio, audio_filepath, file_name, ...); "
            f"its keys are {', '.join(columns[:20])}. Name it by --column audio=KEY."
        )
    tell(mapping, columns, reading)
    for place, values in objects:
        if not isinstance(values, dict):
            yield Problem("no JSON object", f"{place} is no JSON object")
            continue
        row = {what: values[column] for what, column in mapping.items() if column in values}
        yield complete(row, place, path.parent, own)


def _objects(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    """Each line or entry with its place; None if it isn't an object."""
    whole = loads(text) if text.lstrip()[:1] in ("[", "{") else None
    if isinstance(whole, dict) and isinstance(whole.get("segments"), list):
        whole = whole["segments"]
    if isinstance(whole, list):
        for number, values in enumerate(whole, 1):
            yield f"'{path.name}', entry {number}", values if isinstance(values, dict) else None
        return
    # Not splitlines(): a text may hold U+2028, which JSON leaves as it is.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            values = loads(line)
            yield f"'{path.name}', line {number}", values if isinstance(values, dict) else None


def loads(text: str) -> Any:
    """What a JSON text says, or None if it isn't one."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


IMPORTER = Importer("JSON Lines", _sniff, read, order=40, beside=(".json",))
