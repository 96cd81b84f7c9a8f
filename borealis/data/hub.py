"""Datasets of the hub, or of a folder, as manifests: columns mapped, bad rows counted and listed.

A dataset is read once; its recordings are kept as they came, beside a manifest. From then on a run
needs no network. Or it is streamed: the manifest is an index that says where each recording is in
the parquet files of one commit, and a run fetches them from there.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from borealis.data.entries import COLUMNS, Entry, known_entries
from borealis.data.indexing import NO_AUDIO, Lengths, ParquetRows
from borealis.data.opening import DatasetError, Opened, opened, parquet_files
from borealis.data.row_groups import size_text, streamed_note
from borealis.errors import AudioError
from borealis.files import open_aside, write_text

__all__ = ["DatasetError", "Report", "read_dataset"]

logger = logging.getLogger(__name__)

_GENDERS = {"male": "male", "m": "male", "male_masculine": "male", "мужской": "male"}
_GENDERS |= {"female": "female", "f": "female", "female_feminine": "female", "женский": "female"}
_ROLES = {"human": "user", "bot": "assistant", "gpt": "assistant", "prompter": "user"}
_LANGUAGES = {"ru": "ru", "ru_ru": "ru", "rus": "ru", "russian": "ru"}
_LANGUAGES |= {"en": "en", "en_us": "en", "eng": "en", "english": "en"}
# Beginnings of files by which a recording without a name is told.
_MAGIC = ((b"RIFF", ".wav"), (b"fLaC", ".flac"), (b"OggS", ".ogg"), (b"ID3", ".mp3"))
_LISTED = 200

# What is done with a recording: of it, the number of its row and the length that the row says, its
# path in the manifest and its length.
Keep: TypeAlias = Callable[[Any, int, Any], tuple[str, float]]


@dataclass
class Report:
    """What came of a dataset.

    Args:
        manifest: the file.
        kept: rows that are in it.
        hours: of audio.
        dropped: rows that aren't, by reason; the first of them are in `<manifest>.dropped.txt`.
        fetched: of a dataset that is streamed: bytes of the row groups that it is read from.
    """

    manifest: Path
    kept: int = 0
    hours: float = 0.0
    dropped: Counter[str] = field(default_factory=Counter)
    fetched: int | None = None

    def __str__(self) -> str:
        text = f"{self.kept} examples, {self.hours:.2f} h, in {self.manifest}"
        if self.fetched is not None:
            text += f"; streamed, {size_text(self.fetched)} an epoch"
        for reason, count in sorted(self.dropped.items()):
            text += f"\n{count} dropped: {reason}"
        return text


def read_dataset(
    name: str,
    folder: Path,
    *,
    output: str,
    config: str | None = None,
    split: str = "train",
    revision: str | None = None,
    streaming: bool = False,
    columns: Mapping[str, str] | None = None,
    language: str | None = None,
    limit: int | None = None,
    entries: Mapping[str, Entry] | None = None,
) -> Report:
    """Read a split of a dataset into a manifest and the recordings beside it, or into an index.

    Args:
        name: an entry, a hub id, or a folder (of data files, or written by `save_to_disk`).
        folder: data folder; the manifest is `<output>.jsonl` there, the recordings in `<output>/`.
            Of a dataset that is streamed there is `<output>.streamed.json` instead of recordings.
        output: that name.
        config: configuration of the dataset; an entry's own by default.
        split: split; with neither streaming nor a limit a part of one too, `train[:1000]`.
        revision: commit, tag or branch; an entry's own by default.
        streaming: write an index of its parquet files, and leave the recordings there.
        columns: column of the dataset by what it is (`COLUMNS`), on top of an entry's.
        language: of rows that don't say theirs; an entry's own by default.
        limit: most rows to read; no more than these are downloaded.
        entries: those that are known; by default the package's.

    Raises:
        DatasetError: the dataset can't be read, or lacks a column that was named.
        OutputError: the manifest can't be written.
    """
    entries = known_entries() if entries is None else entries
    entry = entries.get(name) or Entry.model_validate({"repository": name})
    named = {**entry.columns, **(columns or {})}
    if unknown := sorted(set(named) - set(COLUMNS)):
        raise DatasetError(f"'{unknown[0]}' isn't one of the columns {', '.join(COLUMNS)}.")
    manifest, recordings = folder / f"{output}.jsonl", folder / output
    if (source := Path(entry.repository)).exists() and any(
        _overlap(source.resolve(), target.resolve()) for target in (manifest, recordings)
    ):
        raise DatasetError(
            f"'{name}' is also an input, and the copies would be written into it: give another "
            "--output or --name."
        )
    with _read(
        name,
        entry.repository,
        config=config or entry.config,
        split=split,
        revision=revision or entry.revision,
        streaming=streaming,
        limit=limit,
    ) as dataset:
        mapping = _mapping(dataset, named)
        report = Report(manifest)
        folder.mkdir(parents=True, exist_ok=True)
        measured = Lengths(folder / f".{output}.lengths.jsonl")
        keep = partial(_address, measured) if streaming else partial(_keep, recordings)
        spoken = entry.language if language is None else language
        lines: list[str] = []
        with open_aside(manifest) as out:
            # Nobody is asked for a row more than the limit: it may lie in another file.
            rows = islice(_values(dataset, mapping, entry.remove), limit)
            for number, values in enumerate(rows):
                try:
                    item = _example(values, keep, number, spoken)
                except _BadRow as bad:
                    report.dropped[bad.reason] += 1
                    if len(lines) < _LISTED:
                        lines.append(f"row {number}: {bad}")
                    continue
                out.write(json.dumps(item, ensure_ascii=False) + "\n")
                report.kept += 1
                report.hours += item.get("duration", 0.0) / 3600
            if not report.kept:
                why = f": {lines[0]}" if lines else ", it is empty"
                raise DatasetError(f"No row of '{name}' can be used{why}.")
            if isinstance(dataset, ParquetRows):
                report.fetched = dataset.bytes
                told = {
                    "files": dataset.files,
                    "groups": dataset.groups,
                    "bytes": dataset.bytes,
                    "hours": round(report.hours, 4),
                }
                write_text(streamed_note(manifest), json.dumps(told, indent=1) + "\n")
            else:
                streamed_note(manifest).unlink(missing_ok=True)
    measured.done()
    if lines:
        write_text(folder / f"{output}.dropped.txt", "\n".join(lines) + "\n")
    return report


@contextmanager
def _read(
    name: str,
    place: str,
    *,
    config: str | None,
    split: str,
    revision: str | None,
    streaming: bool,
    limit: int | None,
) -> Iterator[Opened | ParquetRows]:
    if streaming:
        files = parquet_files(name, place, config=config, split=split, revision=revision)
        yield ParquetRows(name, files)
        return
    # Without a network the library finds in its cache only what was downloaded whole.
    online = os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("", "0", "false", "no", "off")
    by_row = limit is not None and "[" not in split and (online or Path(place).exists())
    with opened(
        name, place, config=config, split=split, revision=revision, by_row=by_row
    ) as dataset:
        yield dataset


def _mapping(dataset: Opened | ParquetRows, named: Mapping[str, str]) -> dict[str, str]:
    """Column by what it is: those named, and `audio` and `text` where they are found.

    Raises:
        DatasetError: a column isn't there, or nothing says what is said or asked.
    """
    has = f"it has {', '.join(dataset.columns)}. Say which is which: columns, or --column"
    for what, column in named.items():
        if column.split(".")[0] not in dataset.columns:
            raise DatasetError(
                f"'{dataset.name}' has no column for {what}={column}; {has} {what}=NAME."
            )
    mapping = dict(named)
    if "audio" not in mapping:
        one = dataset.recordings if len(dataset.recordings) == 1 else []
        if found := next((c for c in ("audio", *one) if c in dataset.columns), None):
            mapping["audio"] = found
    if "text" not in mapping and "text" in dataset.columns:
        mapping["text"] = "text"
    if not set(mapping) & {"text", "answer", "messages"}:
        raise DatasetError(f"'{dataset.name}' has no column 'text'; {has} text=NAME.")
    if isinstance(dataset, ParquetRows):
        dataset.audio = mapping.get("audio")
    return mapping


def _values(
    dataset: Opened | ParquetRows, mapping: Mapping[str, str], remove: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """What rows say, by what it is."""
    labels = {what: names for what, column in mapping.items() if (names := dataset.labels(column))}
    for row in dataset.rows(sorted({column.split(".")[0] for column in mapping.values()})):
        values = {what: _cell(row, column) for what, column in mapping.items()}
        for what, names in labels.items():
            values[what] = names.get(values[what])
        if isinstance(question := values.get("question"), str):
            for mark in remove:
                question = question.replace(mark, " ")
            values["question"] = question
        yield values


def _cell(row: Mapping[str, Any], column: str) -> Any:
    """A value of a row; `json.text` is a field of what is in `json`."""
    if column in row:
        return row[column]
    value: Any = row
    for part in column.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _overlap(source: Path, target: Path) -> bool:
    return target.is_relative_to(source) or source.is_relative_to(target)


class _BadRow(Exception):
    """A row that isn't used: `reason` for counting, the text for the list."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}" if detail else reason)


def _example(values: dict[str, Any], keep: Keep, number: int, language: str) -> dict[str, Any]:
    """A line of the manifest; paths are relative to its folder."""
    texts = {
        key: re.sub(r"\s+", " ", str(values[key])).strip()
        for key in ("text", "question", "answer", "voice")
        if values.get(key) is not None
    }
    item: dict[str, Any] = {key: text for key, text in texts.items() if text}
    said = str(values.get("language") or "").lower()
    item["language"] = _LANGUAGES.get(said, language)
    if gender := _GENDERS.get(str(values.get("gender") or "").lower()):
        item["gender"] = gender
    if values.get("messages"):
        item["messages"] = _conversation(values["messages"])
    elif item.get("question") and not item.get("answer"):
        raise _BadRow("a question without an answer")
    if "audio" in values:
        item["audio"], item["duration"] = keep(values["audio"], number, values.get("duration"))
        if not any(item.get(key) for key in ("text", "answer", "messages")):
            raise _BadRow("no text")
    elif "messages" not in item:
        if not item.get("question"):
            raise _BadRow("neither audio nor a conversation")
        item["messages"] = [
            {"role": "user", "content": item.pop("question")},
            {"role": "assistant", "content": item.pop("answer")},
        ]
    return item


def _conversation(messages: Any) -> list[dict[str, str]]:
    from borealis.data.manifest import conversation_problem

    out = []
    for message in messages:
        role = message.get("role", message.get("from", ""))
        content = message.get("content", message.get("value", ""))
        out.append({"role": _ROLES.get(role, role), "content": str(content).strip()})
    if out and out[-1]["role"] == "user":  # a question that nobody answered
        out.pop()
    problem = conversation_problem(out) or ("" if out else "it is empty")
    if problem:
        raise _BadRow("a conversation that can't be learned", problem)
    return out


def _address(lengths: Lengths, audio: str, number: int, said: Any) -> tuple[str, float]:
    """Leave a recording where it is; its address and its length in seconds."""
    seconds = lengths.seconds(audio, said)
    if seconds == NO_AUDIO:
        raise _BadRow(NO_AUDIO)
    if isinstance(seconds, str):
        raise _BadRow("audio that can't be read", seconds)
    return audio, seconds


def _keep(folder: Path, audio: Any, number: int, said: Any) -> tuple[str, float]:
    """Write a recording as it came; its path and its length in seconds, measured by decoding."""
    from borealis.audio import SAMPLING_RATE, load_audio

    if isinstance(audio, str):
        audio = {"path": audio}
    elif isinstance(audio, bytes):
        audio = {"bytes": audio}
    if not isinstance(audio, dict) or not (audio.get("bytes") or audio.get("path")):
        raise _BadRow(NO_AUDIO)
    path = audio.get("path") or ""
    data = audio.get("bytes") or _file(path)
    suffix = Path(path.split("::")[0]).suffix.lower()
    suffix = suffix or next((s for magic, s in _MAGIC if data.startswith(magic)), ".audio")
    target = folder / f"{number // 10_000:04d}" / f"{number:08d}{suffix}"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    try:
        seconds = len(load_audio(target)) / SAMPLING_RATE
    except AudioError as error:
        target.unlink()
        raise _BadRow("audio that can't be read", str(error)) from None
    return target.relative_to(folder.parent).as_posix(), round(seconds, 2)


def _file(path: str) -> bytes:
    """A file on the disk, or one of the hub where the dataset is read by row."""
    try:
        if "://" not in path:
            return Path(path).read_bytes()
        # A row may name any address: only files of the hub, or of its archives, are fetched.
        if path.split("::")[-1].startswith("hf://"):
            import fsspec

            with fsspec.open(path, "rb") as file:
                return file.read()
    except (OSError, ValueError) as error:
        raise _BadRow(NO_AUDIO, str(error)) from None
    raise _BadRow(NO_AUDIO, f"'{path}' isn't a file of the hub")
