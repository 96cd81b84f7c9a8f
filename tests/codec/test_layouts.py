"""Flat and delayed orders: both ways, exact lengths, and what is kept of a broken stream."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from borealis.codec import from_delay, from_flat, to_delay, to_flat
from borealis.errors import CodecError

SIZE = 11
CODES = st.tuples(st.integers(1, 8), st.integers(0, 12)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(0, SIZE - 1))
)
QUICK = settings(deadline=None, max_examples=60)


@QUICK
@given(CODES)
def test_flat_goes_both_ways(codes):
    flat = to_flat(codes, SIZE)
    assert flat.shape == (codes.size,)
    books = codes.shape[0]
    assert all(number // SIZE == place % books for place, number in enumerate(flat))
    assert np.array_equal(from_flat(flat, num_codebooks=books, codebook_size=SIZE), codes)


@QUICK
@given(CODES)
def test_delay_goes_both_ways(codes):
    books, frames = codes.shape
    rows = to_delay(codes, SIZE)
    assert rows.shape == (books, frames + books - 1 if frames else 0)
    assert (rows == SIZE).sum() == (books * (books - 1) if frames else 0)
    assert np.array_equal(from_delay(rows, codebook_size=SIZE), codes)


def test_orders_look_as_they_are_described():
    codes = np.array([[0, 1, 2], [3, 4, 5]])
    assert to_flat(codes, 10).tolist() == [0, 13, 1, 14, 2, 15]
    assert to_delay(codes, 10).tolist() == [[0, 1, 2, 10], [10, 3, 4, 5]]


@QUICK
@given(CODES, st.data())
def test_a_flat_stream_counts_up_to_the_first_fault(codes, data):
    books = codes.shape[0]
    flat = to_flat(codes, SIZE)
    place = data.draw(st.integers(0, len(flat)))
    fault = data.draw(st.sampled_from(["cut", "unknown", "missing", "twice"]))
    if fault == "cut" or place == len(flat):
        broken = flat[:place]
    elif fault == "unknown":
        broken = np.concatenate([flat[:place], [books * SIZE + 5], flat[place + 1 :]])
    elif fault == "missing":
        broken = np.delete(flat, place)
    else:
        broken = np.insert(flat, place, flat[place])
    read = from_flat(broken, num_codebooks=books, codebook_size=SIZE, strict=False)
    sure = place // books
    assert read.shape[1] >= sure and np.array_equal(read[:, :sure], codes[:, :sure])
    if books > 1:  # with one book, nothing tells that a code is missing
        assert read.shape[1] <= sure + (fault == "twice")


@QUICK
@given(CODES, st.data())
def test_delayed_rows_count_up_to_the_first_fault(codes, data):
    rows = to_delay(codes, SIZE)
    columns = data.draw(st.integers(0, rows.shape[1]))
    cut = from_delay(rows[:, :columns], codebook_size=SIZE, strict=False)
    frames = max(0, columns - codes.shape[0] + 1)
    assert np.array_equal(cut, codes[:, :frames])
    if codes.shape[1]:
        book, frame = (data.draw(st.integers(0, n - 1)) for n in codes.shape)
        rows[book, book + frame] = data.draw(st.sampled_from([-1, SIZE, SIZE + 1]))
        read = from_delay(rows, codebook_size=SIZE, strict=False)
        assert np.array_equal(read, codes[:, :frame])


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([0, 11, 1], "3 codes aren't whole frames of 2"),
        ([0, 1], "Place 1 holds 1, where a code of book 1 is due"),
        ([0, 22], "Place 1 holds 22"),
        ([-1, 11], "Place 0 holds -1"),
        ([0.5, 11], "float64"),
        ([[0, 11]], r"\[1, 2\]"),
    ],
)
def test_a_broken_flat_stream_is_an_error_if_strict(numbers, message):
    with pytest.raises(CodecError, match=message):
        from_flat(numbers, num_codebooks=2, codebook_size=SIZE)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, 1, 11], [11, 11, 5]], "Frame 0 lacks a code"),
        ([[0, 1, 11], [11, 4, 12]], "Frame 1 lacks a code"),
        ([[0], [11]], "Frame 0 lacks a code"),
        ([[0, 1, 11], [3, 4, 5]], "isn't a pad"),
        ([[0, 1, 2], [11, 4, 5]], "isn't a pad"),
        ([[0, 1], [1]], "different lengths"),
        ([0, 1], r"\[2\]"),
    ],
)
def test_broken_delayed_rows_are_an_error_if_strict(rows, message):
    with pytest.raises(CodecError, match=message):
        from_delay(rows, codebook_size=SIZE)


def test_codes_that_are_too_large_are_refused():
    for order in (to_flat, to_delay):
        with pytest.raises(CodecError, match="11 isn't in a codebook of 11"):
            order([[11]], SIZE)
