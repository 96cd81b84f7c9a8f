"""The small form of a codec: large tensors as int8 with one float16 scale a row.

A folder has `bundle.safetensors` then instead of `model.safetensors`, and so has the folder of its
refiner, if it has one. `load_codec` and `load_refiner` read both forms.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from borealis.checkpoints import BUNDLE, SCALE, WEIGHTS, from_int8, to_int8
from borealis.files import aside

if TYPE_CHECKING:
    import torch

_LARGE = 1 << 13  # numbers of the smallest tensor that becomes int8
_CONFIG = "config.json"


def pack_codec(source: Path, target: Path) -> int:
    """Write the small form of a codec and of its refiner; returns the size in bytes.

    Args:
        source: folder of a codec with `model.safetensors`, in which `refiner` may lie.
        target: folder of the small form.

    Raises:
        OutputError: it can't be written.
    """
    from safetensors.torch import load_file, save_file

    size = 0
    for file in sorted(source.glob(f"**/{WEIGHTS}")):
        place = target / file.parent.relative_to(source)
        place.mkdir(parents=True, exist_ok=True)
        with aside(place / BUNDLE) as partial:
            save_file(packed(load_file(file)), partial, metadata={"format": "pt"})
        shutil.copy(file.parent / _CONFIG, place / _CONFIG)
        size += (place / BUNDLE).stat().st_size
    return size


def packed(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights by name, large ones as int8 and their scales beside them, others as float16.

    The rows of a convolution are its filters, those of a list of codebooks their entries.
    """
    import torch

    out: dict[str, torch.Tensor] = {}
    for name, value in weights.items():
        if value.ndim > 1 and value.numel() >= _LARGE:
            rows = _rows(name, value)
            whole, out[name + SCALE] = to_int8(rows)
            out[name] = whole.reshape(value.shape)
        else:
            out[name] = value.to(torch.float16).contiguous()
    return out


def unpacked(file: Path) -> dict[str, torch.Tensor]:
    """Weights in float32 by name, of a file that `pack_codec` wrote.

    Raises:
        ValueError: a tensor has no scale, or one of another size.
        safetensors.SafetensorError: it is damaged.
    """
    import torch
    from safetensors.torch import load_file

    found = load_file(file)
    out: dict[str, torch.Tensor] = {}
    for name, value in found.items():
        if name.endswith(SCALE):
            continue
        if value.dtype == torch.int8:
            rows, scale = _rows(name, value), found.get(name + SCALE)
            if scale is None or len(scale) != len(rows):
                raise ValueError(f"'{name}' of {file.name} has no scale for each of its rows")
            value = from_int8(rows, scale).reshape(value.shape)
        out[name] = value.float()
    return out


def _rows(name: str, value: torch.Tensor) -> torch.Tensor:
    """`[n, width]`, each row with a scale of its own."""
    return value.flatten(0, -2) if name.endswith("codebooks") else value.flatten(1)
