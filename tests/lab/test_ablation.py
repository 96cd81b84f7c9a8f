"""Rows of the ablation table: what they hold, and how two are compared."""

from __future__ import annotations

import json
import sys

import pytest

from borealis.errors import BorealisError
from tests.conftest import load_script


@pytest.fixture(scope="module")
def script():
    return load_script("lab/nano/ablation.py")


@pytest.fixture
def data(clips, tmp_path):
    """A data folder whose sets are the example recordings."""
    voices = {"festvox-ru.validation": ["man"], "synthetic-ru.test": ["irina", "anna"], "english-tts.test": ["x"]}  # fmt: skip
    for name, names in voices.items():
        rows = [
            {"audio": clip.audio, "text": clip.text, "voice": names[i % len(names)]}
            for i, clip in enumerate(clips[:4])
        ]
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return tmp_path


def run(script, monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["ablation.py", *arguments])
    script.main()


@pytest.mark.slow
def test_rows_are_added_and_compared(script, data, monkeypatch, capsys):
    output = data / "results" / "ablation.json"
    common = ["nano", "--data", str(data), "--output", str(output), "--clips", "2", "--ctc-only"]
    run(script, monkeypatch, *common, "--name", "start", "--steps", "5", "--hours", "0.5")
    run(script, monkeypatch, *common, "--name", "same", "--against", "start")
    run(script, monkeypatch, *common, "--name", "start", "--note", "again")
    record = json.loads(output.read_text(encoding="utf-8"))
    assert [row["name"] for row in record["rows"]] == ["same", "start"]
    same, start = record["rows"]
    assert start["note"] == "again" and start["held_out_voice"] == "irina"
    assert start["sets"].keys() == {"known", "distorted", "held_out", "synthetic", "english"}
    for result in same["sets"].values():
        assert result["clips"] == len(result["clip_words"]) and "model" not in result
        assert 0 < result["ctc"]["word_error_rate"] < 1.5
        assert result["ctc"]["change"] == [0.0, 0.0, 0.0]
    assert same["sets"]["distorted"]["ctc"] != same["sets"]["known"]["ctc"]
    assert "+0.0 [+0.0, +0.0]" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no row 'nothing'"):
        run(script, monkeypatch, *common, "--name", "x", "--against", "nothing")


def test_a_difference_is_of_the_same_clips(script):
    old = {"clip_words": [10, 10, 10], "ctc": {"clip_word_errors": [4, 5, 6]}}
    new = {"clip_words": [10, 10, 10], "ctc": {"clip_word_errors": [3, 4, 5]}}
    assert script.difference(new, old, "ctc") == (-10.0, -10.0, -10.0)
    with pytest.raises(BorealisError, match="different clips"):
        script.difference(new, old | {"clip_words": [10, 10, 9]}, "ctc")
