"""Random networks that listen: fresh from its initialisation, a deep one gives almost the same for all sounds."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


@torch.no_grad()
def liven(model: nn.Module, sound: torch.Tensor, encode: str = "encode") -> None:
    """Scale a codec's convolutions by what they make of a sound, and fill its codebooks.

    Each channel then varies by about one, around zero, whatever the depth.

    Args:
        model: any of the codecs' networks.
        sound: `[1, 1, n]`, a second or more.
        encode: name of its method.
    """
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith(("embed", "embed_sum", "books", "codebook.weight")):
            nn.init.normal_(value.data)
        elif name.endswith("layer_scale.scale"):  # attention begins as next to nothing
            nn.init.constant_(value.data, 0.5)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)]
    hooks = [conv.register_forward_hook(_scaled) for conv in convolutions]
    model.eval()
    codes = getattr(model, encode)(sound)
    codes = codes if isinstance(codes, torch.Tensor) else codes["audio_codes"]
    if model.config.model_type == "encodec":
        model.decode(codes, [None])
    elif model.config.model_type == "dac":
        model.decode(audio_codes=codes)
    else:
        model.decode(codes)
    for hook in hooks:
        hook.remove()


def _scaled(conv: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
    factor = 1 / output.std(-1).mean().clamp(min=1e-6)
    parametrized = nn.utils.parametrize.is_parametrized(conv)
    gain = conv.parametrizations.weight.original0 if parametrized else conv.weight
    gain.mul_(factor)
    if conv.bias is None:
        return output * factor
    mean = output.mean((0, 2))
    conv.bias.sub_(mean).mul_(factor)
    return (output - mean[:, None]) * factor
