"""The real command through the real clients, against a small hub on loopback."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import borealis
from borealis.checkpoints import resolve_checkpoint
from borealis.data.entries import bundled_entries
from borealis.data.manifest import read_manifest
from borealis.training.publish.export import export
from borealis.training.recipe import bundled_recipes, load_recipe
from tests.demo.conftest import free_port
from tests.hub import copies
from tests.hub.loopback import Loopback, warm_clients
from tests.hub.server import Hub

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def loopback(clips, tmp_path_factory) -> Iterator[Loopback]:
    with Hub() as hub, warm_clients() as warm:
        copies.fill(hub, clips[:3])
        yield Loopback(hub, tmp_path_factory.mktemp("home"), warm)


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
    done = loopback.run("-c", _COMMANDS, told=commands)
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
    done = loopback.run("-c", _SOURCES, str(tmp_path), told=wanted)
    assert done.returncode == 0, done.stderr
    assert dict(line.split() for line in done.stdout.splitlines()).keys() == wanted.keys()
    english = [n for n, v in wanted.items() if v["dataset"] == "common-voice-en"]
    items = read_manifest(tmp_path / "sources" / f"{english[0]}.jsonl")
    assert {item.language for item in items} == {"en"}


@pytest.fixture(scope="module")
def limited(loopback, tmp_path_factory) -> tuple[Path, dict[str, int]]:
    """A folder into which two rows were read, and what the hub had to send for it."""
    folder = tmp_path_factory.mktemp("limited")
    before = dict(loopback.hub.sent)
    command = ("data", "hub", "ruls", "--output", str(folder), "--limit", "2")
    done = loopback.borealis(*command, HF_HOME=str(folder / "home"))
    assert done.returncode == 0, done.stderr
    assert "2 examples" in done.stdout
    sent = loopback.hub.sent
    return folder, {path: n - before.get(path, 0) for path, n in sent.items()}


def test_no_more_than_the_limit_is_fetched(limited):
    folder, sent = limited
    fetched = {path for path, size in sent.items() if size and path.endswith(".parquet")}
    assert fetched == {"data/train-00000-of-00002.parquet"}
    assert not list((folder / "home").rglob("*.arrow")), "nothing but the two rows was kept"
    assert len(read_manifest(folder / "ruls.jsonl")) == 2


@pytest.fixture(scope="module")
def tiny_folder(make_tiny, tmp_path_factory) -> Path:
    """A tiny model to go on from: what is asked of the hub doesn't depend on its size."""
    folder = tmp_path_factory.mktemp("tiny") / "tiny"
    for part in make_tiny("mlp"):
        part.save_pretrained(folder)
    return folder


_RECIPE = """
name: mine
model: {checkpoint: TINY}
data:
  optional: [gone]
  sources:
    heard: {dataset: tone-speak, streaming: true, limit: 2}
    gone: {dataset: org/gone}
stages:
  - name: tune
    max_steps: 1
    optimizer: {learning_rate: 0.0001}
    batch: {seconds: 20}
    trainable: [adapter]
    sources: [heard, gone]
"""


def test_a_run_learns_from_a_streamed_dataset_and_goes_on_without_an_optional_one(
    loopback, tiny_folder, tmp_path
):
    recipe = _RECIPE.replace("TINY", str(tiny_folder))
    (tmp_path / "mine.yaml").write_text(recipe, encoding="utf-8")
    data, output = tmp_path / "data", tmp_path / "run"
    places = ("--data", str(data), "--output", str(output))
    done = loopback.borealis("train", str(tmp_path / "mine.yaml"), *places)
    assert done.returncode == 0, done.stderr
    assert "going on without the source gone" in done.stdout + done.stderr
    assert (output / "final" / "model.safetensors").is_file()
    assert len(read_manifest(data / "sources" / "heard.jsonl")) == 2
    card = tmp_path / "hub" / "README.md"
    done = loopback.borealis("export", str(output), "--output", str(card.parent))
    assert done.returncode == 0, done.stderr
    written = card.read_text(encoding="utf-8")
    assert "Vikhrmodels/ToneSpeak" in written and str(tmp_path) not in written


_COPIED = """
name: copied
model: {checkpoint: TINY}
data: {sources: {mine: {manifest: manifest.jsonl, limit: 2}}}
stages:
  - name: tune
    max_steps: 2
    optimizer: {learning_rate: 0.0001, scheduler: constant}
    batch: {seconds: 20}
    trainable: [adapter]
    sources: [mine]
"""


@pytest.fixture(scope="module")
def copied(tiny_folder) -> str:
    """A recipe that goes on from a tiny model."""
    recipe = tiny_folder.with_name("copied.yaml")
    recipe.write_text(_COPIED.replace("TINY", str(tiny_folder)), encoding="utf-8")
    return str(recipe)


def test_a_run_that_is_cut_off_goes_on_elsewhere_from_its_copy(loopback, copied, tmp_path):
    command = (
        "train",
        copied,
        "--data",
        "examples/audio",
        "--hub",
        "anna/run",
    )
    here, there = tmp_path / "here", tmp_path / "there"
    done = loopback.borealis(*command, "--output", str(here), "--max-steps", "1")
    assert done.returncode == 0, done.stderr
    kept = set(loopback.hub.repositories["model", "anna/run"].files["main"])
    assert {"run.json", "start/config.json", "tune/checkpoint-1/trainer_state.json"} <= kept
    assert "final/model.safetensors" in kept and not any("features" in name for name in kept)
    assert loopback.hub.repositories["model", "anna/run"].about["visibility"] == "private"

    done = loopback.borealis(*command, "--output", str(there))
    assert done.returncode == 0, done.stderr
    assert "the run was fetched from anna/run" in done.stdout + done.stderr
    log = json.loads((there / "run.json").read_text("utf-8"))
    assert [stage["steps"] for stage in log["stages"]] == [2]
    state = json.loads((there / "tune/checkpoint-2/trainer_state.json").read_text("utf-8"))
    assert state["global_step"] == 2
    assert (
        "tune/checkpoint-2/trainer_state.json"
        in loopback.hub.repositories["model", "anna/run"].files["main"]
    )


def test_a_model_is_no_copy_of_a_run(loopback, pushed, copied, tmp_path):
    command = (
        "train",
        copied,
        "--data",
        "examples/audio",
        "--hub",
        "anna/nano",
    )
    done = loopback.borealis(*command, "--output", str(tmp_path / "run"))
    assert done.returncode == 2 and "'anna/nano' is no copy of a run" in done.stderr
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


def test_a_copy_without_a_token_is_told_before_any_training(loopback, copied, tmp_path):
    command = (
        "train",
        copied,
        "--data",
        "examples/audio",
        "--hub",
        "anna/b",
    )
    done = loopback.borealis(*command, "--output", str(tmp_path / "run"), HF_TOKEN="")
    assert done.returncode == 2 and "'hf auth login' stores a token" in done.stderr
    assert not (tmp_path / "run" / "tune").exists()


# ---- mistakes ----


@pytest.fixture(scope="module")
def mistakes(loopback, tmp_path_factory, clips) -> dict[str, str]:
    """What the command says to a user's mistakes."""
    hub, data = loopback.hub, str(tmp_path_factory.mktemp("mistakes"))
    hub.put("dataset", "org/odd", copies.folder_of_recordings(clips[:2], column="said"))
    asked = {
        "split": ["ruls", "--split", "validate"],
        "stream": ["ruls", "--split", "validate", "--streaming"],
        "part": ["ruls", "--split", "train[:2]", "--streaming"],
        "files": ["org/odd", "--streaming"],
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
    done = loopback.run("-c", script, told=commands, home=home)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("split", "'ruls' has no split 'validate'; it has train, validation, test."),
        ("stream", "'ruls' has no split 'validate'; it has train, validation, test."),
        ("part", "A part of a split, train[:2], can't be streamed; give a limit instead."),
        ("files", "'org/odd' can't be streamed: '0.flac' isn't parquet."),
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


@pytest.mark.parametrize("limit", [[], ["--limit=2"]])
@pytest.mark.parametrize(
    ("layout", "columns"),
    [
        (copies.folder_of_recordings, []),
        (copies.archive, ["--column=text=json.text", "--column=voice=json.speaker"]),
    ],
)
def test_recordings_of_any_layout_come_as_files(loopback, clips, tmp_path, layout, columns, limit):
    name = f"org/{layout.__name__}"
    loopback.hub.put("dataset", name, layout(clips[:2]))
    command = ["data", "hub", name, "--output", str(tmp_path), "--name", "own", *columns, *limit]
    done = loopback.borealis(*command)
    assert done.returncode == 0, done.stderr
    items = read_manifest(tmp_path / "own.jsonl")
    assert [item.text for item in items] == [clip.text for clip in clips[:2]]
    for item, clip in zip(items, clips[:2], strict=True):
        assert Path(item.audio).read_bytes() == Path(clip.audio).read_bytes()
    if columns:
        assert [item.voice for item in items] == ["s0", "s1"]


# ---- models and Spaces ----


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A folder that can be published: the bundled model and its card."""
    folder = tmp_path_factory.mktemp("exported") / "nano"
    return export(resolve_checkpoint("nano"), folder, licence="apache-2.0")


@pytest.fixture(scope="module")
def pushed(loopback, exported) -> str:
    """What `borealis push` prints."""
    command = ("push", str(exported), "anna/nano", "--private", "--message", "First")
    done = loopback.borealis(*command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_pushed_model_is_on_the_hub_whole(loopback, exported, pushed):
    assert pushed.splitlines()[-1] == f"{loopback.hub.endpoint}/anna/nano"
    repository = loopback.hub.repositories["model", "anna/nano"]
    local = {path.name: path.read_bytes() for path in exported.iterdir()}
    assert repository.files["main"] == local
    assert repository.private and repository.about["messages"] == ["First"]
    digests = {hashlib.sha256(local[name]).hexdigest() for name in local if "safetensors" in name}
    assert digests <= set(loopback.hub.stored), "large files go by LFS"


_LOAD = """
import sys
import borealis
model = borealis.load(sys.argv[1])
print(model.transcribe(sys.argv[2]))
print(model.ask(sys.argv[2], sys.argv[3]))
"""


@pytest.fixture(scope="module")
def loaded(loopback, pushed, speech) -> list[str]:
    """What a model from the hub writes down, and what it answers to a question it wasn't taught."""
    question = "Какая сегодня погода?"
    done = loopback.run("-c", _LOAD, "anna/nano", str(speech), question)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_model_from_the_hub_is_the_one_that_was_pushed(loaded, exported, speech):
    model = borealis.load(exported)
    assert loaded == [
        str(model.transcribe(speech)),
        model.ask(speech, "Какая сегодня погода?"),
    ], "its n-gram and the kinds of questions it knows came along"


def test_a_model_that_is_not_there_is_told(loopback, speech):
    done = loopback.borealis("transcribe", str(speech), "--model", "anna/nothing")
    assert done.returncode == 2 and "'anna/nothing' can't be loaded" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_push_without_a_token_is_told(loopback, exported):
    done = loopback.borealis("push", str(exported), "anna/other", HF_TOKEN="")
    assert done.returncode == 2 and "'hf auth login' stores a token" in done.stderr
    assert ("model", "anna/other") not in loopback.hub.repositories


def test_a_hub_that_does_not_answer_is_told(loopback, exported):
    nowhere = f"http://127.0.0.1:{free_port()}"
    done = loopback.borealis("push", str(exported), "anna/other", HF_ENDPOINT=nowhere)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "'anna/other' can't be written" in done.stderr and "Run it again" in done.stderr


@pytest.fixture(scope="module")
def space_pushed(loopback, tmp_path_factory) -> Path:
    """A Space that was built and pushed."""
    folder = tmp_path_factory.mktemp("space") / "demo"
    for command in (
        ("space", "build", str(folder), "--kind", "gradio", "--no-site"),
        ("space", "push", str(folder), "anna/demo"),
    ):
        done = loopback.borealis(*command)
        assert done.returncode == 0, done.stderr
    return folder


def test_a_pushed_space_is_on_the_hub_whole(loopback, space_pushed):
    repository = loopback.hub.repositories["space", "anna/demo"]
    assert repository.about["sdk"] == "gradio"
    local = {
        path.relative_to(space_pushed).as_posix(): path.read_bytes()
        for path in space_pushed.rglob("*")
        if path.is_file()
    }
    assert repository.files["main"] == local


# What was asked of the hub in all of the above: a page says what was tried, and it is this.
TRIED = {
    ("GET", "/api/{kind}s/{name}/revision/{revision}"),
    ("GET", "/api/{kind}s/{name}/tree/{revision}"),
    ("GET", "/{name}/resolve/{revision}/{path}"),
    ("HEAD", "/{name}/resolve/{revision}/{path}"),
    ("POST", "/api/{kind}s/{name}/commit/{revision}"),
    ("POST", "/api/{kind}s/{name}/preupload/{revision}"),
    ("POST", "/api/repos/create"),
    ("POST", "/api/validate-yaml"),
    ("POST", "/lfs/{oid}/verify"),
    ("POST", "/{name}.git/info/lfs/objects/batch"),
    ("PUT", "/lfs/{oid}"),
}


# Asked only when something isn't there.
SOMETIMES = {("GET", "/api/{kind}s/{name}")}


def test_these_routes_were_tried(loopback, entries_read, limited, loaded, space_pushed):
    asked = set(loopback.hub.asked)
    assert asked >= TRIED
    assert asked - TRIED <= SOMETIMES, "the clients ask for a route that nobody has looked at"
