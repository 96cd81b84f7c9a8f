"""Batches of recordings that are read and encoded anew at every step, without a feature cache.

As in `batches.cached`, what batch N holds depends on the seed and N alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from borealis.audio import SAMPLING_RATE, load_audio
from borealis.data.manifest import Utterance
from borealis.data.opening import DatasetError
from borealis.data.row_groups import group_of, recording
from borealis.errors import AudioError, TrainingError
from borealis.training.data.batch import Batch, Example
from borealis.training.data.distortions import distorted, preset_place
from borealis.training.data.epochs import Epochs, length_buckets, windows
from borealis.training.data.frames import time_masks
from borealis.training.data.loading import at_row
from borealis.training.data.packing import packed, padded
from borealis.training.data.talks import encode_talk
from borealis.training.losses.stage import auxiliary_losses
from borealis.training.recipe import StageSection
from borealis.training.recipe.tasks import TranscriptionSection
from borealis.training.tasks.speech import speech_tasks
from borealis.training.tasks.task import BatchContext, targets_of
from borealis.training.tasks.transcription import follow_up
from borealis.training.tasks.turns import clip_turn

logger = logging.getLogger(__name__)

# Tokens of question and chat format beside a transcript, for the budget of a batch.
_PROMPT_TOKENS = 40
_SAMPLE_OF_TEXTS = 200
# Recordings that are streamed are drawn from row groups of so many seconds at once: long enough for
# batches of like length and many voices, short enough for the cache of row groups to hold them.
WINDOW_SECONDS = 4 * 3600


@dataclass
class Source:
    """Examples that are drawn together.

    Args:
        name: of the source in the recipe.
        utterances: recordings, or conversations without one.
        weight: how often it is heard, relative to its hours.
    """

    name: str
    utterances: list[Utterance]
    weight: float = 1.0

    @property
    def seconds(self) -> float:
        """Audio of all utterances."""
        return sum(item.duration for item in self.utterances)


class RecordingBatches(Dataset):
    """A dataset whose item N is the whole batch N: recordings as log-mel features, or text.

    Args:
        stage: settings.
        context: as for `CachedBatches`; its cache and sentences aren't used.
        sources: recordings.
        talks: conversations without audio, for the task conversations.
        processor: the model's processor.
    """

    def __init__(
        self,
        stage: StageSection,
        context: BatchContext,
        sources: Sequence[Source],
        talks: Sequence[Source],
        processor: Any,
    ) -> None:
        self.stage, self.context, self.processor = stage, context, processor
        self.losses = auxiliary_losses(stage)
        self.asked = stage.tasks.transcription if "transcription" in stage.tasks.given else None
        self.sources = [*sources, *talks]
        self.audio_sources = len(sources)
        self.unreadable: set[str] = set()
        spoken = speech_tasks(stage, context)
        self.spoken = list(spoken.values())
        others = [stage.tasks.share(name) for name in spoken]
        talked = stage.tasks.share("conversations")
        shares = source_shares(sources, stage.mixing_temperature) * (1 - talked - sum(others))
        if talks:
            sizes = _shares([len(s.utterances) * s.weight for s in talks])
            shares = np.concatenate([shares, sizes * talked])
        shares = np.concatenate([shares, others])
        rng = np.random.default_rng([context.seed, 3])
        self._choices = rng.choice(len(shares), size=len(self), p=shares / shares.sum())
        # How many batches of the same source came before.
        self._places = np.zeros(len(self), np.int64)
        for number in range(len(shares)):
            same = self._choices == number
            self._places[same] = np.arange(int(same.sum()))
        self._epochs = [self._plan_source(i) for i in range(len(self.sources))]

    def _plan_source(self, number: int) -> Epochs:
        items, config = self.sources[number].utterances, self.context.config
        per_letter = self._tokens_per_letter(items)
        frames, tokens = [], []
        for item in items:
            samples = max(1, round(item.duration * SAMPLING_RATE)) if item.audio else 0
            spans = config.window_spans(samples) if samples else []
            frames.append(
                sum(config.encoder_samples(b - a) // config.frame_length for a, b in spans)
            )
            audio = config.num_audio_tokens(samples) if samples else 0
            tokens.append(audio + _PROMPT_TOKENS + round(len(_words(item)) * per_letter))
        places = [group_of(item.audio) for item in items]
        groups = [found[0] if found else None for found in places]
        # Files, and what has no sound, are one group that fits anywhere.
        lengths = [i.duration if found else 0.0 for i, found in zip(items, places, strict=True)]
        most_frames = round(self.stage.batch.seconds * config.sampling_rate / config.frame_length)

        def make(epoch: int) -> list[list[int]]:
            rng = np.random.default_rng([self.context.seed, 2, number, epoch])
            order = np.random.default_rng([self.context.seed, 6, number, epoch])
            batches = []
            for window in windows(groups, lengths, WINDOW_SECONDS, order):
                found = length_buckets(
                    [tokens[i] for i in window],
                    self.stage.batch.tokens,
                    rng,
                    ([frames[i] for i in window], most_frames),
                    padded=not self.stage.batch.packing,
                )
                batches += [[window[i] for i in batch] for batch in found]
            return batches

        return Epochs(make)

    def _tokens_per_letter(self, items: Sequence[Utterance]) -> float:
        texts = [_words(item) for item in items[:: max(1, len(items) // _SAMPLE_OF_TEXTS)]]
        letters = sum(map(len, texts))
        tokens = sum(len(self.context.tokenizer(text).input_ids) for text in texts if text)
        return tokens / letters if letters else 0.0

    def __len__(self) -> int:
        return self.stage.max_steps * self.stage.batch.per_step

    def __getitem__(self, step: int) -> Batch:
        if not 0 <= step < len(self):
            raise IndexError(step)
        number = int(self._choices[step])
        if number >= len(self.sources):
            task = self.spoken[number - len(self.sources)]
            rng = np.random.default_rng([self.context.seed, 1, step])
            return task.batch(int(self._places[step]), step / max(1, len(self) - 1), rng)
        picks = self._epochs[number].batch(int(self._places[step]))
        items = [self.sources[number].utterances[i] for i in picks]
        if number >= self.audio_sources:
            talks: list[tuple[Any, list[int]]] = [(item.messages, []) for item in items]
            return Batch(mode="text") | self._rows(items, talks)
        return self.recorded_batch(step, items, self.sources[number])

    # ---- recordings ----

    def recorded_batch(self, step: int, items: Sequence[Utterance], source: Source) -> Batch:
        """Recordings, distorted as the stage says, with what is to be answered.

        Raises:
            TrainingError: none of the recordings can be read, or one that is streamed can't be.
        """
        rng = np.random.default_rng([self.context.seed, 1, step])
        kept: list[Utterance] = []
        audios: list[np.ndarray] = []
        for row, item in enumerate(items):
            with at_row(item):
                audio = self._audio(item, step, row)
            if audio is not None:
                kept.append(item)
                audios.append(audio)
        if not kept:
            raise TrainingError(
                f"No recording of batch {step} (source '{source.name}') can be read, such as "
                f"'{items[0].audio}'. 'borealis data check' lists what is wrong with a manifest."
            )
        heard = self.processor.extract_features(audios)
        batch = Batch(
            mode="audio",
            clips=[item.audio for item in kept],
            input_features=heard["input_features"],
            num_samples=heard["num_samples"],
        )
        self._mask(batch, rng)
        counts = [self.context.config.num_audio_tokens(len(audio)) for audio in audios]
        if self.asked is not None:
            others = [
                source.utterances[int(i)].text
                for i in rng.integers(len(source.utterances), size=len(kept))
            ]
            talks = [
                self._talk(item, o, self.asked, rng) for item, o in zip(kept, others, strict=True)
            ]
            batch |= self._rows(kept, list(zip(talks, ([n] for n in counts), strict=True)))
        examples = [Example([], item.text) for item in kept]
        vocabulary = self.context.vocabulary
        return batch | targets_of(self.losses, "transcription", batch, examples, vocabulary)

    def _audio(self, item: Utterance, step: int, row: int) -> np.ndarray | None:
        """A distorted recording, or None where it can't be read, which is told once."""
        try:
            audio = load_audio(recording(item.audio))
        except AudioError as error:
            if item.audio not in self.unreadable:
                self.unreadable.add(item.audio)
                logger.warning("left out, %d by now: %s", len(self.unreadable), error)
            return None
        except DatasetError as error:
            raise TrainingError(
                f"{error} Run the same command again once that is put right: the run goes on from "
                "its newest checkpoint."
            ) from None
        presets = self.stage.augment.presets
        preset = presets[preset_place(step, len(self), len(presets))]
        rng = np.random.default_rng([self.context.seed, 5, step, row])
        changed = distorted(audio, preset, item.kind, rng)
        # Slowed down past what one CTC row or one prompt can hold, it stays as it was.
        longest = round(self.context.config.max_audio_seconds * SAMPLING_RATE)
        if self.stage.losses.ctc.weight:
            longest = self.context.config.window_length
        return changed if len(changed) <= longest else audio

    def _talk(
        self, item: Utterance, other: str, asked: TranscriptionSection, rng: np.random.Generator
    ) -> Any:
        """Messages of the example's own, or questions drawn for it."""
        if item.messages:
            return item.messages
        phrasings = self.context.phrasings
        with at_row(item):
            first = clip_turn(item, phrasings, rng, asked.questions, asked.kinds, other)
            return [first, *follow_up(item, other, asked, phrasings, rng)]

    def _mask(self, batch: Batch, rng: np.random.Generator) -> None:
        """SpecAugment (Park et al., 2019) on log-mel features, in place."""
        features = batch["input_features"]
        for row, samples in enumerate(batch["num_samples"].tolist()):
            frames = min(features.shape[-1], samples // self.context.config.hop_length)
            for span in time_masks(frames, self.stage.augment.time_mask, (4, 32), rng):
                features[row, :, span] = 0.0
            width = int(features.shape[1] * self.stage.augment.frequency_mask * rng.uniform(0, 2))
            if width:
                low = int(rng.integers(0, features.shape[1] - width + 1))
                features[row, low : low + width] = 0.0

    # ---- prompts ----

    def _rows(self, items: Sequence[Utterance], talks: Sequence[tuple[Any, list[int]]]) -> Batch:
        """Ids and labels of conversations, in rows or packed; only answers are learned."""
        tokenizer, placeholder = self.context.tokenizer, self.context.config.audio_token_id
        rows = []
        for item, (talk, counts) in zip(items, talks, strict=True):
            with at_row(item):
                rows.append(encode_talk(tokenizer, talk, counts, placeholder))
        return packed(rows) if self.stage.batch.packing else padded(rows, tokenizer.pad_token_id)


def _words(item: Utterance) -> str:
    if item.messages:
        return " ".join(message["content"] for message in item.messages)
    return item.text or item.answer


def source_shares(sources: Sequence[Source], temperature: float = 1.0) -> np.ndarray:
    """How often each source is heard; they sum to 1.

    Args:
        sources: recordings.
        temperature: 1: by hours and weight; the larger, the more alike (Arivazhagan et al., 2019,
            https://arxiv.org/abs/1907.05019).
    """
    by_hours = _shares([source.seconds * source.weight for source in sources])
    return by_hours if temperature == 1 else _shares(by_hours ** (1 / temperature))


def _shares(amounts: Sequence[float] | np.ndarray) -> np.ndarray:
    values = np.asarray(amounts, float)
    return values / values.sum()
