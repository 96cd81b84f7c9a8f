"""The command itself: what it refuses to write over, folders, the registry."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from borealis.audio import load_audio
from borealis.cli import main
from borealis.data import limits
from borealis.data.importers.registry import importers, read
from borealis.data.importers.rows import ImportProblem, Problem, Reading, Row
from borealis.data.manifest import read_manifest
from borealis.training.recipe import SourceSection

NAMES = ["t.csv", "t.tsv", "t.jsonl", "t.json", "a.txt", "a.srt", "a.TextGrid", "a.eaf", "t.tar"]
STARTS = [
    *(b"", b"audio,text\n", b"audio\ttext\na.flac\t", b'{"audio": "a.flac", "text": "', b"0\t1\t"),
    *(b"1\n00:00:00,0 --> 00:00:01,0\n", b'"ooTextFile"\n"TextGrid"\n0\n1\n<exists>\n1\n', b"<A>"),
    *(b'[{"annotations": ', b"\xff\xfe", b"1.flac".ljust(124, b"\0")),
]


def test_texts_beside_recordings_in_any_encoding(folder, run):
    (folder / "a.txt").write_bytes("Первая\r\nстрока".encode("cp1251"))
    (folder / "b.wav.txt").write_text("Вторая", encoding="utf-16")
    (folder / "._a.wav").write_bytes(b"of a Mac")
    done = run(folder, "--voice", "я")
    assert done.texts == ["Первая строка", "Вторая"]
    assert {item.voice for item in done.items} == {"я"}
    assert "cp1251 (1)" in done.out and "UTF-16" in done.out and "1 voice" in done.out
    assert "skipped" not in done.out


def test_nothing_is_written_over_unless_asked(folder, run, tmp_path):
    (folder / "a.txt").write_text("0\t2\tРаз\n", encoding="utf-8")
    assert run(folder).code == 0
    before = (tmp_path / "out" / "train.jsonl").read_bytes()
    done = run(folder)
    assert done.code == 2 and "is there already" in done.error
    assert run(folder, "--name", "other").code == 0
    (folder / "a.txt").write_text("0\t2\tДва\n", encoding="utf-8")
    assert run(folder, "--replace").texts == ["Два"]
    assert (tmp_path / "out" / "train.jsonl").read_bytes() != before


def test_inputs_are_never_written_over(folder, run, tmp_path, capsys):
    (folder / "a.txt").write_text("0\t2\tРаз\n", encoding="utf-8")
    assert run(folder).code == 0
    out = tmp_path / "out"
    kept = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for options in (["--replace"], []):
        done = run(out / "train.jsonl", *options)
        assert done.code == 2 and ("also an input" in done.error or "there already" in done.error)
    clips = out / "clips" / "train"
    (clips / "a-0000.00.txt").write_text("0\t1\tРаз\n", encoding="utf-8")
    done = run(clips, "--replace")
    assert done.code == 2 and "be lost" in done.error
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_failed_import_leaves_nothing(folder, run, tmp_path):
    (folder / "a.txt").write_text("50\t52\tРаз\n", encoding="utf-8")
    done = run(folder / "a.flac")
    assert done.code == 2 and "outside of the recording" in done.error
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and "mine" not in p.parts]


def test_equal_names_in_other_folders_get_clips_of_their_own(folder, run):
    shutil.copytree(folder, folder / "sub")
    for place in (folder, folder / "sub"):
        (place / "a.txt").write_text("0\t2\tРаз\n", encoding="utf-8")
    assert len({item.audio for item in run(folder).items}) == 2


@pytest.mark.parametrize("options", [["--name", "a/b"], ["--name", ""], ["--max-seconds", "0"], ["--max-seconds", "nan"], ["--column", "x"]])  # fmt: skip
def test_options_that_make_no_sense_are_told(folder, run, options):
    assert run(folder, *options).code == 2


def test_sources_of_no_known_kind_are_told(folder, run, tmp_path):
    for name, data in (("a.pdf", b"%PDF"), ("b.xlsx", b"PK\3\4")):
        (tmp_path / name).write_bytes(data)
        done = run(tmp_path / name)
        assert done.code == 2 and "What is read" in done.error and "Audacity" in done.error
    assert run(tmp_path / "none").code == 2


@pytest.mark.parametrize(
    "name", ["t.csv", "t.jsonl", "a.txt", "a.srt", "a.TextGrid", "a.eaf", "t.json", "t.tar"]
)
@pytest.mark.parametrize("data", [b"", b"\0" * 1000, bytes(range(256)) * 9, b"\xff\xfe" + b"a" * 99, b'"', "а\n".encode() * 99])  # fmt: skip
def test_junk_under_any_name_ends_in_a_sentence(folder, run, name, data):
    (folder / name).write_bytes(data)
    done = run(folder / name)
    assert done.texts if done.code == 0 else done.error.startswith("borealis: ")


@given(st.sampled_from(NAMES), st.binary(max_size=400), st.sampled_from(STARTS))
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path_factory, name, data, start):
    place = tmp_path_factory.mktemp("any")
    (place / "a.flac").write_bytes(b"fLaC")
    (place / name).write_bytes(start + data)
    with suppress(ImportProblem):
        for row in read(place / name, Reading()):
            assert isinstance(row, Row | Problem)


def test_recordings_that_cannot_be_read_are_told(folder, run):
    sound = load_audio(folder / "a.flac")
    bad = sound.copy()
    bad[100] = np.nan
    soundfile.write(folder / "nan.wav", bad, 16_000, subtype="FLOAT")
    (folder / "cut.wav").write_bytes((folder / "b.wav").read_bytes()[:60_000])
    soundfile.write(folder / "short.wav", sound[:1_000], 16_000)
    for name in ("a", "nan", "cut", "short"):
        (folder / f"{name}.txt").write_text("Раз", encoding="utf-8")
    done = run(folder)
    assert done.texts == ["Раз"]
    assert (
        "NaN" in done.out and "is cut off" in done.out and "a recording under 0.2 s: 1" in done.out
    )


def test_every_format_has_a_name_and_a_place_in_the_order():
    names = [importer.name for importer in importers()]
    assert len(names) == len(set(names))
    files = Path(limits.__file__).parent / "importers" / "formats"
    assert len(names) == len(list(files.glob("[a-z]*.py")))


def test_the_limits_are_those_of_a_recipe():
    section = SourceSection(manifest="m.jsonl")
    assert (section.min_seconds, section.max_seconds) == (
        limits.SHORTEST_SECONDS,
        limits.LONGEST_SECONDS,
    )


def test_the_older_command_writes_one_file(folder, tmp_path, capsys):
    table = folder / "t.csv"
    table.write_bytes("path;sentence;client_id;gender\na.flac;Раз;анна;f\n".encode("cp1251"))
    target = tmp_path / "m.jsonl"
    for _ in range(2):
        assert main(["data", "manifest", str(table), "--output", str(target)]) == 0
    (item,) = read_manifest(target)
    assert (item.text, item.voice, item.gender) == ("Раз", "анна", "female")


def test_a_folder_of_a_recipe_leaves_long_recordings_to_the_import(folder):
    from borealis.data.importers.recordings import measured_folder

    (folder / "a.txt").write_text("0\t2\tРаз\n", encoding="utf-8")
    (folder / "b.txt").write_text("Два", encoding="utf-8")
    items, problems = measured_folder(folder, "ru")
    assert [item.text for item in items] == ["Два"]
    assert len(problems) == 1 and "borealis data import" in problems[0]
