"""Measures what a checkpoint refuses to answer: questions that it was taught, and all others.

    python -m borealis.evaluation.scope --output results

No recording is needed: whether a question is refused depends on its wording alone. None of the
wordings was learned from (see `borealis.training.tasks.scope`).
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from borealis.checkpoints import SCOPE, checkpoint_file, resolve_checkpoint
from borealis.data.phrasings import LANGUAGES, TASKS, load_phrasings
from borealis.data.scope import load_scope_wordings
from borealis.errors import BorealisError
from borealis.evaluation import results
from borealis.inference.scope import OTHER, Scope

# The words that are asked for in the test wordings; none stands in a wording to learn from.
_WORDS = {"ru": ("окно", "вечером", "сказал"), "en": ("window", "evening", "said")}


def taught_questions() -> list[tuple[str, str, str]]:
    """Set, kind and text of questions that borealis-nano was taught, in wordings never learned.

    The set `results` holds the wordings in which `borealis.evaluation.tasks` asks, `people` those
    of people who don't know them.
    """
    phrasings, asked = load_phrasings(), load_scope_wordings().asked
    rows = []
    for language in LANGUAGES:
        for task in TASKS:
            for question in phrasings.questions(task, language, "test"):
                texts = dict.fromkeys(question.format(word=word) for word in _WORDS[language])
                rows += [("results", task, text) for text in texts]
        rows += [
            ("people", kind, text) for kind, texts in asked[language].items() for text in texts
        ]
    return rows


def other_questions() -> list[tuple[str, str]]:
    """Topic and text of questions that borealis-nano wasn't taught, in wordings never learned."""
    wordings = load_scope_wordings()
    return [
        (topic, text.format(word=_WORDS[language][0]))
        for language in LANGUAGES
        for topic, patterns in wordings.refused_wordings(language, "test").items()
        for pattern in patterns
        for text in pattern
    ]


def evaluate_scope(scope: Scope) -> dict[str, Any]:
    """Shares of questions refused, and the questions that were judged wrong.

    Of the questions that were taught `refused` should be 0, and `kinds_told` says how often the
    kind is right; of the others `refused` should be 1.
    """
    taught: dict[str, list[dict[str, Any]]] = {}
    for name, kind, text in taught_questions():
        chances = scope.probabilities(text)
        refused = chances.pop(OTHER) >= scope.threshold
        told = max(chances, key=lambda name: chances[name])
        taught.setdefault(name, []).append(
            {"question": text, "kind": kind, "told": told, "refused": refused}
        )
    others: dict[str, list[tuple[str, bool]]] = {}
    for topic, text in other_questions():
        refused = scope.probabilities(text)[OTHER] >= scope.threshold
        others.setdefault(topic, []).append((text, refused))
    rows = [row for topic in others.values() for row in topic]
    return {
        "taught": {
            name: {
                "questions": len(found),
                "refused": _share(row["refused"] for row in found),
                "kinds_told": _share(row["told"] == row["kind"] for row in found),
                "wrongly_refused": [row["question"] for row in found if row["refused"]],
            }
            for name, found in taught.items()
        },
        "other": {
            "questions": len(rows),
            "refused": _share(refused for _, refused in rows),
            "topics": {
                topic: _share(refused for _, refused in found) for topic, found in others.items()
            },
            "wrongly_answered": [text for text, refused in rows if not refused],
        },
    }


def _share(truths: Iterable[bool]) -> float:
    values = list(truths)
    return round(sum(values) / len(values), 4)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of the module."""
    parser = argparse.ArgumentParser(
        prog="python -m borealis.evaluation.scope",
        description="Measure which questions a checkpoint refuses, into a result file.",
    )
    parser.add_argument("--model", default="nano", help="bundled name, folder or hub id (nano)")
    parser.add_argument("--output", default="results", help="folder of the result file (results)")
    args = parser.parse_args(argv)
    try:
        file = checkpoint_file(resolve_checkpoint(args.model), SCOPE)
        if file is None:
            raise BorealisError(f"'{args.model}' has no {SCOPE}: it refuses nothing.")
        metrics = evaluate_scope(Scope.load(file))
    except BorealisError as error:
        print(f"borealis: {error}", file=sys.stderr)
        return 2
    wordings = {name: _wordings(name) for name in ("phrasings.yaml", "scope.yaml")}
    record = results.describe(f"{Path(args.model).name}-scope", data=wordings)
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    record |= {"scope": {"file": SCOPE, "sha256": digest}, "metrics": metrics}
    path = results.write(Path(args.output) / f"{record['name']}.json", record)
    taught, other = metrics["taught"], metrics["other"]
    shares = ", ".join(f"{row['refused']:.1%} of {name}" for name, row in taught.items())
    print(f"{path}: refused {shares}, and {other['refused']:.1%} of what wasn't taught")
    return 0


def _wordings(name: str) -> dict[str, str]:
    data = resources.files("borealis.data").joinpath(name).read_bytes()
    return {"sha256": hashlib.sha256(data).hexdigest()}


if __name__ == "__main__":
    sys.exit(main())
