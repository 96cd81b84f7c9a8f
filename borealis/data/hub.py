"""Datasets of the hub, or of a folder, as manifests: columns mapped, bad rows counted and listed.

A dataset is read once, whole or streamed; its recordings are kept as they came, beside a manifest.
From then on a run needs no network, and its order doesn't depend on anybody else's files.
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from borealis.errors import AudioError, BorealisError
from borealis.files import open_aside, write_text

logger = logging.getLogger(__name__)

COLUMNS = ("audio", "text", "voice", "gender", "language", "question", "answer", "messages")
_GENDERS = {"male": "male", "m": "male", "male_masculine": "male", "мужской": "male"}
_GENDERS |= {"female": "female", "f": "female", "female_feminine": "female", "женский": "female"}
_ROLES = {"human": "user", "bot": "assistant", "gpt": "assistant", "prompter": "user"}
_LANGUAGES = {"ru": "ru", "ru_ru": "ru", "rus": "ru", "russian": "ru"}
_LANGUAGES |= {"en": "en", "en_us": "en", "eng": "en", "english": "en"}
# Beginnings of files by which a recording without a name is told.
_MAGIC = ((b"RIFF", ".wav"), (b"fLaC", ".flac"), (b"OggS", ".ogg"), (b"ID3", ".mp3"))
_LISTED = 200


class DatasetError(BorealisError):
    """A dataset can't be read, or its columns aren't those that were named."""


@dataclass(frozen=True)
class Entry:
    """A dataset with its columns, as known from its page or from code that reads it; not run here.

    Args:
        dataset: hub id.
        columns: what each of its columns is; see `COLUMNS`.
        config: configuration.
        language: where no column says it.
        note: what to know before use.
    """

    dataset: str
    columns: dict[str, str]
    config: str | None = None
    language: str = "ru"
    note: str = ""


_COMMON_VOICE = {"text": "sentence", "voice": "client_id", "gender": "gender"}
_SAID = {"text": "transcription"}
_ASK = {"question": "question", "answer": "answer"}
_CV_NOTE = "gated: accept its terms on the hub; the archive's .tsv works too"
READY: dict[str, Entry] = {
    "common-voice-ru": Entry(
        "mozilla-foundation/common_voice_17_0", _COMMON_VOICE, config="ru", note=_CV_NOTE
    ),
    "common-voice-en": Entry(
        "mozilla-foundation/common_voice_17_0",
        _COMMON_VOICE,
        config="en",
        language="en",
        note=_CV_NOTE,
    ),
    "golos": Entry("bond005/sberdevices_golos_10h_crowd", _SAID, note="a part of Golos, crowd"),
    "golos-far": Entry("bond005/sberdevices_golos_100h_farfield", _SAID, note="far field"),
    "ruls": Entry("istupakov/russian_librispeech", {"text": "text"}, note="Russian LibriSpeech"),
    "fleurs-ru": Entry("google/fleurs", _SAID | {"gender": "gender"}, config="ru_ru"),
    "fleurs-en": Entry(
        "google/fleurs", _SAID | {"gender": "gender"}, config="en_us", language="en"
    ),
    "tone-books": Entry("Vikhrmodels/ToneBooksPlus", {"text": "text"}),
    "tone-speak": Entry("Vikhrmodels/ToneSpeak", {"text": "text"}),
    "tone-webinars": Entry("Vikhrmodels/ToneWebinars", {"text": "text"}),
    "tone-ruls": Entry("Vikhrmodels/ToneRuLS", {"text": "text"}),
    "speech-instructions": Entry("Vikhrmodels/Speech-Instructions", _ASK),
    "speech-describe": Entry("Vikhrmodels/Speech-Describe", _ASK, note="columns are a guess"),
    "audiobooks-instruct": Entry(
        "Vikhrmodels/AudioBooksInstructGemini2.5", _ASK, note="columns are a guess"
    ),
    "grandmaster": Entry(
        "Vikhrmodels/GrandMaster-PRO-MAX", {"messages": "conversation"}, note="text only"
    ),
}


@dataclass
class Report:
    """What came of a dataset.

    Args:
        manifest: the file.
        kept: rows that are in it.
        hours: of audio.
        dropped: rows that aren't, by reason; the first of them are in `<manifest>.dropped.txt`.
    """

    manifest: Path
    kept: int = 0
    hours: float = 0.0
    dropped: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        text = f"{self.kept} examples, {self.hours:.2f} h, in {self.manifest}"
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
) -> Report:
    """Read a split of a dataset into a manifest and the recordings beside it.

    Args:
        name: a ready entry, a hub id, or a folder (of data files, or written by `save_to_disk`).
        folder: data folder; the manifest is `<output>.jsonl` there, the recordings in `<output>/`.
        output: that name.
        config: configuration of the dataset; a ready entry's own by default.
        split: split, `train[:1000]` if not streamed.
        revision: commit or tag.
        streaming: read it row by row without downloading it whole.
        columns: column of the dataset by what it is (`COLUMNS`), on top of a ready entry's.
        language: of rows that don't say theirs.
        limit: most rows to read.

    Raises:
        DatasetError: the dataset can't be read, or lacks a column that was named.
        OutputError: the manifest can't be written.
    """
    entry = READY.get(name, Entry(name, {}))
    mapping = {"audio": "audio", "text": "text"} | entry.columns | dict(columns or {})
    if unknown := sorted(set(mapping) - set(COLUMNS)):
        raise DatasetError(f"'{unknown[0]}' isn't one of the columns {', '.join(COLUMNS)}.")
    manifest, recordings = folder / f"{output}.jsonl", folder / output
    named = set(entry.columns) | set(columns or {})
    dataset, found = _open(
        entry.dataset, config or entry.config, split, revision, streaming, mapping["audio"]
    )
    if missing := [f"{k}={mapping[k]}" for k in sorted(named) if mapping[k] not in found]:
        raise DatasetError(
            f"'{name}' has no column for {missing[0]}; it has {', '.join(found)}. "
            "Say which is which: columns, or --column text=sentence."
        )
    mapping = {k: v for k, v in mapping.items() if v in found}
    if (source := Path(entry.dataset)).exists() and any(
        _overlap(source.resolve(), target.resolve()) for target in (manifest, recordings)
    ):
        raise DatasetError(
            f"'{name}' is also an input, and the copies would be written into it: give another "
            "--output or --name."
        )
    report = Report(manifest)
    recordings.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    labels = _labels(dataset, mapping)
    with open_aside(manifest) as out:
        for number, row in enumerate(_rows(dataset, name)):
            if limit is not None and number >= limit:
                break
            values = {
                k: labels[k].get(row[v]) if k in labels else row[v] for k, v in mapping.items()
            }
            try:
                item = _example(values, recordings, number, language or entry.language)
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
    if lines:
        write_text(folder / f"{output}.dropped.txt", "\n".join(lines) + "\n")
    return report


def _overlap(source: Path, target: Path) -> bool:
    return target.is_relative_to(source) or source.is_relative_to(target)


class _BadRow(Exception):
    """A row that isn't used: `reason` for counting, the text for the list."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}" if detail else reason)


def _open(
    name: str,
    config: str | None,
    split: str,
    revision: str | None,
    streaming: bool,
    audio: str,
) -> tuple[Any, list[str]]:
    """The dataset with undecoded audio, and the names of its columns."""
    from datasets import Audio, load_dataset, load_from_disk

    try:
        if (Path(name) / "dataset_info.json").is_file() or (
            Path(name) / "dataset_dict.json"
        ).is_file():
            dataset: Any = load_from_disk(name)
            dataset = dataset[split] if isinstance(dataset, dict) else dataset
        else:
            dataset = load_dataset(
                name, config, split=split, revision=revision, streaming=streaming
            )
        found = list(dataset.column_names or next(iter(dataset)))
        if audio in found:
            dataset = dataset.cast_column(audio, Audio(decode=False))
    except Exception as error:  # the library raises of many kinds; the first line says which
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DatasetError(f"The dataset '{name}' can't be read: {first}") from None
    return dataset, found


def _rows(dataset: Any, name: str) -> Iterable[dict[str, Any]]:
    try:
        yield from dataset
    except OSError as error:
        raise DatasetError(f"Reading '{name}' broke off: {error}. Run it again.") from None


def _labels(dataset: Any, mapping: Mapping[str, str]) -> dict[str, dict[Any, str]]:
    """Names of columns that hold numbers of classes."""
    out = {}
    for key, column in mapping.items():
        names = getattr((dataset.features or {}).get(column), "names", None)
        if names:
            out[key] = dict(enumerate(names))
    return out


def _example(values: dict[str, Any], folder: Path, number: int, language: str) -> dict[str, Any]:
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
        item["audio"], item["duration"] = _keep(values["audio"], folder, number)
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


def _keep(audio: Any, folder: Path, number: int) -> tuple[str, float]:
    """Write a recording as it came; its path and its length in seconds, measured by decoding."""
    from borealis.audio import SAMPLING_RATE, load_audio

    if not isinstance(audio, dict) or not (audio.get("bytes") or audio.get("path")):
        raise _BadRow("no audio")
    data = audio.get("bytes")
    if data is None:
        try:
            data = Path(audio["path"]).read_bytes()
        except OSError as error:
            raise _BadRow("no audio", str(error)) from None
    suffix = Path(audio.get("path") or "").suffix.lower()
    suffix = suffix or next((s for magic, s in _MAGIC if data.startswith(magic)), ".audio")
    target = folder / f"{number // 10_000:04d}" / f"{number:08d}{suffix}"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(data)
    try:
        seconds = len(load_audio(target)) / SAMPLING_RATE
    except AudioError as error:
        target.unlink()
        raise _BadRow("audio that can't be read", str(error)) from None
    return target.relative_to(folder.parent).as_posix(), round(seconds, 2)
