"""Pieces of real CTC output, letter by letter: what pseudo-audio of any sentence can be glued from.

Made-up errors are not those that an adapter makes. Here recordings are heard by the adapter, their
texts laid over its posteriors (forced alignment), and the posteriors cut where letters begin. A new
sentence takes for each of its letters a piece in which that letter stood between the same
neighbours: the confusions, the lost spaces and the doubts come with it. It is concatenative
synthesis (Hunt and Black, 1996), of posteriors instead of sound.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from borealis.data.text import LETTERS
from borealis.errors import RecipeError
from borealis.inference.words import align
from borealis.training.data.frames import CachedFrames

if TYPE_CHECKING:
    from borealis.model import BorealisForConditionalGeneration

logger = logging.getLogger(__name__)

_PAUSES = ",.!?:;—"
_EDGE = -1  # the neighbour of a first or last letter
_ANY = 0  # any neighbour: class 0 is the blank, which no letter is
# With fewer pieces than this for a letter and both neighbours, one neighbour is enough.
_ENOUGH = 4
_CANDIDATES = 4
_LONGEST_EDGE = 25  # frames of silence before the first letter and after the last
_LONGEST = 1000  # frames of a clip
_FRAMES_AT_ONCE = 4000


class Pieces:
    """Posteriors by letter and neighbours.

    Args:
        labels: the characters of the CTC adapter (class 0 is the blank and isn't listed).
    """

    def __init__(self, labels: str) -> None:
        self.index = {c: i + 1 for i, c in enumerate(labels)}
        self.pause = len(labels) + 1  # a space after a mark, where people breathe
        self.frames: list[np.ndarray] = []  # of each piece, float16 [T, num_classes]
        self.difficulty: list[float] = []
        self.clips: list[float] = []  # difficulty of each clip
        self.edges: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        self._by_key: dict[tuple[int, ...], list[int]] = {}

    def spell(self, text: str) -> tuple[list[int], list[int]]:
        """Symbols of a text, and for each of its characters the symbol it is heard with.

        A symbol is a CTC class, or `pause` for a space after a mark. Characters that aren't spoken
        belong to the symbol before.
        """
        symbols: list[int] = []
        places: list[int] = []
        mark = False
        for char in text:
            spoken = " " if char.isspace() or char in "-—–" else LETTERS.fold(char)
            mark = mark or char in _PAUSES
            if spoken == " ":
                if symbols and symbols[-1] not in (self.index[" "], self.pause):
                    symbols.append(self.pause if mark else self.index[" "])
                elif symbols and mark:
                    symbols[-1] = self.pause
            elif spoken in self.index:
                symbols.append(self.index[spoken])
                mark = False
            places.append(max(0, len(symbols) - 1))
        while symbols and symbols[-1] in (self.index[" "], self.pause):
            symbols.pop()
        return symbols, [min(p, max(0, len(symbols) - 1)) for p in places]

    def classes(self, symbols: Sequence[int]) -> list[int]:
        """CTC classes of symbols."""
        return [self.index[" "] if s == self.pause else s for s in symbols]

    def add(self, posteriors: np.ndarray, text: str) -> bool:
        """Cut the posteriors of one clip; false if its text doesn't fit into them.

        Args:
            posteriors: `[T, num_classes]`.
            text: what is said.
        """
        symbols, _ = self.spell(text)
        log_probs = np.log(np.maximum(posteriors, 1e-12))
        path = align(log_probs, self.classes(symbols))
        if path is None:
            return False
        starts = [int(np.argmax(path == i)) for i in range(len(symbols))]
        best = [log_probs[path == i, label].max() for i, label in enumerate(self.classes(symbols))]
        difficulty = -float(np.mean(best))
        kept = posteriors.astype(np.float16)
        last = int(np.flatnonzero(path >= 0)[-1]) + 1
        self.edges[0].append(kept[max(0, starts[0] - _LONGEST_EDGE) : starts[0]])
        self.edges[1].append(kept[last : last + _LONGEST_EDGE])
        around = [_EDGE, *symbols, _EDGE]
        for i, (a, b) in enumerate(zip(starts, [*starts[1:], last], strict=True)):
            number = len(self.frames)
            self.frames.append(kept[a:b])
            self.difficulty.append(difficulty)
            before, symbol, after = around[i : i + 3]
            for key in _keys(before, symbol, after):
                self._by_key.setdefault(key, []).append(number)
        self.clips.append(difficulty)
        return True

    def glue(self, text: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Posteriors of a sentence, and the frame of each of its characters.

        Pieces are taken from clips of like difficulty, so that a sentence is easy or hard as a
        whole, as clips are.

        Args:
            text: the sentence.
            rng: source of all randomness.

        Returns:
            float32 `[T, num_classes]` and int `[characters]`.
        """
        symbols, places = self.spell(text)
        wanted = self.clips[int(rng.integers(len(self.clips)))]
        edges = [part[int(rng.integers(len(part)))] for part in self.edges]
        parts, starts, at = [edges[0]], [], len(edges[0])
        around = [_EDGE, *symbols, _EDGE]
        for i in range(len(symbols)):
            part = self._piece(around[i : i + 3], wanted, rng)
            starts.append(at)
            parts.append(part)
            at += len(part)
        parts.append(edges[1])
        char_frames = np.array([starts[p] if starts else 0 for p in places], np.int64)
        return np.concatenate(parts).astype(np.float32), char_frames

    def _piece(self, around: Sequence[int], wanted: float, rng: np.random.Generator) -> np.ndarray:
        before, symbol, after = around
        for key in _keys(before, symbol, after):
            found = self._by_key.get(key, [])
            if len(found) >= (_ENOUGH if len(key) > 2 else 1):
                picks = [found[int(i)] for i in rng.integers(len(found), size=_CANDIDATES)]
                return self.frames[min(picks, key=lambda n: abs(self.difficulty[n] - wanted))]
        # A letter that nobody said: sure, and then a blank.
        width = self.edges[0][0].shape[1]
        return np.eye(width, dtype=np.float16)[[*self.classes([symbol]), 0, 0]]


def _keys(before: int, symbol: int, after: int) -> list[tuple[int, ...]]:
    """The ways to look a piece up, the closest first."""
    return [(before, symbol, after), (_ANY, symbol, after), (before, symbol, _ANY), (symbol,)]


@torch.inference_mode()
def collect_pieces(
    model: BorealisForConditionalGeneration, frames: CachedFrames | None, count: int, seed: int
) -> Pieces:
    """Let the adapter hear clips of a stage as it does in training, and cut what it says.

    It hears them on the CPU wherever the model is: the stage before may have left the model on a
    GPU, and a run that goes on reads it from the disk; both must cut the same pieces.

    Args:
        model: its weights are those the stage begins with.
        frames: clips of the stage and how they are distorted; None if it has none.
        count: how many clips, drawn at random.
        seed: of the stage.

    Raises:
        RecipeError: the adapter has no CTC, no clip has a text, or none can be laid over what the
            adapter hears.
    """
    if model.config.adapter_type != "ctc":
        raise RecipeError(
            f"pseudo.source is 'clips', but the adapter '{model.config.adapter_type}' spells "
            "nothing that could be cut; it needs the adapter 'ctc'."
        )
    adapter = copy.deepcopy(model.model.adapter).cpu().eval()
    rng = np.random.default_rng([seed, 4])
    cached = frames.cache.clips if frames else []
    clips = [c for c in cached if c.utterance.text and c.frames < _LONGEST]
    chosen = [clips[int(i)] for i in rng.permutation(len(clips))[:count]]
    chosen.sort(key=lambda clip: clip.frames)
    pieces = Pieces(model.config.ctc_labels or "")
    skipped = at = 0
    while frames is not None and at < len(chosen):
        size = max(1, _FRAMES_AT_ONCE // chosen[at].frames)
        group = chosen[at : at + size]
        at += size
        posteriors = adapter.encode(*frames.batch(group, rng)).softmax(-1).numpy()
        for clip, heard in zip(group, posteriors, strict=True):
            skipped += not pieces.add(heard[: clip.frames], clip.utterance.text)
    if not pieces.frames:
        raise RecipeError("pseudo.source is 'clips', but no clip of the stage has a text to cut.")
    logger.info(
        "pseudo-audio: %d pieces of %d clips, %d left out",
        len(pieces.frames),
        len(pieces.clips),
        skipped,
    )
    return pieces
