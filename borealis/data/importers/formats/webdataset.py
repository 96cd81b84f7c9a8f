"""WebDataset: shards of tar in which a recording and its text have the same name.

A shard may come from anywhere, so nothing is unpacked by its own names: recordings are read from
where they lie in the file. Links, devices, absolute names and `..` are left out and told.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from borealis.audio import DEFAULT_LIMITS
from borealis.data.importers.columns import needs_text, row_of, split_of, understand
from borealis.data.importers.formats.json_lines import loads
from borealis.data.importers.rows import (
    AUDIO_SUFFIXES,
    Found,
    Importer,
    ImportProblem,
    Problem,
    Reading,
    Stored,
)
from borealis.data.importers.text_files import decode

_MOST_TEXT = 2**20  # bytes of a text or a JSON in a shard
_MOST_NAMES = 2**20  # bytes of a header: of a long name, and what else a header may bring along
_PACKED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")


def _shards(path: Path) -> list[Path]:
    """Shards of a folder: in it, or in folders named after splits."""
    if path.is_file():
        return [path]
    return sorted(
        [*path.glob("*.tar"), *(p for p in path.glob("*/*.tar") if split_of(p.parent.name))]
    )


def _sniff(path: Path) -> bool:
    if path.is_file():
        return path.name.lower().endswith((".tar", *_PACKED))
    return path.is_dir() and bool(_shards(path))


def _read(path: Path, reading: Reading) -> Iterator[Found]:
    shards = _shards(path)
    reading.note(f"shards: {len(shards)}")
    for shard in shards:
        if shard.name.lower().endswith(_PACKED):
            raise ImportProblem(
                f"'{shard}' is compressed; unpack it to .tar first (gunzip, zstd -d)."
            )
        reading.inputs.add(shard)
        split = split_of(shard.parent.name) if shard.parent != path else ""
        split = split or split_of(shard.name.replace("_", "-").partition("-")[0].partition(".")[0])
        for found in _samples(shard, reading):
            yield (
                found if isinstance(found, Problem) else replace(found, split=found.split or split)
            )


class _Guarded:
    """A file of which `tarfile` can't ask for more than a header, whatever size one claims."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MOST_NAMES:
            raise tarfile.ReadError("a header of an impossible size")
        return self._file.read(size)

    def seek(self, place: int, whence: int = 0) -> int:
        if place < 0:
            raise tarfile.ReadError("a size below zero")
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()


def _samples(shard: Path, reading: Reading) -> Iterator[Found]:
    """Rows of a shard; members with the same name up to the first dot stand together."""
    key = ""
    files: dict[str, Stored] = {}
    for member in _members(shard):
        if isinstance(member, Problem):
            yield member
            continue
        folder, _, name = member.name.rpartition("/")
        stem, _, suffix = name.partition(".")
        if (new := f"{folder}/{stem}") != key:
            if files:
                yield _sample(shard, key, files, reading)
            key, files = new, {}
        files[f".{suffix.lower()}"] = member
    if files:
        yield _sample(shard, key, files, reading)


def _members(shard: Path) -> Iterator[Stored | Problem]:
    """Plain files of a shard, in order.

    A broken tar ends with a problem; what comes before the break is of use.
    """
    end = shard.stat().st_size
    with shard.open("rb") as file:
        guarded: Any = _Guarded(file)
        tar: Any
        try:
            with tarfile.open(fileobj=guarded, mode="r:") as tar:
                last = -1
                while (member := tar.next()) is not None:
                    tar.members = []  # it would remember all of them
                    if member.offset <= last:
                        raise tarfile.ReadError("it goes round in a circle")
                    last = member.offset
                    if member.isdir():
                        continue
                    name = member.name.removeprefix("./")
                    if (wrong := _wrong(member, name, end)) is not None:
                        shown = member.name[:100]
                        yield Problem(
                            "unfit members of a shard", f"'{shard.name}': '{shown}' {wrong}"
                        )
                        continue
                    yield Stored(shard, member.offset_data, member.size, name)
        except (
            tarfile.TarError,
            ValueError,
            OSError,
            EOFError,
            RecursionError,
            OverflowError,
        ) as error:
            why = str(error) or type(error).__name__
            yield Problem("a broken shard", f"'{shard.name}' is broken from some place on ({why})")


def _wrong(member: tarfile.TarInfo, name: str, end: int) -> str | None:
    """Why a member isn't taken."""
    if not member.isreg() or member.issparse():
        return "is a link or no plain file"
    if (
        name.startswith(("/", "\\"))
        or ":" in name[:3]
        or ".." in name.replace("\\", "/").split("/")
    ):
        return "has a name that leads out of the shard"
    if member.size < 0 or member.offset_data + member.size > end:
        return "ends behind the end of the file"
    return None


def _sample(shard: Path, key: str, files: dict[str, Stored], reading: Reading) -> Found:
    place = f"'{shard.name}', '{key.lstrip('/')[:200]}'"
    audio = next((files[suffix] for suffix in sorted(files) if suffix in AUDIO_SUFFIXES), None)
    if audio is None:
        return Problem("no recording", f"{place} has no recording ({', '.join(sorted(files))})")
    if audio.size > DEFAULT_LIMITS.max_bytes:
        return Problem("too many bytes", f"{place}: the recording is larger than the limit")
    values: dict[str, Any] = {}
    for suffix in (".json", ".txt"):
        if suffix not in files:
            continue
        if files[suffix].size > _MOST_TEXT:
            return Problem("too many bytes", f"{place}: its {suffix} is larger than 1 MB")
        try:
            text, encoding = decode(files[suffix].read(), place)
        except ImportProblem as error:
            return Problem("a text that can't be read", str(error).rstrip("."))
        reading.encodings[encoding] += 1
        if suffix == ".txt":
            values["text"] = text
            continue
        said = loads(text)
        if not isinstance(said, dict):
            return Problem("no JSON object", f"{place}: its .json is no JSON object")
        mapping = understand(list(said), {k: v for k, v in reading.columns.items() if v in said})
        values = {what: said[column] for what, column in mapping.items()}
        unused = [name for name in said if name not in mapping.values()]
        reading.note(
            f"keys of .json: {', '.join(mapping.values()) or 'none known'}"
            + (f"; not used: {', '.join(unused)}" if unused else "")
        )
    for times in ("start", "end"):  # of where it was cut from, not in the recording
        values.pop(times, None)
    row = row_of(values, place)
    if isinstance(row, Problem):
        return row
    if needs_text(row):
        return Problem("no text", f"{place} has no text")
    return replace(row, audio=audio)


IMPORTER = Importer("WebDataset", _sniff, _read, order=20)
