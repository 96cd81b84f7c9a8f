"""ELAN's .eaf: tiers of annotations that refer to time slots.

XML from anywhere: a document type, and so every entity, is refused, and nothing outside is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

from borealis.data.importers import places
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
from borealis.data.importers.text_files import MOST_BYTES
from borealis.data.importers.tiers import asked_for, unclear

_DEEPEST = 32


@dataclass
class _Tier:
    """A tier: its annotations as identifier -> (first slot, last slot or "", text)."""

    name: str
    voice: str
    kind: str
    parent: str
    annotations: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        return any(text for *_, text in self.annotations.values())


@dataclass
class _Document:
    """What of a file is used: times in seconds by slot, tiers, names of the recordings."""

    slots: dict[str, float] = field(default_factory=dict)
    tiers: list[_Tier] = field(default_factory=list)
    media: list[str] = field(default_factory=list)


def _sniff(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() == ".eaf"


def _read(path: Path, reading: Reading) -> Iterator[Found]:
    document = _parse(path, reading)
    recording = places.same_name(path) or _named(document, path)
    if recording is None:
        yield Problem("no recording", f"beside '{path}' there is no recording of that name")
        return
    known = {key: value for tier in document.tiers for key, value in tier.annotations.items()}
    for tier, voice in _chosen(document.tiers, reading, path):
        reading.note(f"'{path.name}': tier '{tier.name}', {len(tier.annotations)} annotations")
        for key, (_, _, text) in tier.annotations.items():
            times = _times(key, known, document.slots)
            place = f"'{path.name}', annotation '{key}'"
            if times is None:
                yield Problem("an annotation without times", f"{place} has no times")
                continue
            yield Row(recording, text, *times, voice=voice, joins=True, place=place)


def _named(document: _Document, path: Path) -> Path | None:
    """The recording that the file names, if it lies beside it."""
    for address in document.media:
        place = path.with_name(address.replace("\\", "/").rpartition("/")[2] or ".")
        if is_audio(place) and place.is_file():
            return place
    return None


def _chosen(tiers: list[_Tier], reading: Reading, path: Path) -> list[tuple[_Tier, str]]:
    """Tiers of what is said, each with its speaker.

    Without --tier they are those that hang on no other; several only if they are of one kind: then
    there is one for each speaker.

    Raises:
        ImportProblem: there is none, or it can't be known which.
    """
    found = asked_for(tiers, reading, path)
    if not found:
        found = [tier for tier in tiers if tier.full and not tier.parent]
        if not found or len({tier.kind for tier in found}) > 1:
            raise unclear(tiers, path)
    return [(tier, tier.voice or (tier.name if len(found) > 1 else "")) for tier in found]


def _times(
    key: str, known: dict[str, tuple[str, str, str]], slots: dict[str, float]
) -> tuple[float, float] | None:
    """Beginning and end; an annotation that hangs on another has the times of that one."""
    for _ in range(_DEEPEST):
        if key not in known:
            return None
        first, last, _text = known[key]
        if last:
            return (slots[first], slots[last]) if first in slots and last in slots else None
        key = first
    return None


def _parse(path: Path, reading: Reading) -> _Document:
    """Read the XML.

    Raises:
        ImportProblem: it is broken, too large, has a document type, or is nested too deeply.
    """
    reading.inputs.add(path)
    if path.stat().st_size > MOST_BYTES:
        raise ImportProblem(f"'{path.name}' is larger than {MOST_BYTES // 2**20} MB; split it.")
    reader = _Reader(path.name)
    try:
        with path.open("rb") as file:
            reader.parser.ParseFile(file)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise ImportProblem(f"'{path.name}' isn't XML as ELAN writes it: {error}.") from None
    if not reader.document.tiers:
        raise ImportProblem(f"'{path.name}' has no tiers, so it isn't a file of ELAN.")
    return reader.document


class _Reader:
    """Handlers of expat that fill a `_Document`."""

    def __init__(self, name: str) -> None:
        self.document, self._name = _Document(), name
        self._open: list[str] = []
        self._annotation: tuple[str, str, str] | None = None
        self._text: list[str] | None = None
        self.parser = expat.ParserCreate()
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters

    def _doctype(self, *_: Any) -> None:
        raise ImportProblem(
            f"'{self._name}' has a document type (<!DOCTYPE ...>), which ELAN never writes: it "
            "isn't read, as entities can stand there."
        )

    def _start(self, tag: str, values: dict[str, str]) -> None:
        self._open.append(tag)
        if len(self._open) > _DEEPEST:
            raise ImportProblem(f"'{self._name}' is nested deeper than a file of ELAN.")
        if tag == "TIME_SLOT" and (value := values.get("TIME_VALUE", "")).isdecimal():
            self.document.slots[values.get("TIME_SLOT_ID", "")] = int(value[:12]) / 1000
        elif tag == "MEDIA_DESCRIPTOR":
            addresses = (values.get("RELATIVE_MEDIA_URL"), values.get("MEDIA_URL"))
            self.document.media += [address for address in addresses if address]
        elif tag == "TIER":
            keys = ("TIER_ID", "PARTICIPANT", "LINGUISTIC_TYPE_REF", "PARENT_REF")
            name, voice, kind, parent = (flat(values.get(key, "")) for key in keys)
            self.document.tiers.append(_Tier(name, voice, kind, parent))
        elif tag == "ALIGNABLE_ANNOTATION":
            self._annotation = (
                values.get("ANNOTATION_ID", ""),
                values.get("TIME_SLOT_REF1", ""),
                values.get("TIME_SLOT_REF2", ""),
            )
        elif tag == "REF_ANNOTATION":
            parent = values.get("ANNOTATION_REF", "")
            self._annotation = (values.get("ANNOTATION_ID", ""), parent, "")
        elif tag == "ANNOTATION_VALUE":
            self._text = []

    def _end(self, tag: str) -> None:
        self._open.pop()
        if tag != "ANNOTATION_VALUE" or self._text is None:
            return
        if self._annotation is not None and self.document.tiers:
            key, first, last = self._annotation
            text = flat("".join(self._text))
            self.document.tiers[-1].annotations[key] = (first, last, text)
        self._annotation = self._text = None

    def _characters(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)


IMPORTER = Importer("ELAN", _sniff, _read, order=51, beside=(".eaf",))
