"""The real command through the real clients, against a small hub on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from borealis.data.entries import bundled_entries
from borealis.data.manifest import read_manifest
from borealis.training.recipe import bundled_recipes, load_recipe
from tests.hub import copies
from tests.hub.server import Hub

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Loopback:
    """A hub, and commands that ask it."""

    hub: Hub
    home: Path

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run Python with the clients' variables set: they are read when it starts."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=os.environ | self.hub.environment(str(self.home)) | variables,
            capture_output=True,
            text=True,
            timeout=500,
        )

    def borealis(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the command."""
        return self.run("-m", "borealis", *arguments, **variables)


@pytest.fixture(scope="module")
def loopback(clips, tmp_path_factory) -> Iterator[Loopback]:
    with Hub() as hub:
        copies.fill(hub, clips[:3])
        yield Loopback(hub, tmp_path_factory.mktemp("home"))


# ---- entries and recipes ----

# Many commands in one process: each start of Python costs seconds.
_COMMANDS = """
import json, sys
from borealis.cli import main
print(json.dumps({name: main(command) for name, command in json.load(sys.stdin).items()}))
"""
_SOURCES = """
import json, sys
from pathlib import Path
from borealis.training.data.sources import read_source
from borealis.training.recipe import SourceSection
for name, values in json.load(sys.stdin).items():
    section = SourceSection(**values)
    talk = section.dataset == "grandmaster"
    found = read_source(name, section, Path(sys.argv[1]), audio=not talk, longest=30)
    print(name, len(found.utterances))
"""


@pytest.fixture(scope="module")
def entries_read(loopback, tmp_path_factory) -> Path:
    """A data folder into which `borealis data hub ENTRY` has read every entry."""
    data = tmp_path_factory.mktemp("entries")
    commands = {n: ["data", "hub", n, "--output", str(data)] for n in bundled_entries()}
    done = subprocess.run(
        [sys.executable, "-c", _COMMANDS],
        input=json.dumps(commands),
        cwd=ROOT,
        env=os.environ | loopback.hub.environment(str(loopback.home)),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout.splitlines()[-1])
    assert set(codes.values()) == {0}, done.stderr
    return data


@pytest.mark.parametrize("name", bundled_entries())
def test_an_entry_reads_its_dataset_into_a_manifest(name, entries_read, clips):
    entry = bundled_entries()[name]
    items = read_manifest(entries_read / f"{name}.jsonl")
    if "messages" in entry.columns:
        assert [item.messages[-1]["role"] for item in items] == ["assistant", "assistant"]
        return
    said = [clip.text for clip in clips[:3]]
    assert [round(i.duration, 1) for i in items] == [round(c.duration, 1) for c in clips[:3]]
    assert [Path(i.audio).read_bytes() for i in items] == [
        Path(c.audio).read_bytes() for c in clips[:3]
    ]
    assert {item.language for item in items} == {entry.language}
    if entry.marks:
        assert [item.text for item in items] == said
    if entry.marks is False:
        assert [item.text for item in items] == [copies.plain(text) for text in said]
    if "question" in entry.columns:
        assert all(item.question.endswith(("?", ".")) and item.answer for item in items)
    if "voice" in entry.columns:
        assert all(item.voice for item in items)
    if "gender" in entry.columns:
        assert [item.gender for item in items] == ["male", "female", ""]


def test_every_dataset_of_a_bundled_recipe_is_read(loopback, tmp_path):
    """Each source once: the large recipes share them."""
    sources = {}
    for recipe in map(load_recipe, bundled_recipes()):
        for name, section in recipe.data.sources.items():
            if section.dataset:
                sources[f"{recipe.name}-{name}"] = section.model_dump(exclude_unset=True)
    different = {json.dumps(values, sort_keys=True): name for name, values in sources.items()}
    wanted = {name: json.loads(values) for values, name in different.items()}
    done = subprocess.run(
        [sys.executable, "-c", _SOURCES, str(tmp_path)],
        input=json.dumps(wanted),
        cwd=ROOT,
        env=os.environ | loopback.hub.environment(str(loopback.home)),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert dict(line.split() for line in done.stdout.splitlines()).keys() == wanted.keys()
    english = [n for n, v in wanted.items() if v["dataset"] == "common-voice-en"]
    items = read_manifest(tmp_path / "sources" / f"{english[0]}.jsonl")
    assert {item.language for item in items} == {"en"}


def test_a_stream_fetches_what_it_reads(loopback, tmp_path):
    loopback.hub.sent.clear()
    command = ("data", "hub", "ruls", "--output", str(tmp_path), "--streaming", "--limit", "2")
    done = loopback.borealis(*command, HF_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert "2 examples" in done.stdout
    fetched = {path for path in loopback.hub.sent if path.endswith(".parquet")}
    assert fetched == {"data/train-00000-of-00002.parquet"}
    assert not list((tmp_path / "home").rglob("*.arrow")), "nothing but the two rows was kept"


# ---- mistakes ----


@pytest.fixture(scope="module")
def mistakes(loopback, tmp_path_factory, clips) -> dict[str, str]:
    """What the command says to a user's mistakes."""
    hub, data = loopback.hub, str(tmp_path_factory.mktemp("mistakes"))
    hub.put("dataset", "org/odd", copies.folder_of_recordings(clips[:2], column="said"))
    asked = {
        "split": ["ruls", "--split", "validate"],
        "stream": ["ruls", "--split", "validate", "--streaming"],
        "config": ["tone-golos", "--config", "Cloud"],
        "none": ["Vikhrmodels/ToneGolosOpus"],
        "converted": ["fleurs-ru", "--config", "ru"],
        "column": ["istupakov/russian_librispeech", "--column", "text=sentence"],
        "text": ["org/odd"],
        "script": ["google/fleurs", "--config", "ru_ru"],
        "absent": ["org/nothing"],
    }
    script = (
        "import json, sys, io, contextlib\n"
        "from borealis.cli import main\n"
        "said = {}\n"
        "for name, command in json.load(sys.stdin).items():\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as err:\n"
        "        code = main(command)\n"
        "    said[name] = f'{code} {err.getvalue()}'\n"
        "print(json.dumps(said))\n"
    )
    commands = {name: ["data", "hub", *more, "--output", data] for name, more in asked.items()}
    home = tmp_path_factory.mktemp("fresh")  # the library answers from its cache where it can
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(commands),
        cwd=ROOT,
        env=os.environ | hub.environment(str(home)),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("split", "'ruls' has no split 'validate'; it has train, validation, test."),
        ("stream", "'ruls' has no split 'validate'; it has train, validation, test."),
        ("config", "'tone-golos' has no configuration 'Cloud'; it has Crowd, Farfield."),
        ("none", "has several configurations; give one of Crowd, Farfield."),
        ("converted", "'fleurs-ru' has no configuration 'ru'; it has en_us, ru_ru."),
        ("column", "text=sentence; it has audio, text, text_no_preprocessing."),
        ("text", "'org/odd' has no column 'text'; it has audio, said."),
        ("script", "--revision refs/convert/parquet"),
        ("absent", "The dataset 'org/nothing' can't be read: Dataset 'org/nothing' doesn't exist"),
    ],
)
def test_a_mistake_is_told_with_what_there_is(mistakes, mistake, words):
    assert mistakes[mistake].startswith("2 ")
    assert words in mistakes[mistake] and "Traceback" not in mistakes[mistake]


# ---- other layouts ----


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("layout", "columns"),
    [
        (copies.folder_of_recordings, []),
        (copies.archive, ["--column=text=json.text", "--column=voice=json.speaker"]),
    ],
)
def test_recordings_of_any_layout_come_as_files(
    loopback, clips, tmp_path, layout, columns, streaming
):
    name = f"org/{layout.__name__}"
    loopback.hub.put("dataset", name, layout(clips[:2]))
    more = ["--streaming"] if streaming else []
    command = ["data", "hub", name, "--output", str(tmp_path), "--name", "own", *columns, *more]
    done = loopback.borealis(*command)
    assert done.returncode == 0, done.stderr
    items = read_manifest(tmp_path / "own.jsonl")
    assert [item.text for item in items] == [clip.text for clip in clips[:2]]
    for item, clip in zip(items, clips[:2], strict=True):
        assert Path(item.audio).read_bytes() == Path(clip.audio).read_bytes()
    if columns:
        assert [item.voice for item in items] == ["s0", "s1"]
