"""Manifests: what is read, what is refused, and the commands that make and check them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from borealis.audio import load_audio
from borealis.cli import main
from borealis.data.manifest import Utterance, read_manifest, write_manifest
from borealis.errors import ManifestError


def test_what_is_written_is_read(tmp_path):
    items = [
        Utterance(str(tmp_path / "a" / "1.wav"), "Да.", 1.5, voice="анна", gender="female"),
        Utterance("/elsewhere/2.wav", "", 2.0, language="", kind="music"),
    ]
    path = write_manifest(tmp_path / "m.jsonl", items)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows[0]["audio"] == "a/1.wav", "files beside the manifest move with it"
    assert rows[1]["audio"] == "/elsewhere/2.wav"
    assert read_manifest(path) == items


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"audio": "a.wav"', "line 2: not valid JSON"),
        ('["a.wav"]', "line 2: a JSON object"),
        ('{"audio": "a.wav", "txt": "x"}', "line 2: unknown key 'txt'"),
        ('{"text": "x"}', "line 2: the key 'audio'"),
        ('{"audio": "a.wav", "text": 5}', "line 2: 'text' has the wrong type"),
        ('{"audio": "a.wav", "duration": true}', "line 2: 'duration' has the wrong type"),
        ('{"audio": "a.wav", "kind": "song"}', "line 2: kind is 'song'"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, words):
    path = tmp_path / "m.jsonl"
    path.write_text('{"audio": "ok.wav"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(ManifestError, match=words):
        read_manifest(path)


def test_files_that_are_no_manifest(tmp_path):
    with pytest.raises(ManifestError, match="no manifest"):
        read_manifest(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(ManifestError, match="empty"):
        read_manifest(tmp_path / "empty.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="UTF-8"):
        read_manifest(tmp_path / "binary.jsonl")


def recordings(folder: Path) -> None:
    folder.mkdir()
    tone = (0.1 * np.sin(np.arange(16_000) / 10)).astype(np.float32)
    for name in ("b.wav", "a.flac", "no-text.wav"):
        soundfile.write(folder / name, tone, 16_000)
    (folder / "broken.wav").write_bytes(b"nothing")
    for name in ("a", "b", "broken"):
        (folder / f"{name}.txt").write_text(f"Текст {name}.\n", encoding="utf-8")


def test_manifest_of_a_folder(tmp_path, capsys):
    recordings(tmp_path / "mine")
    target = tmp_path / "mine.jsonl"
    assert main(["data", "manifest", str(tmp_path / "mine"), "--output", str(target), "--voice", "я"]) == 0  # fmt: skip
    out = capsys.readouterr().out
    assert "2 clips" in out and "2 skipped" in out
    assert "no-text.wav" in out and "broken.wav" in out, "what is skipped is named"
    items = read_manifest(target)
    assert [i.text for i in items] == ["Текст a.", "Текст b."]
    assert all(i.duration == 1.0 and i.voice == "я" for i in items)


@pytest.mark.parametrize(("suffix", "comma"), [(".csv", ","), (".tsv", "\t")])
def test_manifest_of_a_table(tmp_path, suffix, comma):
    recordings(tmp_path / "mine")
    table = tmp_path / "mine" / f"t{suffix}"
    table.write_text(f"audio{comma}text\na.flac{comma}Раз\nb.wav{comma}Два\n", encoding="utf-8")
    target = tmp_path / "m.jsonl"
    assert main(["data", "manifest", str(table), "--output", str(target)]) == 0
    assert [i.text for i in read_manifest(target)] == ["Раз", "Два"]


TABLE = "audio{0}text\na.flac{0}Раз\nb.wav{0}Два\n"


@pytest.mark.parametrize(
    "table",
    [
        TABLE.format(",").encode("utf-8-sig"),
        TABLE.format(";").encode("utf-8-sig"),
        TABLE.format("\t").encode(),
        TABLE.format(";").replace("\n", "\r\n").encode(),
        TABLE.format(",").replace("audio,text", " Audio , TEXT").encode(),
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path, table, capsys):
    recordings(tmp_path / "mine")
    (tmp_path / "mine" / "t.csv").write_bytes(table)
    target = tmp_path / "m.jsonl"
    assert (
        main(["data", "manifest", str(tmp_path / "mine" / "t.csv"), "--output", str(target)]) == 0
    )
    assert [i.text for i in read_manifest(target)] == ["Раз", "Два"]
    assert "not used" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (b"", "needs the columns 'audio' and 'text'"),
        (("audio,text\na.flac," + "о" * 200_000).encode(), "line 2: field larger"),
        (b"audio,text\n\0\1", "isn't text"),
    ],
)
def test_tables_that_cannot_be_read_are_told(tmp_path, table, says, capsys):
    path = tmp_path / "t.csv"
    path.write_bytes(table)
    assert main(["data", "manifest", str(path), "--output", str(tmp_path / "m.jsonl")]) == 2
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error and not (tmp_path / "m.jsonl").exists()


def test_rows_of_a_table_that_are_left_out_are_told(tmp_path, capsys):
    recordings(tmp_path / "mine")
    rows = [
        "audio,text,speaker,age",
        "a.flac,Раз,анна,30",
        "b.wav",
        "b.wav,Да, конечно,иван,40",
        ",Три,,",
        'b.wav,"Два\nтри',
    ]
    (tmp_path / "mine" / "t.csv").write_text("\n".join(rows), encoding="utf-8")
    target = tmp_path / "m.jsonl"
    assert (
        main(["data", "manifest", str(tmp_path / "mine" / "t.csv"), "--output", str(target)]) == 0
    )
    assert [i.text for i in read_manifest(target)] == ["Раз"]
    out = capsys.readouterr().out
    for words in (
        "voice = speaker; not used: age",
        "b.wav' has no text",
        "line 4 has more fields than the first line",
        "line 5 names no recording",
        "runs over several lines",
        "1 clip, 0.00 h, 1 voice",
        "4 skipped",
    ):
        assert words in out


def test_what_is_read_is_not_written_over(tmp_path, capsys):
    folder = tmp_path / "mine"
    recordings(folder)
    table = folder / "t.csv"
    table.write_text(TABLE.format(","), encoding="utf-8")
    kept = {path: path.read_bytes() for path in folder.iterdir()}
    for source, name in ((table, "t.csv"), (table, "a.flac"), (folder, "b.wav"), (folder, "b.txt")):
        output = folder / name
        assert main(["data", "manifest", str(source), "--output", str(output)]) == 2
        assert "also an input" in capsys.readouterr().err
    for output in (tmp_path, table / "m.jsonl"):  # a folder; a file on the way
        assert main(["data", "manifest", str(folder), "--output", str(output)]) == 2
        error = capsys.readouterr().err
        assert "can't be written" in error and "Traceback" not in error
    assert {path: path.read_bytes() for path in folder.iterdir()} == kept


def test_a_manifest_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"audio": "a.wav", "text": "а"}\n', encoding="utf-8-sig")
    assert read_manifest(path)[0].text == "а"


def test_sources_that_are_refused(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("file,words\n", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    for source, words in (
        (tmp_path / "t.csv", "columns 'audio' and 'text'"),
        (tmp_path / "none", "neither a folder"),
        (tmp_path / "empty", "has no recording in it"),
    ):
        assert main(["data", "manifest", str(source), "--output", str(tmp_path / "m")]) == 2
        assert words in capsys.readouterr().err


def test_check_names_every_problem(tmp_path, capsys, clips):
    assert main(["data", "check", str(Path(clips[0].audio).parent / "manifest.jsonl")]) == 0
    assert "0 problems" in capsys.readouterr().out
    rows = [
        {"audio": clips[0].audio, "text": "x", "duration": 1.0},
        {"audio": "none.wav", "text": "x"},
        {"audio": clips[1].audio, "text": "", "duration": clips[1].duration},
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    assert main(["data", "check", str(path)]) == 2
    out = capsys.readouterr().out
    assert "utterance 1: the manifest says 1.0 s" in out
    assert "utterance 2:" in out and "utterance 3: speech without a text" in out
    assert "3 problems" in out


def test_check_names_what_training_leaves_out_and_what_is_no_speech(tmp_path, capsys, clips):
    sound = load_audio(clips[0].audio)
    bad = sound.copy()
    bad[9] = np.nan
    soundfile.write(tmp_path / "long.wav", np.tile(sound, 6), 16_000)
    soundfile.write(tmp_path / "short.wav", sound[40_000:41_600], 16_000)
    soundfile.write(tmp_path / "nan.wav", bad, 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    soundfile.write(tmp_path / "pause.wav", np.zeros(16_001), 16_000)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "long.wav").read_bytes()[:90_000])
    names = ("long", "short", "nan", "silent", "cut")
    rows = [{"audio": f"{name}.wav", "text": "Да."} for name in names]
    rows.append({"audio": "pause.wav", "kind": "silence", "language": ""})
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    assert main(["data", "check", str(path)]) == 2
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 6 and "5 problems" in told[-1], told
    for line, words in zip(
        told,
        ("longer than 30 s", "shorter than 0.2 s", "NaN", "is silent", "is cut off"),
        strict=False,
    ):
        assert words in line


def test_check_finds_strange_letters_and_copies(tmp_path, capsys, clips):
    rows = [
        {"audio": clips[0].audio, "text": "В 1812 году, 5 %."},
        {"audio": clips[0].audio, "text": clips[0].text},
        {"audio": clips[1].audio, "text": "Да.", "question": "Кто?", "answer": "Он."},
        {"audio": clips[1].audio, "text": "Да.", "question": "Где?", "answer": "Там."},
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    assert main(["data", "check", str(path)]) == 2
    out = capsys.readouterr().out
    assert "utterance 1: text outside the alphabet: 1" in out
    assert "utterance 2: the same recording as utterance 1" in out
    assert "2 problems" in out
    assert main(["data", "check", "--any-text", str(path)]) == 2
    assert "1 problems" in capsys.readouterr().out


def test_splits_that_share_a_speaker_are_told(tmp_path, capsys, clips):
    def split(name: str, numbers: list[int], voice: str) -> str:
        rows = [{"audio": clips[i].audio, "text": clips[i].text, "voice": voice} for i in numbers]
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
        return str(path)

    train, test = split("train", [0, 1], "anna"), split("test", [2], "ivan")
    assert main(["data", "check", train, test]) == 0
    assert "between them: 0 leaks" in capsys.readouterr().out
    leaky = split("leaky", [0, 2], "anna")
    assert main(["data", "check", train, leaky]) == 2
    out = capsys.readouterr().out
    assert "train.jsonl and leaky.jsonl share 1 voice: 'anna'" in out
    assert "share 1 recording" in out and "share 1 text" in out
    assert "between them: 3 leaks" in out
