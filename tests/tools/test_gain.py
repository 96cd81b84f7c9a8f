"""The tables and the picture of what fine-tuning gives say what the result file says."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

from tools.site.gain_plot import plot
from tools.site.training_tables import table


def run(clips: int, seed: int, rate: float, **more) -> dict:
    change = {"word_error_rate": rate - 0.8, "word_error_rate_95": [rate - 0.85, rate - 0.75]}
    return {
        "clips": clips, "seed": seed, "seconds": 90.0, "word_error_rate": rate,
        "change": change, "known": {"word_error_rate": 0.25}, **more,
    }  # fmt: skip


HOT = {"terms_found": 0.5, "hot_words": {"terms_found": 0.75}}
METRICS = {
    "stranger": {
        "before": {"word_error_rate": 0.8, "known": {"word_error_rate": 0.238}},
        "after": [run(10, seed, 0.6 + seed / 100) for seed in range(3)],
    },
    "terms": {
        "before": {
            "word_error_rate": 0.5, "known": {"word_error_rate": 0.238}, "terms_found": 0.1,
            "hot_words": {"terms_found": 0.4},
        },
        "after": [run(10, seed, 0.45, **HOT) for seed in range(3)],
    },
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    record = {
        "metrics": METRICS,
        "commit": "abc",
        "date": "2026-11-29",
        "machine": {"processor": "AMD EPYC", "accelerator": "", "threads": 1},
    }
    (tmp_path / "training-gain.json").write_text(json.dumps(record), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("language", ["en", "ru"])
def test_the_picture_has_a_dot_for_each_run(language):
    root = ET.fromstring(plot(METRICS, language))
    dots = [e for e in root.iter() if e.tag.endswith("circle")]
    assert len(dots) == 2 + 6
    heights = {float(e.get("cy")) for e in dots}
    assert max(heights) > min(heights) and all(0 < h < 300 for h in heights)
    assert root.get("aria-label") and root.get("role") == "img"
    texts = " ".join("".join(e.itertext()) for e in root.iter() if e.tag.endswith("text"))
    assert ("trade" in texts) == (language == "en") and ("телефону" in texts) == (language == "ru")


def test_a_row_has_all_runs_and_the_change_of_the_middle_one(folder):
    english, russian = (table("gain", folder, language) for language in ("en", "ru"))
    assert "| 80.0 | 60.0, 61.0, 62.0 | -24.0 … -14.0 | 25.0 | 1.5 |" in english
    assert "| 80,0 | 60,0; 61,0; 62,0 | -24,0 … -14,0 | 25,0 | 1,5 |" in russian


def test_words_are_told_with_hot_words_and_without(folder):
    rows = table("terms", folder, "en")
    assert "| 0 | 10.0 | 40.0 |" in rows and "| 10 | 50.0 | 75.0 |" in rows


def test_without_a_file_nothing_is_shown(tmp_path):
    for which in ("gain", "terms", "picture"):
        assert "<svg" not in table(which, tmp_path, "en")
