"""FSDP2: each process holds a part of the weights, of their gradients and of the optimizer's state.

Zhao et al., 2023 (https://arxiv.org/abs/2304.11277), as torch has it in `fully_shard`. Every layer
of the language model is gathered when it computes and let go again; the rest (embeddings, adapter,
encoder, output layer) is gathered for the whole step.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from borealis.errors import TrainingError
from borealis.model import BorealisForConditionalGeneration
from borealis.training import processes
from borealis.training.losses.stage import StepLosses, stage_losses
from borealis.training.recipe import StageSection

OPTIMIZER = "optimizer.safetensors"
SCHEDULE = "schedule.json"
Result = TypeVar("Result")


class ShardedLosses(StepLosses):
    """The losses of a step on a model of which each process holds a part."""

    def forward(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """See `stage_losses`."""
        return stage_losses(self.model, batch, self.stage, everywhere=True)

    def run(self, function: Callable[[], Result]) -> Result:
        """Call something that uses the model; all processes have to, with the same input."""
        result = self._gathered(function)
        # Only a backward pass would let the outer parts go, and whoever looks at the parameters
        # next wants this process's own.
        cast(FSDPModule, self).reshard()
        return result

    def _gathered(self, function: Callable[[], Result]) -> Result:
        """Registered as a forward pass: FSDP gathers the outer parts before it."""
        return function()


def is_sharded(stage: StageSection) -> bool:
    """Whether this run of a stage shards the model: one process has nobody to share with."""
    return stage.compute.sharding == "fsdp" and processes.count() > 1


def shard(
    model: BorealisForConditionalGeneration, stage: StageSection, device: str
) -> ShardedLosses:
    """Leave each process its part of the model.

    Args:
        model: whole and the same on every process, on the CPU; changed in place. Layer by layer
            goes to the device and is cut there, so that it never has to hold the whole model.
        stage: settings.
        device: `cpu` or `cuda`.

    Returns:
        The module that computes the losses: what is gathered is gathered in its forward pass.
    """
    losses = ShardedLosses(model, stage)
    mesh = init_device_mesh(device, (processes.count(),))
    kinds = {*(model.model.language_model._no_split_modules or ())}
    for module in model.model.language_model.modules():
        if type(module).__name__ in kinds:
            fully_shard(module, mesh=mesh)
    # Windows of each length go through the encoder by themselves, and processes have different
    # ones: its layers can't be gathered call by call.
    fully_shard(losses, mesh=mesh)
    register_fsdp_forward_method(losses, "_gathered")
    return losses


def whole_model(
    model: BorealisForConditionalGeneration,
    prepare: Callable[[BorealisForConditionalGeneration], object],
) -> BorealisForConditionalGeneration | None:
    """A model that isn't sharded, with the weights of one that is.

    Args:
        model: sharded; every process has to call this.
        prepare: gives a fresh model the layers that the sharded one has got (LoRA).

    Returns:
        The model on the CPU, on the main process; None on the others.
    """
    weights = {}
    for name, value in model.state_dict().items():
        value = processes.whole(value)
        if processes.is_main():
            weights[name] = value.cpu()
    if not processes.is_main():
        return None
    with torch.device("meta"):
        fresh = BorealisForConditionalGeneration(model.config)
        prepare(fresh)
    fresh.load_state_dict(weights, assign=True)
    fresh.tie_weights()
    fresh.generation_config = model.generation_config
    return fresh


# ---- checkpoints ----


def save_optimizer(model: torch.nn.Module, optimizer: Any, scheduler: Any, folder: Path) -> None:
    """Write the optimizer's state whole: another number of processes can go on with it.

    Args:
        model: sharded; its names are the keys of the file. Every process has to call this.
        optimizer: of torch, over the model's parameters.
        scheduler: of the learning rate.
        folder: of the checkpoint.
    """
    names = {parameter: name for name, parameter in model.named_parameters()}
    tensors = {}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            value = processes.whole(torch.as_tensor(value))
            if processes.is_main():
                tensors[f"{names[parameter]}/{key}"] = value.cpu().contiguous()
    if processes.is_main():
        save_file(tensors, folder / OPTIMIZER, metadata={"format": "pt"})
        rates = [{k: group[k] for k in ("lr", "initial_lr")} for group in optimizer.param_groups]
        record = {"scheduler": scheduler.state_dict(), "rates": rates}
        (folder / SCHEDULE).write_text(json.dumps(record), encoding="utf-8")


def load_optimizer(model: torch.nn.Module, optimizer: Any, scheduler: Any, folder: Path) -> None:
    """Read what `save_optimizer` wrote, each process its own part of it.

    Raises:
        TrainingError: the checkpoint was made without sharding.
    """
    if not (folder / OPTIMIZER).is_file():
        raise TrainingError(
            f"'{folder}' was made without sharding: its optimizer can't be shared out. Go on with "
            "sharding=none, or give another --output, or --no-resume."
        )
    named = {parameter: name for name, parameter in model.named_parameters()}
    record = json.loads((folder / SCHEDULE).read_text(encoding="utf-8"))
    state = optimizer.state_dict()
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
    for group, rates in zip(state["param_groups"], record["rates"], strict=True):
        group |= rates
    optimizer.load_state_dict(state)
    scheduler.load_state_dict(record["scheduler"])


def part_of(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """This process's part of a whole tensor, cut as the parameter it belongs to is.

    Args:
        value: whole; of another shape than the parameter (a counter) it stays so.
        parameter: sharded or not.
    """
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    value = value.to(parameter.device)
    # Every process has read the same: nothing has to be sent.
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)
