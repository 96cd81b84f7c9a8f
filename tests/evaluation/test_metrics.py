"""Normalisation and error rates."""

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from borealis.evaluation.metrics import (
    bootstrap_interval,
    character_error_rate,
    error_rates,
    rate_difference,
    word_error_rate,
)
from borealis.evaluation.normalization import NORMALIZER_VERSION, normalize

WORDS = st.lists(st.sampled_from(["да", "нет", "дом", "мороз", "sun", "ель"]), max_size=8).map(
    " ".join
)


def test_version_is_that_of_these_examples() -> None:
    # A change of any line below is a new version: numbers of two versions can't be compared.
    assert NORMALIZER_VERSION == 1
    examples = {
        "Мороз и солнце; день чудесный!": "мороз и солнце день чудесный",
        "«Ёлка», — сказал он…": "елка сказал он",
        "Кто-то пришёл": "кто то пришел",
        "за\u0301мок и замо\u0301к": "замок и замок",
        "и\u0306од": "йод",
        "В 1812 году, 5\u00a0мая": "в 1812 году 5 мая",
        "Don't, STOP": "don t stop",
        "ﬁne № 5": "fine no 5",
        "  \n\t ": "",
        "?!": "",
    }
    for text, expected in examples.items():
        assert normalize(text) == expected


@settings(max_examples=300)
@given(st.text())
def test_second_pass_changes_nothing(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    assert "  " not in once
    assert once == once.strip()


@given(st.text(alphabet="абвеёжяАЁЯ .,!?—-«»"))
def test_case_and_punctuation_do_not_count(text: str) -> None:
    assert normalize(text.upper()) == normalize(text.lower())
    assert normalize(f"«{text}»…") == normalize(text)


def test_rates_of_the_corpus_are_not_means_over_utterances() -> None:
    rates = error_rates(["да", "один два три четыре"], ["нет", "один два три четыре"])
    assert rates.word_error_rate == 0.2
    assert (rates.word_errors, rates.words, rates.utterances) == (1, 5, 2)
    assert rates.character_errors == 3


def test_rates_can_be_over_one() -> None:
    assert word_error_rate(["да"], ["нет нет нет"]) == 3.0


def test_equal_texts_have_no_errors() -> None:
    assert word_error_rate(["Да, нет."], ["да нет"]) == 0
    assert character_error_rate(["Ёж"], ["еж!"]) == 0


@settings(deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6))
def test_rates_agree_with_jiwer_on_the_whole_corpus(pairs: list[tuple[str, str]]) -> None:
    references = [r for r, _ in pairs]
    rates = error_rates(references, [h for _, h in pairs])
    spoken = [(r, h) for r, h in pairs if r]
    assert rates.wordless == len(pairs) - len(spoken)
    assert rates.invented_words == sum(len(h.split()) for r, h in pairs if not r)
    if not spoken:
        assert rates.word_error_rate is rates.character_error_rate is None
        assert rates.word_error_rate_95 is None
        return
    expected = jiwer.wer([r for r, _ in spoken], [h for _, h in spoken])
    assert rates.word_error_rate == pytest.approx(expected, abs=1e-4)
    expected = jiwer.cer([r for r, _ in spoken], [h for _, h in spoken])
    assert rates.character_error_rate == pytest.approx(expected, abs=1e-4)


def test_words_over_silence_are_counted_and_not_averaged() -> None:
    rates = error_rates(["", "да", ""], ["субтитры сделал", "да", ""])
    assert rates.word_error_rate == 0
    assert (rates.wordless, rates.invented_words) == (2, 2)


def test_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 references"):
        error_rates(["a", "b"], ["a"])


def test_interval_holds_the_rate_and_does_not_change_between_runs() -> None:
    references = ["один два три"] * 30
    hypotheses = ["один два три"] * 15 + ["один два"] * 15
    rates = error_rates(references, hypotheses)
    low, high = rates.word_error_rate_95
    assert 0 < low < rates.word_error_rate < high < 1 / 3
    assert error_rates(references, hypotheses) == rates
    assert error_rates(references, hypotheses, seed=1).word_error_rate == rates.word_error_rate


def test_interval_narrows_with_more_utterances() -> None:
    import numpy as np

    def width(count: int) -> float:
        errors = np.arange(count) % 2
        low, high = bootstrap_interval(errors, np.full(count, 10))
        return high - low

    assert width(1000) < width(100) < width(10)


def test_a_difference_is_of_the_same_utterances() -> None:
    references = ["раз два три четыре", "пять шесть", "", "семь восемь девять десять"] * 10
    ours = ["раз два три", "пять шесть", "шум", "семь восемь девять"] * 10
    theirs = ["раз два", "пять", "", "семь восемь"] * 10
    found = rate_difference(references, ours, theirs)
    rates = [word_error_rate(references, texts) for texts in (ours, theirs)]
    assert found["word_error_rate"] == pytest.approx(rates[0] - rates[1])
    low, high = found["word_error_rate_95"]
    assert low <= found["word_error_rate"] <= high < 0
    # What both find hard doesn't make the difference less sure.
    assert rate_difference(references, theirs, theirs)["word_error_rate_95"] == (0.0, 0.0)
    assert rate_difference([""], ["шум"], [""])["word_error_rate_95"] is None
