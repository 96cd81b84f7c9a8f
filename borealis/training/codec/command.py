"""`borealis train` with a codec's recipe."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from borealis.training.codec.recipe import CodecRecipe

# What is said of a stage in a folder.
WORK = {
    "done": "done already",
    "on": "goes on from its newest checkpoint",
    "new": "from its start",
}
# Options that say something of language models only.
FOREIGN = ("hub", "gpu", "gpus", "stages")


def check_options(args: argparse.Namespace, stages: str, what: str) -> None:
    """Refuse what goes with recipes of language models.

    Args:
        args: parsed options.
        stages: that were named.
        what: is trained, a codec or a refiner.

    Raises:
        RecipeError: something of it was given.
    """
    from borealis.errors import RecipeError

    for name in FOREIGN:
        if getattr(args, name) is not None:
            raise RecipeError(f"--{name} goes with recipes of language models, not of {what}s.")
    if stages:
        raise RecipeError(f"A {what} is trained through all of its stages; leave stage=... out.")


def begin(args: argparse.Namespace) -> dict[str, Any]:
    """Log to the console, take as many threads as asked for; arguments of the run itself."""
    import logging

    import torch

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if args.threads:
        torch.set_num_threads(args.threads)
    return {
        "data": Path(args.data),
        "output": Path(args.output),
        "max_steps": args.max_steps,
        "resume": not args.no_resume,
        "price": args.price,
    }


def train_codec(args: argparse.Namespace, changes: Sequence[str], stages: str) -> int:
    """Run, or tell, what `borealis train RECIPE` was given.

    Args:
        args: parsed options.
        changes: keys to change.
        stages: those that were named.

    Raises:
        RecipeError: the recipe has mistakes, or an option is given that codecs don't have.
    """
    from borealis.training.codec.pack import check_pack, pack_finished
    from borealis.training.codec.recipe import load_codec_recipe

    check_options(args, stages, "codec")
    recipe = load_codec_recipe(args.recipe, changes)
    if args.pack:
        check_pack(Path(args.pack), Path(args.output), [Path(args.data)])
    if args.dry_run:
        print(told(recipe, Path(args.data), Path(args.output), args.max_steps, args.no_resume))
        return 0

    from borealis.training.codec.run import run_codec_recipe

    folder = run_codec_recipe(recipe, **begin(args))
    print(f"The codec is in {folder}")
    if args.pack:
        print(pack_finished(folder, Path(args.pack)))
    print(f"  use      borealis codec encode FILE -o codes.safetensors --codec {folder}")
    return 0


def told(recipe: CodecRecipe, data: Path, output: Path, max_steps: int | None, anew: bool) -> str:
    """What a run would do and where it would go on, or what is in its way."""
    from borealis.codec.nano import BorealisCodec, BorealisCodecConfig
    from borealis.errors import BorealisError
    from borealis.training.codec.clips import check_clips, clips_digest
    from borealis.training.codec.run import bounded_stages, check_run

    config = BorealisCodecConfig(**recipe.codec.model_dump())
    model = BorealisCodec(config)
    size = sum(p.numel() for p in model.parameters()) + model.quantizer.codebooks.numel()
    bits = config.frame_rate * (config.codebook_size - 1).bit_length()
    lines = [
        f"codec {recipe.name}: {size / 1e6:.2f}M weights, {config.frame_rate:g} frames a second, "
        f"{bits:g} bit/s a codebook, {bits * config.num_codebooks:g} bit/s with all "
        f"{config.num_codebooks}"
    ]
    stages = bounded_stages(recipe, max_steps)
    for stage in stages:
        hours = stage.max_steps * stage.batch.clips * stage.batch.seconds / 3600
        lines.append(
            f"{stage.name}: {stage.max_steps:,} steps of {stage.batch.clips} crops of "
            f"{stage.batch.seconds:g} s, {hours:,.1f} h heard; learns: {', '.join(stage.trainable)}"
        )
    wanted = [*(part.manifest for part in recipe.data.train), *recipe.data.validation]
    missing = [f"not in '{data}' yet: {n}" for n in wanted if not (data / n).is_file()]
    if missing:
        return "\n".join([*lines, *missing])
    try:
        if check_clips(recipe.data, data, output / "clips"):
            lines.append("recordings are decoded first")
        if not anew and output.exists():
            work = check_run(recipe, stages, clips_digest(recipe.data, data), output)
            lines += [f"{output}: {name} {WORK[state]}" for name, state in work.items()]
    except BorealisError as error:
        lines.append(f"on this machine: {error}")
    return "\n".join(lines)
