"""The options of a command that uses a model, and how it loads that: quietly and quickly."""

from __future__ import annotations

import argparse
import atexit
import gc
from typing import Any


def model_options(parser: argparse.ArgumentParser) -> None:
    """Which model, where, and in which number format."""
    parser.add_argument(
        "--model", default="nano", help="bundled name, checkpoint folder or hub id (nano)"
    )
    parser.add_argument("--device", help="cpu, cuda, ...; by default CUDA where there is one")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16; by default by device")


def load_model(args: argparse.Namespace) -> Any:
    """The `Borealis` that the options `--model`, `--device` and `--dtype` name."""
    import borealis

    load = borealis.load  # imports what `quiet` needs, and quicker
    quiet()
    # The process ends with its libraries: looking for garbage in them takes half a second, and in
    # the model half of that.
    gc.freeze()
    atexit.register(gc.freeze)
    return load(args.model, device=args.device, dtype=args.dtype)


def quiet() -> None:
    """Keep progress of weight loading and notices of transformers out of the output."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
