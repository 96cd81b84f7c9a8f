"""Tables: CSV, TSV and their kin, with a line of names or, as LJSpeech's, without."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from borealis.data.importers import places
from borealis.data.importers.columns import needs_text, row_of, tell, understand
from borealis.data.importers.rows import Found, Importer, ImportProblem, Problem, Reading
from borealis.data.importers.text_files import MOST_TABLE_BYTES, read_text

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_SUFFIXES = (".csv", ".tsv", ".psv")
_LOOKED_AT = 200  # lines by which a table without names is understood
# Of the first line, to be shown.
_SHOWN = 80


def _sniff(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in _SUFFIXES


def read(path: Path, reading: Reading) -> Iterator[Found]:
    """Rows of a table; the recordings are looked for from its folder on.

    Raises:
        ImportProblem: it isn't text, or no column is known as that of recordings or of texts.
    """
    text = read_text(path, reading, most=MOST_TABLE_BYTES)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    delimiter, mapping = _with_names(lines, reading.columns)
    if mapping:
        try:
            number, header, rows = _parsed(lines, delimiter)
        except csv.Error as error:
            raise ImportProblem(f"'{path.name}', line 1: {error}.") from None
        if not set(mapping.values()) <= set(header):
            raise ImportProblem(f"'{path.name}', line 1: a quotation mark is left open there.")
        tell(mapping, header, reading)
        named = {what: header.index(column) for what, column in mapping.items()}
        width: int | None = len(header)
    else:
        if reading.columns:  # that are named and aren't there
            understand(_header(lines), reading.columns)
        delimiter, named = _without_names(lines, path)
        _, _, rows = _parsed(["", *lines], delimiter)
        number, width = 0, None
        shown = [f"{what} = {at + 1}" for what, at in sorted(named.items(), key=lambda i: i[1])]
        reading.note(f"no line of names; columns by number: {', '.join(shown)}")
    reading.note(f"between columns: {_DELIMITERS[delimiter]}")
    own = places.same_name(path) if "audio" not in named else None
    # Whisper's tables, and ours.
    in_ms = delimiter == "\t" and mapping and header == ["start", "end", "text"]
    try:
        for at, fields in rows:
            if in_ms:
                fields = [*(f"{field}e-3" for field in fields[:2]), *fields[2:]]
            yield _row(fields, named, width, f"'{path.name}', line {at}", path.parent, own)
            number = at
    except csv.Error as error:
        raise ImportProblem(f"'{path.name}', line {number + 1}: {error}.") from None


def _with_names(lines: Sequence[str], chosen: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """What stands between columns, and which of them is what, by the first line; {} if it doesn't
    name them."""
    best: tuple[str, dict[str, str]] = (",", {})
    for delimiter in _DELIMITERS:
        try:
            header = next(csv.reader(lines[:1], delimiter=delimiter), [])
            wanted = {k: v for k, v in chosen.items() if v in header}
            mapping = understand([name.strip("\ufeff") for name in header], wanted)
        except csv.Error:
            continue
        timed = {"start", "end"} <= mapping.keys()
        enough = ("audio" in mapping or timed) and {"text", "kind", "answer"} & mapping.keys()
        if enough and len(mapping) > len(best[1]):
            understand(header, chosen)  # a column that was named and isn't there is told
            best = delimiter, mapping
    return best


def _header(lines: Sequence[str]) -> list[str]:
    """Fields of the first line, by what splits it into most."""
    return max((lines[0].split(delimiter) for delimiter in _DELIMITERS), key=len)


def _without_names(lines: Sequence[str], path: Path) -> tuple[str, dict[str, int]]:
    """The same of a table without names: a column of recordings that are there, the last of texts.

    Raises:
        ImportProblem: there is no column of recordings.
    """
    head = [line for line in islice(lines, _LOOKED_AT) if line.strip()]
    for delimiter in _DELIMITERS:
        rows = [line.split(delimiter) for line in head]
        width = len(rows[0]) if rows else 0
        if width < 2 or sum(len(row) == width for row in rows) < 0.9 * len(rows):
            continue
        for at in range(width - 1):
            some = [row[at] for row in rows[:10] if len(row) > at]
            if any(places.recording(name, path.parent) for name in some):
                named = {"audio": at, "text": width - 1}
                middle = {row[1] for row in rows if len(row) == width}
                # path|speaker|text; in id|text|normalized the middle is a text, too
                if width == 3 and at == 0 and not any(" " in field for field in middle):
                    named["voice"] = 1
                return delimiter, named
    first = lines[0].strip()[:_SHOWN] if lines else ""
    raise ImportProblem(
        f"'{path.name}' needs the columns 'audio' and 'text' in line 1, under their usual names "
        "and with commas, semicolons, tabs or '|' between; or recordings that are there. That "
        f"line is {first!r}. Name others by --column audio=NAME --column text=NAME."
    )


def _parsed(
    lines: Sequence[str], delimiter: str
) -> tuple[int, list[str], Iterator[tuple[int, list[str]]]]:
    """The number of the line of names, those names, and the other rows with their numbers."""
    plain = delimiter in "\t|" and _even(lines, delimiter)
    if plain:
        split = ((n, _unquoted(line.split(delimiter))) for n, line in enumerate(lines, 1))
    else:
        reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter)
        split = ((reader.line_num, fields) for fields in reader)
    number, header = next(split, (1, []))
    header = [name.strip("\ufeff") for name in header]
    offset = 0 if header and header != [""] else -1  # the empty line before a table without names
    rows = ((n + offset, fields) for n, fields in split if any(field.strip() for field in fields))
    return number, header, rows


def _even(lines: Sequence[str], delimiter: str) -> bool:
    """Whether every line has as many columns, so that quotation marks are part of the texts."""
    counts = {line.count(delimiter) for line in lines if line.strip()}
    return len(counts) == 1


def _unquoted(fields: list[str]) -> list[str]:
    """Fields without the marks that spreadsheets put around them."""
    return [
        field[1:-1].replace('""', '"')
        if len(field) > 1
        and field[0] == field[-1] == '"'
        and '"' not in field[1:-1].replace('""', "")
        else field
        for field in fields
    ]


def _row(
    fields: Sequence[str],
    named: Mapping[str, int],
    width: int | None,
    place: str,
    folder: Path,
    own: Path | None,
) -> Found:
    if width is not None and len(fields) > width:
        return Problem(
            "more fields than names",
            f"{place} has more fields than the first line; put a text with commas in quotes",
        )
    values: dict[str, Any] = {
        what: fields[at] if at < len(fields) else "" for what, at in named.items()
    }
    if any("\n" in value.strip() for value in values.values()):
        return Problem(
            "a field of several lines",
            f"{place}: a field runs over several lines; is a quotation mark left open before?",
        )
    return complete(values, place, folder, own)


def complete(values: Mapping[str, Any], place: str, folder: Path, own: Path | None = None) -> Found:
    """A row of a table or of JSON with its recording.

    Args:
        values: what the line says, by what it is.
        place: file and line.
        folder: of the table.
        own: the recording that all lines are about, if they name none.
    """
    row = row_of(values, place)
    if isinstance(row, Problem):
        return row
    name = values.get("audio")
    if isinstance(name, Mapping):  # as datasets writes it
        name = name.get("path")
    if name is None or name == "":
        if own is None and not row.more.get("messages"):
            return Problem("no recording is named", f"{place} names no recording")
        audio = own
    elif not isinstance(name, str):
        return Problem("a value of the wrong kind", f"{place}: 'audio' isn't the path of a file")
    else:
        audio = places.recording(name, folder)
        if audio is None:
            return Problem("the recording is missing", f"{place}: there is no file '{name[:200]}'")
    if needs_text(row):
        return Problem("no text", f"{place}: '{audio}' has no text")
    return replace(row, audio=audio, joins=audio is own and row.start is not None)


IMPORTER = Importer("table", _sniff, read, order=30, beside=(".tsv", ".csv"))
