"""Reading a checkpoint for use: which device, which number format, and what can be wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from safetensors import SafetensorError

from borealis.checkpoints import resolve_checkpoint
from borealis.errors import CheckpointError
from borealis.model import BorealisForConditionalGeneration, BorealisProcessor
from borealis.threads import wait_politely_now


def load_checkpoint(
    name_or_path: str | os.PathLike[str],
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> tuple[BorealisForConditionalGeneration, BorealisProcessor]:
    """A model on its device, and its processor; see `borealis.load`.

    Raises:
        CheckpointError: there is no such checkpoint, device or dtype, or it can't be read.
    """
    wait_politely_now()
    path = resolve_checkpoint(name_or_path)
    device = _device(device)
    if dtype is None:
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    elif isinstance(dtype, str):
        known = getattr(torch, dtype, None)
        if not isinstance(known, torch.dtype) or not known.is_floating_point:
            raise CheckpointError(f"dtype is {dtype!r}; give 'float32', 'bfloat16' or 'float16'.")
        dtype = known
    # A download may take minutes and shows how far it is; reading a folder takes a moment.
    silence = _no_progress_bars() if isinstance(path, Path) else nullcontext()
    try:
        with silence:
            model: Any = BorealisForConditionalGeneration.from_pretrained(
                path, dtype=dtype, use_safetensors=True
            )
            processor = BorealisProcessor.from_pretrained(path)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise CheckpointError(f"'{name_or_path}' can't be loaded: {first.rstrip('.')}.") from None
    return model.to(device), processor


_bars_lock = Lock()


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Transformers' bars are off for a while, and then as they were; one thread at a time."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
    from transformers.utils import logging

    with _bars_lock:
        if not logging.is_progress_bar_enabled():
            yield
            return
        hub_was_off = are_progress_bars_disabled()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.enable_progress_bar()  # the hub's too
            if hub_was_off:
                disable_progress_bars()


def _device(name: str | torch.device | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):  # an unknown name; a build or machine without it
        raise CheckpointError(
            f"There is no device '{name}' here; give 'cpu', or 'cuda' where there is one."
        ) from None
    return device
