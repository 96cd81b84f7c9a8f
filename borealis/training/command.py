"""`borealis train`: run a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `borealis train`."""
    parser.add_argument("recipe", nargs="?", help="bundled name (nano) or a YAML file")
    parser.add_argument("--data", default="data", help="folder of manifests and corpora (data)")
    parser.add_argument("--output", default="runs/model", help="folder of the run (runs/model)")
    parser.add_argument("--stages", help="only these stages, with commas between")
    parser.add_argument("--max-steps", type=int, help="at most N steps a stage, for a trial")
    parser.add_argument("--no-resume", action="store_true", help="start every stage anew")
    parser.add_argument("--threads", type=int, help="CPU threads (all cores)")
    parser.add_argument("--pack", metavar="DIR", help="also write the compact form there")
    parser.add_argument("--help-recipe", action="store_true", help="explain every recipe key")


def run(args: argparse.Namespace) -> int:
    """Run what `add_arguments` parsed."""
    from borealis.errors import RecipeError
    from borealis.training.recipe import load_recipe, recipe_help

    if args.help_recipe:
        print(recipe_help())
        return 0
    if not args.recipe:
        raise RecipeError("Name a recipe: 'borealis train nano', or a YAML file of your own.")
    recipe = load_recipe(args.recipe)
    if args.max_steps is not None and args.max_steps < 1:
        raise RecipeError(f"--max-steps is {args.max_steps}; it must be 1 or more.")

    import logging

    import torch

    from borealis.training.pipeline import run_recipe

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if args.threads:
        torch.set_num_threads(args.threads)
    stages = args.stages.split(",") if args.stages else None
    folder = run_recipe(
        recipe,
        data=Path(args.data),
        output=Path(args.output),
        stages=stages,
        max_steps=args.max_steps,
        resume=not args.no_resume,
        pack_to=Path(args.pack) if args.pack else None,
    )
    print(f"The checkpoint is in {folder}")
    return 0
