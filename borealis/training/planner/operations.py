"""Operations of a part of the model, and of a batch whose shapes are known."""

from __future__ import annotations

from collections.abc import Sequence

from borealis.training.planner.shapes import Part

# What learns: state of the adapter, state of the language model.
TRAIN = {
    "adapter": ("learns", "passes"),
    "lora": ("learns", "lora"),
    "full": ("learns", "learns"),
    "ctc": ("learns", "unused"),
}
# Forward passes that a part costs: of its linear layers, of its attention.
PASSES = {"frozen": (1, 1), "passes": (2, 3), "lora": (2, 3), "learns": (3, 3)}


def operations(part: Part, positions: float, state: str, row: float | None = None) -> float:
    """Operations of a sequence; as a part of a packed `row`, its positions see all of that."""
    linear, attention = PASSES[state]
    pairs = positions * (positions if row is None else row)
    return part.linear * positions * linear + part.attention * pairs * attention


def batch_operations(
    sizes: dict[str, Part],
    *,
    train: str,
    encoder_frames: Sequence[int],
    audio_tokens: tuple[int, int],
    tokens: tuple[int, int],
    lora: int = 0,
    gradient_checkpointing: bool = False,
) -> dict[str, float]:
    """Operations of one batch whose shapes are known, padding included.

    Args:
        sizes: the parts.
        train: see `Options.train`; the encoder is frozen.
        encoder_frames: frames that each window given to the encoder has; empty with a cache.
        audio_tokens: rows and columns of the adapter's output.
        tokens: rows and columns of the language model's input.
        lora: numbers of the LoRA updates.
        gradient_checkpointing: count the layers that are computed again too.

    Returns:
        Operations of `encoder`, `adapter`, `language_model` and their `total`.
    """
    adapter_state, model_state = TRAIN[train]
    model, (rows, columns) = sizes["language_model"], tokens
    own = 0.0
    if model_state != "unused":
        own = operations(model, columns, model_state) + 6 * lora * columns
        own += model.forward(columns) if gradient_checkpointing else 0.0
    counts = {
        "encoder": float(sum(sizes["encoder"].forward(frames) for frames in encoder_frames)),
        "adapter": audio_tokens[0] * operations(sizes["adapter"], audio_tokens[1], adapter_state),
        "language_model": rows * own,
    }
    return counts | {"total": sum(counts.values())}
