"""Learns which questions a model was taught: makes the file of `borealis.inference.scope`.

    python -m borealis.training.tasks.scope --output borealis/checkpoints/nano

The wordings are those that the model learned from (`phrasings.yaml`), further ones, and questions
that it wasn't taught (`scope.yaml`); what is kept for measuring in either file isn't looked at.
`borealis.evaluation.scope` measures. A recipe does the same with the key `model.scope`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from borealis.data.phrasings import (
    LANGUAGES,
    TASKS,
    Phrasings,
    load_phrasings,
    plain_wording,
)
from borealis.data.scope import ScopeWordings, load_scope_wordings
from borealis.inference.scope import OTHER, Scope, features, unquoted
from borealis.training.tasks.turns import vary

ABOUT = "about"  # questions about the model itself
BUCKETS = 8192
# A question that the model was taught is refused less readily than one that it wasn't is answered.
THRESHOLD = 0.6
_EACH = 2.0  # wordings drawn from a pattern: so many times the root of how many it has
_OWN = 2.0  # the same of the further wordings, relative to the others
_UNQUOTED = 0.25  # share of the asked words without quotation marks, where "word" stands before
_STEPS, _RATE, _DECAY = 150, 0.1, 1e-5


def learn_scope(
    phrasings: Phrasings | None = None,
    wordings: ScopeWordings | None = None,
    *,
    buckets: int = BUCKETS,
    threshold: float = THRESHOLD,
    seed: int = 0,
) -> Scope:
    """Learn kinds of questions.

    Args:
        phrasings: what the model was taught; by default the bundled file.
        wordings: what it wasn't, and more of what it was; by default the bundled file.
        buckets: of the hashed features; each takes a byte a kind.
        threshold: see `Scope`.
        seed: of the choice of wordings.
    """
    phrasings, wordings = phrasings or load_phrasings(), wordings or load_scope_wordings()
    kinds = [*TASKS, ABOUT, OTHER]
    rows = _questions(phrasings, wordings, np.random.default_rng(seed))
    labels = np.array([kinds.index(kind) for kind in rows.values()])
    weights, biases = _regression(list(rows), labels, len(kinds), buckets)
    scales = np.maximum(np.abs(weights).max(0), 1e-6) / 127  # [kinds]
    return Scope(
        np.round(weights / scales).astype(np.int8),
        scales.astype(np.float32),
        biases.astype(np.float32),
        kinds=kinds,
        answers=_closed_answers(phrasings),
        refusal=wordings.refusal,
        threshold=threshold,
    )


def _closed_answers(phrasings: Phrasings) -> dict[str, dict[str, list[str]]]:
    """Kind -> language -> all answers, of the kinds that have answers by label."""
    found = {}
    for task in TASKS:
        labels = {code: phrasings.tasks[task][code].get("answers") for code in LANGUAGES}
        if all(isinstance(answers, dict) for answers in labels.values()):
            found[task] = {
                code: [text for texts in answers.values() for text in texts]
                for code, answers in labels.items()
            }
    return found


def _questions(
    phrasings: Phrasings, wordings: ScopeWordings, rng: np.random.Generator
) -> dict[str, str]:
    """Questions to learn from, each with its kind."""
    rows: dict[str, str] = {}
    kept_out = _measured(phrasings, wordings)
    for language in LANGUAGES:
        refused = wordings.refused_wordings(language, "train")
        words = _words(refused)

        def add(kind: str, patterns: Sequence[Sequence[str]], share: float = 1.0) -> None:
            for pattern in patterns:
                pattern = [text for text in pattern if _plain(text) not in kept_out]
                for _ in range(round(_EACH * share * len(pattern) ** 0.5)):
                    text = pattern[int(rng.integers(len(pattern)))]
                    text = _with_word(text, words, rng)  # noqa: B023 - called in this very round
                    rows.setdefault(vary(text, language, rng), kind)  # noqa: B023

        for task in TASKS:
            add(task, phrasings.wordings(task, language))
        add(ABOUT, [[question] * 64 for question, _ in phrasings.about(language)])
        for kind, patterns in wordings.answered_wordings(language).items():
            add(kind, patterns, _OWN)
        for patterns in refused.values():
            add(OTHER, patterns)
    return rows


def _measured(phrasings: Phrasings, wordings: ScopeWordings) -> set[str]:
    """Plain forms of all wordings that are kept for measuring: a pattern may give one, too."""
    texts: list[str] = []
    for language in LANGUAGES:
        for task in TASKS:
            texts += phrasings.questions(task, language, "test")
        for asked in wordings.asked[language].values():
            texts += asked
        for patterns in wordings.refused_wordings(language, "test").values():
            texts += [text for pattern in patterns for text in pattern]
    return {_plain(text) for text in texts}


def _plain(question: str) -> str:
    return plain_wording(unquoted(question, "{word}"))


def _words(refused: dict[str, list[list[str]]]) -> list[str]:
    """Words that may be asked for: any, so that none tells the kind of a question."""
    texts = (text for patterns in refused.values() for pattern in patterns for text in pattern)
    return sorted({word for text in texts for word in re.findall(r"[^\W\d_]{4,}", text.lower())})


def _with_word(question: str, words: Sequence[str], rng: np.random.Generator) -> str:
    """The question with a word for `{word}`, now and then without the quotation marks."""
    if "{word}" not in question:
        return question
    if rng.random() < _UNQUOTED:
        question = re.sub(r'(слово|word) [«"]\{word\}[»"]', r"\1 {word}", question, flags=re.I)
    return question.replace("{word}", words[int(rng.integers(len(words)))])


def _regression(
    questions: Sequence[str], labels: np.ndarray, kinds: int, buckets: int
) -> tuple[np.ndarray, np.ndarray]:
    """Multinomial logistic regression: weights `[buckets, kinds]`, biases `[kinds]`.

    Full batches and Adam (Kingma and Ba, 2015): a few seconds.
    """
    from scipy import sparse

    found = [features(question, buckets) for question in questions]
    lengths = np.array([len(row) for row in found])
    values = np.repeat(1 / np.sqrt(np.maximum(lengths, 1)), lengths).astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    shape = (len(found), buckets)
    matrix = sparse.csr_matrix((values, np.concatenate(found), starts), shape=shape)
    transposed = matrix.T.tocsr()
    wanted = np.eye(kinds, dtype=np.float32)[labels]
    weights = np.zeros((buckets + 1, kinds), np.float32)  # the last row is the biases
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(_STEPS):
        scores = matrix @ weights[:-1] + weights[-1]
        scores = np.exp(scores - scores.max(1, keepdims=True))
        error = (scores / scores.sum(1, keepdims=True) - wanted) / len(labels)
        slope = np.concatenate([transposed @ error + 2 * _DECAY * weights[:-1], error.sum(0)[None]])
        mean = 0.9 * mean + 0.1 * slope
        square = 0.999 * square + 0.001 * slope**2
        rate = _RATE * (1 - step / _STEPS)
        spread = np.sqrt(square / (1 - 0.999 ** (step + 1))) + 1e-8
        weights -= rate * mean / (1 - 0.9 ** (step + 1)) / spread
    return weights[:-1], weights[-1]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of the module."""
    parser = argparse.ArgumentParser(
        prog="python -m borealis.training.tasks.scope",
        description="Learn which questions borealis-nano was taught.",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the checkpoint")
    folder = Path(parser.parse_args(argv).output)
    if not folder.is_dir():
        print(f"borealis: there is no folder '{folder}'.", file=sys.stderr)
        return 2
    learn_scope().save_pretrained(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
