"""Stops a run whose loss or gradient isn't finite, and keeps the batch that did it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors.torch import save_file

from borealis.errors import TrainingError
from borealis.files import aside, write_text
from borealis.training.loop.checkpoints import latest_checkpoint


def stop_at_bad_step(
    what: str, value: float, step: int, batches: Sequence[dict[str, Any]], output: Path
) -> NoReturn:
    """Save the batches of a step and raise.

    Args:
        what: `the loss` or `the gradient`.
        value: of it.
        step: number of the step, from 1.
        batches: the batches of the step up to now.
        output: folder of the stage; `bad-step-N.safetensors` has the tensors (`0.labels` is of the
            first batch), `bad-step-N.json` the rest.

    Raises:
        TrainingError: always.
    """
    tensors: dict[str, torch.Tensor] = {}
    rest: list[dict[str, Any]] = []
    for number, batch in enumerate(batches):
        rest.append({k: v for k, v in batch.items() if not isinstance(v, torch.Tensor)})
        tensors |= {
            f"{number}.{key}": tensor.detach().cpu().contiguous()
            for key, tensor in batch.items()
            if isinstance(tensor, torch.Tensor)
        }
    output.mkdir(parents=True, exist_ok=True)
    file = output / f"bad-step-{step}.safetensors"
    with aside(file) as partial:
        save_file(tensors, partial)
    write_text(
        file.with_suffix(".json"),
        json.dumps({"step": step, what: str(value), "batches": rest}, ensure_ascii=False, indent=1),
    )
    last = latest_checkpoint(output)
    raise TrainingError(
        f"At step {step} {what} became {value}; the batch is kept in '{file}', the last good "
        f"weights in '{last or 'the stage before'}'. A lower learning_rate, a longer warm-up or "
        "precision=float32 usually help; look at the batch first."
    )
