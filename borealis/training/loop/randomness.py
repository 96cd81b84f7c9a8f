"""The state of all random numbers of a process, so that a resumed run draws what it would have."""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from borealis.training import processes

logger = logging.getLogger(__name__)


def save_random(folder: Path) -> None:
    """Write the state of this process into a checkpoint; every process has a file of its own."""
    version, python, gauss = random.getstate()
    kind, numpy, *numpy_rest = np.random.get_state(legacy=True)
    tensors = {
        "torch": torch.get_rng_state(),
        "python": torch.tensor(python),
        "numpy": torch.from_numpy(np.asarray(numpy).astype(np.int64)),
    }
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    rest = {"python": [version, gauss], "numpy": [kind, *numpy_rest]}
    save_file(tensors, _file(folder), metadata={"rest": json.dumps(rest)})


def load_random(folder: Path) -> None:
    """Take up the state that `save_random` wrote in this process's place."""
    if not _file(folder).is_file():
        logger.warning(
            "'%s' was made by fewer processes: this one draws other random numbers than it would "
            "have",
            folder,
        )
        return
    with safe_open(_file(folder), framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        rest = json.loads(file.metadata()["rest"])
    version, gauss = rest["python"]
    kind, *numpy_rest = rest["numpy"]
    random.setstate((version, tuple(tensors["python"].tolist()), gauss))
    np.random.set_state((kind, tensors["numpy"].numpy().astype(np.uint32), *numpy_rest))
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])


def _file(folder: Path) -> Path:
    return folder / f"random-{processes.rank()}.safetensors"
