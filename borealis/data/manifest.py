"""Manifests: JSON Lines files, one utterance a line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from borealis.errors import ManifestError
from borealis.files import open_aside

HUB = "hf://datasets/"  # how addresses of parquet files on the hub begin
KINDS = ("speech", "silence", "noise", "music")


@dataclass
class Utterance:
    """One recording and what is known about it.

    Args:
        audio: path of the file; relative paths are relative to the manifest's folder. Or an
            address in a parquet file (`borealis.data.row_groups`), as an index has it.
        text: what is said, with punctuation; empty for anything but speech.
        duration: seconds.
        language: `ru`, `en`, or empty where nobody speaks.
        voice: name of the speaker or synthetic voice; held-out voices are chosen by it.
        gender: `male`, `female`, or empty when unknown.
        kind: `speech`, `silence`, `noise` or `music`.
        question: a question about the recording, for instruction data of your own.
        answer: the answer to learn for `question`.
        messages: a whole conversation instead, `role` (system, user, assistant) and `content` each;
            the recording, if there is one, is heard in the first turn of the user. The content
            of an assistant may be parts: a text, and then its recording, to be spoken
            (`[{"type": "text", "text": ...}, {"type": "audio", "audio": ...}]`). Only with messages
            `audio` may be empty.
        place: manifest and line it was read from, for messages; no key of a manifest.
    """

    audio: str = ""
    text: str = ""
    duration: float = 0.0
    language: str = "ru"
    voice: str = ""
    gender: str = ""
    kind: str = "speech"
    question: str = ""
    answer: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)
    place: str = field(default="", compare=False, repr=False)

    @property
    def texts(self) -> list[str]:
        """Everything in it that is written: what is said, asked and answered."""
        written = [self.text, self.question, self.answer]
        return [t for t in (*written, *(content_text(m) for m in self.messages)) if t]


_FIELDS = {f.name: f for f in fields(Utterance) if f.name != "place"}
_TYPES: dict[str, tuple[type, ...]] = dict.fromkeys(_FIELDS, (str,))
_TYPES |= {"duration": (int, float), "messages": (list,)}
_DEFAULTS = Utterance()
ROLES = ("system", "user", "assistant")


def read_manifest(path: str | Path) -> list[Utterance]:
    """Read a manifest; relative audio paths come back joined to the manifest's folder.

    Raises:
        ManifestError: the file is missing, a line isn't a JSON object, a key is unknown or has a
            wrong type, or `audio` is missing. The message names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise ManifestError(f"There is no manifest at '{path}'. Check the path.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ManifestError(f"'{path.name}' isn't text in UTF-8, so it isn't a manifest.") from None
    except OSError as error:
        raise ManifestError(f"'{path}' can't be read: {error.strerror}.") from None
    items = []
    # Not splitlines(): a text may hold U+2028, which JSON leaves as it is.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        items.append(_parse(line, f"'{path.name}', line {number}", path.parent))
    if not items:
        raise ManifestError(f"The manifest '{path}' is empty: it should hold a JSON object a line.")
    return items


def _parse(line: str, where: str, folder: Path) -> Utterance:
    try:
        row: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise ManifestError(f"{where}: not valid JSON ({error.msg}).") from None
    if not isinstance(row, dict):
        raise ManifestError(f'{where}: a JSON object is wanted, like {{"audio": "a.wav", ...}}.')
    unknown = sorted(set(row) - set(_FIELDS))
    if unknown:
        raise ManifestError(
            f"{where}: unknown key {unknown[0]!r}; the keys are {', '.join(_FIELDS)}."
        )
    if not row.get("audio") and not row.get("messages"):
        raise ManifestError(f"{where}: the key 'audio' (path of the recording) is missing.")
    for key, value in row.items():
        if not isinstance(value, _TYPES[key]) or isinstance(value, bool):
            raise ManifestError(f"{where}: {key!r} has the wrong type ({type(value).__name__}).")
    if row.get("kind", "speech") not in KINDS:
        raise ManifestError(
            f"{where}: kind is {row['kind']!r}; it must be one of {', '.join(KINDS)}."
        )
    if (problem := conversation_problem(row.get("messages", []))) is not None:
        raise ManifestError(f"{where}: {problem}.")
    item = Utterance(**row, place=where)
    if item.audio and not Path(item.audio).is_absolute() and not item.audio.startswith(HUB):
        item.audio = str(folder / item.audio)
    item.messages = [_joined(message, folder) for message in item.messages]
    return item


def content_text(message: dict[str, Any]) -> str:
    """What is written in a message, without the recording of it."""
    content = message["content"]
    return content if isinstance(content, str) else str(content[0]["text"])


def spoken_audio(message: dict[str, Any]) -> str:
    """The recording of a message's text; empty where it isn't spoken."""
    content = message["content"]
    return "" if isinstance(content, str) else str(content[1]["audio"])


def _joined(message: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A message whose recording is a path from here."""
    audio = spoken_audio(message)
    if not audio or Path(audio).is_absolute():
        return message
    text, spoken = message["content"]
    return message | {"content": [text, spoken | {"audio": str(folder / audio)}]}


def _is_spoken(content: Any) -> bool:
    """Whether the content of a message is a text and then its recording."""
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        return False
    if [part.get("type") for part in content] != ["text", "audio"]:
        return False
    values = (content[0].get("text"), content[1].get("audio"))
    return all(isinstance(value, str) and value for value in values)


def conversation_problem(messages: Any) -> str | None:
    """What is wrong with the `messages` of a line, or None."""
    if not messages:
        return None
    for message in messages:
        if not isinstance(message, dict) or message.keys() != {"role", "content"}:
            return "each of the messages has the keys 'role' and 'content' and no others"
        spoken = message["role"] == "assistant" and _is_spoken(message["content"])
        if message["role"] not in ROLES or not (isinstance(message["content"], str) or spoken):
            return (
                f"the role of a message is one of {', '.join(ROLES)}, its content is text, or of "
                "an assistant a part of text and then one of audio"
            )
    roles = [message["role"] for message in messages]
    talk = roles[1:] if roles[0] == "system" else roles
    if not talk or talk != ["user", "assistant"] * (len(talk) // 2):
        return "in messages user and assistant take turns, the user begins and the assistant ends"
    return None


def write_manifest(path: str | Path, items: Iterable[Utterance]) -> Path:
    """Write a manifest; audio under the manifest's folder is stored as a relative path.

    Raises:
        ManifestError, OutputError: the file can't be written there.
    """
    path = Path(path)
    root = path.parent.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ManifestError(f"'{path}' can't be written: {error.strerror}.") from None
    with open_aside(path) as file:
        for item in items:
            values = {k: getattr(item, k) for k in _FIELDS}
            row = {k: v for k, v in values.items() if v != getattr(_DEFAULTS, k)}
            audio = Path(item.audio)
            if item.audio and audio.is_absolute() and audio.resolve().is_relative_to(root):
                row["audio"] = audio.resolve().relative_to(root).as_posix()
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path
