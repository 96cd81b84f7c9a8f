"""Word error rate on a few recordings in the middle of training, with sample outputs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from borealis.data.manifest import Utterance
from borealis.training import processes
from borealis.training.loop.checkpoints import VALIDATION

if TYPE_CHECKING:
    from borealis.model import BorealisForConditionalGeneration, BorealisProcessor

logger = logging.getLogger(__name__)

_SAMPLES = 3


class Validation(TrainerCallback):
    """Transcribes the same recordings every N steps; the training's random numbers aren't touched.

    Args:
        model: the model that learns.
        processor: its processor.
        utterances: recordings with their texts.
        every: steps between measurements.
        max_steps: the last step is measured too.
    """

    def __init__(
        self,
        model: BorealisForConditionalGeneration,
        processor: BorealisProcessor,
        utterances: Sequence[Utterance],
        *,
        every: int,
        max_steps: int,
    ) -> None:
        self.model, self.processor, self.utterances = model, processor, list(utterances)
        self.every, self.max_steps = every, max_steps
        self.around: Callable[[], AbstractContextManager] = nullcontext
        # Of a model that is spread over processes: gathers what a call of all of them needs.
        self.through: Callable[[Callable[[], dict[str, Any]]], dict[str, Any]] | None = None
        self.last: dict[str, Any] | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure, if it is time."""
        step = state.global_step
        if step % self.every and step != self.max_steps:
            return
        if self.through is not None:
            self.last = {"step": step} | self.through(self.measure)
        elif processes.is_main():
            self.last = {"step": step} | self.measure()
        if self.last is not None and processes.is_main():
            state.log_history.append({"step": step, "wer": self.last["word_error_rate"]})
        processes.wait()

    def measure(self) -> dict[str, Any]:
        """Word and character error rate, and a few of the transcripts."""
        from borealis.evaluation.metrics import error_rates
        from borealis.inference.engine import Borealis

        training = self.model.training
        engine = Borealis(self.model, self.processor)
        with torch.random.fork_rng(), self.around():
            heard = engine.transcribe([item.audio for item in self.utterances])
        self.model.train(training)
        texts = [transcript.text for transcript in heard]
        rates = error_rates([item.text for item in self.utterances], texts)
        logger.info("validation: %d recordings, WER %s", len(texts), _percent(rates))
        samples = [
            {"text": item.text, "heard": text}
            for item, text in list(zip(self.utterances, texts, strict=True))[:_SAMPLES]
        ]
        for sample in samples:
            logger.info("  said   %s", sample["text"])
            logger.info("  heard  %s", sample["heard"])
        return {
            "word_error_rate": rates.word_error_rate,
            "character_error_rate": rates.character_error_rate,
            "recordings": len(texts),
            "samples": samples,
        }

    def write(self, folder: Path, step: int) -> None:
        """Put the measurement of this step, if it was made, into a checkpoint."""
        if self.last is not None and self.last["step"] == step:
            text = json.dumps(self.last, ensure_ascii=False, indent=1)
            (folder / VALIDATION).write_text(text + "\n", encoding="utf-8")


def _percent(rates: Any) -> str:
    rate = rates.word_error_rate
    return "unknown" if rate is None else f"{100 * rate:.1f} %"
