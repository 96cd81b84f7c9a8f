"""Words invented where nobody speaks: the recordings are what they say, and the file has counts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from borealis.audio import SAMPLING_RATE
from tests.conftest import load_script


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with one tone as its music."""
    time = np.arange(3 * SAMPLING_RATE) / SAMPLING_RATE
    soundfile.write(tmp_path / "tone.wav", 0.3 * np.sin(2 * np.pi * 440 * time), SAMPLING_RATE)
    row = {"audio": "tone.wav", "duration": 3.0, "voice": "music", "kind": "music", "text": ""}
    (tmp_path / "sounds.test.jsonl").write_text(json.dumps(row), encoding="utf-8")
    return tmp_path


def test_each_kind_is_as_long_and_sounds_as_it_says(data):
    made = load_script("benchmarks/nano_sounds.py").recordings(data, 20.0)
    assert {k: [len(p) for p in v] for k, v in made.items()} == dict.fromkeys(
        ("silence", "noise", "music"), [10 * SAMPLING_RATE] * 2
    )
    assert not made["silence"][0].any() and 0 < np.abs(made["silence"][1]).max() < 0.01
    assert all(0.005 < np.sqrt((piece**2).mean()) < 0.5 for piece in made["noise"])
    spectrum = np.abs(np.fft.rfft(made["music"][0][:SAMPLING_RATE]))
    assert spectrum.argmax() == 440


@pytest.mark.slow
def test_the_file_counts_words_of_each_kind(data, monkeypatch):
    out = data / "out.json"
    monkeypatch.setattr(
        sys, "argv", ["x", "--data", str(data), "--output", str(out), "--seconds", "10"]
    )
    load_script("benchmarks/nano_sounds.py").main()
    record = json.loads(out.read_text(encoding="utf-8"))
    kinds = record["metrics"]["kinds"]
    assert record["decoding"]["batch_size"] == 8 and record["data"]["sounds"]["utterances"] == 1
    assert record["name"] == "nano-sounds" and set(kinds) == {"silence", "noise", "music"}
    assert kinds["silence"] == {"pieces": 1, "words": 0, "examples": []}
