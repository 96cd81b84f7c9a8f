"""The whole bill of a run: training, evaluation, storage, and the runs that fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from borealis.training.planner.gpus import GPUS
from borealis.training.planner.shapes import Part

if TYPE_CHECKING:
    from borealis.training.planner.costs import Options, Stage

# Assumption: a gigabyte and month on a disk that outlives the rented machine.
STORAGE_PRICE = 0.07
STORAGE_SOURCE = "RunPod's network volume below 1 TB, docs.runpod.io/pods/storage"
# Bytes on disk for each number that learns: the weight and two moments of AdamW, in float32.
CHECKPOINT_BYTES = 12
# A run keeps the model that it began with, the finished one, and one of every stage, in float32.
MODELS_BESIDE_STAGES, MODEL_BYTES = 2, 4


@dataclass(frozen=True)
class Bill:
    """What a run costs in all, in dollars.

    Args:
        training: of all stages.
        evaluation: hearing recordings during training and at its end.
        storage: of what `stored` lists.
        failed: training that was lost or repeated.
        total: of the four.
        evaluation_gpu_hours: of the evaluation. While one GPU hears the validation recordings, the
            others wait and are paid for.
        validation_recordings: heard during training, repeats counted.
        test_recordings: heard at the end.
        stored: bytes of `recordings`, `features`, `checkpoints` and `models`.
    """

    training: float
    evaluation: float
    storage: float
    failed: float
    total: float
    evaluation_gpu_hours: float
    validation_recordings: float
    test_recordings: float
    stored: dict[str, float]


def make_bill(
    options: Options,
    stages: Sequence[Stage],
    *,
    training: float,
    heard: tuple[float, float],
    learned: Sequence[int],
    parameters: int,
    features: float,
) -> Bill:
    """Add up a bill.

    Args:
        options: prices and assumptions.
        stages: each with what it measures and keeps on the way.
        training: dollars of all stages.
        heard: operations of one recording, see `hearing`.
        learned: numbers that learn, by stage.
        parameters: of the whole model.
        features: bytes of the encoder's features.
    """
    own = [stage.own(options) for stage in stages]
    validated = float(sum(o.validations * o.validation_clips for o in own))
    tested = options.test_hours * 3600 / options.clip_seconds
    read, written = heard
    effective = read / options.utilization + written / options.decoding_utilization
    one_hears = effective / (GPUS[options.gpu].teraflops * 1e12) / 3600
    hours = one_hears * (validated * options.gpus + tested)
    stored = {
        "recordings": options.hours_of_audio * 3600 * options.bitrate * 1000 / 8,
        "features": float(features),
        "checkpoints": float(
            sum(o.checkpoints_kept * n for o, n in zip(own, learned, strict=True))
            * CHECKPOINT_BYTES
        ),
        "models": float((len(stages) + MODELS_BESIDE_STAGES) * MODEL_BYTES * parameters),
    }
    gigabyte_months = sum(stored.values()) / 1e9 * options.storage_months
    evaluation = hours * options.hour_price
    storage = gigabyte_months * options.storage_price
    failed = training * options.failed
    return Bill(
        training=training,
        evaluation=evaluation,
        storage=storage,
        failed=failed,
        total=training + evaluation + storage + failed,
        evaluation_gpu_hours=hours,
        validation_recordings=validated,
        test_recordings=tested,
        stored=stored,
    )


def hearing(
    sizes: dict[str, Part],
    encoder_frames: Sequence[int],
    adapter_tokens: Sequence[int],
    *,
    prompt: float,
    text: float,
    letters: bool,
) -> tuple[float, float]:
    """Operations of writing one recording down, without a gradient.

    Args:
        sizes: the parts.
        encoder_frames: that the encoder reads of each window.
        adapter_tokens: audio tokens of each window.
        prompt: tokens that the language model is given: audio, question, marks of the chat.
        text: tokens of the transcript.
        letters: whether the adapter writes letters (`ctc`): the language model then reads them in
            one pass. Else it writes the transcript token by token.

    Returns:
        Operations of what goes in one pass, and of tokens written one after another.
    """
    model = sizes["language_model"]
    read = float(sum(sizes["encoder"].forward(n) for n in encoder_frames))
    read += sum(sizes["adapter"].forward(n) for n in adapter_tokens)
    whole, given = model.forward(prompt + text), model.forward(prompt)
    return (read + whole, 0.0) if letters else (read + given, whole - given)
