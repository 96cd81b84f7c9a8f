"""Which column, or key, of other people's tables holds what; and rows made of their values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from borealis import arguments
from borealis.data.importers.rows import Found, ImportProblem, Problem, Reading, Row, flat
from borealis.errors import PromptError

# Usual names, in small letters and with underscores; where a table has several, the first counts.
NAMES: dict[str, tuple[str, ...]] = {
    "audio": (
        *("audio", "audio_filepath", "audio_path", "audio_file", "audio_filename", "file_name"),
        *("filename", "file", "filepath", "file_path", "path", "wav", "wav_filename", "wav_path"),
        *("wav_file", "recording", "clip", "sound", "аудио", "запись", "файл", "путь"),
    ),
    "text": (
        *("text", "sentence", "raw_transcription", "transcript", "transcription", "raw_text"),
        *("normalized_text", "normalized_transcription", "utterance", "phrase", "reference"),
        *("текст", "расшифровка", "транскрипция", "фраза", "предложение"),
    ),
    "voice": (
        *("voice", "speaker", "speaker_id", "client_id", "speaker_name", "spk", "spk_id"),
        *("voice_name", "narrator", "reader", "диктор", "голос", "спикер"),
    ),
    "gender": ("gender", "sex", "speaker_gender", "пол"),
    "language": ("language", "locale", "lang", "language_id", "язык"),
    "start": ("start", "begin", "start_time", "offset", "начало"),
    "end": ("end", "stop", "end_time", "конец"),
    "duration": ("duration", "duration_s", "length_s", "длительность"),
    "split": ("split", "subset", "partition"),
    "kind": ("kind",),
    "question": ("question",),
    "answer": ("answer",),
    "messages": ("messages",),
}
GENDERS = {
    **dict.fromkeys(("male", "m", "man", "male_masculine", "м", "муж", "мужской"), "male"),
    **dict.fromkeys(("female", "f", "woman", "female_feminine", "ж", "жен", "женский"), "female"),
}
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
}
_MORE = ("kind", "question", "answer")


def plain_name(column: str) -> str:
    """A column's name as `NAMES` writes them."""
    return "_".join(column.strip().strip("\"'").lower().replace("-", " ").split())


def split_of(name: str) -> str:
    """The split that a folder or a file is named after: `train`, `test`, `validation` or none."""
    return _SPLITS.get(name.lower(), "")


def understand(columns: Sequence[str], chosen: Mapping[str, str]) -> dict[str, str]:
    """Which column holds what.

    Args:
        columns: of the table.
        chosen: columns that the user named, by what they hold.

    Raises:
        ImportProblem: a column that was named isn't there, or nothing can be held by it.
    """
    mapping = {}
    for what, column in chosen.items():
        if what not in NAMES:
            raise ImportProblem(
                f"--column {what}={column}: '{what}' is none of {', '.join(NAMES)}."
            )
        if column not in columns:
            raise ImportProblem(
                f"--column {what}={column}: there is no such column; there are "
                f"{', '.join(columns)}."
            )
        mapping[what] = column
    by_name = {plain_name(column): column for column in reversed(columns)}
    for what, names in NAMES.items():
        if what not in mapping:
            fitting = [by_name[name] for name in names if name in by_name]
            fitting = [column for column in fitting if column not in mapping.values()]
            if fitting:
                mapping[what] = fitting[0]
    return mapping


def tell(mapping: Mapping[str, str], columns: Iterable[str], reading: Reading) -> None:
    """Note which columns are used and which aren't."""
    shown = [
        what if plain_name(column) == what else f"{what} = {column}"
        for what, column in mapping.items()
    ]
    others = [column.strip() for column in columns if column not in mapping.values()]
    unused = f"; not used: {', '.join(others)}" if others else ""
    reading.note(f"columns: {', '.join(shown)}{unused}")


def row_of(values: Mapping[str, Any], place: str) -> Found:
    """A row without its recording.

    Args:
        values: what a line says, by what it is (`NAMES`).
        place: file and line.
    """
    texts = {}
    for what in ("text", "voice", "gender", "language", "split", "kind", "question", "answer"):
        value = values.get(what)
        if value is not None and not isinstance(value, (str, int, float)):
            return Problem("a value of the wrong kind", f"{place}: '{what}' isn't a text")
        texts[what] = "" if value is None else flat(str(value))
    try:
        language = arguments.language(texts["language"]) or ""
    except PromptError:
        return Problem(
            "a language that isn't Russian or English",
            f"{place}: the language is '{texts['language']}'",
        )
    try:
        start, end = _times(values)
    except ValueError as error:
        return Problem("times that can't be understood", f"{place}: {error}")
    more: dict[str, Any] = {what: texts[what] for what in _MORE if texts.get(what)}
    messages = values.get("messages")
    if (wrong := _wrong(more, messages)) is not None:
        return Problem("keys that a manifest can't have", f"{place}: {wrong}")
    return Row(
        None,
        texts["text"],
        start,
        end,
        voice=texts["voice"],
        gender=GENDERS.get(texts["gender"].lower(), ""),
        language=language,
        split=split_of(texts["split"]),
        place=place,
        more=more | ({"messages": messages} if messages else {}),
    )


def needs_text(row: Row) -> bool:
    """Whether something that ought to be said in it is missing."""
    speech = row.more.get("kind", "speech") == "speech"
    return speech and not (row.text or row.more.get("answer") or row.more.get("messages"))


def _wrong(more: Mapping[str, Any], messages: Any) -> str | None:
    from borealis.data.manifest import KINDS, conversation_problem

    if more.get("kind", "speech") not in KINDS:
        return f"kind is '{more['kind']}', not one of {', '.join(KINDS)}"
    if messages is not None and not isinstance(messages, list):
        return "messages aren't a list"
    return conversation_problem(messages)


def _times(values: Mapping[str, Any]) -> tuple[float | None, float | None]:
    start, end, length = (_seconds(values.get(key), key) for key in ("start", "end", "duration"))
    if start is None:
        return None, None
    if end is None and length is not None:
        end = start + length
    return (start, end) if end is not None else (None, None)


def _seconds(value: Any, what: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        seconds = float(str(value).strip().replace(",", "."))
    except ValueError:
        seconds = math.nan
    if isinstance(value, bool) or not math.isfinite(seconds):
        raise ValueError(f"'{what}' is {str(value)[:40]!r}, seconds are wanted")
    return seconds
