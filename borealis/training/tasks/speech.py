"""Speech: texts to be spoken, and codec tokens to be written down."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from borealis.speech.stream import write_stream
from borealis.speech.vocabulary import SpeechVocabulary
from borealis.training.data.batch import Batch
from borealis.training.data.epochs import Epochs, length_buckets
from borealis.training.data.packing import Row, packed, padded
from borealis.training.data.speech import SpokenClip, stream_length
from borealis.training.data.talks import Turn, encode_turns
from borealis.training.recipe import StageSection
from borealis.training.recipe.tasks import ListeningSection, SpeechTaskSection
from borealis.training.tasks.pseudo_audio import PseudoAudio
from borealis.training.tasks.task import BatchContext, Shared, Task
from borealis.training.tasks.turns import ask_for_transcript

_PROMPT = 40  # tokens of a request and of chat format beside what is heard


class OfSpeech(Task):
    """A task on recordings of `data.speech` in whole epochs, of similar length in a batch."""

    settings: SpeechTaskSection | ListeningSection
    salt = 8  # tells the order of one task from that of another

    @cached_property
    def clips(self) -> list[SpokenClip]:
        """All recordings of the task."""
        return [clip for name in self.settings.sets for clip in self.context.speech[name].clips]

    @cached_property
    def vocabulary(self) -> SpeechVocabulary:
        """Of the model."""
        return SpeechVocabulary.of_settings(self.context.config.speech)

    @cached_property
    def epochs(self) -> Epochs:
        """Which recordings each batch holds."""
        return Epochs(self._plan)

    def length(self, clip: SpokenClip) -> int:
        """Tokens of a row."""
        return stream_length(clip.spoken)

    def times(self, rng: np.random.Generator) -> list[int]:
        """Which recordings are in an epoch, each as often as its voice's weight says."""
        weights = [self.settings.voices.get(clip.spoken.voice, 1.0) for clip in self.clips]
        draws = rng.random(len(weights))
        counts = [int(w) + bool(d < w % 1) for w, d in zip(weights, draws, strict=True)]
        return [i for i, count in enumerate(counts) for _ in range(count)]

    def _plan(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng([self.context.seed, self.salt, epoch])
        chosen = self.times(rng)
        lengths = [self.length(self.clips[i]) for i in chosen]
        # Longer rows than a batch can hold stand alone.
        batches = length_buckets(
            lengths, self.stage.batch.tokens, rng, padded=not self.stage.batch.packing
        )
        return [[chosen[i] for i in batch] for batch in batches]

    def rows_of(self, rows: Sequence[Row]) -> Batch:
        """Rows as a batch."""
        if self.stage.batch.packing:
            return Batch(mode="speech") | packed(rows)
        return Batch(mode="speech") | padded(rows, self.context.tokenizer.pad_token_id)


class SpeechTask(OfSpeech):
    """Texts with their voice, to be spoken: streams of `borealis.speech.stream`."""

    settings: SpeechTaskSection

    def batch(self, step: int, progress: float, rng: np.random.Generator) -> Batch:
        """See `Task`."""
        clips = [self.clips[i] for i in self.epochs.batch(step)]
        return self.rows_of([speech_row(self.vocabulary, clip) for clip in clips])


class ListeningTask(OfSpeech):
    """Codec tokens in the place of audio, to be written down."""

    settings: ListeningSection
    salt = 9

    def length(self, clip: SpokenClip) -> int:
        """See `OfSpeech`."""
        return clip.spoken.codes.size + len(clip.text) + _PROMPT

    def batch(self, step: int, progress: float, rng: np.random.Generator) -> Batch:
        """See `Task`."""
        tokenizer, placeholder = self.context.tokenizer, self.context.config.audio_token_id
        rows = []
        for clip in (self.clips[i] for i in self.epochs.batch(step)):
            heard = self.vocabulary.codec.ids(clip.spoken.codes).tolist()
            question = ask_for_transcript(self.context.phrasings, rng)
            turn = Turn("transcribe", question, clip.text)
            ids, labels = encode_turns(tokenizer, [turn], len(heard), placeholder)
            first = ids.index(placeholder)
            ids[first : first + len(heard)] = heard
            rows.append((ids, labels))
        return self.rows_of(rows)


def speech_tasks(stage: StageSection, context: BatchContext) -> dict[str, Task]:
    """The tasks of this module that a stage names, for stages that learn from sources."""
    kinds: dict[str, type[Task]] = {"speech": SpeechTask, "listening": ListeningTask}
    given, config = stage.tasks.given, context.config
    audio = PseudoAudio(config.ctc_labels or "", config.downsample_factor)
    shared = Shared(stage, context, [], None, audio)
    return {name: kind(given[name], shared) for name, kind in kinds.items() if name in given}


def speech_row(vocabulary: SpeechVocabulary, clip: SpokenClip) -> Row:
    """Ids and labels of a text that is spoken."""
    ids, labels = write_stream(vocabulary, clip.spoken)
    return ids.tolist(), labels.tolist()
