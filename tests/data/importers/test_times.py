"""Long recordings with times beside them: labels, TextGrids, ELAN, subtitles, Label Studio."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from borealis.audio import load_audio
from borealis.data.importers.rows import Problem, Row
from borealis.data.importers.segments import Limits, joined, usable

LONG_GRID = '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 5
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "phrases"
        xmin = 0
        xmax = 5
        intervals: size = 4
        intervals [1]:
            xmin = 0
            xmax = 2
            text = "Он сказал ""да"""
        intervals [2]:
            xmin = 2
            xmax = 3.5
            text = ""
        intervals [3]:
            xmin = 3.5
            xmax = 4
            text = "sil"
        intervals [4]:
            xmin = 4
            xmax = 5
            text = "и вышел"
    item [2]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 5
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 5
            text = "a"
'''
SHORT_GRID = '"ooTextFile"\n"TextGrid"\n0\n5\n<exists>\n{}\n'
SHORT_TIER = '"IntervalTier"\n"{}"\n0\n5\n2\n0\n2\n"{}"\n2\n5\n""\n'


def test_audacity_labels_are_told_from_plain_text(folder, run, seconds):
    (folder / "a.txt").write_text(
        "0.5\t2.0\tРаз\n\\\t100\t200\n2.1\t3.0\tдва\n4.5\t5.0\t\n5.1\t5.5\tтри\n", encoding="utf-8"
    )
    (folder / "b.txt").write_text("2 3 раза в год", encoding="utf-8")
    done = run(folder)
    assert done.texts == ["Раз два", "три", "2 3 раза в год"]
    assert seconds(done.items[0]) == pytest.approx(2.5), "neighbours are one clip"
    assert "Audacity labels (1)" in done.out and "text (1)" in done.out
    assert "a segment without a text: 1" in done.out


def test_a_clip_is_the_stretch_it_is_said_to_be(folder, run):
    (folder / "a.txt").write_text("1.25\t2.5\tРаз\n", encoding="utf-8")
    (item,) = run(folder / "a.flac").items
    whole = load_audio(folder / "a.flac")
    assert np.abs(load_audio(item.audio) - whole[20_000:40_000]).max() < 1e-4
    assert item.audio.endswith("clips/train/a-0001.25.flac") and item.duration == 1.25


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_textgrids_in_their_long_form(folder, run, seconds, encoding):
    (folder / "a.TextGrid").write_text(LONG_GRID, encoding=encoding)
    done = run(folder / "a.TextGrid")
    assert done.texts == ['Он сказал "да"', "и вышел"], "a pause of two seconds keeps them apart"
    assert [seconds(item) for item in done.items] == pytest.approx([2, 1])
    assert "tier 'phrases', 2 intervals and 2 pauses" in done.out


def test_textgrids_in_their_short_form_with_a_tier_for_each_speaker(folder, run):
    tiers = SHORT_TIER.format("анна", "Раз") + SHORT_TIER.format("иван", "Два")
    (folder / "a.TextGrid").write_text(SHORT_GRID.format(2) + tiers, encoding="utf-8")
    refused = run(folder / "a.TextGrid")
    assert refused.code == 2 and "--tier" in refused.error and "'анна', 'иван'" in refused.error
    done = run(folder / "a.TextGrid", "--tier", "иван")
    assert done.texts == ["Два"]
    done = run(folder / "a.TextGrid", "--tier", "иван", "--tier", "анна", "--replace")
    assert done.code == 2 and "several speak at once" in done.error
    assert run(folder / "a.TextGrid", "--tier", "none", "--replace").code == 2


def test_our_own_textgrids_srt_vtt_tsv_and_json_come_back(folder, run, tmp_path):
    from borealis.inference.formats import SUFFIXES, write
    from borealis.inference.transcript import Segment, Transcript, Word

    words = [Word(0.5, 1.0, "Раз,", 0.9), Word(1.0, 2.0, "два.", 0.9)]
    transcript = Transcript("Раз, два.", 5.81, [Segment(0.5, 2.0, "Раз, два.", words)], "ru")
    for form in ("textgrid", "srt", "vtt", "tsv", "json"):
        beside = folder / f"a{SUFFIXES[form]}"
        beside.write_text(write(transcript, form), encoding="utf-8")
        done = run(beside, "--replace")
        assert done.texts == ["Раз, два."], form
        assert done.items[0].duration == pytest.approx(1.5, abs=0.01), form
        beside.unlink()


EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT><HEADER><MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/far/a.flac"/></HEADER>
<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="1" TIME_VALUE="500"/><TIME_SLOT TIME_SLOT_ID="2" TIME_VALUE="2000"/>
<TIME_SLOT TIME_SLOT_ID="3" TIME_VALUE="3000"/><TIME_SLOT TIME_SLOT_ID="4" TIME_VALUE="4000"/><TIME_SLOT TIME_SLOT_ID="5"/></TIME_ORDER>
<TIER TIER_ID="t1" PARTICIPANT="Анна" LINGUISTIC_TYPE_REF="speech">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="1" TIME_SLOT_REF2="2"><ANNOTATION_VALUE>Раз &amp; два</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="4" TIME_SLOT_REF2="5"><ANNOTATION_VALUE>нет</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
<TIER TIER_ID="t2" LINGUISTIC_TYPE_REF="speech">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="3" TIME_SLOT_REF2="4"><ANNOTATION_VALUE>Три</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
<TIER TIER_ID="en" LINGUISTIC_TYPE_REF="translation" PARENT_REF="t1">
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="r1" ANNOTATION_REF="a1"><ANNOTATION_VALUE>One</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION></TIER>
</ANNOTATION_DOCUMENT>"""


def test_elan_with_a_tier_for_each_speaker(folder, run):
    (folder / "talk.eaf").write_text(EAF, encoding="utf-8")
    done = run(folder / "talk.eaf")
    assert [(i.text, i.voice, i.duration) for i in done.items] == [
        ("Раз & два", "Анна", 1.5),
        ("Три", "t2", 1.0),
    ]
    assert "'a3' has no times" in done.out
    done = run(folder / "talk.eaf", "--tier", "en", "--replace")
    assert [(i.text, i.duration) for i in done.items] == [("One", 1.5)], "times of what it hangs on"


@pytest.mark.parametrize(
    "xml",
    [
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><ANNOTATION_DOCUMENT>&b;</ANNOTATION_DOCUMENT>',
        '<!DOCTYPE a SYSTEM "file:///etc/passwd"><ANNOTATION_DOCUMENT/>',
        '<!DOCTYPE a [<!ENTITY x0 "ha"><!ENTITY x1 "&x0;&x0;&x0;"><!ENTITY x2 "&x1;&x1;&x1;">]><a>&x2;</a>',
        "<a>" * 100_000,
        "<a><b></a>",
        "<ANNOTATION_DOCUMENT/>",
        "",
        "\0\1\2",
        EAF.replace("UTF-8", "nothing-8"),
    ],
)
def test_hostile_xml_is_refused_in_a_sentence(folder, run, xml):
    (folder / "a.eaf").write_text(xml, encoding="utf-8")
    done = run(folder / "a.eaf")
    assert done.code == 2 and "a.eaf" in done.error and len(done.error) < 500


@pytest.mark.parametrize(
    "grid",
    ["", '"ooTextFile"\n"TextGrid"\n0\n5\n<exists>\n999999999\n', '"ooTextFile"\n"TextGrid"\n0\n5\n<exists>\n1\n"IntervalTier"\n"a"\n0\n5\n1e300\n0\n1\n"a"\n', '"ooTextFile"\n"TextGrid"\n0\n1e999\n<exists>\n0\n', "ooBinaryFile\x08TextGrid", '"ooTextFile"\n"TextGrid"\n0\n5\n<exists>\n-1\n', LONG_GRID[:400]],
)  # fmt: skip
def test_textgrids_that_break_off_or_promise_too_much_are_told(folder, run, grid):
    (folder / "a.TextGrid").write_text(grid)
    done = run(folder / "a.TextGrid")
    assert done.code == 2 and "a.TextGrid" in done.error


SRT = """1
00:00:00,500 --> 00:00:02,000
<i>Раз</i>, {\\an8}два

2
00:00:02,100 --> 00:00:03,000
три &amp; четыре
3
00:00:03,000 --> 00:00:03,500
[музыка]

4
00:00:04,000 --> 00:00:05,000
пять
"""
VTT = """WEBVTT

NOTE a note --> no

00:00.500 --> 00:02.000 align:start
<v Анна>Раз</v>

00:01.900 --> 00:03.000
<v Анна>Раз
<00:02.000><c>два</c>

00:03.000 --> 00:05.000
<v Иван>Три
"""


def test_subtitles_lose_their_tags_and_are_joined(folder, run):
    (folder / "a.srt").write_text(SRT, encoding="cp1251")
    done = run(folder)
    assert [(i.text, i.duration) for i in done.items] == [("Раз, два три & четыре пять", 4.5)]
    assert "1 cues without words" in done.out and "cp1251 (1)" in done.out


def test_captions_that_roll_say_each_line_once(folder, run):
    (folder / "a.en.vtt").write_text(VTT, encoding="utf-8")
    done = run(folder)
    assert [(i.text, i.voice, i.language) for i in done.items] == [
        ("Раз два", "Анна", "en"),
        ("Три", "Иван", "en"),
    ]


def test_a_file_with_times_is_preferred_to_a_text(folder, run):
    (folder / "a.srt").write_text(SRT, encoding="utf-8")
    (folder / "a.txt").write_text("Раз", encoding="utf-8")
    assert "'a.srt' is used, not a.txt" in run(folder).out


def test_label_studio_with_segments_and_with_whole_clips(folder, run):
    def region(number, start, end, speaker, text):
        times = {"start": start, "end": end}
        return [
            {"id": number, "type": "labels", "value": {**times, "labels": [speaker]}},
            {"id": number, "type": "textarea", "value": {**times, "text": [text]}},
        ]

    tasks = [
        {"data": {"audio": "/data/upload/3/0a1b2c3d-a.flac"}, "annotations": [
            {"was_cancelled": True, "result": region("x", 0, 1, "A", "нет")},
            {"result": [*region("r1", 0.5, 2.0, "A", "Раз"), *region("r2", 2.5, 4.0, "B", "Два"), *region("r3", 4.0, 90.0, "B", "Три")]},
        ]},
        {"data": {"audio": "/data/local-files/?d=calls%2Fb.wav"}, "annotations": [{"result": [{"type": "textarea", "value": {"text": ["Всё"]}}]}]},
        {"data": {"audio": "none.wav"}, "annotations": [{"result": [1]}]},
        {"data": {"audio": "a.flac"}, "annotations": []},
        5,
    ]  # fmt: skip
    (folder / "export.json").write_text(json.dumps(tasks), encoding="utf-8")
    done = run(folder / "export.json")
    assert [(i.text, i.voice) for i in done.items] == [("Раз", "A"), ("Два", "B"), ("Всё", "")]
    for words in (
        "'none.wav' isn't in the folder",
        "isn't annotated",
        "is no task",
        "outside of the recording",
    ):
        assert words in done.out


def segment(start: float, end: float, text: str = "а", voice: str = "", joins: bool = True) -> Row:
    return Row(None, text, start, end, voice=voice, joins=joins)


def test_neighbours_are_joined_to_the_longest_clip_and_no_further():
    rows = [segment(0, 10), segment(10.5, 20), segment(20, 29), segment(29, 45), segment(50, 51)]
    out = joined(rows, Limits(0.2, 30))
    assert [(r.start, r.end) for r in out] == [(0, 29), (29, 45), (50, 51)]


def test_other_voices_and_what_is_left_out_keep_neighbours_apart():
    rows = [segment(0, 2, voice="a"), segment(2, 2.5, voice="b"), segment(2.5, 4, voice="a"), segment(4, 4.4, ""), segment(4.4, 5, voice="a")]  # fmt: skip
    out = joined(usable(rows, 10, Limits(0.2, 30)), Limits(0.2, 30))
    assert [(r.start, r.end) for r in out if isinstance(r, Row)] == [
        (0, 2),
        (2, 2.5),
        (2.5, 4),
        (4.4, 5),
    ]


def test_segments_that_cannot_be_clips_are_counted_by_reason():
    rows = [segment(0, 31), segment(3, 2), segment(60, 61), segment(-1, 1), segment(59, 62), segment(5, 5.1, joins=False), segment(7, 9, ""), segment(59, 60.3)]  # fmt: skip
    out = usable(rows, 60, Limits(0.2, 30))
    assert [r.end for r in out if isinstance(r, Row)] == [60]
    reasons = {problem.reason for problem in out if isinstance(problem, Problem)}
    assert len(reasons) == 5


def test_silent_segments_and_recordings_are_left_out(folder, run):
    sound = load_audio(folder / "a.flac")
    soundfile.write(folder / "c.wav", np.concatenate([sound, np.zeros(48_000)]), 16_000)
    soundfile.write(folder / "quiet.wav", np.zeros(16_000), 16_000)
    (folder / "quiet.txt").write_text("Раз", encoding="utf-8")
    (folder / "c.txt").write_text("0\t2\tРаз\n6.5\t8\tДва\n", encoding="utf-8")
    done = run(folder)
    assert done.texts == ["Раз"]
    assert "a silent segment: 1" in done.out and "a silent recording: 1" in done.out
