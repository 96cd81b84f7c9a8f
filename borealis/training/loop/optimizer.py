"""AdamW over what learns in a stage, and its state as files that any number of processes reads."""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from borealis.errors import TrainingError
from borealis.training import processes
from borealis.training.loop.sharding import part_of
from borealis.training.recipe.stage import OptimizerSection

OPTIMIZER = "optimizer.safetensors"
# Weights of norms and all biases aren't pulled towards zero.
_FREE = re.compile(r"bias|layernorm|rmsnorm|(?:^|[._])norm(?:$|\.)")


def make_optimizer(
    model: torch.nn.Module,
    settings: OptimizerSection,
    *,
    beta1: float = 0.9,
    without: Container[str] = (),
) -> torch.optim.AdamW:
    """AdamW over the parameters that learn; each group keeps its peak rate as `initial_lr`.

    Args:
        model: some of its parameters want a gradient.
        settings: of the stage.
        beta1: decay of the first moments.
        without: names of parameters that another optimizer moves.
    """
    norms = {
        f"{name}.{own}"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.LayerNorm)
        for own, _ in module.named_parameters(recurse=False)
    }
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and name not in without:
            free = name in norms or _FREE.search(name.lower())
            kind = (_rate_of(name, settings), 0.0 if free else settings.weight_decay)
            groups.setdefault(kind, []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay, "initial_lr": rate}
            for (rate, decay), parameters in groups.items()
        ],
        lr=settings.learning_rate,
        betas=(beta1, settings.adam_beta2),
        fused=True,
    )


def _rate_of(name: str, settings: OptimizerSection) -> float:
    """Peak rate of a parameter."""
    short = name.removeprefix("model.")
    rates = settings.rates
    fitting = [p for p in rates if short == p or short.startswith(f"{p}.")]
    return rates[max(fitting, key=len)] if fitting else settings.learning_rate


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rates of a step.

    Args:
        optimizer: of `make_optimizer`.
        rate: of the step, relative to the peak.
    """
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * rate


# ---- files ----


def save_optimizer(model: torch.nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Write the optimizer's state whole: another number of processes can go on with it.

    Args:
        model: its names are the keys of the file. Of a sharded one every process has to call this.
        optimizer: over the model's parameters.
        folder: of the checkpoint.
    """
    names: dict[torch.Tensor, str] = {p: name for name, p in model.named_parameters()}
    tensors = {}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            value = processes.whole(torch.as_tensor(value))
            if processes.is_main():
                tensors[f"{names[parameter]}/{key}"] = value.cpu().contiguous()
    if processes.is_main():
        save_file(tensors, folder / OPTIMIZER, metadata={"format": "pt"})


def load_optimizer(model: torch.nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Read what `save_optimizer` wrote; of a sharded model each process its own part.

    Raises:
        TrainingError: an earlier version of Borealis made the checkpoint.
    """
    if not (folder / OPTIMIZER).is_file():
        raise TrainingError(
            f"'{folder}' has no {OPTIMIZER}: an earlier version of Borealis made it, and this one "
            "can't go on from it. Give another --output, or --no-resume."
        )
    named = {parameter: name for name, parameter in model.named_parameters()}
    state: dict[str, Any] = optimizer.state_dict()
    order = [p for group in optimizer.param_groups for p in group["params"]]
    with safe_open(folder / OPTIMIZER, framework="pt") as file:
        keys: dict[str, list[str]] = {}
        for key in file.keys():  # noqa: SIM118  (not a dict)
            keys.setdefault(key.rpartition("/")[0], []).append(key)
        state["state"] = {
            number: {
                key.rpartition("/")[2]: part_of(file.get_tensor(key), parameter)
                for key in keys[named[parameter]]
            }
            for number, parameter in enumerate(order)
            if named[parameter] in keys
        }
    optimizer.load_state_dict(state)
