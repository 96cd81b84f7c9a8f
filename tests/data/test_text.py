"""Texts: what the model learns to write, wordings."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from borealis.data.phrasings import LANGUAGES, TASKS, load_phrasings
from borealis.data.text import clean_transcript, sentences


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("«Да», — сказал он…", "Да, — сказал он..."),
        ("- Нет!", "Нет!"),
        ("З+амок или зам+ок?", "Замок или замок?"),
        ("слово ( в скобках ) , вот", "слово в скобках, вот"),
        ("кто-то пришёл", "кто-то пришёл"),
    ],
)
def test_transcripts_are_cleaned(text, clean):
    assert clean_transcript(text) == clean


@given(st.text(max_size=200))
def test_cleaning_twice_changes_nothing(text):
    once = clean_transcript(text)
    assert clean_transcript(once) == once


def test_sentences_are_prose():
    book = (
        "   Глава 1\n\nОн вошёл в комнату\nи сел. «Кто здесь?» — спросила она. Было 12 часов.\n\n"
        "а это не предложение"
    )
    assert list(sentences(book)) == ["Он вошёл в комнату и сел.", "Кто здесь? — спросила она."]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("task", TASKS)
def test_test_wordings_are_never_trained_on(task, language):
    phrasings = load_phrasings()

    def plain(items):
        return {re.sub(r"\W+", " ", item.lower()).strip() for item in items}

    train = plain(phrasings.questions(task, language, "train"))
    test = plain(phrasings.questions(task, language, "test"))
    assert len(train) >= 10 and len(test) >= 3
    assert train.isdisjoint(test)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_label_has_answers(language):
    phrasings = load_phrasings()
    labels = {
        "language": ("ru", "en"),
        "voice": ("male", "female"),
        "sound": ("speech", "silence", "noise", "music"),
        "word_present": ("yes", "no"),
        "first_word": ("",),
        "last_word": ("",),
        "word_count": ("",),
    }
    for task, names in labels.items():
        for label in names:
            assert phrasings.answers(task, language, label), (task, label)
    assert phrasings.about(language) and phrasings.no_audio(language)
