"""Files of transcripts: their form, their breaks, and that nothing is lost."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from borealis.inference import formats, subtitles
from borealis.inference.transcript import Segment, Transcript, Word

SRT = re.compile(
    r"(\d+)\n(\d\d:\d\d:\d\d,\d{3}) --> (\d\d:\d\d:\d\d,\d{3})\n(.+(?:\n.+)?)\n(?:\n|$)"
)


def spoken(text: str, start: float = 0.0, each: float = 0.5) -> list[Word]:
    return [
        Word(start + i * each, start + (i + 0.8) * each, word, 0.9)
        for i, word in enumerate(text.split())
    ]


def said(text: str, duration: float, words: list[Word] | None = None) -> Transcript:
    return Transcript(text, duration, [Segment(0.0, duration, text, words)], "ru")


@pytest.fixture
def transcript() -> Transcript:
    text = "Мороз и солнце. День чудесный!"
    return said(text, 3.0, spoken(text))


def test_srt_breaks_at_the_end_of_a_sentence(transcript):
    assert SRT.findall(formats.write(transcript, "srt")) == [
        ("1", "00:00:00,000", "00:00:01,400", "Мороз и солнце."),
        ("2", "00:00:01,500", "00:00:02,500", "День чудесный!"),
    ]


def test_without_times_words_share_their_segment():
    cues = subtitles.cues(said("Раз два. Три четыре.", 8.0))
    assert [(c.start, c.text) for c in cues] == [
        (0.0, "Раз два."),
        (pytest.approx(3.43, abs=0.01), "Три четыре."),
    ]
    assert cues[-1].end == 8.0


def test_a_full_subtitle_ends_at_its_last_comma():
    text = "Когда мы пришли домой после долгой прогулки, все уже спали и только кошка сидела"
    cues = subtitles.cues(said(text, 20.0, spoken(text, each=0.3)))
    assert cues[0].text.endswith("прогулки,")


def test_a_subtitle_stays_until_it_is_read():
    words = [Word(0.0, 0.4, "Несоответствующий", 1.0), Word(5.0, 5.2, "да", 1.0)]
    first, second = subtitles.cues(said("Несоответствующий да", 5.4, words))
    assert first.end == 1.0  # a second at least, though the word took less
    assert second.end == 5.4  # no longer than the recording


@given(
    st.lists(st.text("абвгд", min_size=1, max_size=60), min_size=1, max_size=80),
    st.sampled_from([0.05, 0.3, 2.0, 9.0]),
)
def test_subtitles_keep_every_word_in_order(pieces, each):
    text = " ".join(pieces)
    words = spoken(text, each=each)
    cues = subtitles.cues(said(text, words[-1].end + 1, words))
    assert " ".join(c.text for c in cues).split() == pieces
    for cue, following in pairwise(cues):
        assert cue.start <= cue.end <= following.start
    for cue in cues:
        lines = cue.text.split("\n")
        assert len(lines) <= subtitles.LINES
        assert all(len(line) <= subtitles.LINE or " " not in line for line in lines)


def test_long_speech_has_hours():
    text = " ".join(["слово"] * 200)
    transcript = Transcript(text, 3800.0, [Segment(3599.0, 3700.0, text, spoken(text, 3599.0))])
    cues = subtitles.cues(transcript)
    assert all(c.end - c.start <= subtitles.MAX_SECONDS for c in cues)
    assert "01:00:0" in formats.write(transcript, "srt")


def test_a_pause_ends_a_cue():
    words = [Word(0, 1, "раз", 1.0), Word(4, 5, "два", None)]
    assert [c.text for c in subtitles.cues(said("раз два", 5.0, words))] == ["раз", "два"]


def test_vtt_escapes_its_own_marks():
    text = "a < b & c --> d"
    vtt = formats.write(said(text, 1.0), "vtt")
    assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n")
    assert "a &lt; b &amp; c --&gt; d" in vtt


def test_json_keeps_everything(transcript):
    data = json.loads(formats.write(transcript, "json"))
    assert (data["text"], data["duration"], data["language"]) == (transcript.text, 3.0, "ru")
    (segment,) = data["segments"]
    assert [w["text"] for w in segment["words"]] == transcript.text.split()
    assert set(segment["words"][0]) == {"start", "end", "text", "confidence"}
    plain = json.loads(formats.write(said("да", 1.0), "json"))
    assert plain["segments"] == [{"start": 0.0, "end": 1.0, "text": "да"}]


def test_a_table_has_milliseconds():
    two = Transcript("а б", 3.0, [Segment(0.0, 1.25, "а"), Segment(1.25, 3.0, "б\tв")])
    assert formats.write(two, "tsv") == "start\tend\ttext\n0\t1250\tа\n1250\t3000\tб в\n"


def test_a_textgrid_covers_the_recording_without_gaps():
    words = [
        Word(0.5, 1.0, 'он "да"', 0.9),
        Word(1.0, 1.0, "нет", None),
        Word(2.0, 3.0, "так", 1.0),
    ]
    grid = formats.write(said('он "да" нет так', 4.0, words), "textgrid")
    assert grid.startswith('File type = "ooTextFile"\nObject class = "TextGrid"\n')
    tiers = grid.split("    item [")[1:]
    assert len(tiers) == 2 and 'name = "words"' in tiers[1]
    spans = re.findall(r"xmin = ([\d.]+)\n\s+xmax = ([\d.]+)\n\s+text = \"(.*)\"", tiers[1])
    assert spans == [
        ("0", "0.5", ""),
        ("0.5", "1", 'он ""да""'),
        ("1", "2", ""),
        ("2", "3", "так"),
        ("3", "4", ""),
    ]


@pytest.mark.parametrize("form", formats.FORMATS)
def test_nothing_said_is_a_file_too(form):
    written = formats.write(Transcript("", 2.0), form)
    expected = {"text": "\n", "srt": "", "vtt": "WEBVTT\n", "tsv": "start\tend\ttext\n"}
    assert written == expected.get(form, written)
    if form == "json":
        assert json.loads(written)["segments"] == []
    if form == "textgrid":
        assert "intervals: size = 1" in written


def test_an_unknown_form_is_refused(transcript):
    with pytest.raises(ValueError, match="text, json, srt"):
        formats.write(transcript, "ass")
