"""Picks the clip for a question: every answer equally often, and every voice behind an answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from borealis.training.features import CachedClip
from borealis.training.instructions import QUESTION_TASKS, clip_label, draw_task

# Of so many random clips the one of the most fitting length is taken: batches pad little, and no
# length is left out.
_CANDIDATES = 4
_SHORTEST, _LONGEST = 75, 700  # encoder frames: 1.5 to 14 s


class QuestionClips:
    """Clips by question, answer and voice.

    Nearly all recorded hours are Russian speech of a few voices; asked about clips as they come, a
    model learns that the answer is "a woman speaks Russian".

    Args:
        clips: the clips of a feature cache.
    """

    def __init__(self, clips: Sequence[CachedClip]) -> None:
        self.clips = clips
        self._groups: dict[str, list[list[list[int]]]] = {}
        for task in QUESTION_TASKS:
            answers: dict[str, dict[str, list[int]]] = {}
            for index, clip in enumerate(clips):
                item = clip.utterance
                if task in ("language", "voice", "sound"):
                    label = clip_label(task, item)
                else:
                    label = "any" if item.kind == "speech" and item.text else ""
                if label and not (item.question and item.answer):
                    answers.setdefault(label, {}).setdefault(item.voice, []).append(index)
            if answers:
                self._groups[task] = [list(voices.values()) for voices in answers.values()]

    def __bool__(self) -> bool:
        return bool(self._groups)

    def draw_length(self, rng: np.random.Generator) -> int:
        """Length in encoder frames that the clips of a batch should be near."""
        return round(float(np.exp(rng.uniform(np.log(_SHORTEST), np.log(_LONGEST)))))

    def draw(self, frames: int, rng: np.random.Generator) -> tuple[str, CachedClip]:
        """A kind of question and a clip for it.

        Args:
            frames: wished length, encoder frames.
            rng: source of all randomness.
        """
        task = draw_task(False, rng)
        while task not in self._groups:  # no sounds, or no voices known
            task = draw_task(False, rng)
        voices = _pick(self._groups[task], rng)
        found = [self.clips[_pick(_pick(voices, rng), rng)] for _ in range(_CANDIDATES)]
        return task, min(found, key=lambda clip: abs(np.log(max(1, clip.frames) / frames)))


def _pick(choices, rng: np.random.Generator):
    return choices[int(rng.integers(len(choices)))]
