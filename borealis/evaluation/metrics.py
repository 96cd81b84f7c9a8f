"""Error rates over a corpus, with jiwer, and their bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jiwer
import numpy as np

from borealis.evaluation.normalization import normalize

_RESAMPLES = 1000


@dataclass(frozen=True)
class ErrorRates:
    """Error rates of a corpus; rates are fractions (0.2 is 20 %).

    Args:
        word_error_rate: substituted, deleted and inserted words over the words of the references;
            None when no reference has a word.
        character_error_rate: the same of characters, spaces included.
        word_error_rate_95: bootstrap interval of the first over utterances.
        utterances: compared utterances that have a reference text.
        words: words of the references.
        word_errors: substituted, deleted and inserted words.
        characters: characters of the references.
        character_errors: substituted, deleted and inserted characters.
        wordless: utterances where nobody speaks; they are not part of the rates.
        invented_words: words written for those.
    """

    word_error_rate: float | None
    character_error_rate: float | None
    word_error_rate_95: tuple[float, float] | None
    utterances: int
    words: int
    word_errors: int
    characters: int
    character_errors: int
    wordless: int = 0
    invented_words: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def error_rates(
    references: Sequence[str], hypotheses: Sequence[str], *, seed: int = 0
) -> ErrorRates:
    """Compare transcripts with references, both normalised here.

    Rates are of the whole corpus (errors summed before dividing), not means over utterances. An
    empty reference has no rate: what a model writes there is counted as invented words.

    Args:
        references: what was said; empty where nobody speaks.
        hypotheses: what a model wrote.
        seed: of the bootstrap.

    Raises:
        ValueError: the lists differ in length.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses.")
    pairs = [(normalize(r), normalize(h)) for r, h in zip(references, hypotheses, strict=True)]
    spoken = [(r, h) for r, h in pairs if r]
    # [utterances, 4]: word errors, words, character errors, characters
    table = np.array([_counts(r, h) for r, h in spoken], dtype=np.int64).reshape(-1, 4)
    word_errors, words, character_errors, characters = (int(n) for n in table.sum(0))
    return ErrorRates(
        word_error_rate=round(word_errors / words, 4) if words else None,
        character_error_rate=round(character_errors / characters, 4) if characters else None,
        word_error_rate_95=bootstrap_interval(table[:, 0], table[:, 1], seed=seed),
        utterances=len(spoken),
        words=words,
        word_errors=word_errors,
        characters=characters,
        character_errors=character_errors,
        wordless=len(pairs) - len(spoken),
        invented_words=sum(len(h.split()) for r, h in pairs if not r),
    )


def rate_difference(
    references: Sequence[str], ours: Sequence[str], theirs: Sequence[str], *, seed: int = 0
) -> dict[str, Any]:
    """Word error rate of `ours` minus that of `theirs`, of the same utterances, and its interval.

    Both are drawn anew together, so utterances that are hard for both don't widen the interval.

    Returns:
        `word_error_rate`, a difference of fractions, and `word_error_rate_95`; both None when no
        reference has a word.
    """
    table = []
    for reference, one, other in zip(references, ours, theirs, strict=True):
        if said := normalize(reference):
            errors = [_counts(said, normalize(text))[0] for text in (one, other)]
            table.append((errors[0] - errors[1], len(said.split())))
    if not table:
        return {"word_error_rate": None, "word_error_rate_95": None}
    gains, words = np.array(table).T
    return {
        "word_error_rate": round(float(gains.sum() / words.sum()), 4),
        "word_error_rate_95": bootstrap_interval(gains, words, seed=seed),
    }


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float | None:
    """Word error rate of a corpus as a fraction; see `error_rates`."""
    return error_rates(references, hypotheses).word_error_rate


def character_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float | None:
    """Character error rate of a corpus as a fraction; see `error_rates`."""
    return error_rates(references, hypotheses).character_error_rate


def bootstrap_interval(
    errors: np.ndarray, totals: np.ndarray, *, seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval of `sum(errors) / sum(totals)`, utterances drawn with replacement.

    The percentile bootstrap for WER of Bisani and Ney, 2004.

    Args:
        errors: errors of each utterance `[utterances]`.
        totals: words of each utterance `[utterances]`, none of them 0.
        seed: of the drawing.
    """
    if not len(errors):
        return None
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(errors), size=(_RESAMPLES, len(errors)))
    rates = errors[picks].sum(1) / totals[picks].sum(1)
    low, high = np.percentile(rates, [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)


def _counts(reference: str, hypothesis: str) -> tuple[int, int, int, int]:
    words = jiwer.process_words(reference, hypothesis)
    letters = jiwer.process_characters(reference, hypothesis)
    return (
        words.substitutions + words.deletions + words.insertions,
        len(reference.split()),
        letters.substitutions + letters.deletions + letters.insertions,
        len(reference),
    )
