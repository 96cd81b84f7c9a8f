"""Which tiers of an annotation hold what is said: those that were asked for by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from borealis.data.importers.rows import ImportProblem, Reading


class Named(Protocol):
    """A tier."""

    @property
    def name(self) -> str:
        """What it is called."""


Tier = TypeVar("Tier", bound=Named)


def asked_for(tiers: Sequence[Tier], reading: Reading, path: Path) -> list[Tier]:
    """Tiers that --tier names; none where it wasn't given.

    Raises:
        ImportProblem: there is no such tier.
    """
    found = [tier for tier in tiers if tier.name in reading.tiers]
    if reading.tiers and not found:
        raise ImportProblem(
            f"'{path.name}' has no tier '{reading.tiers[0]}'; it has {_names(tiers)}."
        )
    return found


def unclear(tiers: Sequence[Named], path: Path) -> ImportProblem:
    """It can't be known which one holds what is said."""
    return ImportProblem(
        f"'{path.name}' has several tiers or none with text ({_names(tiers)}): say by --tier NAME "
        "which one holds what is said; repeat it for one tier a speaker."
    )


def _names(tiers: Sequence[Named]) -> str:
    return ", ".join(f"'{tier.name}'" for tier in tiers) or "none"
