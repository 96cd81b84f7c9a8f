"""A maintainer adds a kind of question: an entry and its wordings, and everything asks it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from borealis.data.kinds import KINDS, Kind
from borealis.data.manifest import Utterance
from borealis.data.phrasings import load_phrasings
from borealis.evaluation.tasks import build_questions, is_right
from borealis.training.data.features import CachedClip
from borealis.training.tasks.questions import QuestionClips
from borealis.training.tasks.turns import clip_turn, question_turn

LENGTH = Kind(
    "length",
    lambda item, words: str(round(item.duration)) if item.duration else "",
    fills="seconds",
)
KINDS_ASKED = {"voice": 0.3, "first_word": 0.3, "word_count": 0.3, "length": 0.1}
WORDINGS = {
    "ru": {"train": ["Сколько секунд?"], "test": ["Как долго?"], "answers": ["{seconds}"]},
    "en": {"train": ["How many seconds?"], "test": ["How long?"], "answers": ["{seconds}"]},
}
CLIPS = [
    Utterance(f"{n}.wav", "Мороз и солнце.", duration=n + 1.2, gender="male") for n in range(4)
]


@pytest.fixture
def phrasings():
    KINDS.append(LENGTH)
    known = load_phrasings()
    yield replace(known, tasks=known.tasks | {"length": WORDINGS})
    KINDS.remove(LENGTH)


def test_training_asks_it(phrasings):
    rng = np.random.default_rng(0)
    turn = question_turn("length", CLIPS[2], phrasings, rng)
    assert (turn.task, turn.answer) == ("length", "3")
    drawn = Counter(clip_turn(CLIPS[0], phrasings, rng, 1.0, KINDS_ASKED).task for _ in range(400))
    assert 20 < drawn["length"] < 80
    clips = QuestionClips([CachedClip(item, 0, 100, 0) for item in CLIPS], KINDS_ASKED)
    asked = Counter(task for _ in range(400) for task in clips.draw(100, 1, rng)[0])
    assert 20 < asked["length"] < 80


def test_where_it_is_not_known_it_is_not_asked(phrasings):
    unknown = replace(CLIPS[0], duration=0.0)
    rng = np.random.default_rng(0)
    turns = [clip_turn(unknown, phrasings, rng, 1.0, KINDS_ASKED) for _ in range(200)]
    assert "length" not in {turn.task for turn in turns}
    assert "length" not in {q.task for q in build_questions([unknown], phrasings)}


def test_evaluation_asks_it_in_other_words(phrasings):
    questions = [q for q in build_questions(CLIPS, phrasings) if q.task == "length"]
    assert [q.expected for q in questions] == ["1", "2", "3", "4"]
    assert {q.text for q in questions} == {"Как долго?", "How long?"}
    assert is_right(questions[0], "1") and not is_right(questions[0], "2")
