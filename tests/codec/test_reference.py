"""EnCodec against numbers that its authors' package made of the same weights (make_reference.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from borealis.codec import Codes, load_codec
from tests.codec.make_reference import SETTINGS

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", SETTINGS)
def test_encodec_is_that_of_its_authors(name):
    codec = load_codec(HERE / name, device="cpu")
    expected = load_file(HERE / name / "expected.safetensors")
    waveform = expected["samples"].astype(np.float32) / 32768
    codes = codec.encode(waveform)
    assert np.array_equal(codes.codes, expected["codes"])
    assert min(len(set(book)) for book in expected["codes"].tolist()) > 12
    assert np.abs(codec.decode(codes) - expected["sound"]).max() < 1e-5
    stream = codec.stream_encoder()
    parts = [stream.push(waveform[at : at + 1_000]) for at in range(0, len(waveform), 1_000)]
    assert np.array_equal(np.concatenate([*parts, stream.finish()], 1), expected["codes"])


def test_the_stored_numbers_are_more_than_noise():
    expected = load_file(HERE / "reference_24khz" / "expected.safetensors")
    codec = load_codec(HERE / "reference_24khz", device="cpu")
    silent = Codes(np.zeros_like(expected["codes"]), len(expected["samples"]), 24_000)
    assert np.abs(codec.decode(silent) - expected["sound"]).max() > 1e-2
