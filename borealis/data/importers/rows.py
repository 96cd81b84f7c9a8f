"""What every importer gives: rows, and problems where a row can't be used; and what it is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from borealis.errors import ManifestError

AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".oga", ".mp3", ".m4a", ".mp4", ".webm", ".aac"}


class ImportProblem(ManifestError):
    """Recordings and their texts can't be understood as a whole."""


@dataclass(frozen=True)
class Stored:
    """A recording within a larger file that isn't compressed, such as a tar.

    Args:
        path: the file.
        offset: where the recording begins, bytes.
        size: its bytes.
        name: what it is called there; its suffix tells the format.
    """

    path: Path
    offset: int
    size: int
    name: str

    def read(self) -> bytes:
        """Its bytes, fewer if the file ends before."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True)
class Row:
    """A recording, or a stretch of one, with what is said there.

    Args:
        audio: its file, or where it is stored; None for a conversation without sound.
        text: what is said.
        start: where the stretch begins, seconds; None for the whole recording.
        end: where it ends.
        voice: name of the speaker.
        gender: `male`, `female` or empty.
        language: `ru`, `en`, or empty where the format doesn't say it.
        split: `train`, `test`, `validation`, or empty where the format knows of none.
        joins: neighbouring stretches of a recording may become one clip, as with subtitles.
        place: file and line, for messages.
        more: other keys of a manifest: `kind`, `question`, `answer`, `messages`.
    """

    audio: Path | Stored | None
    text: str
    start: float | None = None
    end: float | None = None
    voice: str = ""
    gender: str = ""
    language: str = ""
    split: str = ""
    joins: bool = False
    place: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem:
    """Something that isn't used.

    Args:
        reason: a few words, the same for all of a kind; they are counted.
        text: a sentence without a full stop that names it.
    """

    reason: str
    text: str


Found: TypeAlias = "Row | Problem"


@dataclass
class Reading:
    """How to read, and what was understood by the way.

    Args:
        columns: column of a table by what it holds, on top of the usual names.
        tiers: of a TextGrid or an ELAN file that hold what is said; empty: the only such one.
        encoding: of texts; None: told by their bytes.
        encodings: files read in each encoding.
        notes: what was understood, a line each.
        inputs: files that were read or will be: nothing may be written over them.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    tiers: tuple[str, ...] = ()
    encoding: str | None = None
    encodings: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    inputs: set[Path] = field(default_factory=set)

    def note(self, text: str) -> None:
        """Tell what was understood; the same is told once."""
        if text not in self.notes:
            self.notes.append(text)


@dataclass(frozen=True)
class Importer:
    """A format.

    Args:
        name: for people.
        sniff: whether a file or folder is of this format; it reads as little as it can.
        read: its rows and problems in order. Raises `ImportProblem` where it is of no use as a
            whole.
        order: those with a smaller number are asked first.
        beside: suffixes, in small letters, of its files that lie beside the recording they are
            about; empty for formats that name their recordings.
    """

    name: str
    sniff: Callable[[Path], bool]
    read: Callable[[Path, Reading], Iterator[Found]]
    order: int = 50
    beside: tuple[str, ...] = ()


def is_audio(path: Path) -> bool:
    """Whether a name ends as that of a recording; hidden files don't count (`._a.wav` of a Mac)."""
    return path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")


def flat(text: str) -> str:
    """A text in one line."""
    return " ".join(text.split())
