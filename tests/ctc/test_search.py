"""The beam search against a sum over all paths, and what it does with languages and hot words."""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from borealis.ctc.alphabet import Alphabet
from borealis.ctc.hot import HotWords
from borealis.ctc.ngram import Ngram
from borealis.ctc.search import PrefixBeamSearch, SearchSettings
from borealis.data.text import CTC_CHARACTERS
from borealis.training.start.ngram import count_ngrams

ALPHABET = Alphabet(" аб")
EXACT = SearchSettings(
    num_beams=4000, num_letters=3, min_log_prob=-1e9, beam_margin=1e9, sure_blank=0.0
)


def posteriors(seed: int, frames: int, alphabet: Alphabet = ALPHABET) -> np.ndarray:
    """Random log probabilities `[frames, classes]`."""
    logits = np.random.default_rng(seed).normal(0, 2, (frames, len(alphabet)))
    return logits - np.logaddexp.reduce(logits, 1, keepdims=True)


def spelled(path: tuple[int, ...], alphabet: Alphabet) -> str:
    """The text of a path: repeats joined, blanks and spare spaces left out."""
    letters = [c for at, c in enumerate(path) if c and (not at or path[at - 1] != c)]
    return " ".join(alphabet.text(letters).split())


def brute_force(log_probs: np.ndarray, alphabet: Alphabet) -> dict[str, float]:
    """Log probability of every text, by going through all paths."""
    sums: dict[str, float] = defaultdict(float)
    for path in product(range(len(alphabet)), repeat=len(log_probs)):
        sums[spelled(path, alphabet)] += float(np.exp(sum(log_probs[range(len(path)), path])))
    return {text: float(np.log(p)) for text, p in sums.items()}


def count(lines: list[str], folder: Path, alphabet: Alphabet = ALPHABET, **settings) -> Ngram:
    """An n-gram of a few lines."""
    path = folder / "lines.txt"
    path.write_text("\n".join(lines * 20), encoding="utf-8")
    return count_ngrams([path], alphabet.labels, order=4, min_gain=0.1, **settings)


@pytest.fixture(scope="module")
def ngram(tmp_path_factory) -> Ngram:
    return count(["аб аба", "баба", "аа б"], tmp_path_factory.mktemp("ngram"))


def plain_score(text: str, search: PrefixBeamSearch) -> float:
    """What the text alone is worth, letter by letter and word by word."""
    values, alphabet = search.settings, search.alphabet
    if not text:
        return 0.0
    score = values.letter_bonus * (len(text) + 1)
    if search.ngram is not None:
        state = search.ngram.step(0, alphabet.space)
        for c in [*alphabet.spell(text), alphabet.space]:
            after, gain = search.ngram.follow(np.array([state]), np.array([c]))
            score += values.ngram_weight * float(gain[0])
            state = int(after[0])
    return score


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 6))
def test_a_full_search_sums_all_paths(seed, frames, ngram):
    log_probs = posteriors(seed, frames)
    search = PrefixBeamSearch(ALPHABET, EXACT, ngram=ngram)
    truth = brute_force(log_probs, ALPHABET)
    found = {h.text: h for h in search.decode([log_probs])[0]}
    assert found.keys() == truth.keys()
    for text, heard in truth.items():
        assert found[text].heard == pytest.approx(heard, abs=1e-4)
        assert found[text].score == pytest.approx(heard + plain_score(text, search), abs=1e-4)


@settings(max_examples=15, deadline=None)
@given(seeds=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 30)), max_size=5))
def test_a_batch_finds_what_single_clips_find(seeds):
    search = PrefixBeamSearch(ALPHABET, SearchSettings(num_beams=8))
    clips = [posteriors(seed, frames) for seed, frames in seeds]
    assert search.decode(clips) == [search.decode([clip])[0] for clip in clips]


def saying(text: str, alphabet: Alphabet, *, sure: float = 6.0, **also: tuple[str, float]):
    """Posteriors of a text, a letter in one frame and a blank after it.

    Args:
        text: what is heard.
        alphabet: its letters.
        sure: logit of what is heard; others have 0.
        also: letter -> another that is heard with it, and its logit.
    """
    rows = []
    for letter in text:
        row = np.zeros(len(alphabet))
        row[alphabet.classes[letter]] = sure
        if letter in also:
            other, logit = also[letter]
            row[alphabet.classes[other]] = logit
        blank = np.zeros(len(alphabet))
        blank[0] = sure + 6
        rows += [row, blank]
    logits = np.array(rows).reshape(-1, len(alphabet))
    return (logits - np.logaddexp.reduce(logits, 1, keepdims=True)).astype(np.float32)


WHOLE = Alphabet(CTC_CHARACTERS)


def first(search: PrefixBeamSearch, clip: np.ndarray, language: str | None = None) -> str:
    return search.decode([clip], language=language)[0][0].text


def test_texts_decide_between_letters_that_sound_alike(tmp_path):
    heard = saying("мароз и сонце", WHOLE, а=("о", 5.9))
    texts = count(["мороз и сонце"], tmp_path, WHOLE)
    assert first(PrefixBeamSearch(WHOLE), heard) == "мароз и сонце"
    assert first(PrefixBeamSearch(WHOLE, ngram=texts), heard) == "мороз и сонце"


def test_a_word_that_no_text_has_costs_where_it_ends(tmp_path):
    texts = count(["мороз", "мода", "роза"], tmp_path, WHOLE, word_bits=16)
    heard = saying("мода", WHOLE, м=("р", 5.8))
    search = PrefixBeamSearch(WHOLE, SearchSettings(ngram_weight=0.0), ngram=texts)
    scores = {h.text: h.score - h.heard for h in search.decode([heard])[0]}
    assert scores["мода"] - scores["рода"] == pytest.approx(search.settings.unknown_word_cost)


def test_a_language_binds_the_letters():
    heard = saying("cop", WHOLE, c=("с", 5.5), o=("о", 5.5), p=("р", 5.5))
    search = PrefixBeamSearch(WHOLE)
    assert first(search, heard, "en") == "cop"
    assert first(search, heard, "ru") == "сор"


def test_without_a_language_a_clip_is_of_one():
    """The letter that sounds foreign is written in the script of the others."""
    heard = saying("слова o том", WHOLE, o=("о", 5.5))
    assert first(PrefixBeamSearch(WHOLE), heard) == "слова о том"


def test_hot_words_are_found_and_others_left_alone():
    heard = saying("доббин был тут", WHOLE, sure=12.0, о=("а", 12.4))
    plain = PrefixBeamSearch(WHOLE)
    told = PrefixBeamSearch(WHOLE, hot_words=HotWords(["Доббин"], WHOLE))
    assert first(plain, heard) == "даббин был тут"
    assert first(told, heard) == "доббин был тут"
    other = saying("даббинов тут", WHOLE, sure=12.0, а=("о", 11.0))
    assert first(told, other) == first(plain, other) == "даббинов тут"


def test_the_bonus_of_a_hot_word_stays_only_where_it_is_whole():
    """Against the definition: letters of whole hot words, counted from the text."""
    words = HotWords(["аб", "аб ба", "ббб"], ALPHABET)
    worth = {"аб": 2, "аб ба": 5, "ббб": 3, "ба": 0, "аб б": 2, "абб": 0, "бб": 0, "а аб": 2}
    for text, letters in worth.items():
        states, total = words.start(1), 0
        for c in ALPHABET.spell(text):
            states, gain = words.follow(states, np.array([c]))
            total += int(gain[0])
        assert total + int(words.end(states)[0]) == letters, text


def test_no_sound_gives_no_text():
    search = PrefixBeamSearch(WHOLE)
    assert search.decode([]) == []
    silence = np.full((40, len(WHOLE)), -20.0, np.float32)
    silence[:, 0] = 0.0
    assert [h.text for h in search.decode([silence[:0], silence])[1]] == [""]
    spaces = silence.copy()
    spaces[::2, 0], spaces[::2, WHOLE.space] = -20.0, 0.0
    assert first(search, spaces) == ""


def test_sure_blanks_are_passed_over_at_no_loss():
    clip = saying("мороз и сонце", WHOLE, м=("н", 5.0))
    pause = np.full((300, len(WHOLE)), -12.0, np.float32)
    pause[:, 0] = -0.001
    long = np.concatenate([pause, clip[:12], pause, clip[12:], pause])
    quick = PrefixBeamSearch(WHOLE).decode([long])[0]
    slow = PrefixBeamSearch(WHOLE, SearchSettings(sure_blank=0.0)).decode([long])[0]
    assert quick[0].text == slow[0].text == "мороз и сонце"
    assert quick[0].score == pytest.approx(slow[0].score, abs=0.01)


@pytest.mark.parametrize("language, alphabet", [("uk", " абвгґдеєжзиіїйклмнопрстуфхцчшщьюя'"), ("en", " abcdefghijklmnopqrstuvwxyz'")])  # fmt: skip
def test_other_alphabets_are_read(language, alphabet):
    letters = Alphabet(alphabet)
    said = {"uk": "їжак і ґава", "en": "don't panic"}[language]
    assert first(PrefixBeamSearch(letters), saying(said, letters), language) == said


def test_a_search_is_watched_on_its_way(ngram):
    search = PrefixBeamSearch(ALPHABET, EXACT, ngram=ngram)
    heard = posteriors(3, 6)
    moments = [0, 2, 5, 9]
    watched = search.watch(heard, moments)
    assert set(watched[0]) == {"", "а", "б"}  # a space before the first letter is none
    assert watched[2] == watched[3]  # no frame comes after the sixth
    for moment, prefixes in zip(moments, watched, strict=True):
        assert len(set(prefixes)) == len(prefixes)
        found = search.decode([heard[: moment + 1]])[0]
        assert {text.strip() for text in prefixes} == {hypothesis.text for hypothesis in found}
    # Where no text has a say, the order is that of what is heard.
    plain = PrefixBeamSearch(ALPHABET, EXACT)
    assert plain.watch(heard, [5])[0][0].strip() == plain.decode([heard])[0][0].text


def test_before_its_first_frame_that_matters_a_search_follows_nothing_written():
    quiet = np.log(np.array([[0.999, 0.0005, 0.0003, 0.0002]] * 4, np.float32))
    assert PrefixBeamSearch(ALPHABET).watch(quiet, [0, 3]) == [[""], [""]]
