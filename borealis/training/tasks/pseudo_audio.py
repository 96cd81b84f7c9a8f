"""Pseudo-audio: what CTC would output for a sentence that nobody has recorded.

A small language model has to learn to read CTC posteriors: where letters repeat, smear, vanish or
are confused. Text is plenty and recordings are few, so sentences are turned into noisy posteriors
and the model learns to write them down. The same idea, text-only training of a speech decoder, is
known from "textogram" (Thomas et al., 2022) and similar work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from borealis.data.text import LETTERS

if TYPE_CHECKING:
    from borealis.training.tasks.pieces import Pieces

# Letters that sound alike in fluent Russian (vowel reduction, devoicing) or English.
_CONFUSABLE = (
    "оа еи ие ия яи яе дт тд бп пб зс сз вф фв гк кг жш шж шщ щш чщ мн нм ыи иы эе йи ьй лр цс "
    "тц дц чц ыу уы ою ею яа юу ье ьи ъь"
)
_CONFUSABLE += " ie ei ea ae ou uo td dt bp pb sz zs ck kc gk vf fv mn nm lr rl aе оo"


@dataclass
class PseudoClip:
    """Posteriors of one sentence.

    Args:
        posteriors: float32 `[T, num_classes]` at 50 Hz, T a multiple of the token factor.
        char_frames: for each character of the sentence the frame it was put at (int `[chars]`);
            characters that aren't spoken take the frame of the one before.
    """

    posteriors: np.ndarray
    char_frames: np.ndarray


class PseudoAudio:
    """Makes `PseudoClip`s.

    Args:
        labels: the characters of the CTC adapter (class 0 is the blank and isn't listed).
        factor: frames per audio token; clips are padded to a multiple of it.
        pieces: real posteriors to glue sentences from; without them errors are made up.
    """

    def __init__(self, labels: str, factor: int, pieces: Pieces | None = None) -> None:
        self.labels = labels
        self.pieces = pieces
        self.factor = factor
        self.index = {c: i + 1 for i, c in enumerate(labels)}
        self.confusable: dict[int, list[int]] = {}
        for pair in _CONFUSABLE.split():
            if pair[0] in self.index and pair[1] in self.index:
                self.confusable.setdefault(self.index[pair[0]], []).append(self.index[pair[1]])

    def __call__(self, text: str, rng: np.random.Generator, error_rate: float) -> PseudoClip:
        """Turn `text` into posteriors with about `error_rate` of the letters damaged.

        Pieces have errors of their own, whatever `error_rate` says.
        """
        if self.pieces is not None:
            posteriors, char_frames = self.pieces.glue(text, rng)
            rest = np.zeros((-len(posteriors) % self.factor, posteriors.shape[1]), np.float32)
            rest[:, 0] = 1.0
            return PseudoClip(np.concatenate([posteriors, rest]), char_frames)
        frames_per_char = rng.uniform(2.4, 5.0)
        labels: list[tuple[int, int, int]] = []  # (frame, class, frames it lasts)
        char_frames = np.zeros(len(text), dtype=np.int64)
        frame = int(rng.integers(2, 25))
        previous_space = True
        for place, char in enumerate(text):
            spoken = LETTERS.fold(char) if not char.isspace() else " "
            if not spoken and char in "-—":
                spoken = " "
            if not spoken or (spoken == " " and previous_space):
                char_frames[place] = labels[-1][0] if labels else frame
                if char in ",.!?:;—":
                    frame += int(rng.integers(0, 18))  # a pause
                continue
            previous_space = spoken == " "
            label, draw = self.index[spoken], rng.random()
            length = max(1, round(rng.gamma(3.0, frames_per_char / 3.0)))
            start = frame + int(rng.integers(0, length))
            char_frames[place] = start
            frame += length
            if label == 1:  # people don't pause between words: spaces are the least sure of all
                if draw < error_rate * 1.2:
                    continue
            elif draw < error_rate * 0.25:
                continue  # swallowed
            elif draw < error_rate:
                label = self._confuse(label, rng)
            labels.append((start, label, 1 if rng.random() < 0.65 else 2))
            if rng.random() < error_rate * 0.12:
                wrong = 1 if rng.random() < 0.4 else int(rng.integers(1, len(self.labels) + 1))
                labels.append((start + 1, wrong, 1))
        total = max(frame, (labels[-1][0] + 2) if labels else 0) + int(rng.integers(2, 25))
        total += -total % self.factor
        return PseudoClip(self._render(labels, total, rng, error_rate), char_frames)

    def _confuse(self, label: int, rng: np.random.Generator) -> int:
        near = self.confusable.get(label)
        if near and rng.random() < 0.75:
            return near[int(rng.integers(len(near)))]
        return int(rng.integers(1, len(self.labels) + 1))

    def _render(
        self,
        labels: list[tuple[int, int, int]],
        total: int,
        rng: np.random.Generator,
        error_rate: float,
    ) -> np.ndarray:
        out = np.zeros((total, len(self.labels) + 1), dtype=np.float32)
        out[:, 0] = 1.0
        for start, label, length in labels:
            sure = 1.0 if rng.random() > error_rate * 2 else rng.uniform(0.4, 1.0)
            other = self._confuse(label, rng) if sure < 1.0 and rng.random() < 0.7 else 0
            rows = slice(start, min(start + length, total))
            out[rows] = 0.0
            out[rows, other] = 1.0 - sure
            out[rows, label] += sure
        return out
