"""`borealis export`: a folder of a trained model that can be published."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `borealis export`."""
    parser.add_argument(
        "source", metavar="RUN", help="folder of a run, or of a finished checkpoint"
    )
    parser.add_argument("--output", required=True, help="folder to write")
    parser.add_argument(
        "--checkpoint",
        metavar="PART",
        help="of the run: a stage, STAGE/checkpoint-N or STAGE/best (the finished model)",
    )
    parser.add_argument(
        "--lora",
        action="store_true",
        help="LoRA of the language model apart, in OUTPUT/lora, for 'borealis serve --lora'",
    )
    parser.add_argument("--dtype", default="bfloat16", help="number format (bfloat16)")
    parser.add_argument(
        "--results", action="append", default=[], metavar="FILE", help="result file for the card"
    )
    parser.add_argument("--license", default="other", help="identifier for the card (other)")


def run(args: argparse.Namespace) -> int:
    """Run what `add_arguments` parsed."""
    from borealis.errors import CheckpointError
    from borealis.training.publish.export import export

    results = [Path(name) for name in args.results]
    if missing := [path for path in results if not path.is_file()]:
        raise CheckpointError(f"There is no result file '{missing[0]}'.")
    if not Path(args.source).is_dir():
        raise CheckpointError(f"There is no folder '{args.source}'.")
    folder = export(
        Path(args.source),
        Path(args.output),
        checkpoint=args.checkpoint,
        dtype=args.dtype,
        results=results,
        licence=args.license,
        separate_lora=args.lora,
    )
    print(f"The model and its card are in {folder}")
    return 0
