"""`borealis train` with a refiner's recipe."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from borealis.training.codec.command import WORK, begin, check_options

if TYPE_CHECKING:
    from borealis.training.codec.refiner.recipe import RefinerRecipe


def train_refiner(args: argparse.Namespace, changes: Sequence[str], stages: str) -> int:
    """Run, or tell, what `borealis train RECIPE` was given.

    Args:
        args: parsed options.
        changes: keys to change.
        stages: those that were named.

    Raises:
        RecipeError: the recipe has mistakes, or an option is given that refiners don't have.
    """
    from borealis.training.codec.pack import check_pack, pack_finished
    from borealis.training.codec.refiner.recipe import load_refiner_recipe

    check_options(args, stages, "refiner")
    recipe = load_refiner_recipe(args.recipe, changes)
    data, output = Path(args.data), Path(args.output)
    if args.pack:
        check_pack(Path(args.pack), output, [data, Path(recipe.refiner.codec)])
    if args.dry_run:
        print(told(recipe, data, output, args.max_steps, args.no_resume))
        return 0

    from borealis.training.codec.refiner.run import run_refiner_recipe

    folder = run_refiner_recipe(recipe, **begin(args))
    print(f"The codec with its refiner is in {folder}")
    if args.pack:
        print(pack_finished(folder, Path(args.pack)))
    return 0


def told(recipe: RefinerRecipe, data: Path, output: Path, max_steps: int | None, anew: bool) -> str:
    """What a run would do and where it would go on, or what is in its way."""
    from borealis.codec import load_codec
    from borealis.codec.nano import CodeRefiner
    from borealis.errors import BorealisError
    from borealis.training.codec.refiner.run import (
        bounded_stages,
        check_refiner_run,
        refiner_config,
    )

    stages = bounded_stages(recipe, max_steps)
    codec = None
    try:
        codec = load_codec(recipe.refiner.codec, device="cpu")
        model = CodeRefiner(refiner_config(recipe, codec))
        size = sum(p.numel() for p in model.parameters())
        lines = [
            f"refiner {recipe.name}: {size / 1e6:.2f}M weights; completes {codec.num_codebooks} "
            f"codebooks of '{codec.name}' from {model.config.given_codebooks}; voices: "
            f"{', '.join(recipe.data.voices)}"
        ]
    except BorealisError as error:
        lines = [f"refiner {recipe.name}", f"on this machine: {error}"]
    for stage in stages:
        frames = stage.max_steps * stage.batch.clips * stage.batch.frames
        lines.append(
            f"{stage.name}: {stage.max_steps:,} steps of {stage.batch.clips} crops of "
            f"{stage.batch.frames} frames, {frames / 1e6:,.1f}M frames"
        )
    parts = [part for name in recipe.data.used for part in recipe.data.speech[name]]
    wanted = dict.fromkeys(part.manifest for part in parts)
    missing = [f"not in '{data}' yet: {n}" for n in wanted if not (data / n).is_file()]
    if missing or codec is None:
        return "\n".join([*lines, *missing])
    try:
        if not anew and output.exists():
            work = check_refiner_run(recipe, stages, data, output)
            lines += [f"{output}: {name} {WORK[state]}" for name, state in work.items()]
    except BorealisError as error:
        lines.append(f"on this machine: {error}")
    return "\n".join(lines)
