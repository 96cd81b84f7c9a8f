"""Texts in symbols, and how long each symbol of a recording lasts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from borealis.ctc.alphabet import Alphabet
from borealis.data.text import CTC_CHARACTERS
from borealis.errors import PromptError
from borealis.speech.symbols import PAUSES, SYMBOLS, durations, spell

ALPHABET = Alphabet(CTC_CHARACTERS)


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("Ну, что — ёж-то, идёт?! ", " ну,что,ёж то,идёт?"),
        ("слово", " слово."),
        ("«Да», — сказал он…", " да,сказал он."),
        ("Well; it's one: two", " well,it's one,two."),
        ("  ...Итак,", " итак."),
        ("café № 5", " cafe."),
    ],
)
def test_a_text_is_spelled(text: str, symbols: str) -> None:
    assert spell(text).symbols == symbols


def test_symbols_know_their_characters() -> None:
    text = "Да, нет"
    spelled = spell(text)
    letters = [
        text[p].lower() for p, s in zip(spelled.places, spelled.symbols, strict=True) if p > 0
    ]
    assert spelled.symbols == " да,нет." and "".join(letters) == "а,нет"
    assert spelled.places[0] == spelled.places[-1] == -1


def test_without_a_letter_of_its_own_e_stands_for_yo() -> None:
    assert spell("ёж", SYMBOLS.replace("ё", "")).symbols == " еж."


@pytest.mark.parametrize("text", ["", " ", "123", "?!", "漢字"])
def test_what_has_no_letters_is_told(text: str) -> None:
    with pytest.raises(PromptError, match="no letters"):
        spell(text)


@settings(deadline=None)
@given(st.text(alphabet=SYMBOLS + "ABЦё—…;:-\n7", max_size=60))
def test_every_spelling_is_well_formed(text: str) -> None:
    try:
        spelled = spell(text)
    except PromptError:
        assert not any(c.isalpha() for c in text)
        return
    symbols = spelled.symbols
    assert symbols[0] == " " and symbols[-1] in ".!?" and len(spelled.places) == len(symbols)
    assert not any(a in PAUSES and b in PAUSES for a, b in itertools.pairwise(symbols))
    assert spell(symbols).symbols == symbols


def heard(text: str, frames_of_a_letter: int, silence: int) -> np.ndarray:
    """Posteriors in which each letter is sure in the middle of its frames, `[T, num_classes]`."""
    rows: list[int] = [0] * silence
    for letter in ALPHABET.spell(text):
        row = [0] * frames_of_a_letter
        row[frames_of_a_letter // 2] = letter
        rows += row
    rows += [0] * silence
    probs = np.full((len(rows), len(ALPHABET)), 1e-4)
    probs[np.arange(len(rows)), rows] = 1 - 1e-4 * (len(ALPHABET) - 1)
    return np.log(probs)


def test_a_letter_lasts_until_the_next_one() -> None:
    log_probs = heard("да нет", 4, 10)  # 80 ms a letter
    symbols = spell("да нет").symbols
    found = durations(
        symbols, log_probs, ALPHABET, step=0.02, frame=0.04, num_frames=len(log_probs) // 2
    )
    assert found is not None and found.sum() == len(log_probs) // 2
    # The silence at both ends belongs to the pauses there, but for a short rest of the letters.
    assert found[2:-2].tolist() == [2] * 4 and min(found[0], found[-1]) >= 2
    assert 2 <= found[1] <= 4 and 2 <= found[-2] <= 4


def test_silence_between_words_belongs_to_the_pause() -> None:
    first, second = heard("да", 4, 0), heard("нет", 4, 0)
    gap = np.repeat(heard("", 4, 1)[:1], 50, 0)  # a second
    log_probs = np.concatenate([first, gap, second])
    symbols = spell("да, нет.").symbols
    found = durations(
        symbols, log_probs, ALPHABET, step=0.02, frame=0.04, num_frames=len(log_probs) // 2
    )
    assert found is not None
    comma = symbols.index(",")
    assert found[comma] > 15 and max(found[1:comma]) <= 5


def test_letters_that_arent_heard_last_no_time() -> None:
    log_probs = heard("да", 4, 10)
    found = durations(" да.", log_probs, Alphabet(" а"), step=0.02, frame=0.04, num_frames=14)
    assert found is not None and found[1] == 0 and found.sum() == 14


def test_too_short_a_recording_is_told() -> None:
    log_probs = heard("да", 1, 0)
    found = durations(
        spell("длинное предложение").symbols,
        *(log_probs, ALPHABET),
        step=0.02,
        frame=0.04,
        num_frames=1,
    )
    assert found is None
