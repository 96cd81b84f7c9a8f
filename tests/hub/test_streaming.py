"""Training from parquet files of a hub without a copy: the same weights, and each byte once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from datasets import Audio, Features, Value

from borealis.data.manifest import read_manifest
from borealis.data.row_groups import group_of
from tests.demo.conftest import free_port
from tests.hub import copies
from tests.hub.loopback import Loopback, warm_clients
from tests.hub.server import Hub

pytestmark = pytest.mark.slow

_FOOTER = 65536  # bytes that are asked for at the end of a parquet file

_RECIPE = """
name: streamed
model: {checkpoint: TINY}
data:
  optional: [gone]
  sources:
    heard: {dataset: org/rows, streaming: STREAMING}
    gone: {dataset: org/gone, streaming: true}
stages:
  - name: tune
    max_steps: 5
    optimizer: {learning_rate: 0.001}
    batch: {seconds: 16, workers: 2}
    compute: {precision: float32}
    checkpoints: {every: 1, keep: 9}
    log: {every: 1}
    augment: {presets: [light]}
    trainable: [adapter]
    sources: [heard, gone]
"""

# The command, with a hub that is given up at once.
_IMPATIENT = """
import sys
from borealis.cli import main
from borealis.data import row_groups
row_groups.PATIENCE = 0.0
sys.exit(main(sys.argv[1:]))
"""


@dataclass
class World:
    """A hub with twelve rows in six row groups of two files, and places of this machine."""

    loopback: Loopback
    recipes: Path
    size: int  # bytes of the recordings
    data: Path
    run: Path  # of the streamed run

    def train(self, run: Path, *more: str, recipe: str = "streamed") -> list[str]:
        """Arguments of the command."""
        places = ["--data", str(self.data), "--output", str(run)]
        return ["train", str(self.recipes / f"{recipe}.yaml"), *places, *more]

    def killed(self, arguments: list[str], kills: list[tuple[str, int]], **more: str) -> list[int]:
        """Statuses of a command that is killed at these calls, and then left alone."""
        plan = self.recipes / "plan.json"
        plan.write_text(json.dumps({"arguments": arguments, "kills": kills}), encoding="utf-8")
        done = self.loopback.run("-m", "tests.training.loop.killed", str(plan), **more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def sent(self) -> int:
        """Bytes of parquet that the hub has sent since `hub.sent.clear()`."""
        return sum(size for path, size in self.loopback.hub.sent.items() if "parquet" in path)


@pytest.fixture(scope="module")
def world(clips, make_tiny, tmp_path_factory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("streaming")
    for part in make_tiny("mlp"):
        part.save_pretrained(root / "tiny")
    for name, value in (("streamed", "true"), ("written", "false")):
        text = _RECIPE.replace("TINY", str(root / "tiny")).replace("STREAMING", value)
        (root / f"{name}.yaml").write_text(text, encoding="utf-8")
    features = Features({"audio": Audio(), "text": Value("string"), "seconds": Value("float32")})
    rows = [
        {"audio": copies.recording(c), "text": c.text, "seconds": c.duration} for c in clips[:6]
    ]
    files = {
        f"data/train-{n:05d}-of-00002.parquet": copies.table(features, part, group=2)
        for n, part in enumerate((rows, rows[::-1]))
    }
    with Hub() as hub, warm_clients() as warm:
        hub.put("dataset", "org/rows", files)
        size = 2 * sum(len(row["audio"]["bytes"]) for row in rows)
        loopback = Loopback(hub, root / "home", warm)
        yield World(loopback, root, size, root / "data", root / "run")


@pytest.fixture(scope="module")
def indexed(world) -> tuple[str, int]:
    """What `borealis data hub --streaming` prints, and the bytes that it fetched."""
    world.loopback.hub.sent.clear()
    command = ("data", "hub", "org/rows", "--streaming", "--name", "heard")
    cache = str(world.recipes / "cache-of-index")
    done = world.loopback.borealis(
        *command, "--output", str(world.data / "sources"), BOREALIS_CACHE=cache
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, world.sent()


@pytest.fixture(scope="module")
def trained(world, indexed) -> int:
    """Bytes that a streamed run fetched; two processes of it were killed."""
    world.loopback.hub.sent.clear()
    cache = str(world.recipes / "cache")
    kills = [("forward", 2), ("checkpoint", 2)]
    assert world.killed(world.train(world.run), kills, BOREALIS_CACHE=cache)[-1] == 0
    return world.sent()


def test_an_index_names_rows_of_one_commit_and_keeps_no_recording(world, indexed):
    told, fetched = indexed
    items = read_manifest(world.data / "sources" / "heard.jsonl")
    commit = world.loopback.hub.repositories["dataset", "org/rows"].sha("main")
    first = f"hf://datasets/org/rows@{commit}/data/train-00000-of-00002.parquet#audio/0/0"
    assert items[0].audio == first and len(items) == 12
    assert len({group_of(item.audio)[0] for item in items}) == 6
    assert f"streamed, {world.size / 1e6:.1f} MB an epoch" in told
    assert fetched <= world.size + 2 * _FOOTER + 12 * 1000, "each recording is measured once"


def test_a_streamed_run_that_was_killed_ends_as_one_from_a_copy_of_the_rows(
    world, trained, tmp_path
):
    copy, run = tmp_path / "data", tmp_path / "run"
    arguments = [*world.train(run, recipe="written")[:2], "--data", str(copy), "--output", str(run)]
    done = world.loopback.borealis(*arguments)
    assert done.returncode == 0, done.stderr
    one, two = (folder / "final" / "model.safetensors" for folder in (world.run, run))
    assert one.read_bytes() == two.read_bytes()
    losses = [
        [(row["step"], row["loss"]) for row in _rows(folder) if "loss" in row]
        for folder in (world.run, run)
    ]
    assert losses[0] == losses[1] and losses[0]
    assert len(list((copy / "sources" / "heard").rglob("*.flac"))) == 12


def _rows(run: Path, step: int = 5) -> list[dict]:
    """The log of a run up to a step."""
    state = run / "tune" / f"checkpoint-{step}" / "trainer_state.json"
    return json.loads(state.read_text("utf-8"))["log_history"]


def test_only_the_index_is_in_the_data_folder(world, trained):
    kept = {p.relative_to(world.data).as_posix() for p in world.data.rglob("*") if p.is_file()}
    assert kept == {"sources/heard.jsonl", "sources/heard.streamed.json"}


def test_each_byte_is_fetched_once_whatever_number_of_processes_reads(world, trained):
    """Three processes, two of them killed, with two workers each."""
    ends = 3 * 2 * 2 * _FOOTER  # each worker reads the end of each file
    assert world.size <= trained <= world.size + 6 * 1000 + ends
    assert ends < world.size, "or this would say nothing"


def test_two_processes_hear_what_one_hears(world, indexed, tmp_path):
    """Each makes half of a step's batches; the sum of their gradients is that of one process."""
    changes = [
        "stages.tune.batch.per_step=2",
        "stages.tune.max_steps=3",
        "stages.tune.batch.workers=0",
    ]
    cache, runs = str(tmp_path / "cache"), (tmp_path / "one", tmp_path / "two")
    two = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    world.loopback.hub.sent.clear()
    for run, start in zip(runs, ((), two), strict=True):
        arguments = world.train(run, *changes, "--threads", "1")
        done = world.loopback.run(*start, "-m", "borealis", *arguments, BOREALIS_CACHE=cache)
        assert done.returncode == 0, done.stderr[-3000:]
    losses = [[row["loss"] for row in _rows(run, 3) if "loss" in row] for run in runs]
    assert len(losses[0]) == 3 and losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert world.sent() < 1.5 * world.size, "the second run found the row groups of the first"


def test_a_dry_run_says_how_much_will_be_streamed(world, indexed, tmp_path):
    dry = world.train(tmp_path / "run", "--dry-run")
    done = world.loopback.borealis(*dry)
    assert f"streamed, heard: {world.size / 1e6:.1f} MB an epoch in 6 row groups" in done.stdout
    assert "org/rows@" in done.stdout and "and 1 more" in done.stdout
    assert "streamed, gone: the index of 'org/gone' is made first" in done.stdout


def test_a_commit_that_is_gone_is_told_with_what_to_do(world, trained, clips, tmp_path):
    hub = world.loopback.hub
    hub.put("dataset", "org/rows", {"README.md": b"# Another commit\n"})
    try:
        arguments = world.train(world.run, "stages.tune.max_steps=6")
        done = world.loopback.borealis(*arguments, BOREALIS_CACHE=str(tmp_path / "cache"))
    finally:
        del hub.repositories["dataset", "org/rows"].files["main"]["README.md"]
    assert done.returncode == 2 and "Traceback" not in done.stderr
    told = done.stderr.splitlines()[-1]
    assert "Row group" in told and "can't be read" in told and "org/rows@" in told
    assert "Run the same command again" in told and "its newest checkpoint" in told


def test_a_hub_that_does_not_answer_is_told_and_the_run_goes_on_later(world, trained, tmp_path):
    cache = str(tmp_path / "cache")
    arguments = world.train(world.run, "stages.tune.max_steps=6")
    nowhere = f"http://127.0.0.1:{free_port()}"
    done = world.loopback.run(
        "-c", _IMPATIENT, *arguments, HF_ENDPOINT=nowhere, BOREALIS_CACHE=cache
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "can't be read" in done.stderr and "its newest checkpoint" in done.stderr
    done = world.loopback.borealis(*arguments, BOREALIS_CACHE=cache)
    assert done.returncode == 0, done.stderr
    assert (world.run / "tune" / "checkpoint-6").is_dir()


def test_a_column_of_lengths_spares_fetching_all_recordings(world, tmp_path):
    world.loopback.hub.sent.clear()
    command = ["data", "hub", "org/rows", "--streaming", "--output", str(tmp_path)]
    command += ["--column", "duration=seconds", "--name", "said"]
    done = world.loopback.borealis(*command, BOREALIS_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert world.sent() < world.size / 3 + 2 * _FOOTER, "one row group is compared"
    assert all(item.duration for item in read_manifest(tmp_path / "said.jsonl"))
