"""A frozen language model in 4 bits (NF4), through bitsandbytes: QLoRA, where LoRA learns on it.

Dettmers et al., 2023 (https://arxiv.org/abs/2305.14314): blocks of 64 weights share a scale, each
weight is one of 16 values, and the scales are rounded too.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from borealis.errors import RecipeError

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig

    from borealis.model import BorealisForConditionalGeneration

logger = logging.getLogger(__name__)


def check_bitsandbytes() -> None:
    """Whether the library is here.

    Raises:
        RecipeError: it isn't installed.
    """
    if find_spec("bitsandbytes") is None:
        raise RecipeError(
            "frozen_precision nf4 needs the library bitsandbytes: 'pip install bitsandbytes', or "
            "frozen_precision=bfloat16."
        )


def four_bits() -> BitsAndBytesConfig:
    """How weights are rounded.

    Raises:
        RecipeError: bitsandbytes isn't installed.
    """
    check_bitsandbytes()
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


@torch.no_grad()
def quantize(
    model: BorealisForConditionalGeneration, device: str | torch.device, *, keep: bool
) -> None:
    """Hold the linear layers of the language model in 4 bits; embeddings and norms stay.

    Args:
        model: changed in place. What it was made from decides every bit: a run that goes on gets
            the same.
        device: where layers are rounded, one after another, and stay; `cuda`, or `cpu` for trials.
        keep: remember the weights as they were, for `dequantize` to put them back.

    Raises:
        RecipeError: bitsandbytes isn't installed.
    """
    settings = four_bits()
    from bitsandbytes.nn import Params4bit
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear

    if torch.device(device).type == "cpu":
        logger.warning("4 bits on a CPU: works, and is slow; it is made for CUDA")
    tower = model.model.language_model
    before = {name: m for name, m in tower.named_modules() if type(m) is nn.Linear}
    replace_with_bnb_linear(tower, quantization_config=settings)
    for name, linear in before.items():
        layer: Any = tower.get_submodule(name)
        layer.weight = Params4bit(
            linear.weight.data.to(torch.bfloat16),
            requires_grad=False,
            quant_type=settings.bnb_4bit_quant_type,
            compress_statistics=settings.bnb_4bit_use_double_quant,
        )
        layer.bias = linear.bias
        layer.to(device)
        # On a CPU it would lay weights out anew for a validation, in wide layers only.
        layer.support_avx512bf16_for_cpu = False
        # In a tuple, where a module doesn't look for parameters.
        layer.original = (linear,) if keep else ()


@torch.no_grad()
def dequantize(model: BorealisForConditionalGeneration) -> None:
    """Ordinary linear layers again, also below LoRA.

    Where LoRA has learned on rounded weights, it fits those: they become the weights. Otherwise the
    weights of before come back, bit for bit.

    Args:
        model: changed in place.
    """
    import bitsandbytes as bnb

    tower = model.model.language_model
    found = [(n, m) for n, m in tower.named_modules() if isinstance(m, bnb.nn.Linear4bit)]
    layer: Any
    for name, layer in found:
        if layer.original:
            plain = layer.original[0].to(layer.weight.device)
        else:
            rounded: Any = layer.weight
            values = bnb.functional.dequantize_4bit(rounded.data, rounded.quant_state).float()
            with torch.device("meta"):
                plain = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
            plain.weight = nn.Parameter(values, requires_grad=False)
            plain.bias = layer.bias
        tower.set_submodule(name, plain)
