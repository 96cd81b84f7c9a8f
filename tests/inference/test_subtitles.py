"""Subtitle files: their form, their breaks, and that nothing is lost."""

from __future__ import annotations

import json
import re

import pytest

from borealis.inference import subtitles
from borealis.inference.transcript import Segment, Transcript
from borealis.inference.words import Word

SRT = re.compile(r"(\d+)\n(\d\d:\d\d:\d\d,\d{3}) --> (\d\d:\d\d:\d\d,\d{3})\n(.+)\n(?:\n|$)")


def spoken(text: str, start: float = 0.0, each: float = 0.5) -> list[Word]:
    return [
        Word(start + i * each, start + (i + 0.8) * each, word, 0.9)
        for i, word in enumerate(text.split())
    ]


@pytest.fixture
def transcript() -> Transcript:
    text = "Мороз и солнце. День чудесный!"
    return Transcript(text, 3.0, [Segment(0.0, 3.0, text)])


def test_srt_breaks_at_the_end_of_a_sentence(transcript):
    found = SRT.findall(subtitles.to_srt(transcript, spoken(transcript.text)))
    assert found == [
        ("1", "00:00:00,000", "00:00:01,400", "Мороз и солнце."),
        ("2", "00:00:01,500", "00:00:02,400", "День чудесный!"),
    ]


def test_without_words_a_segment_is_a_cue(transcript):
    assert SRT.findall(subtitles.to_srt(transcript)) == [
        ("1", "00:00:00,000", "00:00:03,000", transcript.text)
    ]


def test_long_speech_is_cut_into_readable_cues():
    text = " ".join(["слово"] * 200)
    words = spoken(text, start=3599.0)
    cues = subtitles.cues(Transcript(text, 3800.0, [Segment(3599.0, 3700.0, text)]), words)
    assert " ".join(c.text for c in cues) == text
    assert all(len(c.text) <= subtitles.MAX_CHARACTERS for c in cues)
    assert all(c.end - c.start <= subtitles.MAX_SECONDS for c in cues)
    assert "01:00:0" in subtitles.to_srt(Transcript(text, 3800.0), words)


def test_a_pause_ends_a_cue():
    words = [Word(0, 1, "раз", 1.0), Word(4, 5, "два", None)]
    assert [c.text for c in subtitles.cues(Transcript("раз два", 5.0), words)] == ["раз", "два"]


def test_vtt_escapes_its_own_marks():
    text = "a < b & c --> d"
    vtt = subtitles.to_vtt(Transcript(text, 1.0, [Segment(0.0, 1.0, text)]))
    assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n")
    assert "a &lt; b &amp; c --&gt; d" in vtt


def test_json_keeps_everything(transcript):
    words = spoken(transcript.text)
    data = json.loads(subtitles.write(transcript, words, form="json"))
    assert data["text"] == transcript.text and data["duration"] == 3.0
    assert [w["text"] for w in data["words"]] == transcript.text.split()
    assert set(data["words"][0]) == {"start", "end", "text", "confidence"}


def test_nothing_said_is_an_empty_file():
    empty = Transcript("", 2.0)
    assert subtitles.to_srt(empty) == ""
    assert subtitles.to_vtt(empty) == "WEBVTT\n"


def test_an_unknown_form_is_refused(transcript):
    with pytest.raises(ValueError, match="srt, vtt, json"):
        subtitles.write(transcript, form="ass")
