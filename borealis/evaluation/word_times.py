"""How well a model knows when words were said, and how sure it may be of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from borealis.audio import load_audio
from borealis.data.manifest import Utterance
from borealis.errors import ManifestError
from borealis.evaluation.normalization import normalize
from borealis.evaluation.phones import read_labels, word_starts

if TYPE_CHECKING:
    from borealis.inference import Borealis

BINS = 10


@dataclass
class WordTimes:
    """What was measured.

    Args:
        words: words that were written.
        right: share of them that are those of the reference, in its order.
        timed: right words with a labelled beginning.
        start_error_seconds: of their beginnings, without sign: median and 95th percentile.
        start_shift_seconds: median with its sign; above 0 ours are late.
        calibration_error: expected calibration error of the confidences (Naeini et al., 2015):
            mean difference of confidence and share of right words, over ten equal bins.
        bins: of each that isn't empty `[confidence, share of right words, words]`.
    """

    words: int
    right: float
    timed: int
    start_error_seconds: dict[str, float]
    start_shift_seconds: float
    calibration_error: float
    bins: list[tuple[float, float, int]]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    model: Borealis, utterances: Sequence[Utterance], *, batch_size: int, language: str | None
) -> WordTimes:
    """Transcribe recordings that have phone labels beside them (`../lab/NAME.lab`).

    Raises:
        ManifestError: a recording has no labels.
    """
    clips = [load_audio(item.audio) for item in utterances]
    written = model.transcribe(clips, batch_size=batch_size, language=language, words=True)
    errors: list[float] = []
    confidences: list[float] = []
    right: list[bool] = []
    for item, transcript in zip(utterances, written, strict=True):
        audio = Path(item.audio)
        labels = read_labels(audio.parent.parent / "lab" / f"{audio.stem}.lab")
        reference = normalize(item.text).split()
        starts = word_starts(reference, labels)
        said = [(normalize(w.text), w) for w in transcript.words or ()]
        matcher = SequenceMatcher(None, reference, [text for text, _ in said], autojunk=False)
        found = [False] * len(said)
        for block in matcher.get_matching_blocks():
            for step in range(block.size):
                found[block.b + step] = True
                start = starts[block.a + step]
                if start is not None:
                    errors.append(said[block.b + step][1].start - start)
        confidences += [w.confidence or 0.0 for _, w in said]
        right += found
    if not errors:
        raise ManifestError("No word of the recordings was written right; there are no times.")
    error, bins = calibration(np.array(confidences), np.array(right))
    size = np.abs(errors)
    return WordTimes(
        words=len(right),
        right=round(float(np.mean(right)), 4),
        timed=len(errors),
        start_error_seconds={
            "median": round(float(np.median(size)), 3),
            "p95": round(float(np.percentile(size, 95)), 3),
        },
        start_shift_seconds=round(float(np.median(errors)), 3),
        calibration_error=round(error, 4),
        bins=bins,
    )


def calibration(
    confidences: np.ndarray, right: np.ndarray
) -> tuple[float, list[tuple[float, float, int]]]:
    """Expected calibration error, and the bins it comes from.

    Args:
        confidences: 0 to 1 `[words]`.
        right: whether each was right, bool `[words]`.
    """
    place = np.minimum((confidences * BINS).astype(int), BINS - 1)
    error, bins = 0.0, []
    for number in range(BINS):
        own = place == number
        if not own.any():
            continue
        sure, share = float(confidences[own].mean()), float(right[own].mean())
        error += abs(sure - share) * float(own.mean())
        bins.append((round(sure, 3), round(share, 3), int(own.sum())))
    return error, bins
