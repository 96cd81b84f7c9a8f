"""A way to stop `generate` from outside, for readers who leave a stream before its end."""

from __future__ import annotations

from threading import Event
from typing import Any

import torch
from transformers import StoppingCriteria


class StopOnDemand(StoppingCriteria):
    """Ends generation at the next token after `set`."""

    def __init__(self) -> None:
        self._event = Event()

    def set(self) -> None:
        """Ask for the end."""
        self._event.set()

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return input_ids.new_full(input_ids.shape[:1], self._event.is_set(), dtype=torch.bool)
