"""Datasets as manifests, through the real library on small local data; sources of a recipe."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow
import pytest
import yaml
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, Value
from pyarrow import parquet

from borealis.cli import main
from borealis.data.entries import bundled_entries
from borealis.data.hub import DatasetError, read_dataset
from borealis.data.manifest import read_manifest
from borealis.data.row_groups import recording
from borealis.errors import ManifestError, RecipeError
from borealis.training.data.sources import read_source, without_missing_datasets
from borealis.training.recipe import Recipe, SourceSection

TALK = [{"role": "user", "content": "Привет"}, {"role": "bot", "content": "Здравствуйте."}]


@pytest.fixture(scope="module")
def speech_set(clips, tmp_path_factory) -> Path:
    """A dataset as the hub has them: parquet with recordings inside, classes as numbers."""
    folder = tmp_path_factory.mktemp("set") / "speech"
    data = [Path(c.audio).read_bytes() for c in clips[:3]]
    rows = {
        "mp3": [{"bytes": d, "path": Path(c.audio).name} for d, c in zip(data, clips, strict=False)]
        + [{"bytes": b"noise", "path": "broken.flac"}, {"bytes": data[0], "path": None}],
        "sentence": [c.text for c in clips[:3]] + ["сломано", " "],
        "client_id": ["a", "a", "b", "b", "c"],
        "gender": [0, 1, 1, 0, 0],
    }
    features = Features({
        "mp3": Audio(decode=False), "sentence": Value("string"), "client_id": Value("string"),
        "gender": ClassLabel(names=["male", "female"]),
    })  # fmt: skip
    folder.mkdir()
    # The schema carries the features, as in files of the hub.
    parquet.write_table(pyarrow.table(rows, schema=features.arrow_schema), folder / "train.parquet")
    return folder


COLUMNS = {"audio": "mp3", "text": "sentence", "voice": "client_id", "gender": "gender"}


@pytest.mark.parametrize("how", [{}, {"limit": 5}, {"streaming": True}])
def test_rows_become_a_manifest_and_bad_ones_are_counted(speech_set, clips, tmp_path, how):
    report = read_dataset(
        str(speech_set), tmp_path, output="cv", columns=COLUMNS, language="ru", **how
    )
    assert report.kept == 3 and dict(report.dropped) == {
        "audio that can't be read": 1,
        "no text": 1,
    }
    items = read_manifest(tmp_path / "cv.jsonl")
    assert [i.text for i in items] == [c.text for c in clips[:3]]
    assert [(i.voice, i.gender) for i in items] == [("a", "male"), ("a", "female"), ("b", "female")]
    for item, clip in zip(items, clips, strict=False):
        assert item.duration == pytest.approx(clip.duration, abs=0.02)
        found = recording(item.audio)
        assert isinstance(found, bytes) == ("streaming" in how)
        assert load_bytes(found) == Path(clip.audio).read_bytes()
    assert "row 3" in (tmp_path / "cv.dropped.txt").read_text("utf-8")


def load_bytes(found: str | bytes) -> bytes:
    """A recording as it is encoded."""
    return found if isinstance(found, bytes) else Path(found).read_bytes()


def write_entry(folder: Path, name: str, **keys: object) -> Path:
    """An entry as a user writes one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(keys, allow_unicode=True), encoding="utf-8")
    return path


def test_a_new_entry_is_a_file(speech_set, clips, tmp_path, capsys):
    """As "Contributing" adds one: the command lists and reads it, and so does a recipe's source."""
    write_entry(
        tmp_path / "datasets",
        "my-set",
        repository=str(speech_set),
        columns=COLUMNS,
        note="three voices",
    )
    data = ["--output", str(tmp_path)]
    assert main(["data", "hub", *data]) == 0
    assert "three voices" in capsys.readouterr().out
    assert main(["data", "hub", "my-set", *data, "--name", "mine"]) == 0
    assert [item.text for item in read_manifest(tmp_path / "mine.jsonl")] == [
        c.text for c in clips[:3]
    ]
    section = SourceSection(dataset="my-set")
    found = read_source("speech", section, tmp_path, audio=True, longest=30)
    assert [item.voice for item in found.utterances] == ["a", "a", "b"]


def test_the_command_maps_columns(speech_set, tmp_path, capsys):
    columns = [f"--column={what}={name}" for what, name in COLUMNS.items()]
    arguments = ["data", "hub", str(speech_set), "--output", str(tmp_path), *columns]
    assert main([*arguments, "--name", "mine", "--limit", "2"]) == 0
    assert "2 examples" in capsys.readouterr().out
    assert len(read_manifest(tmp_path / "mine.jsonl")) == 2
    assert main(["data", "hub"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in bundled_entries())
    for more, words in (
        (
            [str(speech_set), "--column=text=words"],
            "no column for text=words; it has mp3, sentence",
        ),
        ([str(speech_set), "--column=text"], "write what=column"),
        ([str(speech_set), "--column=colour=gender"], "isn't one of the columns"),
        ([str(tmp_path / "none")], "can't be read"),
    ):
        assert main(["data", "hub", "--output", str(tmp_path), *more]) == 2
        assert words in capsys.readouterr().err


def test_conversations_and_questions(tmp_path, clips):
    rows = {"conversation": [TALK, [TALK[0]], [TALK[1]], [*TALK, TALK[0]]]}
    DatasetDict({"train": Dataset.from_dict(rows)}).save_to_disk(str(tmp_path / "talks"))
    report = read_dataset(
        str(tmp_path / "talks"), tmp_path, output="t", columns={"messages": "conversation"}
    )
    assert report.kept == 2 and report.dropped["a conversation that can't be learned"] == 2
    items = read_manifest(tmp_path / "t.jsonl")
    assert items[0].messages[1] == {"role": "assistant", "content": "Здравствуйте."}
    assert len(items[1].messages) == 2, "a question that nobody answered is left out"
    examples = read_source("t", SourceSection(manifest="t.jsonl"), tmp_path, audio=False, longest=30)  # fmt: skip
    assert len(examples.utterances) == 2
    asked = {"audio": [clips[0].audio], "question": ["Кто?"], "answer": ["Мужчина."]}
    Dataset.from_dict(asked).save_to_disk(str(tmp_path / "asked"))
    read_dataset(str(tmp_path / "asked"), tmp_path, output="q", columns={"question": "question", "answer": "answer"})  # fmt: skip
    [item] = read_manifest(tmp_path / "q.jsonl")
    assert (item.question, item.answer, item.text) == ("Кто?", "Мужчина.", "")


def test_a_source_reads_its_dataset_once(speech_set, clips, tmp_path):
    longest = max(clip.duration for clip in clips[:3])
    section = SourceSection(dataset=str(speech_set), columns=COLUMNS, max_seconds=longest - 0.1)
    first = read_source("cv", section, tmp_path, audio=True, longest=30)
    made = tmp_path / "sources/cv.jsonl"
    stamp = made.stat().st_mtime_ns
    again = read_source("cv", section, tmp_path, audio=True, longest=30)
    assert made.stat().st_mtime_ns == stamp
    assert [i.audio for i in first.utterances] == [i.audio for i in again.utterances]
    assert first.dropped["too long"] >= 1 and first.dropped["too long"] + len(first.utterances) == 3


def test_an_optional_dataset_may_be_missing(speech_set, tmp_path, caplog):
    """The run goes on without it and says so; the others are read at once."""
    stage = {"name": "tune", "max_steps": 1, "optimizer": {"learning_rate": 0.1}}
    sources = {
        "here": {"dataset": str(speech_set), "columns": COLUMNS},
        "gone": {"dataset": str(tmp_path / "gone")},
    }

    def made(learned: list[str], optional: list[str]) -> Recipe:
        data = {"sources": sources, "optional": optional}
        stages = [stage | {"sources": learned, "validation": {"sources": ["gone"]}}]
        return Recipe(name="m", model={"checkpoint": "nano"}, data=data, stages=stages)

    left = without_missing_datasets(made(["here", "gone"], ["here", "gone"]), tmp_path)
    assert left.stages[0].sources == ["here"] and not left.stages[0].validation.sources
    assert "going on without the source gone" in caplog.text and "can't be read" in caplog.text
    assert (tmp_path / "sources/here.jsonl").is_file()
    with pytest.raises(RecipeError, match="has nothing to learn from"):
        without_missing_datasets(made(["gone"], ["gone"]), tmp_path)
    whole = made(["here", "gone"], [])
    assert without_missing_datasets(whole, tmp_path) == whole, "it fails when it is read"


def test_a_folder_is_a_source(tmp_path, clips):
    folder = tmp_path / "mine"
    folder.mkdir()
    for number, clip in enumerate(clips[:2]):
        shutil.copy(clip.audio, folder / f"{number}.flac")
    (folder / "0.txt").write_text(clips[0].text, encoding="utf-8")
    section = SourceSection(folder="mine")
    [item] = read_source("f", section, tmp_path, audio=True, longest=30).utterances
    assert item.text == clips[0].text and item.duration == pytest.approx(clips[0].duration, abs=0.02)  # fmt: skip


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"role": "user", "content": "а"}], "take turns"),
        ([{"role": "robot", "content": "а"}], "role of a message"),
        ([{"content": "а"}], "keys 'role' and 'content'"),
    ],
)
def test_conversations_that_are_refused(tmp_path, messages, words):
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({"messages": messages}), encoding="utf-8")
    with pytest.raises(ManifestError, match=words):
        read_manifest(path)


def test_a_dataset_is_not_written_into(speech_set, capsys):
    kept = {path: path.read_bytes() for path in speech_set.rglob("*")}
    columns = [f"--column={key}={column}" for key, column in COLUMNS.items()]
    for output in (speech_set.parent, speech_set, speech_set / "deeper"):
        assert main(["data", "hub", str(speech_set), "--output", str(output), *columns]) == 2
        assert "the copies would be written into it" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in speech_set.rglob("*")} == kept


def test_an_unreadable_dataset_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="can't be read"):
        read_dataset(str(tmp_path / "empty"), tmp_path, output="x")
