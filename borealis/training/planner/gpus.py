"""What accelerators can do at most, as their maker states it, and what an hour of one costs."""

from __future__ import annotations

from dataclasses import dataclass

# Where prices come from. Those of RunPod are of spot instances, which may be taken away within
# minutes; the same list has hours that are kept, and those cost about three quarters more.
RUNPOD = "RunPod spot, 10 March 2026, deploybase.ai/articles/runpod-gpu-pricing"
ASSUMED = "a round assumption, nobody's quote"


@dataclass(frozen=True)
class Gpu:
    """An accelerator.

    Args:
        title: name for people.
        teraflops: peak of bfloat16 matrix products with float32 sums, without sparsity, in 10¹²
            operations a second. Datasheets that print the figure with sparsity print twice this.
        gigabytes: memory, 10⁹ bytes.
        source: the maker's document.
        price: dollars for an hour, where nobody names another.
        price_source: whose price it is, and of when.
    """

    title: str
    teraflops: float
    gigabytes: int
    source: str
    price: float
    price_source: str = RUNPOD


GPUS = {
    "h100": Gpu("H100 SXM", 989, 80, "NVIDIA H100 Tensor Core GPU datasheet", 3.0, ASSUMED),
    "h200": Gpu("H200 SXM", 989, 141, "NVIDIA H200 Tensor Core GPU datasheet", 3.59),
    "b200": Gpu("B200 SXM", 2250, 180, "NVIDIA HGX B200 specifications", 5.98),
    "a100": Gpu("A100 SXM 80GB", 312, 80, "NVIDIA A100 Tensor Core GPU datasheet", 1.39),
    "l40s": Gpu("L40S", 362, 48, "NVIDIA L40S datasheet", 0.79),
    "l4": Gpu("L4", 121, 24, "NVIDIA L4 Tensor Core GPU datasheet", 0.44),
    "rtx5090": Gpu("RTX 5090", 209.5, 32, "NVIDIA RTX Blackwell GPU architecture whitepaper", 0.69),
    "rtx4090": Gpu("RTX 4090", 165.2, 24, "NVIDIA Ada GPU architecture whitepaper", 0.34),
    "rtx3090": Gpu("RTX 3090", 71, 24, "NVIDIA Ampere GA102 GPU architecture whitepaper", 0.22),
}
