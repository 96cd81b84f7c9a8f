"""Batches of recordings in parquet files: the order, what is fetched, and what is refused."""

from __future__ import annotations

import shutil
from collections import Counter, namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Audio, Features, Value
from hypothesis import given
from hypothesis import strategies as st

from borealis.data import row_groups
from borealis.data.hub import read_dataset
from borealis.data.manifest import read_manifest
from borealis.data.phrasings import load_phrasings
from borealis.data.row_groups import group_of
from borealis.errors import RecipeError, TrainingError
from borealis.training.batches import recorded
from borealis.training.batches.recorded import RecordingBatches, Source
from borealis.training.data.epochs import windows
from borealis.training.data.sources import read_source
from borealis.training.recipe import Recipe, SourceSection, StageSection
from borealis.training.recipe.resolve import resolve
from borealis.training.supplies import Streamed, check_cache, short_of_cache
from borealis.training.tasks.task import BatchContext
from tests.hub import copies

Usage = namedtuple("Usage", "total used free")


@given(
    st.lists(st.tuples(st.integers(0, 6), st.floats(0.1, 30)), min_size=1, max_size=60),
    st.floats(1, 90),
    st.integers(0, 9),
)
def test_windows_hold_each_item_once_in_whole_groups(items, most, seed):
    groups, seconds = [g for g, _ in items], [s for _, s in items]
    found = windows(groups, seconds, most, np.random.default_rng(seed))
    assert sorted(i for window in found for i in window) == list(range(len(items)))
    for window in found:
        own = {groups[i] for i in window}
        assert all(groups[i] not in own for other in found if other is not window for i in other)
        assert len(own) == 1 or sum(seconds[i] for i in window) <= most
    if sum(seconds) <= most * 0.99:
        assert found == [list(range(len(items)))], "the order of the items themselves"


@pytest.fixture
def rows(clips, tmp_path, monkeypatch) -> Path:
    """A data folder with twelve rows in six row groups, as an index and as files."""
    monkeypatch.setenv("BOREALIS_CACHE", str(tmp_path / "cache"))
    features = Features({"audio": Audio(), "text": Value("string")})
    cells = [{"audio": copies.recording(c), "text": c.text} for c in (*clips[:6], *clips[:6])]
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.parquet").write_bytes(copies.table(features, cells, group=2))
    for name, streaming in (("streamed", True), ("written", False)):
        read_dataset(str(tmp_path / "set"), tmp_path, output=name, streaming=streaming)
    return tmp_path


@pytest.fixture
def make(make_tiny):
    """`make(manifest)`: twelve batches of a small source, a little over two epochs."""
    model, processor = make_tiny("mlp")

    def batches(manifest: Path) -> RecordingBatches:
        stage = StageSection(
            name="s", max_steps=12, trainable=["adapter"], sources=["rows"],
            optimizer={"learning_rate": 1e-3}, batch={"seconds": 20, "tokens": 900},
        )  # fmt: skip
        context = BatchContext(processor.tokenizer, model.config, load_phrasings(), None, [], 0)
        return RecordingBatches(
            stage, context, [Source("rows", read_manifest(manifest))], [], processor
        )

    return batches


def test_batches_are_those_of_a_copy_where_all_groups_fit_into_a_window(rows, make):
    streamed, written = make(rows / "streamed.jsonl"), make(rows / "written.jsonl")
    for step in (0, 5, 11):
        one, two = streamed[step], written[step]
        assert one.keys() == two.keys()
        for key in one.keys() - {"clips"}:
            same = torch.equal if isinstance(one[key], torch.Tensor) else (lambda a, b: a == b)
            assert same(one[key], two[key]), key


def test_a_source_of_many_windows_fetches_each_group_once_an_epoch(rows, make, monkeypatch):
    """The folder of row groups holds about one window and no more."""
    items = read_manifest(rows / "streamed.jsonl")
    longest = max(item.duration for item in items)
    monkeypatch.setattr(recorded, "WINDOW_SECONDS", 4 * longest)
    sizes = [len(row_groups.recording(item.audio)) for item in items]
    monkeypatch.setattr(row_groups, "MOST_BYTES", 5 * max(sizes))
    shutil.rmtree(rows / "cache")
    fetched: Counter = Counter()
    read = row_groups._read
    monkeypatch.setattr(row_groups, "_read", lambda g: (fetched.update([g]), read(g))[1])
    batches = make(rows / "streamed.jsonl")
    heard: list[str] = []
    step = 0
    while len(heard) < 12:
        heard += batches[step]["clips"]
        step += 1
    assert sorted(heard) == sorted(item.audio for item in items), "an epoch"
    assert set(fetched.values()) == {1} and len(fetched) == 6
    order = list(dict.fromkeys(group_of(audio)[0].number for audio in heard))
    assert order != sorted(order), "groups are shuffled"
    later = make(rows / "streamed.jsonl")
    assert later[step]["clips"] == batches[step]["clips"], "the order is known from the step alone"
    second = [clip for number in range(step, 12) for clip in batches[number]["clips"]][:12]
    assert second != heard


def test_a_row_that_cannot_be_fetched_stops_the_run_with_what_to_do(rows, make):
    batches = make(rows / "streamed.jsonl")
    shutil.rmtree(rows / "cache")
    (rows / "set" / "train.parquet").unlink()
    with pytest.raises(TrainingError, match=r"can't be read.*the run goes on from its newest"):
        batches[0]


def test_a_missing_file_is_counted_as_any_other(rows):
    section = SourceSection(manifest="streamed.jsonl")
    assert len(read_source("rows", section, rows, audio=True, longest=30).utterances) == 12
    (rows / "set" / "train.parquet").unlink()
    with pytest.raises(RecipeError, match="the file is missing"):
        read_source("rows", section, rows, audio=True, longest=30)


def test_an_index_is_no_copy_and_a_copy_does_for_streaming(rows):
    (rows / "sources").mkdir()
    for name in ("streamed", "written"):
        for file in rows.glob(f"{name}*"):
            shutil.move(file, rows / "sources" / file.name)
    for name, streaming in (("streamed", True), ("written", True), ("written", False)):
        section = SourceSection(dataset=str(rows / "set"), streaming=streaming)
        found = read_source(name, section, rows, audio=True, longest=30)
        assert len(found.utterances) == 12
    with pytest.raises(RecipeError, match=r"is an index of recordings.*Set streaming: true"):
        read_source("streamed", section, rows, audio=True, longest=30)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"validation": {"sources": ["rows"]}}, "Validation of 'tune' wants the source 'rows'"),
        ({"features": ["f"], "sources": []}, "Features 'f' wants the source 'rows'"),
    ],
)
def test_what_is_streamed_is_neither_cached_nor_measured_on(rows, keys, words):
    stage = {"name": "tune", "max_steps": 1, "trainable": ["adapter"], "sources": ["rows"]}
    stage |= {"optimizer": {"learning_rate": 1e-3}} | keys
    sources = {"rows": {"dataset": str(rows / "set"), "streaming": True}}
    data = {
        "sources": sources,
        "features": {"f": [{"source": "rows"}]} if "features" in keys else {},
    }
    recipe = Recipe(name="r", model={"checkpoint": "nano"}, data=data, stages=[stage])
    with pytest.raises(RecipeError, match=words):
        resolve(recipe, rows, None, None)


def test_room_for_what_is_kept_at_once_is_looked_for(rows, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(9e9, 8e9, 1e9))
    known = {"bytes": 10**9, "groups": 3, "files": ["hf://datasets/o/n@c/a.parquet"]}
    check_cache([])
    check_cache([Streamed("a", "o/n", known)])
    for more in ({}, known | {"bytes": 9 * 10**9}):
        with pytest.raises(RecipeError, match=r"up to 4\.3 GB are kept .* 1\.0 GB are free"):
            check_cache([Streamed("a", "o/n", known), Streamed("b", "o/m", more)])


def test_windows_that_the_cache_does_not_hold_are_told():
    one = Streamed("a", "o/n", {"bytes": 400e9, "groups": 3, "files": ["a"], "hours": 2000.0})
    assert one.window_bytes == pytest.approx(0.8e9) and short_of_cache([one] * 5) == []
    (told,) = short_of_cache([one] * 6)
    assert "draw from 4.80 GB at once" in told and "fetched more than once" in told
    assert short_of_cache([Streamed("b", "o/n", {})]) == []
