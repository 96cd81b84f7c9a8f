"""Alphabets: folding, spelling, scripts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from borealis.ctc.alphabet import Alphabet
from borealis.data.phrasings import LANGUAGES, TASKS, load_phrasings
from borealis.data.text import CTC_CHARACTERS, LETTERS
from tests.conftest import LINES

RUSSIAN = Alphabet(CTC_CHARACTERS)
UKRAINIAN = Alphabet(" абвгґдеєжзиіїйклмнопрстуфхцчшщьюя'")
TEXTS = [
    *LINES,
    "Ёж, it's кто-то!",
    "Что-то — не то… В 1812 году, 50 % & 3,5 °C; «вот» (так)?",
    "Don’t! — said he, at 10:30 p.m. (GMT+3).",
    "Їжак і Ґава — п’ять хвилин, об'єм 20 л.",
    "— Hе-а…  два   пробела, № 7/8 @ $5",
]


def as_nano_was_taught(text: str) -> str:
    """How texts were spelled when the bundled weights were trained."""
    text = text.lower().replace("ё", "е").replace("’", "'")
    text = re.sub(r"[-—–]", " ", text)
    return " ".join("".join(c for c in text if c in CTC_CHARACTERS).split())


def test_folding_is_what_nano_was_taught(clips):
    phrasings = load_phrasings()
    wordings = [
        text
        for task in TASKS
        for language in LANGUAGES
        for text in phrasings.questions(task, language, "test")
    ]
    for text in [*TEXTS, *(clip.text for clip in clips), *wordings]:
        assert RUSSIAN.fold(text) == as_nano_was_taught(text)
        classes = RUSSIAN.spell(text)
        assert 0 not in classes and classes == LETTERS.spell(text)
        assert RUSSIAN.text(classes) == RUSSIAN.fold(text)


@given(st.text("абвйёщъяabcxyzіїєґ'’ .,!?:;—–-0123456789«»%№", max_size=60))
def test_folding_of_any_such_text_is_what_nano_was_taught(text):
    assert RUSSIAN.fold(text) == as_nano_was_taught(text)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Café, Zoë", "cafe zoe"),  # the base letter instead of none
        ("мо\u0438\u0306", "мой"),  # a breve that stands apart
        ("а\tб\xa0в\u2011г", "а б в г"),  # these part words, too
        ("`tis", "'tis"),
    ],
)
def test_what_was_lost_in_texts_before_is_kept(text, folded):
    assert RUSSIAN.fold(text) == folded != as_nano_was_taught(text)


@given(st.text(max_size=200))
def test_folding_leaves_letters_of_the_alphabet_and_folding_twice_changes_nothing(text):
    for alphabet in (RUSSIAN, UKRAINIAN):
        folded = alphabet.fold(text)
        assert set(folded) <= set(alphabet.labels) and "  " not in folded
        assert folded == folded.strip() and alphabet.fold(folded) == folded


def test_labels_of_other_letters_are_theirs():
    assert LETTERS == RUSSIAN


def test_an_alphabet_keeps_the_letters_it_has():
    assert UKRAINIAN.fold("Їжак і Ґава — п’ять") == "їжак і ґава п'ять"
    assert Alphabet(" еёлка").fold("Ёлка") == "ёлка"
    assert RUSSIAN.fold("Ёлка, café") == "елка cafe"


def test_spelling_is_read_back():
    assert RUSSIAN.text(RUSSIAN.spell("Мороз и солнце!")) == "мороз и солнце"


def test_a_language_has_the_letters_of_its_script():
    russian = RUSSIAN.allowed("ru")
    assert russian[0] and russian[RUSSIAN.space] and russian[RUSSIAN.classes["ж"]]
    assert not russian[RUSSIAN.classes["z"]]
    assert RUSSIAN.allowed(None).all() and RUSSIAN.allowed("ka").all()
    assert Alphabet(" abc").allowed("ru").all()  # it has no such letters: nothing to bind
    assert sorted(RUSSIAN.scripts) == ["CYRILLIC", "LATIN"]


@pytest.mark.parametrize("labels, message", [(" абб", "twice"), ("абв", "no space")])
def test_impossible_alphabets_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        Alphabet(labels)
