"""Error rates and losses on a few recordings in the middle of training, with sample outputs."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from borealis.audio import load_audio
from borealis.codec.tokens import MARKS
from borealis.data.manifest import Utterance
from borealis.speech.vocabulary import SpeechVocabulary
from borealis.training import processes
from borealis.training.data.batch import Batch, Example
from borealis.training.data.packing import padded
from borealis.training.data.speech import SpokenClip
from borealis.training.data.talks import IGNORE, encode_talk
from borealis.training.losses.stage import autocast, auxiliary_losses, stage_losses
from borealis.training.recipe import StageSection
from borealis.training.tasks.speech import speech_row
from borealis.training.tasks.task import BatchContext, targets_of
from borealis.training.tasks.turns import clip_turn

if TYPE_CHECKING:
    from borealis.model import BorealisProcessor
    from borealis.training.loop.trainer import StageTrainer

logger = logging.getLogger(__name__)

_SAMPLES = 3


class Validation:
    """Measures the same recordings now and then; the training's random numbers aren't touched.

    Args:
        stage: settings.
        context: what prompts are made of.
        processor: of the model.
        utterances: recordings with their texts; none if only speech is measured.
        spoken: recordings that the model should be able to speak.
    """

    def __init__(
        self,
        stage: StageSection,
        context: BatchContext,
        processor: BorealisProcessor,
        utterances: Sequence[Utterance],
        spoken: Sequence[SpokenClip] = (),
    ) -> None:
        # Transcripts have no marks that the other losses could learn from.
        self.stage = stage.changed({"losses.guide.weight": 0.0, "losses.counting.weight": 0.0})
        self.context, self.processor, self.utterances = context, processor, list(utterances)
        self.spoken = list(spoken)

    def measure(self, trainer: StageTrainer) -> dict[str, Any]:
        """What `validation.json` says of the model as it is; every process has to call this.

        Of a sharded model all of them measure, for each layer is gathered from them all.
        """
        found = None
        if trainer.sharded is not None:
            found = trainer.sharded.run(lambda: self._look(trainer))
        elif processes.is_main():
            found = self._look(trainer)
        return processes.from_main(found)

    def _look(self, trainer: StageTrainer) -> dict[str, Any]:
        model = trainer.model
        training = model.training
        model.eval()
        try:
            with torch.random.fork_rng(), torch.no_grad():
                losses = self._losses(trainer) if self.utterances else {}
                written = self._write_down(trainer) if self.utterances else {}
                spoken = self._speak(trainer) if self.spoken else {}
        finally:
            model.train(training)
        return {"step": trainer.taken} | written | {"losses": losses} | spoken

    def _speak(self, trainer: StageTrainer) -> dict[str, Any]:
        """How well codes and ends of sounds are foretold in speech that is given up to there.

        The loss is the mean over tokens; of codes of the first codebook also how many are right.
        """
        vocabulary = SpeechVocabulary.of_settings(self.context.config.speech)
        codec, first = vocabulary.codec, vocabulary.codec.first_id + len(MARKS)
        loss = right = codes = tokens = 0.0
        for clip in self.spoken:
            batch = padded([speech_row(vocabulary, clip)], 0)
            ids, labels = batch["input_ids"], batch["labels"][:, 1:].to(trainer.device)
            with autocast(trainer.model, enabled=trainer.bfloat16):
                logits = trainer.model(input_ids=ids.to(trainer.device), use_cache=False).logits
            told, wanted = logits[0, :-1].float(), labels[0]
            learned = wanted != IGNORE
            loss += float(F.cross_entropy(told, wanted, ignore_index=IGNORE, reduction="sum"))
            tokens += int(learned.sum())
            coarse = (wanted >= first) & (wanted < first + codec.codebook_size)
            guess = told[coarse, first : first + codec.codebook_size].argmax(-1) + first
            right += int((guess == wanted[coarse]).sum())
            codes += int(coarse.sum())
        found = {"loss": loss / max(1, tokens), "accuracy": right / max(1, codes)}
        logger.info(
            "validation: speech of %d recordings, loss %.3f, %.1f %% of the first codes right",
            *(len(self.spoken), found["loss"], 100 * found["accuracy"]),
        )
        return {"speech": found | {"recordings": len(self.spoken)}}

    def _write_down(self, trainer: StageTrainer) -> dict[str, Any]:
        """Error rates of the transcripts, and a few of them."""
        from borealis.evaluation.metrics import error_rates
        from borealis.inference.engine import Borealis

        engine = Borealis(trainer.model, self.processor)
        enabled = trainer.bfloat16 and bool(self.stage.sources)
        with autocast(trainer.model, enabled=enabled):
            heard = engine.transcribe([item.audio for item in self.utterances])
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

    # ---- losses ----

    def _losses(self, trainer: StageTrainer) -> dict[str, float]:
        """`lm`, the mean over answer tokens; of a stage with CTC `ctc`, over recordings."""
        sums: dict[str, float] = {}
        counts: dict[str, float] = {}
        for batch in self._batches():
            moved = trainer.on_device(batch)
            parts = stage_losses(trainer.model, moved, self.stage, bfloat16=trainer.bfloat16)
            for name, value in parts.items():
                count = int(batch["labels"][..., 1:].ne(IGNORE).sum()) if name == "lm" else 1
                sums[name] = sums.get(name, 0.0) + float(value) * count
                counts[name] = counts.get(name, 0.0) + count
        return {name: total / counts[name] for name, total in sums.items() if counts[name]}

    def _batches(self) -> Iterator[Batch]:
        """Each recording with a request to write it down, worded as in training, undistorted."""
        config, tokenizer = self.context.config, self.context.tokenizer
        rng = np.random.default_rng([self.context.seed, 7])
        losses = auxiliary_losses(self.stage)
        for item in self.utterances:
            audio = load_audio(item.audio)
            heard = self.processor.extract_features([audio])
            turn = clip_turn(item, self.context.phrasings, rng, 0.0, {})
            if len(heard["num_samples"]) > 1 and self.stage.losses.ctc.weight:
                continue  # CTC reads one window
            batch = Batch(
                mode="audio",
                input_features=heard["input_features"],
                num_samples=heard["num_samples"],
            )
            if set(self.stage.tasks.given) != {"letters"}:
                tokens = [config.num_audio_tokens(len(audio))]
                row = encode_talk(tokenizer, [turn], tokens, config.audio_token_id)
                batch |= padded([row], tokenizer.pad_token_id)
            example = Example([], item.text)
            vocabulary = self.context.vocabulary
            yield batch | targets_of(losses, "transcription", batch, [example], vocabulary)


def row_of(measured: dict[str, Any]) -> dict[str, Any]:
    """A measurement as a row of the log."""
    row = {f"eval_{name}": round(value, 4) for name, value in measured["losses"].items()}
    if "word_error_rate" in measured:
        row = {"wer": measured["word_error_rate"]} | row
    if spoken := measured.get("speech"):
        row["eval_speech_loss"] = round(spoken["loss"], 4)
        row["eval_speech_accuracy"] = round(spoken["accuracy"], 4)
    return row


def best_of(rows: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """The step of the lowest word error rate, and how many measurements came after it.

    Args:
        rows: of a log. Of equal rates the earliest is the best, and step 0 is before training;
            (0, 0) where none is known.
    """
    best, step, since = math.inf, 0, 0
    for row in rows:
        rate = row.get("wer")
        if rate is not None and rate < best:
            best, step, since = rate, row["step"], 0
        elif "wer" in row and best < math.inf:
            since += 1
    return step, since


def gain_of(rows: Sequence[dict[str, Any]], best: bool) -> dict[str, Any]:
    """Word error rate before the first step and of the weights that a stage ends with.

    Args:
        rows: of a log.
        best: the stage ends with its best weights, not with its last.

    Returns:
        `before`, where it was measured, and `after`; empty without measurements.
    """
    rates = {row["step"]: row["wer"] for row in rows if row.get("wer") is not None}
    if not rates:
        return {}
    last = best_of(rows)[0] if best else max(rates)
    return ({"before": rates[0]} if 0 in rates else {}) | {"after": rates[last]}


def _percent(rates: Any) -> str:
    rate = rates.word_error_rate
    return "unknown" if rate is None else f"{100 * rate:.1f} %"
