"""Stretches of a recording: which are of use, and neighbours joined to longer clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from borealis.data.importers.rows import Found, Problem, Row
from borealis.data.limits import LONGEST_SECONDS, SHORTEST_SECONDS

_GAP = 1.0  # seconds between neighbours at most: what lies there isn't written down
_OVERLAP = 0.3  # seconds for which two may speak at once
_BEYOND = 0.5  # seconds that the last stretch may go beyond the end of the recording


@dataclass(frozen=True)
class Limits:
    """Which clips are made, in seconds.

    Args:
        shortest: those that are shorter are left out.
        longest: likewise; and the longest that neighbours are joined to.
    """

    shortest: float = SHORTEST_SECONDS
    longest: float = LONGEST_SECONDS


def usable(rows: Sequence[Row], seconds: float, limits: Limits) -> list[Found]:
    """Stretches of one recording in the order of their beginnings; problems where others would be.

    Args:
        rows: stretches, with `start` and `end`.
        seconds: length of the recording.
        limits: of a clip.
    """
    ordered = sorted(rows, key=lambda row: (row.start or 0.0, row.end or 0.0))
    found: list[Found] = []
    for row in ordered:
        problem = _problem(row, seconds, limits)
        found.append(problem or replace(row, end=min(row.end or 0.0, seconds)))
    crossed = _crossed([row for row in found if isinstance(row, Row)])
    return [
        Problem("several voices at once", f"{row.place}: several speak at once")
        if isinstance(row, Row) and id(row) in crossed
        else row
        for row in found
    ]


def joined(found: Sequence[Found], limits: Limits) -> list[Found]:
    """Neighbours of one voice as one stretch, no longer than a clip may be.

    What is left out keeps its neighbours apart: it may be heard between them.
    """
    out: list[Found] = []
    for row in found:
        last = out[-1] if out else None
        if isinstance(last, Row) and isinstance(row, Row) and _fit(last, row, limits):
            end = max(last.end or 0.0, row.end or 0.0)
            out[-1] = replace(last, text=f"{last.text} {row.text}", end=end)
        else:
            out.append(row)
    return out


def _fit(last: Row, row: Row, limits: Limits) -> bool:
    assert last.start is not None and last.end is not None
    assert row.start is not None and row.end is not None
    return (
        last.joins
        and row.joins
        and (last.voice, last.language, last.split) == (row.voice, row.language, row.split)
        and row.start - last.end <= _GAP
        and row.end - last.start <= limits.longest
    )


def _problem(row: Row, seconds: float, limits: Limits) -> Problem | None:
    start, end = row.start, row.end
    assert start is not None and end is not None
    shown = f"{row.place} ({start:.2f} to {end:.2f} s)"
    if not row.text and row.more.get("kind", "speech") == "speech" and not row.more.get("answer"):
        return Problem("a segment without a text", f"{shown} has no text")
    if start < 0 or start >= seconds or end > seconds + _BEYOND:
        return Problem(
            "a segment outside of the recording",
            f"{shown} lies outside of the recording, which lasts {seconds:.2f} s",
        )
    if end <= start:
        return Problem("a segment that ends before it begins", f"{shown} ends before it begins")
    if min(end, seconds) - start > limits.longest + 1e-6:
        return Problem(
            f"a segment over {limits.longest:g} s",
            f"{shown} is longer than {limits.longest:g} s",
        )
    # A word alone may be short: it counts once it is joined.
    if not row.joins and end - start < limits.shortest:
        return Problem(f"a segment under {limits.shortest:g} s", f"{shown} is too short")
    return None


def _crossed(rows: Sequence[Row]) -> set[int]:
    """Stretches (`id`) during which another voice speaks as well: more is heard than their text."""
    out: set[int] = set()
    running: list[Row] = []
    for row in rows:
        start, end = row.start or 0.0, row.end or 0.0
        running = [other for other in running if (other.end or 0.0) - start > _OVERLAP]
        for other in running:
            together = min(other.end or 0.0, end) - start
            if other.voice != row.voice and together > _OVERLAP:
                out |= {id(other), id(row)}
        running.append(row)
    return out
