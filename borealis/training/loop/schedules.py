"""The learning rate of each step: a stage's schedule as transformers makes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from borealis.training.loop.settings import LoopSettings


def schedule_of(stage: LoopSettings) -> tuple[str, dict[str, Any]]:
    """Name of a stage's schedule in transformers, and what it takes beside warm-up and length."""
    if stage.optimizer.scheduler == "cosine":
        return "cosine_with_min_lr", {"min_lr_rate": stage.optimizer.min_learning_rate_ratio}
    return stage.optimizer.scheduler, {}


def schedule(stage: LoopSettings) -> Callable[[int], float]:
    """The rate of each step of a stage, from 0, relative to the peak."""
    import torch
    from transformers import get_scheduler

    name, settings = schedule_of(stage)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    made: Any = get_scheduler(
        name,
        optimizer,
        num_warmup_steps=stage.optimizer.warmup_steps,
        num_training_steps=stage.max_steps,
        scheduler_specific_kwargs=settings,
    )
    return lambda step: float(made.lr_lambdas[0](step))


def rates(stage: LoopSettings, steps: int) -> list[float] | None:
    """Rates of the first steps, relative to the peak; None where the schedule has none for them."""
    rate = schedule(stage)
    try:
        return [rate(step) for step in range(steps)]
    except ZeroDivisionError:  # a stage that is nothing but warm-up
        return None
