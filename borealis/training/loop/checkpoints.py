"""Writes checkpoints so that a cut-off or a full disk never costs the last good one."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from borealis.errors import TrainingError
from borealis.files import free_bytes, usual_permissions
from borealis.training import processes

LEARNED, WHOLE = "learned.safetensors", "model.safetensors"
# Checkpoints of a larger model, and of LoRA, hold what learns and not the frozen rest again.
WHOLE_BELOW = 200_000_000
STATE = "trainer_state.json"  # of a checkpoint: its step and the log up to there
VALIDATION = "validation.json"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# Libraries in Rust and C++ tell it in words.
_FULL_WORDS = ("No space left", "File too large", "quota exceeded", "PytorchStreamWriter")


def disk_is_full(error: BaseException) -> bool:
    """Whether an error of writing means that there is no room, whichever library says so."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    return isinstance(error, RuntimeError | SafetensorError) and any(
        words in str(error) for words in _FULL_WORDS
    )


@contextmanager
def room_for(what: str, folder: Path, partial: Path) -> Iterator[None]:
    """Turn a full disk into an error that says what is still there; `partial` is removed.

    Args:
        what: what is being written.
        folder: of the stage, whose last good checkpoint is named.
        partial: what was begun.

    Raises:
        TrainingError: no room on the disk.
    """
    try:
        yield
    except Exception as error:
        if not disk_is_full(error):
            raise
        shutil.rmtree(partial, ignore_errors=True)
        last = latest_checkpoint(folder)
        kept = f"the last good one is '{last}'" if last else "there is no earlier one"
        free = free_bytes(folder) / 1e9
        raise TrainingError(
            f"No room for {what} in '{folder}' ({free:.1f} GB free): {kept}. Free some space and "
            "run the same command again: it goes on from there."
        ) from None


def sync_folder(folder: Path) -> None:
    """Make sure that every file of a folder, and its name, is on the disk and can be read."""
    usual_permissions(folder)
    for root, _, files in os.walk(folder):
        for place in (*(Path(root) / name for name in files), Path(root)):
            handle = os.open(place, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def publish(partial: Path, target: Path) -> None:
    """Give a finished folder its name by one rename."""
    sync_folder(partial)
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)
    sync_folder_name(target.parent)


def sync_folder_name(folder: Path) -> None:
    """Write a folder's list of names to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_checkpoint(output: Path, step: int, keep: int, write: Callable[[Path], None]) -> None:
    """Write `checkpoint-N` aside, and give it its name when all of it is on the disk.

    Every process has to call this.

    Args:
        output: folder of the stage.
        step: of the checkpoint.
        keep: newest checkpoints that stay.
        write: puts the files into a folder.

    Raises:
        TrainingError: no room on the disk; the checkpoints before are still there.
    """
    partial = output / ".checkpoint.partial"
    if processes.is_main():
        shutil.rmtree(partial, ignore_errors=True)
    processes.wait()
    with room_for(f"the checkpoint of step {step}", output, partial):
        partial.mkdir(parents=True, exist_ok=True)
        write(partial)
        processes.wait()
        if processes.is_main():
            publish(partial, output / f"checkpoint-{step}")
            rotate(output, keep)
    processes.wait()


def save_whole(model: Any, folder: Path, *others: Any | None) -> None:
    """Save a model, and what belongs to it, into `folder`; its weights' names appear last.

    Args:
        model: has `save_pretrained`, as have `others`.
        folder: may hold checkpoints already, which stay.
        others: a processor, say; None is passed over.

    Raises:
        TrainingError: no room on the disk; what `folder` held is untouched.
    """
    partial = folder / ".model.partial"
    shutil.rmtree(partial, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    with room_for("the model", folder, partial):
        for item in (model, *others):
            if item is not None:
                item.save_pretrained(partial)
        sync_folder(partial)
    files = sorted(partial.iterdir(), key=lambda p: (".safetensors" in p.name, p.name))
    for file in files:
        file.replace(folder / file.name)
    partial.rmdir()
    sync_folder_name(folder)


def is_whole(folder: Path) -> bool:
    """Whether `save_whole` finished there."""
    names = ("model.safetensors", "model.safetensors.index.json")
    return (
        any((folder / name).is_file() for name in names)
        and not (folder / ".model.partial").exists()
    )


def drop_model(folder: Path) -> None:
    """Remove the weights that `save_whole` wrote: what they are the result of goes on."""
    for file in folder.glob("model*.safetensors*"):
        file.unlink()


def clear_stage(folder: Path) -> None:
    """Remove what a stage left, so that nothing of it is taken for a new one's."""
    drop_model(folder)
    for checkpoint in _checkpoints(folder):
        (checkpoint / STATE).unlink()
        shutil.rmtree(checkpoint)


def save_learned(model: torch.nn.Module, folder: Path) -> None:
    """Write the parameters that learn; the frozen rest is in the stage's beginning.

    Of a sharded model every process has to call this; the main one writes.
    """
    weights = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            value = processes.whole(parameter.detach())
            if processes.is_main():
                weights[name] = value.cpu().contiguous()
    if processes.is_main():
        save_file(weights, folder / LEARNED, metadata={"format": "pt"})


@torch.no_grad()
def load_learned(model: torch.nn.Module, folder: Path) -> None:
    """Read the parameters of a checkpoint into a model in which the same ones learn.

    Raises:
        TrainingError: other parameters learn now, or they have other shapes.
    """
    from borealis.training.loop.sharding import part_of

    own = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if (folder / LEARNED).is_file():
        weights = load_file(folder / LEARNED)
    else:  # of the whole model; the rest of it is as the stage began
        weights = {k: v for k, v in load_file(folder / WHOLE).items() if k in own}
    strange = sorted(own.keys() ^ weights.keys()) or [
        n for n in own if own[n].shape != weights[n].shape
    ]
    if strange:
        raise TrainingError(
            f"'{folder}' was made by another recipe: '{strange[0]}' doesn't fit. Give another "
            "--output, or --no-resume."
        )
    for name, parameter in own.items():
        parameter.copy_(part_of(weights[name], parameter))


def latest_checkpoint(output: Path) -> Path | None:
    """The newest complete `checkpoint-N` folder of a stage.

    A folder without a state was being removed.
    """
    return max(_checkpoints(output), key=step_of, default=None)


def rotate(output: Path, keep: int) -> None:
    """Remove all checkpoints but the newest `keep` and the one with the best validation."""
    found = sorted(_checkpoints(output), key=step_of)
    best = best_checkpoint(output)
    for folder in found[:-keep]:
        if folder != best:
            # Its state goes first: half a checkpoint is then none.
            (folder / STATE).unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)


def best_checkpoint(output: Path) -> Path | None:
    """The checkpoint with the lowest word error rate, the earliest of equal ones."""
    rates: dict[Path, float] = {}
    for folder in _checkpoints(output):
        if (file := folder / VALIDATION).is_file():
            rate = json.loads(file.read_text(encoding="utf-8")).get("word_error_rate")
            if rate is not None:
                rates[folder] = rate
    return min(rates, key=lambda folder: (rates[folder], step_of(folder)), default=None)


def _checkpoints(output: Path) -> list[Path]:
    return [p for p in output.glob("checkpoint-*") if (p / STATE).is_file()]


def step_of(checkpoint: Path) -> int:
    """The step after which a `checkpoint-N` was written."""
    return int(checkpoint.name.split("-")[1])
