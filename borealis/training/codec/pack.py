"""The small form of a trained codec, written beside the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from borealis.codec.packed import BUNDLE, pack_codec
from borealis.errors import RecipeError


def check_pack(folder: Path, output: Path, inputs: Sequence[Path]) -> None:
    """See that a folder may be written: it costs nothing that is there.

    Args:
        folder: of `--pack`.
        output: of the run.
        inputs: folders that the run reads.

    Raises:
        RecipeError: it lies in the run or holds it, holds what is read, or something else.
    """
    own, run = folder.resolve(), output.resolve()
    if own.is_relative_to(run) or run.is_relative_to(own):
        raise RecipeError(f"--pack '{folder}' and --output '{output}' must lie apart.")
    for place in inputs:
        if place.exists() and place.resolve().is_relative_to(own):
            raise RecipeError(
                f"--pack '{folder}' holds '{place}', which is read; give another folder."
            )
    if folder.exists() and not folder.is_dir():
        raise RecipeError(f"--pack '{folder}' is a file; give a folder.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / BUNDLE).is_file():
        raise RecipeError(f"--pack '{folder}' holds something else; give another folder.")


def pack_finished(folder: Path, target: Path) -> str:
    """Write the small form of a finished codec, and tell how large it is."""
    size = pack_codec(folder, target)
    return f"The small form, {size / 1e6:.2f} MB, is in {target}"
