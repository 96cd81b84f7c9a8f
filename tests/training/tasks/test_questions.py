"""Batches of questions: answers and voices equally often, only what the clip can answer."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from borealis.data.manifest import Utterance
from borealis.data.phrasings import LANGUAGES, Phrasings, expand, load_phrasings, plain_wording
from borealis.training.data.features import CachedClip
from borealis.training.recipe import load_recipe
from borealis.training.tasks.questions import QuestionClips
from borealis.training.tasks.turns import question_turn

ASKED = load_recipe("nano").stage("answers").tasks.questions.kinds


def clip(voice, gender="female", language="ru", kind="speech", frames=200, **values) -> CachedClip:
    audio = values.pop("audio", "a.wav")
    text = values.pop("text", "снег лежит на крыше" if kind == "speech" else "")
    item = Utterance(
        audio=audio, text=text, duration=frames / 50, language=language, voice=voice,
        gender=gender, kind=kind, **values,
    )  # fmt: skip
    return CachedClip(item, 0, frames, 0)


@pytest.fixture
def lopsided() -> list[CachedClip]:
    """One voice has nearly all of the recordings, as in life."""
    clips = [clip("maria")] * 900 + [clip("vera")] * 20 + [clip("ivan", "male")] * 5
    clips += [clip("john", "male", "en", text="snow is on the roof")] * 3
    clips += [clip(kind, "", "", kind) for kind in ("noise", "music", "silence")]
    return clips


def test_every_answer_and_every_voice_comes_equally_often(lopsided):
    questions, rng = QuestionClips(lopsided, ASKED), np.random.default_rng(0)
    asked = [questions.draw(200, 1, rng) for _ in range(6000)]
    genders = Counter(c.utterance.gender for (task, *_), c in asked if task == "voice")
    kinds = Counter(c.utterance.kind for (task, *_), c in asked if task == "sound")
    women = Counter(
        c.utterance.voice for (task, *_), c in asked
        if task == "voice" and c.utterance.gender == "female"
    )  # fmt: skip
    for counts in (genders, kinds, women):
        shares = np.array(list(counts.values())) / counts.total()
        assert len(counts) >= 2 and np.ptp(shares) < 0.12, counts
    assert {task for (task, *_), _ in asked} == set(ASKED)


def test_corpora_that_have_both_answers_come_first():
    """One engine has three women and a man, another recording only a man: neither is a hint."""
    clips = [clip(name, audio="engine/a.wav") for name in ("anna", "elena", "irina")] * 20
    clips += [clip("boris", "male", audio="engine/b.wav"), clip("ivan", "male", audio="book/c.wav")]
    questions, rng = QuestionClips(clips, ASKED), np.random.default_rng(3)
    asked = [questions.draw(200, 1, rng) for _ in range(4000)]
    voices = Counter(c.utterance.voice for (task, *_), c in asked if task == "voice")
    shares = {voice: count / voices.total() for voice, count in voices.items()}
    assert 0.4 < shares["anna"] + shares["elena"] + shares["irina"] < 0.6
    assert 0.38 < shares["boris"] < 0.5 and 0.02 < shares["ivan"] < 0.12


def test_a_clip_is_asked_only_what_is_known_of_it(lopsided):
    clips = [*lopsided, clip("nobody", "", question="Сколько стоит?", answer="Рубль.")]
    questions, rng, phrasings = (
        QuestionClips(clips, ASKED),
        np.random.default_rng(1),
        load_phrasings(),
    )
    for _ in range(500):
        tasks, chosen = questions.draw(200, 3, rng)
        assert len(set(tasks)) == len(tasks) <= 3
        assert chosen.utterance.voice != "nobody"
        for task in tasks:
            assert task == "sound" or chosen.utterance.kind == "speech"
            turn = question_turn(task, chosen.utterance, phrasings, rng, "дождь идёт весь день")
            assert turn.task == task and turn.answer and "{" not in turn.question + turn.answer


def test_clips_are_near_the_wished_length():
    clips = [clip("maria", frames=50 * seconds) for seconds in range(1, 15)] * 5
    questions, rng = QuestionClips(clips, ASKED), np.random.default_rng(2)
    short = [questions.draw(75, 1, rng)[1].frames for _ in range(200)]
    long = [questions.draw(700, 1, rng)[1].frames for _ in range(200)]
    assert np.median(short) < 200 and np.median(long) > 500


def test_there_is_nothing_to_ask_about_nothing():
    assert not QuestionClips([], ASKED)


def test_patterns_are_written_out():
    assert expand("Name[ again|]!") == ["Name again!", "Name!"]
    assert sorted(expand("[A|B] [c|d]")) == ["A c", "A d", "B c", "B d"]
    parts = {"ask": "Say|Tell", "end": " now|"}
    assert expand("[*ask|Name] it[*end].", parts) == [
        f"{ask} it{end}." for ask in ("Say", "Tell", "Name") for end in (" now", "")
    ]
    with pytest.raises(KeyError):
        expand("[*nobody]", parts)


def test_every_pattern_is_words_and_no_two_kinds_of_question_share_a_wording():
    phrasings = load_phrasings()
    for language in LANGUAGES:
        kinds: dict[str, str] = {}
        for task in phrasings.tasks:
            for pattern in phrasings.tasks[task][language].get("patterns", []):
                for wording in expand(pattern, phrasings.parts[language]):
                    assert not set("*[]|") & set(wording), wording
                    assert kinds.setdefault(plain_wording(wording), task) == task, wording


def test_drawn_wordings_are_many_and_never_those_of_the_test():
    phrasings, rng = load_phrasings(), np.random.default_rng(3)
    for task in phrasings.tasks:
        for language in LANGUAGES:
            tested = {plain_wording(q) for q in phrasings.questions(task, language, "test")}
            drawn = {phrasings.draw(task, language, rng) for _ in range(600)}
            assert len(drawn) > 60, (task, language)
            assert not tested & {plain_wording(q) for q in drawn}
            assert all(("{word}" in q) == (task == "word_present") for q in drawn)


def test_a_pattern_that_would_make_a_test_wording_leaves_it_out():
    entry = {"train": ["Пой."], "patterns": ["[Скажи|Спой] слово."], "test": ["скажи слово"]}
    phrasings = Phrasings({"sing": {"ru": entry | {"answers": ["{word}"]}}}, {"ru": {}}, {}, {})
    drawn = {phrasings.draw("sing", "ru", np.random.default_rng(n)) for n in range(60)}
    assert drawn == {"Пой.", "Спой слово."}
