"""Codes and the file they are kept in: what is checked, and what a strange file is answered."""

from __future__ import annotations

import json
import stat
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from borealis.codec import Codes, load_codes
from borealis.errors import CodecError, OutputError


@pytest.fixture
def codes() -> Codes:
    """Three codebooks, five frames of 320 samples, the last one not full."""
    array = np.arange(15).reshape(3, 5)
    return Codes(array, num_samples=1_500, sampling_rate=24_000, codec="encodec_24khz")


def test_codes_know_their_shape(codes):
    assert (codes.num_codebooks, codes.num_frames) == (3, 5)
    assert codes.seconds == 1_500 / 24_000
    assert codes.codes.dtype == np.int32


def test_the_first_codebooks_can_be_taken(codes):
    fewer = codes.take(2)
    assert np.array_equal(fewer.codes, codes.codes[:2])
    assert (fewer.num_samples, fewer.sampling_rate, fewer.codec) == (1_500, 24_000, codes.codec)
    for wrong in (0, 4):
        with pytest.raises(CodecError, match="there are 1 to 3"):
            codes.take(wrong)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codes": np.zeros(5, int)}, r"shape \[5\]"),
        ({"codes": np.zeros((0, 5), int)}, r"shape \[0, 5\]"),
        ({"codes": np.zeros((2, 0), int)}, "no frames"),
        ({"codes": [[1, 2], [3]]}, "different numbers"),
        ({"codes": np.zeros((1, 5))}, "float64"),
        ({"codes": [[1, -1]]}, "-1 isn't a code"),
        ({"codes": np.array([[2**40]])}, "isn't a code"),
        ({"codes": np.array([[2**64 - 1]], np.uint64)}, "isn't a code"),
        ({"num_samples": 0}, "num_samples is 0"),
        ({"num_samples": 1.5}, "num_samples is 1.5"),
        ({"num_samples": 4}, "5 frames can't be of 4 samples"),
        ({"sampling_rate": -1}, "sampling_rate is -1"),
        ({"sampling_rate": 10**9}, "sampling_rate is 1000000000"),
    ],
)
def test_what_codes_cannot_be_is_refused(codes, changes, message):
    values = {"codes": codes.codes, "num_samples": 1_500, "sampling_rate": 24_000} | changes
    with pytest.raises(CodecError, match=message):
        Codes(**values)


def test_a_file_gives_back_what_was_saved(codes, tmp_path: Path):
    path = tmp_path / "речь.safetensors"
    codes.save(path)
    read = load_codes(path)
    assert np.array_equal(read.codes, codes.codes)
    assert (read.num_samples, read.sampling_rate, read.codec) == (1_500, 24_000, "encodec_24khz")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    other = tmp_path / "other"
    other.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


def test_a_file_of_codes_has_the_right_name_and_a_place(codes, tmp_path: Path):
    with pytest.raises(CodecError, match=r"ends in \.safetensors"):
        codes.save(tmp_path / "x.npz")
    with pytest.raises(OutputError, match="can't be written"):
        codes.save(tmp_path / "no" / "x.safetensors")


def test_what_is_no_file_of_codes_is_said(codes, tmp_path: Path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(CodecError, match="There is no file"):
        load_codes(path)
    with pytest.raises(CodecError, match="There is no file"):
        load_codes(tmp_path)
    codes.save(path)
    whole = path.read_bytes()
    for data in (b"", b"RIFF" * 20, whole[:-3], whole[:40], struct.pack("<Q", 2**60) + whole[8:]):
        path.write_bytes(data)
        with pytest.raises(CodecError, match="isn't a safetensors file, or is damaged"):
            load_codes(path)
    save_file({"weight": np.zeros(3, np.float32)}, path)
    with pytest.raises(CodecError, match="without codes"):
        load_codes(path)


def test_a_later_version_and_strange_contents_are_refused(codes, tmp_path: Path):
    path = tmp_path / "x.safetensors"
    told = {
        "format": "borealis-codes",
        "version": "1",
        "sampling_rate": "24000",
        "num_samples": "9",
    }

    def read(tensors: dict, **changes: str) -> Codes:
        save_file(tensors, path, metadata=told | changes)
        return load_codes(path)

    good = {"codes": np.zeros((1, 3), np.int32)}
    assert read(good).codec == ""
    for changes, message in (
        ({"version": "2"}, "version 2.*install a newer"),
        ({"version": "one"}, "version 'one', which is no number"),
        ({"num_samples": "-9"}, "num_samples '-9'"),
        ({"num_samples": "9" * 5_000}, "which is no number"),
        ({"num_samples": "2"}, "3 frames can't be of 2 samples"),
        ({"sampling_rate": "٣"}, "sampling_rate"),
    ):
        with pytest.raises(CodecError, match=message):
            read(good, **changes)
    for tensors, message in (
        ({"x": good["codes"]}, "no tensor 'codes'"),
        (good | {"x": np.zeros(1, np.int32)}, "or others beside it"),
        ({"codes": np.zeros((1, 3), np.float32)}, "float32"),
        ({"codes": np.full((1, 3), -1, np.int32)}, "-1 isn't a code"),
        ({"codes": np.zeros(3, np.int32)}, r"shape \[3\]"),
    ):
        with pytest.raises(CodecError, match=message):
            read(tensors)


def test_a_header_that_promises_more_than_there_is_is_refused(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    entry = {"dtype": "I32", "shape": [1, 2**40], "data_offsets": [0, 2**42]}
    header = json.dumps({"codes": entry}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(CodecError, match="damaged"):
        load_codes(path)
