"""Recordings in parquet files: addresses, the folder of row groups, an index that goes on."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from borealis.data import indexing, row_groups
from borealis.data.check import check_manifest
from borealis.data.hub import DatasetError, read_dataset
from borealis.data.manifest import Utterance, read_manifest, write_manifest
from borealis.data.row_groups import Group, RowGroups, address, group_of


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """A cache folder of the test's own; a hub would be given up at once."""
    monkeypatch.setenv("BOREALIS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(row_groups, "PATIENCE", 0.0)
    return tmp_path / "cache" / "row-groups"


def put(folder: Path, recordings: list[bytes | None], name: str = "train", **more: list) -> Path:
    """A parquet file with a row group for every two recordings."""
    folder.mkdir(exist_ok=True)
    cells = [{"bytes": data, "path": None} for data in recordings]
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    texts = [f"слово {n}" for n in range(len(cells))]
    made = pyarrow.table({"audio": pyarrow.array(cells, kind), "text": texts, **more})
    parquet.write_table(made, folder / f"{name}.parquet", row_group_size=2)
    return folder / f"{name}.parquet"


@pytest.fixture
def sounds(clips) -> list[bytes]:
    """Six real recordings as they are encoded."""
    return [Path(clip.audio).read_bytes() for clip in clips[:6]]


def index(folder: Path, data: Path, **more) -> list[Utterance]:
    """The index of a folder as it is read."""
    read_dataset(str(folder), data, output="rows", streaming=True, **more)
    return read_manifest(data / "rows.jsonl")


@pytest.mark.parametrize("column", ["audio", "json.mp3", "звук #1/2"])
def test_an_address_is_read_as_it_was_written(column, tmp_path):
    group = Group("hf://datasets/o/n@" + "0" * 40 + "/data/train-0.parquet", column, 3)
    assert group_of(address(group, 17)) == (group, 17)
    path = write_manifest(tmp_path / "a.jsonl", [Utterance(address(group, 17), "Да.")])
    assert read_manifest(path)[0].audio == address(group, 17)


@pytest.mark.parametrize("name", ["a.wav", "a#1.flac", "a.parquet", "b.parquet#audio/1", "#"])
def test_a_file_is_no_address(name):
    assert group_of(name) is None


def test_rows_are_read_back_as_they_were(sounds, tmp_path, cache, clips):
    items = index(put(tmp_path / "set", sounds).parent, tmp_path)
    assert [row_groups.recording(item.audio) for item in items] == sounds
    assert [item.duration for item in items] == [round(c.duration, 2) for c in clips[:6]]
    assert check_manifest(tmp_path / "rows.jsonl", any_text=True).problems == []
    assert len(list(cache.glob("*.arrow"))) == 3


def test_the_folder_stays_under_its_bound_and_forgets_what_nobody_asked_for(sounds, tmp_path):
    file = str(put(tmp_path / "set", sounds))
    sizes = [sum(map(len, sounds[i : i + 2])) for i in (0, 2, 4)]
    kept = RowGroups(tmp_path / "kept", most_bytes=max(sizes) * 2 + 9000)
    for number in (0, 1):
        kept.recording(Group(file, "audio", number), 0)
    (first,) = [p for p in kept.folder.glob("*.arrow") if p.stat().st_mtime < _newest(kept)]
    os.utime(first, (1, 1))
    assert kept.recording(Group(file, "audio", 2), 1) == sounds[5]
    assert kept.size() <= kept.most_bytes and not first.exists()
    small = RowGroups(tmp_path / "small", most_bytes=1)
    assert [small.recording(Group(file, "audio", n), 0) for n in (0, 1, 0)] == [
        sounds[0],
        sounds[2],
        sounds[0],
    ]
    assert len(list(small.folder.glob("*.arrow"))) == 1, "the newest is kept all the same"


def _newest(kept: RowGroups) -> float:
    return max(path.stat().st_mtime for path in kept.folder.glob("*.arrow"))


def test_a_file_that_has_changed_is_told(sounds, tmp_path, cache):
    file = put(tmp_path / "set", sounds)
    items = index(file.parent, tmp_path)
    put(tmp_path / "set", sounds[:2])
    assert row_groups.recording(items[0].audio) == sounds[0]
    with pytest.raises(DatasetError, match="no row group '2': the file has changed since"):
        row_groups.recording(items[5].audio)
    file.write_bytes(b"PAR1 but nothing else")
    with pytest.raises(DatasetError, match=r"Row group 0 of .* can't be read"):
        row_groups.recording(items[0].audio)
    file.unlink()
    with pytest.raises(DatasetError, match="can't be read: No such file"):
        row_groups.recording(items[0].audio)


def test_a_row_group_that_was_damaged_on_the_disk_is_fetched_again(sounds, tmp_path, cache):
    items = index(put(tmp_path / "set", sounds).parent, tmp_path)
    for number, path in enumerate(cache.glob("*.arrow")):
        path.write_bytes((b"", b"ARROW1", path.read_bytes()[:-9])[number])
    assert [row_groups.recording(item.audio) for item in items] == sounds


def test_an_index_that_broke_off_measures_only_what_is_left(sounds, tmp_path, cache, monkeypatch):
    folder = put(tmp_path / "set", sounds).parent
    measured = []
    length = indexing._length

    def until(number):
        def counted(data):
            if len(measured) == number:
                raise KeyboardInterrupt
            measured.append(data)
            return length(data)

        return counted

    monkeypatch.setattr(indexing, "_length", until(5))
    with pytest.raises(KeyboardInterrupt):
        index(folder, tmp_path)
    assert not (tmp_path / "rows.jsonl").exists()
    measured.clear()
    monkeypatch.setattr(indexing, "_length", until(-1))
    assert len(index(folder, tmp_path)) == 6
    assert measured == sounds[4:], "two of three row groups were known"
    assert not list(tmp_path.glob(".*")), "what was kept for that is gone"


def test_rows_without_a_recording_are_counted(sounds, tmp_path, cache):
    folder = put(tmp_path / "set", [sounds[0], None, b"noise", b""]).parent
    report = read_dataset(str(folder), tmp_path, output="rows", streaming=True)
    assert report.kept == 1
    assert report.dropped == {"no audio": 2, "audio that can't be read": 1}


@pytest.mark.parametrize(("factor", "words"), [(1000, "lasts .* seconds. Leave it out"), (1, "")])
def test_a_column_of_lengths_has_to_be_seconds(sounds, tmp_path, cache, clips, factor, words):
    said = [clip.duration * factor for clip in clips[:6]]
    folder = put(tmp_path / "set", sounds, said=said).parent
    if words:
        with pytest.raises(DatasetError, match=words):
            index(folder, tmp_path, columns={"duration": "said"})
    else:
        items = index(folder, tmp_path, columns={"duration": "said"})
        assert [item.duration for item in items] == [round(value, 2) for value in said]
        assert len(list(cache.glob("*.arrow"))) == 1, "one row group is compared"


def test_a_row_that_does_not_say_its_length_is_measured(sounds, tmp_path, cache, clips):
    folder = put(tmp_path / "set", sounds[:3], said=[None, 0.0, float("nan")]).parent
    items = index(folder, tmp_path, columns={"duration": "said"})
    assert [item.duration for item in items] == [round(c.duration, 2) for c in clips[:3]]


@pytest.mark.parametrize(("failures", "works"), [(2, True), (99, False)])
def test_a_network_that_fails_is_tried_again_for_a_while(monkeypatch, failures, works):
    monkeypatch.setattr(row_groups, "_WAITS", (0.01, 0.02))
    tries = []

    def work() -> str:
        tries.append(1)
        if len(tries) <= failures:
            raise ConnectionError("reset by peer.")
        return "read"

    if works:
        assert row_groups.patiently("row group 0", work, 5.0) == "read" and len(tries) == 3
    else:
        with pytest.raises(DatasetError, match=r"^Row group 0 can't be read: reset by peer\.$"):
            row_groups.patiently("row group 0", work, 0.1)
        assert len(tries) > 2


def test_what_will_not_come_is_not_waited_for():
    def work() -> None:
        raise FileNotFoundError("no such revision")

    with pytest.raises(DatasetError, match="no such revision"):
        row_groups.patiently("row group 0", work, 600.0)


def test_a_column_of_names_is_no_recording(tmp_path, cache):
    folder = tmp_path / "set"
    folder.mkdir()
    parquet.write_table(
        pyarrow.table({"audio": ["a.wav"], "text": ["Да."]}), folder / "train.parquet"
    )
    with pytest.raises(DatasetError, match="doesn't hold the recordings themselves"):
        index(folder, tmp_path)
