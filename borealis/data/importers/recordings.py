"""A folder of short recordings with their texts, as a recipe names it; nothing is cut."""

from __future__ import annotations

from pathlib import Path

from borealis.data.importers.clips import Clips, Made
from borealis.data.importers.registry import read
from borealis.data.importers.rows import Reading
from borealis.data.manifest import Utterance


def measured_folder(folder: Path, language: str) -> tuple[list[Utterance], list[str]]:
    """Recordings of a folder with the texts beside them, and what was skipped.

    Long recordings aren't cut: `borealis data import` does that.

    Raises:
        ManifestError: there is no recording in it.
    """
    items, problems = [], []
    for made in Clips(language=language).make(read(folder, Reading())):
        if isinstance(made, Made):
            items.append(made.item)
        else:
            problems.append(f"skipped: {made.text}")
    return items, problems
