"""What a run reads from this machine and where it writes: the two have to lie apart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from borealis.errors import RecipeError
from borealis.training.digests import local_path
from borealis.training.recipe import ModelSection, Recipe
from borealis.training.run.record import FOLDERS


def named_weights(model: ModelSection) -> dict[str, str]:
    """Names of all weights that a model is made of, by the keys of the recipe that say them."""
    parts = ("checkpoint", "audio_tower", "language_model")
    names = {f"model.{part}": name for part in parts if (name := getattr(model, part))}
    if model.speech is not None:
        names["model.speech.codec"] = model.speech.codec
    return names


def local_names(recipe: Recipe) -> list[str]:
    """Values of a recipe that are files or folders of this machine, and nothing to publish."""
    found = [name for name in named_weights(recipe.model).values() if local_path(name) is not None]
    for section in recipe.data.sources.values():
        if section.dataset and Path(section.dataset).exists():
            found.append(section.dataset)
    return list(dict.fromkeys(found))


def check_apart(recipe: Recipe, data: Path, output: Path, pack_to: Path | None) -> None:
    """Whether what a run writes lies apart from what it reads.

    Raises:
        RecipeError: a folder that is written is one that is read, or holds it.
    """
    inputs = [("the data folder", data)]
    for key, name in named_weights(recipe.model).items():
        if (path := local_path(name)) is not None:
            inputs.append((key, path))
    targets = [("--output", output), *([("--pack", pack_to)] if pack_to else [])]
    for option, target in targets:
        for what, path in inputs:
            if _holds(target, path):
                raise RecipeError(
                    f"{option} '{target}' holds {what} '{path}', which is read; give another "
                    "folder."
                )
    if pack_to is not None:
        own = [output / name for name in (*FOLDERS, *(stage.name for stage in recipe.stages))]
        if _inside(pack_to, own) or pack_to.resolve() == output.resolve():
            raise RecipeError(
                f"--pack '{pack_to}' is a folder of the run itself; give another folder."
            )
        if (pack_to / "config.json").is_file() and not (pack_to / "bundle.safetensors").is_file():
            raise RecipeError(
                f"--pack '{pack_to}' holds a checkpoint of another form; give another folder."
            )


def _holds(folder: Path, path: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _inside(path: Path, folders: Iterable[Path]) -> bool:
    return any(_holds(folder, path) for folder in folders)
