"""What accelerators can do at most, as their maker states it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """An accelerator.

    Args:
        title: name for people.
        teraflops: peak of bfloat16 matrix products with float32 sums, without sparsity, in 10¹²
            operations a second. Datasheets that print the figure with sparsity print twice this.
        gigabytes: memory, 10⁹ bytes.
        source: the maker's document.
    """

    title: str
    teraflops: float
    gigabytes: int
    source: str


GPUS = {
    "h100": Gpu("H100 SXM", 989, 80, "NVIDIA H100 Tensor Core GPU datasheet"),
    "h200": Gpu("H200 SXM", 989, 141, "NVIDIA H200 Tensor Core GPU datasheet"),
    "b200": Gpu("B200 SXM", 2250, 180, "NVIDIA HGX B200 specifications"),
    "a100": Gpu("A100 SXM 80GB", 312, 80, "NVIDIA A100 Tensor Core GPU datasheet"),
    "l40s": Gpu("L40S", 362, 48, "NVIDIA L40S datasheet"),
    "l4": Gpu("L4", 121, 24, "NVIDIA L4 Tensor Core GPU datasheet"),
    "rtx5090": Gpu("RTX 5090", 209.5, 32, "NVIDIA RTX Blackwell GPU architecture whitepaper"),
    "rtx4090": Gpu("RTX 4090", 165.2, 24, "NVIDIA Ada GPU architecture whitepaper"),
    "rtx3090": Gpu("RTX 3090", 71, 24, "NVIDIA Ampere GA102 GPU architecture whitepaper"),
}
