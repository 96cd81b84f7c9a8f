"""Measured points of `results/training-gpu.json`: what share of its peak a GPU reached."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import borealis
from borealis.training.planner.gpus import GPUS
from borealis.training.planner.shapes import PlanError

# In a checkout; an installed package has no results beside it.
DEFAULT = Path(borealis.__file__).parents[1] / "results" / "training-gpu.json"


@dataclass(frozen=True)
class Point:
    """One measurement.

    Args:
        shape: the recipe whose shapes were trained.
        train: what learned, see `Options.train`.
        gpu: a name of `GPUS`.
        utilization: share of the peak, of all operations that the planner counts.
        tokens_per_second: audio and text tokens of one GPU, padding left out.
    """

    shape: str
    train: str
    gpu: str
    utilization: float
    tokens_per_second: float


def measured_points(path: Path | None = None) -> list[Point]:
    """Points of a result file; none where there is no file, or its device isn't in the table.

    Args:
        path: the file; by default that of the checkout.

    Raises:
        PlanError: a file that was named isn't there, or it isn't such a file.
    """
    if path is None and not DEFAULT.is_file():
        return []
    file = path or DEFAULT
    if not file.is_file():
        raise PlanError(f"There is no file '{file}'; benchmarks/training_gpu.py makes it.")
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"))["metrics"]
        gpu = metrics["gpu"]
        points = [
            Point(p["shape"], p["train"], gpu, float(p["utilization"]), p["tokens_per_second"])
            for p in metrics["points"]
            if p["utilization"] is not None
        ]
    except (ValueError, KeyError, TypeError):
        raise PlanError(
            f"'{file}' isn't a file of benchmarks/training_gpu.py: points with shape, train, "
            "utilization and tokens_per_second are wanted."
        ) from None
    return points if gpu in GPUS else []


def closest(points: Sequence[Point], gpu: str, train: str) -> Point | None:
    """The last point of that GPU where the same learned, if there is one."""
    fitting = [point for point in points if (point.gpu, point.train) == (gpu, train)]
    return fitting[-1] if fitting else None


def gpu_of(device: str) -> str:
    """Name in `GPUS` of a device as the driver calls it (`NVIDIA H100 80GB HBM3`), or nothing."""
    words = re.sub(r"[^a-z0-9]+", " ", device.lower()).split()
    joined = words + ["".join(pair) for pair in pairwise(words)]
    return next((name for name in GPUS if name in joined), "")
