"""Question tasks: what is asked about a clip in wordings never trained on, and how it is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from borealis.data.kinds import KINDS, Kind, kind_of
from borealis.data.manifest import Utterance
from borealis.data.phrasings import Phrasings
from borealis.data.text import LETTERS
from borealis.evaluation.normalization import normalize

CLOSED = tuple(kind.name for kind in KINDS if kind.closed)
OPEN = tuple(kind.name for kind in KINDS if not kind.closed)
_MIN_WORDS = 3

# Too short to be stems: "да" is in "дальше", "man" in "many".
_WHOLE = {"да", "нет", "yes", "no", "man", "male", "woman", "female"}


@dataclass(frozen=True)
class Question:
    """A question about one utterance.

    Args:
        task: name of a kind (`borealis.data.kinds`).
        utterance: the clip.
        text: the question.
        expected: the class of a closed task, the word or number of an open one.
    """

    task: str
    utterance: Utterance
    text: str
    expected: str


def build_questions(
    utterances: Sequence[Utterance], phrasings: Phrasings, *, seed: int = 0
) -> list[Question]:
    """One question of every task that fits each utterance, in the `test` wordings.

    Half of a task's questions are Russian and half English, whatever the clip's language; of the
    words asked for, half are said. The same utterances and seed give the same questions.

    Args:
        utterances: clips; what a manifest doesn't know (an empty `gender`) isn't asked.
        phrasings: wordings.
        seed: of the choice of wordings and words.
    """
    rng = np.random.default_rng(seed)
    words = [LETTERS.fold(u.text).split() if u.kind == "speech" else [] for u in utterances]
    questions = []
    for kind in (*(k for k in KINDS if k.closed), *(k for k in KINDS if not k.closed)):
        task = kind.name
        fitting = [i for i, u in enumerate(utterances) if _fits(kind, u, words[i])]
        said = _balanced(len(fitting), rng)
        in_russian = _balanced(len(fitting), rng)
        for place, index in enumerate(fitting):
            item, spoken = utterances[index], words[index]
            choices = phrasings.questions(task, "ru" if in_russian[place] else "en", "test")
            text = choices[int(rng.integers(len(choices)))]
            expected = kind.answer(item, spoken)
            if task == "word_present":
                expected = "yes" if said[place] else "no"
                pool = spoken if said[place] else _others(index, utterances, words, rng)
                pool = [w for w in pool if len(w) > 3] or pool
                if not pool:  # a manifest of one text has no word that isn't said
                    continue
                text = text.format(word=pool[int(rng.integers(len(pool)))])
            questions.append(Question(task, item, text, expected))
    return questions


def _fits(kind: Kind, item: Utterance, words: Sequence[str]) -> bool:
    return len(words) >= _MIN_WORDS if kind.words else bool(kind.answer(item, words))


def _balanced(count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` booleans in random order, half of them true."""
    return rng.permutation(np.arange(count) % 2 == 0)


def _others(
    index: int,
    utterances: Sequence[Utterance],
    words: Sequence[Sequence[str]],
    rng: np.random.Generator,
) -> list[str]:
    """Words of another clip in the same language that this one doesn't say, or nothing."""
    language = utterances[index].language
    for other in rng.permutation(len(utterances)):
        if utterances[other].language == language:
            pool = [w for w in words[other] if w not in words[index]]
            if pool:
                return pool
    return []


def classify(task: str, answer: str) -> str:
    """The class an answer names; empty when it names none or several."""
    words = normalize(answer).split()
    found = {
        label
        for label, signs in kind_of(task).classes.items()
        if any(_matches(word, sign) for word in words for sign in signs)
    }
    return found.pop() if len(found) == 1 else ""


def _matches(word: str, sign: str) -> bool:
    return word == sign if sign in _WHOLE else word.startswith(sign)


def is_right(question: Question, answer: str) -> bool:
    """Whether an answer names the expected class, or is the expected word or number exactly."""
    if kind_of(question.task).closed:
        return classify(question.task, answer) == question.expected
    return normalize(answer) == normalize(question.expected)


def recalls(questions: Sequence[Question], right: Sequence[bool]) -> dict[str, float]:
    """Share answered right of each class of a closed task; `all` for an open one."""
    by_class: dict[str, list[bool]] = {}
    for question, good in zip(questions, right, strict=True):
        label = question.expected if kind_of(question.task).closed else "all"
        by_class.setdefault(label, []).append(good)
    return {label: float(np.mean(rows)) for label, rows in sorted(by_class.items())}


def balanced_accuracy(questions: Sequence[Question], right: Sequence[bool]) -> float:
    """Mean over the classes of the share answered right; for open tasks the plain share.

    A model that always gives the same answer gets one over the number of classes, however often
    that answer is the expected one.
    """
    return float(np.mean(list(recalls(questions, right).values())))
