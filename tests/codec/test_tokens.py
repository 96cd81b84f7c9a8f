"""Token names and ids of codes: both ways, marks, and what is kept of a broken text."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from borealis.codec import CodecVocabulary
from borealis.errors import CodecError

SIZE = 11
CODES = st.tuples(st.integers(1, 8), st.integers(0, 8)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(0, SIZE - 1))
)
LAYOUTS = st.sampled_from(["flat", "delay"])
QUICK = settings(deadline=None, max_examples=60)


def test_names_are_as_they_are_described():
    vocabulary = CodecVocabulary(2, 3, first_id=100)
    assert vocabulary.tokens() == [
        *("<|start_of_speech|>", "<|end_of_speech|>", "<|audio:pad|>"),
        *("<|audio:0:0|>", "<|audio:0:1|>", "<|audio:0:2|>"),
        *("<|audio:1:0|>", "<|audio:1:1|>", "<|audio:1:2|>"),
    ]
    assert len(vocabulary) == 9
    assert (vocabulary.start_id, vocabulary.end_id, vocabulary.pad_id) == (100, 101, 102)
    codes = [[0, 2], [1, 0]]
    assert vocabulary.ids(codes).tolist() == [100, 103, 107, 105, 106, 101]
    assert vocabulary.ids(codes, layout="delay", marks=False).tolist() == [
        *(103, 102),
        *(105, 107),
        *(102, 106),
    ]
    assert vocabulary.text(codes, marks=False) == (
        "<|audio:0:0|><|audio:1:1|><|audio:0:2|><|audio:1:0|>"
    )


@QUICK
@given(CODES, LAYOUTS, st.booleans(), st.integers(0, 200_000))
def test_ids_and_text_go_both_ways(codes, layout, marks, first_id):
    vocabulary = CodecVocabulary(codes.shape[0], SIZE, first_id)
    ids = vocabulary.ids(codes, layout=layout, marks=marks)
    text = vocabulary.text(codes, layout=layout, marks=marks)
    assert ids.min(initial=first_id) >= first_id
    assert ids.max(initial=first_id) < first_id + len(vocabulary)
    for strict in (True, False):
        assert np.array_equal(vocabulary.codes(ids, layout=layout, strict=strict), codes)
        assert np.array_equal(vocabulary.parse(text, layout=layout, strict=strict), codes)
    assert text.count("<|") == len(ids)
    assert np.array_equal(vocabulary.parse(text.replace("><", ">\n <"), layout=layout), codes)


@QUICK
@given(CODES, LAYOUTS, st.data())
def test_a_stream_that_breaks_off_keeps_its_whole_frames(codes, layout, data):
    vocabulary = CodecVocabulary(codes.shape[0], SIZE)
    ids = vocabulary.ids(codes, layout=layout)[:-1]
    place = data.draw(st.integers(1, len(ids)))
    whole = (place - 1) // codes.shape[0] - (codes.shape[0] - 1 if layout == "delay" else 0)
    tail = data.draw(st.sampled_from([[], [len(vocabulary) + 5], [-7], [vocabulary.start_id]]))
    read = vocabulary.codes(
        [*ids[:place], *tail, *ids[place:][: 3 if tail else 0]], layout=layout, strict=False
    )
    assert np.array_equal(read, codes[:, : max(0, whole)])


def test_what_stands_around_speech_is_left_out_if_not_strict():
    vocabulary = CodecVocabulary(2, SIZE)
    speech = vocabulary.text([[1, 2], [3, 4]])
    text = f"Вот: <b> {speech} <|im_end|> {vocabulary.text([[5], [6]])}"
    assert vocabulary.parse(text, strict=False).tolist() == [[1, 2], [3, 4]]
    with pytest.raises(CodecError, match=r"'Вот: <b>.*isn't a codec token"):
        vocabulary.parse(text)


def test_text_is_read_up_to_the_first_fault_if_not_strict():
    vocabulary = CodecVocabulary(2, SIZE)
    good = "<|audio:0:1|><|audio:1:2|>"
    for fault in (
        *("<|audio:1:3|>", "<|audio:0:11|>", "<|audio:2:0|>", "<|audio:pad|>", "x", "<|audio:0:"),
        *("<|audio|>", "<|audio:0:-1|>", "<|audio:0:99999999999999999999|>", "<|audio:٠:1|>"),
    ):
        assert vocabulary.parse(good + fault + good, strict=False).tolist() == [[1], [2]]
        with pytest.raises(CodecError):
            vocabulary.parse(good + fault + good)
    assert vocabulary.parse("", strict=True).shape == (2, 0)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 3, 14], "must stand once each"),
        ([3, 14, 1], "must stand once each"),
        ([0, 0, 1], "must stand once each"),
        ([1, 3, 14, 0], "must stand once each"),
        ([3, 14, 3], "aren't whole frames"),
        ([[3, 14]], r"\[1, 2\]"),
        ([3.0, 14.0], "float64"),
    ],
)
def test_broken_ids_are_an_error_if_strict(ids, message):
    with pytest.raises(CodecError, match=message):
        CodecVocabulary(2, SIZE).codes(ids)


def test_broken_delayed_ids_are_an_error_if_strict():
    vocabulary = CodecVocabulary(2, SIZE)
    for ids, message in (
        ([3, 2, 2], "aren't whole columns of 2"),
        ([3, 3], "Token 1 isn't of book 1"),
        ([3, 2], "lacks a code"),
    ):
        with pytest.raises(CodecError, match=message):
            vocabulary.codes(ids, layout="delay")


def test_a_wrong_number_of_books_and_a_wrong_layout_are_refused():
    vocabulary = CodecVocabulary(2, SIZE)
    with pytest.raises(CodecError, match="3 codebooks, and the vocabulary has 2"):
        vocabulary.ids([[0], [0], [0]])
    with pytest.raises(CodecError, match="give 'flat' or 'delay'"):
        vocabulary.ids([[0], [0]], layout="slanted")
    with pytest.raises(CodecError, match="must be 1 or more"):
        CodecVocabulary(0, SIZE)


def test_a_tokenizer_takes_the_vocabulary_and_tells_where_it_is(tokenizer):
    theirs = copy.deepcopy(tokenizer)
    with pytest.raises(CodecError, match="lacks 25 codec tokens"):
        CodecVocabulary.of_tokenizer(theirs, num_codebooks=2, codebook_size=SIZE)
    theirs.add_tokens(CodecVocabulary(2, SIZE).tokens(), special_tokens=True)
    vocabulary = CodecVocabulary.of_tokenizer(theirs, num_codebooks=2, codebook_size=SIZE)
    codes = [[1, 10, 0], [2, 3, 10]]
    ids = theirs(vocabulary.text(codes), add_special_tokens=False)["input_ids"]
    assert ids == vocabulary.ids(codes).tolist()
    assert vocabulary.codes(ids).tolist() == codes
    theirs.add_tokens(["<|audio:0:11|>"])
    with pytest.raises(CodecError, match="don't stand in one block"):
        CodecVocabulary.of_tokenizer(theirs, num_codebooks=1, codebook_size=SIZE + 1)
