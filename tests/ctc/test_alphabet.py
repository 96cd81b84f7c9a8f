"""Alphabets: folding, spelling, scripts."""

from __future__ import annotations

import pytest

from borealis.ctc.alphabet import Alphabet
from borealis.data.text import CTC_CHARACTERS, ctc_text

RUSSIAN = Alphabet(CTC_CHARACTERS)


@pytest.mark.parametrize("text", ["Ещё ты дремлешь, друг прелестный.", "Что-то — не то…", "Don’t!"])
def test_folding_is_what_training_does(text):
    assert RUSSIAN.fold(text) == ctc_text(text)


def test_an_alphabet_keeps_the_letters_it_has():
    ukrainian = Alphabet(" абвгґдеєжзиіїйклмнопрстуфхцчшщьюя'")
    assert ukrainian.fold("Їжак і Ґава — п’ять") == "їжак і ґава п'ять"
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
