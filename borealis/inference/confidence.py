"""How sure a word of a transcript is: the share of the search's other findings that have it too.

Scores of a beam search are too far apart to be probabilities, so they are tempered; and the share
is brought to how often such words were right on validation data by a logistic curve (Platt, 1999,
"Probabilistic Outputs for Support Vector Machines"): of words said to be 90 % sure nine in ten are
right. `benchmarks` measure it.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np

from borealis.ctc.search import Hypothesis

TEMPERATURE = 4.0  # what scores are divided by
_EDGE = 1e-3  # shares of 0 and 1 are no certainty


def shares(hypotheses: Sequence[Hypothesis]) -> np.ndarray:
    """For each word of the best hypothesis the share of all that have it in its place.

    Args:
        hypotheses: what was found for one clip, the best first.

    Returns:
        `[words]`, 0 to 1.
    """
    best = hypotheses[0].text.split()
    scores = np.array([h.score for h in hypotheses])
    weights = np.exp((scores - scores[0]) / TEMPERATURE)
    found = np.zeros(len(best))
    for weight, hypothesis in zip(weights, hypotheses, strict=True):
        matcher = SequenceMatcher(None, best, hypothesis.text.split(), autojunk=False)
        for block in matcher.get_matching_blocks():
            found[block.a : block.a + block.size] += weight
    return np.minimum(found / weights.sum(), 1.0)


def calibrated(shares: np.ndarray, slope: float, bias: float) -> np.ndarray:
    """Probability that words are right.

    Args:
        shares: see there `[words]`.
        slope: of the logistic curve over the log odds of a share.
        bias: log odds at a share of one half.
    """
    odds = np.log((shares + _EDGE) / (1 - shares + _EDGE))
    return 1 / (1 + np.exp(-(slope * odds + bias)))
