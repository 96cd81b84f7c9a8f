"""Label Studio's export in JSON: segments of recordings with what was written down for each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from borealis.data.importers.formats.json_lines import loads
from borealis.data.importers.rows import (
    Found,
    Importer,
    ImportProblem,
    Problem,
    Reading,
    Row,
    flat,
    is_audio,
)
from borealis.data.importers.text_files import MOST_TABLE_BYTES, read_text

_LOOKED_AT = 4096  # characters


def _sniff(path: Path) -> bool:
    if not path.is_file() or path.suffix.lower() != ".json":
        return False
    with path.open("rb") as file:
        head = file.read(_LOOKED_AT)
    return b'"annotations"' in head or b'"completions"' in head


def _read(path: Path, reading: Reading) -> Iterator[Found]:
    tasks = loads(read_text(path, reading, most=MOST_TABLE_BYTES))
    if not isinstance(tasks, list):
        raise ImportProblem(f"'{path.name}' isn't a list of tasks as Label Studio exports it.")
    recordings = {p.name: p for p in sorted(path.parent.rglob("*")) if is_audio(p)}
    reading.inputs.update(recordings.values())
    several = 0
    for number, task in enumerate(tasks, 1):
        place = f"'{path.name}', task {number}"
        if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
            yield Problem("no task", f"{place} is no task with data")
            continue
        names = [value for value in task["data"].values() if isinstance(value, str)]
        recording = next(filter(None, map(partial(_find, recordings), names)), None)
        if recording is None:
            named = next((name for name in names if "." in name[-6:]), "nothing")
            text = f"{place}: the recording '{named[:200]}' isn't in the folder of the export"
            yield Problem("the recording is missing", text)
            continue
        done = _done(task)
        several += len(done) > 1
        if not done:
            yield Problem("no annotation", f"{place} isn't annotated")
            continue
        yield from _segments(done[0], recording, place)
    if several:
        reading.note(f"{several} tasks were annotated more than once: the first is used")


def _find(recordings: dict[str, Path], address: str) -> Path | None:
    """The recording of a task, by the last part of its address.

    Uploaded files get eight digits and a hyphen in front; local ones stand behind `?d=`.
    """
    try:
        parts = urlsplit(address)
        inner = parse_qs(parts.query).get("d", [parts.path])[0]
    except ValueError:
        return None
    name = unquote(inner).replace("\\", "/").rpartition("/")[2]
    head, hyphen, rest = name.partition("-")
    uploaded = hyphen and len(head) == 8 and all(c in "0123456789abcdef" for c in head)
    return recordings.get(name) or (recordings.get(rest) if uploaded else None)


def _done(task: dict[str, Any]) -> list[list[Any]]:
    """Results of annotations that weren't cancelled."""
    annotations = task.get("annotations", task.get("completions"))
    if not isinstance(annotations, list):
        return []
    kept = [a for a in annotations if isinstance(a, dict) and not a.get("was_cancelled")]
    return [a["result"] for a in kept if isinstance(a.get("result"), list) and a["result"]]


def _segments(result: list[Any], recording: Path, place: str) -> Iterator[Found]:
    """Texts with their times; the label of a segment is its speaker."""
    regions: dict[str, dict[str, Any]] = {}
    for number, item in enumerate(result):
        value = item.get("value") if isinstance(item, dict) else None
        if not isinstance(value, dict):
            continue
        region = regions.setdefault(str(item.get("id", number)), {})
        for key in ("start", "end"):
            if isinstance(value.get(key), (int, float)):
                region[key] = float(value[key])
        if (written := value.get("text")) is not None:
            lines = written if isinstance(written, list) else [written]
            region["text"] = flat(" ".join(str(line) for line in lines))
        if isinstance(labels := value.get("labels"), list) and labels:
            region["voice"] = flat(str(labels[0]))
    names = {region["voice"] for region in regions.values() if "voice" in region}
    for region in regions.values():
        voice = region.get("voice", "") if len(names) > 1 else ""
        text, start, end = region.get("text", ""), region.get("start"), region.get("end")
        timed = start is not None and end is not None
        if not text and not timed:
            continue  # a choice or a rating
        yield Row(
            recording,
            text,
            start if timed else None,
            end if timed else None,
            voice=voice,
            joins=timed,
            place=place,
        )


IMPORTER = Importer("Label Studio", _sniff, _read, order=25)
