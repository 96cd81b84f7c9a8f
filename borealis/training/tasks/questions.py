"""Nothing but questions: answers equally often, and corpora and voices behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from borealis.data.kinds import kind_of
from borealis.errors import RecipeError
from borealis.training.data.batch import Batch, Example
from borealis.training.data.features import CachedClip
from borealis.training.data.loading import at_row
from borealis.training.data.talks import Turn
from borealis.training.recipe.tasks import QuestionsSection
from borealis.training.tasks.reading import reading_talk
from borealis.training.tasks.task import CachedTask, num_turns, talk_length
from borealis.training.tasks.turns import draw_kind, question_turn

# Of so many random clips the one of the most fitting length is taken: batches pad little, and no
# length is left out.
_CANDIDATES = 4
_MIXED_SHARE = 0.75  # of the clips, from corpora that have several answers to the question
_SHORTEST, _LONGEST = 75, 700  # encoder frames: 1.5 to 14 s


class QuestionsTask(CachedTask):
    """Questions about many clips of similar length."""

    settings: QuestionsSection

    @cached_property
    def clips(self) -> QuestionClips:
        """Clips by question and answer.

        Raises:
            RecipeError: there is nothing to ask about.
        """
        clips = QuestionClips(self.frames.cache.clips, self.settings.kinds)
        if not clips:
            raise RecipeError(
                f"Stage '{self.stage.name}': no clip of its features can be asked what "
                f"tasks.questions asks ({', '.join(self.settings.kinds)})."
            )
        return clips

    def batch(self, step: int, progress: float, rng: np.random.Generator) -> Batch:
        """See `Task`."""
        cache, length = self.frames.cache, self.clips.draw_length(rng)
        clips: list[CachedClip] = []
        talks: list[list[Turn]] = []
        longest = 0
        while longest * len(clips) < self.stage.batch.tokens:
            tasks, clip = self.clips.draw(length, num_turns(rng), rng)
            other = cache.clips[int(rng.integers(len(cache)))].utterance.text
            talk = self._talk(clip, tasks, other, rng)
            clips.append(clip)
            talks.append(talk)
            tokens = self.context.config.num_tokens_from_frames(clip.frames)
            longest = max(longest, tokens + talk_length(talk))
        items = [clip.utterance for clip in clips]
        prompts = self.context.prompts(talks, [c.frames for c in clips], items)
        batch = Batch(mode="audio") | prompts
        mixable = [all(turn.task != "voice" for turn in talk) for talk in talks]
        batch["frames"], batch["frame_mask"] = self.frames.batch(clips, rng, mixable)
        examples = [Example(t, item.text) for t, item in zip(talks, items, strict=True)]
        return batch | self.shared.targets("questions", batch, examples)

    def _talk(
        self, clip: CachedClip, tasks: Sequence[str], other: str, rng: np.random.Generator
    ) -> list[Turn]:
        phrasings, item = self.context.phrasings, clip.utterance
        with at_row(item):
            if rng.random() < self.settings.read:
                return reading_talk(item, tasks, phrasings, rng, other)
            return [question_turn(task, item, phrasings, rng, other) for task in tasks]


class QuestionClips:
    """Clips by question, answer and voice.

    Nearly all recorded hours are Russian speech of a few voices; asked about clips as they come, a
    model learns that the answer is "a woman speaks Russian". And where one speech engine has three
    women and a man, it learns that this engine is a woman: so a corpus (a folder of recordings) is
    drawn before a voice, and mostly one that has several answers.

    Args:
        clips: the clips of a feature cache.
        kinds: how often each kind of question is asked.
    """

    def __init__(self, clips: Sequence[CachedClip], kinds: Mapping[str, float]) -> None:
        self.clips, self.kinds = clips, kinds
        self._groups: dict[str, dict[str, dict[str, list[list[int]]]]] = {}
        for task in (name for name, share in kinds.items() if share):
            answers: dict[str, dict[str, dict[str, list[int]]]] = {}
            for index, clip in enumerate(clips):
                if label := _answer_of(task, clip):
                    corpora = answers.setdefault(label, {})
                    voices = corpora.setdefault(str(Path(clip.utterance.audio).parent), {})
                    voices.setdefault(clip.utterance.voice, []).append(index)
            if answers:
                self._groups[task] = {
                    label: {corpus: list(voices.values()) for corpus, voices in corpora.items()}
                    for label, corpora in answers.items()
                }

    def __bool__(self) -> bool:
        return bool(self._groups)

    def draw_length(self, rng: np.random.Generator) -> int:
        """Length in encoder frames that the clips of a batch should be near."""
        return round(float(np.exp(rng.uniform(np.log(_SHORTEST), np.log(_LONGEST)))))

    def draw(
        self, frames: int, count: int, rng: np.random.Generator
    ) -> tuple[list[str], CachedClip]:
        """A clip, and the kinds of questions to ask about it; the clip is chosen for the first.

        Args:
            frames: wished length, encoder frames.
            count: questions, all of different kinds; fewer where the clip has no more.
            rng: source of all randomness.
        """
        task = draw_kind(self.kinds, rng)
        while task not in self._groups:  # no sounds, or no voices known
            task = draw_kind(self.kinds, rng)
        answers = self._groups[task]
        corpora = _pick(list(answers.values()), rng)
        mixed = [c for c in corpora if sum(c in other for other in answers.values()) > 1]
        found = []
        for _ in range(_CANDIDATES):
            names = mixed if mixed and rng.random() < _MIXED_SHARE else list(corpora)
            found.append(self.clips[_pick(_pick(corpora[_pick(names, rng)], rng), rng)])
        clip = min(found, key=lambda clip: abs(np.log(max(1, clip.frames) / frames)))
        tasks = [task]
        for other in (draw_kind(self.kinds, rng) for _ in range(count - 1)):
            if other not in tasks and _answer_of(other, clip):
                tasks.append(other)
        return tasks, clip


def _answer_of(task: str, clip: CachedClip) -> str:
    """The answer by which clips of a question are grouped; empty where it can't be asked."""
    item = clip.utterance
    if item.question and item.answer:
        return ""
    kind = kind_of(task)
    if kind.words:
        return "any" if item.kind == "speech" and item.text else ""
    right = kind.answer(item, [])
    return right if kind.closed or not right else "any"


def _pick(choices: Sequence[Any], rng: np.random.Generator) -> Any:
    return choices[int(rng.integers(len(choices)))]
