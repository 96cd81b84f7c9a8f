"""What a part of a run was made from, kept beside its weights in `made-from.json`."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from borealis import __version__
from borealis.errors import TrainingError
from borealis.training.loop.checkpoints import sync_folder_name
from borealis.training.recipe import Recipe

RECORD = "made-from.json"
START, FINAL = "start", "final"
# Folders of a run beside those of its stages.
FOLDERS = (START, FINAL, "features", "speech", "left-out")


@dataclass(frozen=True)
class Made:
    """What a part of a run was made from.

    Args:
        recipe: as it was used: changes of the command line in it, files that were missing not.
        files: digests of data and of local weights, by their names in the recipe.
        before: the part it begins with; empty for `start`.
        before_weights: digest of that part's weights.
        steps: taken, once the part is finished.
        weights: digest of its own, once it is finished.
    """

    recipe: Recipe
    files: dict[str, str] = field(default_factory=dict)
    before: str = ""
    before_weights: str = ""
    steps: int | None = None
    weights: str = ""


def read_record(folder: Path) -> Made | None:
    """What a part was made from, or None where no record was kept.

    Raises:
        TrainingError: the record can't be read.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        return Made(**(row["made"] | {"recipe": Recipe(**row["made"]["recipe"])}))
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise TrainingError(
            f"'{path}' can't be read ({first}): it is damaged, or of another version of Borealis "
            "than this one. Give another --output."
        ) from None


def write_record(folder: Path, made: Made) -> None:
    """Write a record aside and give it its name."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {key: value for key, value in vars(made).items() if key != "recipe"}
    row = {
        "borealis": __version__,
        "made": {"recipe": made.recipe.model_dump(mode="json")} | values,
    }
    partial = folder / f"{RECORD}.partial"
    with partial.open("w", encoding="utf-8") as file:
        json.dump(row, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / RECORD)
    sync_folder_name(folder)
