"""Streams of symbols and codes: written, read, and followed by the rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from borealis.codec import CodecVocabulary
from borealis.errors import CodecError
from borealis.speech.rule import StreamRule
from borealis.speech.stream import IGNORED, Spoken, prompt_ids, read_stream, write_stream
from borealis.speech.symbols import SYMBOLS, spell
from borealis.speech.vocabulary import SpeechVocabulary, symbol_tokens

RATE = 25.0


def vocabulary(books: int) -> SpeechVocabulary:
    codec = CodecVocabulary(books, 16, first_id=100)
    return SpeechVocabulary(codec, ("anna", "ivan"), SYMBOLS, tuple(range(len(SYMBOLS))))


texts = st.text(alphabet="абв ,.", min_size=1, max_size=12).filter(
    lambda t: any(map(str.isalpha, t))
)


@st.composite
def spoken(draw: st.DrawFn) -> tuple[int, Spoken]:
    books = draw(st.integers(1, 3))
    symbols = spell(draw(texts)).symbols
    durations = draw(st.lists(st.integers(0, 6), min_size=len(symbols), max_size=len(symbols)))
    codes = np.random.default_rng(0).integers(16, size=(books, sum(durations)))
    return books, Spoken(
        symbols, np.array(durations), codes, draw(st.sampled_from(["anna", "ivan"]))
    )


@settings(deadline=None)
@given(spoken())
def test_what_is_written_is_read(case: tuple[int, Spoken]) -> None:
    books, said = case
    tokens = vocabulary(books)
    ids, labels = write_stream(tokens, said)
    head = len(prompt_ids(tokens, said.symbols, said.voice))
    codes, durations = read_stream(tokens, ids[head:])
    assert np.array_equal(codes, said.codes) and np.array_equal(durations, said.durations)
    # Codes are learned as they are; that a sound is over is one token, whatever comes.
    assert (labels[:head] == IGNORED).all() and len(labels) == len(ids)
    same = labels[head:] == ids[head:]
    assert (same | (labels[head:] == tokens.next_id)).all()
    assert (labels == tokens.next_id).sum() == len(said.symbols)


@settings(deadline=None)
@given(spoken(), st.data())
def test_a_stream_that_is_cut_off_keeps_its_whole_frames(case, data) -> None:
    books, said = case
    tokens = vocabulary(books)
    ids, _ = write_stream(tokens, said)
    ids = ids[len(prompt_ids(tokens, said.symbols, said.voice)) :]
    codes, durations = read_stream(tokens, ids[: data.draw(st.integers(0, len(ids)))])
    assert np.array_equal(codes, said.codes[:, : codes.shape[1]])
    assert durations.sum() == codes.shape[1]


@settings(deadline=None)
@given(spoken())
def test_the_rule_allows_what_is_learned(case: tuple[int, Spoken]) -> None:
    books, said = case
    tokens = vocabulary(books)
    ids, _ = write_stream(tokens, said)
    rule = StreamRule(tokens, said.symbols, RATE)
    rule.follow(ids[len(prompt_ids(tokens, said.symbols, said.voice)) :].tolist())
    assert rule.done


@settings(deadline=None)
@given(texts, st.integers(1, 3), st.randoms(use_true_random=False), st.booleans())
def test_every_stream_ends(text: str, books: int, random, stubborn: bool) -> None:
    tokens = vocabulary(books)
    symbols = spell(text).symbols
    rule = StreamRule(tokens, symbols, RATE)
    ids: list[int] = []
    while not rule.done:
        now = rule.choice()
        may = [*now.codes, *([] if now.due is None else [now.due])]
        # A stubborn model never ends a sound by itself.
        ids.append(now.codes[0] if stubborn and len(now.codes) else random.choice(may))
        rule.push(ids[-1])
        assert len(ids) <= rule.longest
    codes, durations = read_stream(tokens, ids)
    assert len(durations) == len(symbols) and durations.sum() == codes.shape[1]
    with pytest.raises(ValueError, match="ended"):
        rule.choice()


def test_what_isnt_due_is_refused() -> None:
    tokens = vocabulary(2)
    rule = StreamRule(tokens, " да.", RATE)
    first = rule.choice().codes[0]
    rule.push(first)
    for wrong in (first, tokens.codec.end_id, tokens.next_id, 0):
        with pytest.raises(ValueError, match="may not"):
            rule.push(wrong)
    rule.push(rule.choice().codes[3])
    assert rule.choice().due == SYMBOLS.index("а")


def test_durations_must_fit() -> None:
    tokens = vocabulary(1)
    with pytest.raises(CodecError, match="4 symbols have 3 durations"):
        write_stream(tokens, Spoken(" да.", np.ones(3, int), np.zeros((1, 3), int), "anna"))
    with pytest.raises(CodecError, match=r"need \[1, 4\]"):
        write_stream(tokens, Spoken(" да.", np.ones(4, int), np.zeros((1, 3), int), "anna"))
    with pytest.raises(CodecError, match="no voice 'petr'; the model has anna, ivan"):
        prompt_ids(tokens, " да.", "petr")


def test_a_model_without_voices_says_so() -> None:
    settings = {"num_codebooks": 1, "codebook_size": 4, "first_id": 9, "codec": "nano"}
    with pytest.raises(CodecError, match="wasn't taught to speak"):
        SpeechVocabulary.of_settings(settings)


def test_symbols_are_tokens_of_the_tokenizer(nano) -> None:
    ids = symbol_tokens(nano.processor.tokenizer)
    assert len(set(ids)) == len(SYMBOLS)
    with pytest.raises(CodecError, match="'漢'"):
        symbol_tokens(nano.processor.tokenizer, "а漢")
