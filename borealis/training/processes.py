"""Several processes as one run: started by torchrun or `accelerate launch`, one for each GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import distributed

Result = TypeVar("Result")


def count() -> int:
    """Processes of the run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Whether this process writes what all share."""
    return rank() == 0


def start() -> None:
    """Join the other processes, if there are any; the rest of the run needs it."""
    if count() > 1 and not distributed.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def stop() -> None:
    """Leave the other processes: without it the interpreter may hang at its end."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def wait() -> None:
    """Until every process is here."""
    if distributed.is_initialized():
        distributed.barrier()


def total(*numbers: float, device: str | torch.device = "cpu") -> list[float]:
    """Numbers summed over all processes; every process has to call this.

    Args:
        numbers: of this process.
        device: that the processes exchange tensors of.
    """
    if not distributed.is_initialized():
        return list(numbers)
    summed = torch.tensor(numbers, dtype=torch.float64, device=device)
    distributed.all_reduce(summed)
    return summed.tolist()


def from_main(value: Result | None) -> Result:
    """What the main process has, on every process; all have to call this."""
    found = [value]
    if distributed.is_initialized():
        distributed.broadcast_object_list(found)
    return found[0]  # type: ignore[return-value]


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that is spread over processes, gathered; every process has to call this."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@contextmanager
def main_first() -> Iterator[None]:
    """The main process goes through the block first: what it writes, the others find."""
    if not is_main():
        wait()
    yield
    if is_main():
        wait()
