"""FSDP2: each process holds a part of the weights, of their gradients and of the optimizer's state.

Zhao et al., 2023 (https://arxiv.org/abs/2304.11277), as torch has it in `fully_shard`. Every layer
of the language model is gathered when it computes and let go again; the rest (embeddings, adapter,
encoder, output layer) is gathered for the whole step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from borealis.model import BorealisForConditionalGeneration
from borealis.training import processes
from borealis.training.losses.stage import StepLosses
from borealis.training.recipe import StageSection

Result = TypeVar("Result")


class ShardedLosses(StepLosses):
    """The losses of a step on a model of which each process holds a part."""

    everywhere = True

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
    model: BorealisForConditionalGeneration, stage: StageSection, device: str, *, bfloat16: bool
) -> ShardedLosses:
    """Leave each process its part of the model.

    Args:
        model: whole and the same on every process, on the CPU; changed in place. Layer by layer
            goes to the device and is cut there, so that it never has to hold the whole model.
        stage: settings.
        device: `cpu` or `cuda`.
        bfloat16: see `stage_losses`.

    Returns:
        The module that computes the losses: what is gathered is gathered in its forward pass.
    """
    losses = ShardedLosses(model, stage, bfloat16=bfloat16)
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
