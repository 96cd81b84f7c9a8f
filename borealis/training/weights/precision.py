"""Which number format training computes in: bfloat16 where the hardware has it, else float32."""

from __future__ import annotations

import torch


def use_bfloat16(precision: str, *, use_cpu: bool) -> bool:
    """Whether to compute in bfloat16 (weights and optimizer stay float32).

    Args:
        precision: `bfloat16`, `float32` or `auto`, which takes bfloat16 if the processor or the
            accelerator multiplies it natively: on others it is slower than float32.
        use_cpu: the computation runs on the processor.
    """
    if precision != "auto":
        return precision == "bfloat16"
    if use_cpu:
        return bool(torch.cpu._is_avx512_bf16_supported())
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
