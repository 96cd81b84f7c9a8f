"""Word error rate on a few recordings in the middle of training, with sample outputs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from borealis.data.manifest import Utterance
from borealis.training import processes
from borealis.training.losses.stage import autocast

if TYPE_CHECKING:
    from borealis.model import BorealisProcessor
    from borealis.training.loop.trainer import StageTrainer

logger = logging.getLogger(__name__)

_SAMPLES = 3


class Validation:
    """Transcribes the same recordings now and then; the training's random numbers aren't touched.

    Args:
        processor: of the model.
        utterances: recordings with their texts.
    """

    def __init__(self, processor: BorealisProcessor, utterances: Sequence[Utterance]) -> None:
        self.processor, self.utterances = processor, list(utterances)

    def measure(self, trainer: StageTrainer) -> dict[str, Any] | None:
        """What `validation.json` says of the model as it is; None but on the main process.

        Every process has to call this. Of a sharded model all of them measure, for each layer is
        gathered from them all.
        """
        found = None
        if trainer.sharded is not None:
            found = trainer.sharded.run(lambda: self._measure(trainer))
        elif processes.is_main():
            found = self._measure(trainer)
        processes.wait()
        return found if processes.is_main() else None

    def _measure(self, trainer: StageTrainer) -> dict[str, Any]:
        from borealis.evaluation.metrics import error_rates
        from borealis.inference.engine import Borealis

        model = trainer.model
        training = model.training
        engine = Borealis(model, self.processor)
        enabled = trainer.bfloat16 and bool(trainer.stage.sources)
        with torch.random.fork_rng(), autocast(model, enabled=enabled):
            heard = engine.transcribe([item.audio for item in self.utterances])
        model.train(training)
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
            "step": trainer.taken,
            "word_error_rate": rates.word_error_rate,
            "character_error_rate": rates.character_error_rate,
            "recordings": len(texts),
            "samples": samples,
        }


def _percent(rates: Any) -> str:
    rate = rates.word_error_rate
    return "unknown" if rate is None else f"{100 * rate:.1f} %"
