"""Transcripts as JSON, text and subtitles."""

import json

import pytest

from borealis.inference.transcript import Word
from borealis.serving import formats
from borealis.serving.formats import Part

PARTS = [
    Part(0.0, 14.96, "Как-то ночью.", [1, 2, 3], -0.25),
    Part(14.96, 30.0),  # nobody speaks
    Part(30.0, 3_723.5, "Проснулся --> я.", [4], -0.5),
]


def test_text_is_joined_as_transcribe_joins_it() -> None:
    assert formats.join(PARTS) == "Как-то ночью. Проснулся --> я."
    assert formats.join([Part(0.0, 1.0)]) == ""


def test_json_rounds_the_seconds_up() -> None:
    value = formats.as_json(PARTS, 3_723.2)
    assert value["usage"] == {"type": "duration", "seconds": 3_724}


def test_verbose_json_has_a_segment_for_each_spoken_part() -> None:
    value = json.loads(json.dumps(formats.as_verbose_json(PARTS, 3_723.5, "ru", 0.0)))
    assert [(s["id"], s["start"], s["end"]) for s in value["segments"]] == [
        (0, 0.0, 14.96),
        (1, 30.0, 3_723.5),
    ]
    assert value["text"] == " ".join(s["text"] for s in value["segments"])
    assert (value["language"], value["task"], value["duration"]) == ("ru", "transcribe", 3_723.5)


def test_subtitles() -> None:
    """Readable ones; a text without times of words is shared out over its part."""
    assert formats.as_srt(PARTS, 3_723.5).startswith("1\n00:00:00,000 --> ")
    vtt = formats.as_vtt(PARTS, 3_723.5)
    assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> ")
    assert "--&gt;" in vtt and "01:02:03.500" in vtt


def test_words_are_there_where_they_were_asked_for() -> None:
    assert "words" not in formats.as_verbose_json(PARTS, 3_723.5, "ru", 0.0)
    words = [Word(0.5, 0.9, "Как-то", 0.9), Word(5.5, 6.0, "ночью.", 0.8)]
    parts = [Part(0.0, 14.96, "Как-то ночью.", words=words), Part(14.96, 30.0, words=[])]
    told = json.loads(json.dumps(formats.as_verbose_json(parts, 30.0, "ru", 0.0)))["words"]
    assert told == [
        {"word": "Как-то", "start": 0.5, "end": 0.9},
        {"word": "ночью.", "start": 5.5, "end": 6.0},
    ]
    # A pause parts subtitles.
    assert [line for line in formats.as_srt(parts, 30.0).splitlines() if line] == [
        *("1", "00:00:00,500 --> 00:00:01,500", "Как-то"),
        *("2", "00:00:05,500 --> 00:00:06,500", "ночью."),
    ]


def test_text_that_repeats_itself_compresses_well() -> None:
    looped = formats.as_verbose_json([Part(0, 1, "меня оживлен " * 20)], 1, None, 0)
    plain = formats.as_verbose_json(PARTS, 1, None, 0)
    ratios = [value["segments"][0]["compression_ratio"] for value in (plain, looped)]
    assert ratios[1] > 2.4 > ratios[0]


@pytest.mark.parametrize("seconds", [0.0005, 59.9996, 3_599.9999])
def test_clock_never_shows_sixty(seconds: float) -> None:
    assert ":60" not in formats.as_srt([Part(0, seconds, "Да.")], seconds)
