"""A run folder belongs to one run: what differs is refused by name, or the stage goes on exactly."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file

from borealis.audio import load_audio
from borealis.cli import main
from borealis.data.manifest import read_manifest
from borealis.errors import RecipeError
from borealis.training.data.sources import source_manifest
from borealis.training.digests import folder_digest
from borealis.training.recipe import SourceSection, StageSection, load_recipe
from borealis.training.run.folder import RunFolder, why_not_on
from borealis.training.run.record import RECORD, read_record
from borealis.training.run.settings import HARMLESS
from tests.training.keys import nested, spelled

LORA = {"rank": 2, "alpha": 4, "dropout": 0.1}


@pytest.fixture
def data(world, tmp_path) -> Path:
    """A data folder of one test's own: a manifest of copies of two recordings."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [json.loads(line) for line in (world / "speech.jsonl").read_text("utf-8").splitlines()]
    for number, row in enumerate(rows[:2]):
        copy = folder / f"{number}{Path(row['audio']).suffix}"
        shutil.copy(row["audio"], copy)
        row["audio"] = copy.name
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows[:2])
    (folder / "speech.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def recipe(world, tmp_path) -> str:
    """One stage `tune` of four steps, all of them in its warm-up."""
    value = {
        "name": "mine",
        "model": {
            "audio_tower": str(world / "whisper"),
            "language_model": str(world / "llm"),
            "config": {"adapter_type": "mlp", "encoder_window": "cut"},
        },
        "data": {"sources": {"speech": {"manifest": "speech.jsonl"}}},
        "stages": [
            {
                "name": "tune", "max_steps": 4, "learning_rate": 1e-3,
                "warmup_steps": 6, "batch_seconds": 12, "precision": "float32",
                "trainable": ["adapter", "language_model"], "lora": LORA, "sources": ["speech"],
                "tasks.transcription": {"questions": 0.35, "follow_up": 0.1},
            }
        ],
    }  # fmt: skip
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(spelled(value)), encoding="utf-8")
    return str(path)


@pytest.fixture
def train(recipe, data):
    """`train(output, *more)`: the command in this process, on one thread."""

    def run(output: Path, *more: str) -> int:
        return main(["train", recipe, "--data", str(data), "--output", str(output), "--threads", "1", *more])  # fmt: skip

    return run


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "final" / "model.safetensors")


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def steps(folder: Path) -> list[tuple[str, int]]:
    log = json.loads((folder / "run.json").read_text("utf-8"))
    return [(stage["stage"], stage["steps"]) for stage in log["stages"]]


@pytest.mark.slow
def test_a_trial_goes_on_to_the_whole_run_bit_by_bit(train, tmp_path, caplog):
    caplog.set_level("INFO")
    assert train(tmp_path / "whole") == 0
    assert train(tmp_path / "trial", "--max-steps", "2") == 0
    assert steps(tmp_path / "trial") == [("tune", 2)]
    assert not same(weights(tmp_path / "trial"), weights(tmp_path / "whole"))
    assert train(tmp_path / "trial") == 0
    assert "done already" not in caplog.text
    assert steps(tmp_path / "trial") == [("tune", 4)]
    assert same(weights(tmp_path / "trial"), weights(tmp_path / "whole"))
    made = read_record(tmp_path / "trial" / "tune")
    assert made is not None and (made.steps, made.before) == (4, "start")
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.slow
def test_what_differs_is_named_before_any_work(train, data, world, tmp_path, capsys, caplog):
    caplog.set_level("INFO")
    run = tmp_path / "run"
    assert train(run, "--max-steps", "2") == 0
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*")}

    def refused(*more: str) -> str:
        assert train(run, *more) == 2
        assert {p: p.stat().st_mtime_ns for p in run.rglob("*")} == before, "something was done"
        error = capsys.readouterr().err
        assert "Traceback" not in error and "another --output" in error
        assert error.rstrip().endswith("--no-resume.")
        return error

    two = "stages.tune.max_steps=2"
    rate = refused(two, "stages.tune.optimizer.learning_rate=0.01", "stages.tune.lora.rank=4")
    assert "stages.tune.optimizer.learning_rate: 0.001 -> 0.01" in rate
    assert "stages.tune.lora.rank: 2 -> 4" in rate and "max_steps" not in rate
    assert "seed: 0 -> 1" in refused(two, "seed=1")
    assert "stages.tune.lora.alpha: 4 -> nothing" in refused(two, "stages.tune.lora=null")
    assert "model.config.downsample_factor: nothing -> 8" in refused(two, "model.config.downsample_factor=8")  # fmt: skip
    assert "data.sources.speech.limit: null -> 1" in refused(two, "data.sources.speech.limit=1")
    assert "stages.tune.max_steps: 2 -> 1 (2 steps are taken already)" in refused("--max-steps", "1")  # fmt: skip
    late = refused("stages.tune.optimizer.warmup_steps=1")
    assert "warmup_steps: 6 -> 1" in late and "max_steps: 2 -> 4" in late

    # Keys that change no weight go on, and so does another place of the same data.
    moved = shutil.copytree(data, tmp_path / "moved")
    harmless = ["log.every=1", "checkpoints.every=9", "batch.workers=1", "checkpoints.keep=1"]
    more = [f"stages.tune.{key}" for key in harmless]
    assert train(run, "--data", str(moved), "--max-steps", "2", *more, "name=other") == 0
    assert "stage tune is done already: 2 steps" in caplog.text
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*")}

    manifest = data / "speech.jsonl"
    kept = manifest.read_bytes()
    manifest.write_bytes(kept.replace(b'"text": "', b'"text": "\xd0\x98 '))
    assert "'speech.jsonl' has changed" in refused("--max-steps", "2")
    manifest.write_bytes(kept)
    # A recording that is made anew is other data, though the manifest is the same.
    audio = next(data.glob("0.*"))
    soundfile.write(audio, load_audio(audio)[:-1600], 16_000)
    assert "'speech.jsonl' has changed" in refused("--max-steps", "2")
    shutil.copy(moved / audio.name, audio)

    # Anew, in the same folder: nothing of the old run is taken up, not even its checkpoint.
    assert train(run, "--no-resume", "stages.tune.max_steps=1", "seed=1") == 0
    assert steps(run) == [("tune", 1)]
    assert [p.name for p in (run / "tune").glob("checkpoint-*")] == ["checkpoint-1"]
    assert train(tmp_path / "new", "stages.tune.max_steps=1", "seed=1") == 0
    assert same(weights(run), weights(tmp_path / "new"))


@pytest.mark.slow
def test_a_model_that_began_with_other_weights_is_another_run(train, world, data, tmp_path, capsys):
    base = tmp_path / "base"
    assert train(tmp_path / "first", "--max-steps", "1") == 0
    shutil.copytree(tmp_path / "first" / "final", base)
    from_base = [f"model={{checkpoint: {base}}}", "stages.tune.max_steps=1"]
    assert train(tmp_path / "run", *from_base) == 0
    assert train(tmp_path / "second", "--max-steps", "1", "seed=3") == 0
    shutil.copy(tmp_path / "second" / "final" / "model.safetensors", base)
    assert train(tmp_path / "run", *from_base) == 2
    assert "model.checkpoint: the weights there have changed" in capsys.readouterr().err
    shutil.rmtree(base)  # what a run begins with is kept: going on doesn't need it again
    assert train(tmp_path / "run", "model={checkpoint: gone}", "--max-steps", "1") == 2
    assert f'model.checkpoint: "{base}" -> "gone"' in capsys.readouterr().err
    assert train(tmp_path / "run", *from_base) == 0


@pytest.mark.slow
def test_a_folder_of_an_earlier_version_is_refused(train, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(run, "--max-steps", "1") == 0
    for record in run.rglob(RECORD):
        record.unlink()
    assert train(run, "--max-steps", "1") == 2
    error = capsys.readouterr().err
    assert "no record of what it was made from" in error and "--no-resume" in error
    assert train(run, "--max-steps", "1", "--no-resume") == 0
    (run / "tune" / RECORD).write_text('{"made": {}}', encoding="utf-8")
    assert train(run, "--max-steps", "1") == 2
    assert "can't be read" in capsys.readouterr().err


@pytest.mark.slow
def test_a_stage_belongs_to_the_one_before(train, recipe, tmp_path, capsys, caplog):
    caplog.set_level("INFO")
    value = yaml.safe_load(Path(recipe).read_text("utf-8"))
    [tune] = value["stages"]
    value["stages"] = [tune | {"name": "align", "tasks": {"transcription": {}}, "lora": None, "trainable": ["adapter"]}, tune]  # fmt: skip
    Path(recipe).write_text(yaml.safe_dump(spelled(value)), encoding="utf-8")
    run = tmp_path / "run"
    one = ["stages.*.max_steps=1"]
    assert train(run, "--stages", "align", *one) == 0
    # A stage that hasn't begun may change; it begins with what is finished before it.
    assert train(run, *one, "--stages", "tune", "stages.tune.optimizer.learning_rate=0.002") == 0
    assert steps(run) == [("align", 1), ("tune", 1)]
    made = read_record(run / "tune")
    align = read_record(run / "align")
    assert made is not None and align is not None
    assert (made.before, made.before_weights) == ("align", align.weights)
    # Only the stage that differs, and those after it, have to be trained anew.
    assert train(run, *one) == 2
    error = capsys.readouterr().err
    assert "stages.tune.optimizer.learning_rate: 0.002 -> 0.001" in error and "align." not in error
    assert "--no-resume --stages tune." in error
    assert train(run, *one, "--no-resume", "--stages", "tune") == 0
    assert steps(run) == [("align", 1), ("tune", 1)]
    together = tmp_path / "together"
    assert train(together, *one) == 0
    assert same(weights(run), weights(together))
    # More steps of a stage would take the ground from under the next.
    assert train(run, "stages.align.max_steps=2", "stages.tune.max_steps=1") == 2
    error = capsys.readouterr().err
    assert "'tune': it begins with 'align', which isn't what it was" in error
    assert (
        train(run, "stages.align.max_steps=2", "stages.tune.max_steps=1", "--stages", "tune") == 2
    )
    assert "stages.align.max_steps: 1 -> 2" in capsys.readouterr().err
    assert train(run, *one, "--no-resume", "--stages", "align", "seed=2") == 0
    assert train(run, *one, "seed=2") == 2
    assert "seed: 0 -> 2" in capsys.readouterr().err
    # A stage that was trained without the one before isn't taken for one that was.
    assert train(tmp_path / "alone", *one, "--stages", "tune") == 0
    assert train(tmp_path / "alone", *one) == 2
    assert "it began with 'start' -> it would begin with 'align'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_commands_of_the_tutorial_run_in_order(make_tiny, tmp_path, monkeypatch, clips, capsys):
    """The page's trial and its whole tuning in one folder; the model is a tiny one."""
    model, processor = make_tiny("ctc")
    model.save_pretrained(tmp_path / "tiny")
    processor.save_pretrained(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    root = Path(__file__).parents[3]
    shutil.copytree(root / "examples", tmp_path / "examples")
    folder = tmp_path / "my-recordings"
    folder.mkdir()
    shutil.copy(clips[0].audio, folder)
    row = {"audio": Path(clips[0].audio).name, "text": clips[0].text, "duration": clips[0].duration}
    (folder / "manifest.jsonl").write_text(json.dumps(row), encoding="utf-8")
    start = "borealis train examples/fine_tune_lora.yaml"
    russian, commands = (
        [
            line.split()[1:]
            for line in page.read_text("utf-8").splitlines()
            if line.startswith(start)
        ]
        for page in (root / f"docs/{name}/tutorial/own-recordings.md" for name in ("ru", "en"))
    )
    assert russian == commands
    assert len(commands) == 2 and "--max-steps" in commands[0] and "--max-steps" not in commands[1]
    tiny = [f"model.checkpoint={tmp_path / 'tiny'}", "--threads", "1"]
    asked = load_recipe("examples/fine_tune_lora.yaml").stages[0].max_steps
    for command, count in zip(commands, (2, asked), strict=True):
        assert main([*command, *tiny]) == 0, capsys.readouterr().err
        assert steps(tmp_path / "runs" / "lora") == [("tune", count)]
    assert main([*commands[1], *tiny, "stages.tune.max_steps=300"]) == 2
    assert "past its warm-up" in capsys.readouterr().err


# ---- without training ----

STAGE = {"name": "s", "max_steps": 10, "learning_rate": 1e-3, "warmup_steps": 4}


@pytest.mark.parametrize(
    ("keys", "taken", "says"),
    [
        ({"features": ["f"]}, 4, None),
        ({"features": ["f"]}, 5, "past its warm-up"),
        ({"features": ["f"]}, 21, "taken already"),
        ({"features": ["f"]}, None, "no checkpoint"),
        ({"features": ["f"], "scheduler": "constant_with_warmup"}, 10, None),
        ({"features": ["f"], "scheduler": "inverse_sqrt"}, 10, None),
        ({"features": ["f"], "scheduler": "linear"}, 4, None),
        ({"features": ["f"], "scheduler": "linear"}, 10, "linear schedule"),
        # Of a stage that is nothing but warm-up the next rate would be another.
        ({"features": ["f"], "scheduler": "linear", "warmup_steps": 10}, 10, "linear schedule"),
        ({"features": ["f"], "scheduler": "polynomial", "warmup_steps": 10}, 10, "polynomial"),
        ({"features": ["f"], "scheduler": "polynomial", "warmup_steps": 10}, 9, None),
        ({"features": ["f"], "tasks.pseudo.share": 0.1}, 2, "pseudo-audio"),
        ({"tasks.text": {}}, 2, None),
        ({"tasks.text": {}, "tasks.pseudo": {}}, 2, "pseudo-audio"),
        ({"sources": ["s"], "presets": ["none", "rough"]}, 4, None),
        (
            {"sources": ["s"], "presets": ["none", "rough"], "scheduler": "constant"},
            6,
            "distortions",
        ),
    ],
)
def test_more_steps_are_taken_where_those_before_would_be_the_same(keys, taken, says):
    old = StageSection(**nested(STAGE, keys))
    reason = why_not_on(old, old.model_copy(update={"max_steps": 20}), taken)
    assert reason is None if says is None else says in (reason or "")


def test_the_batches_of_a_longer_stage_begin_as_those_of_a_shorter(tiny, batches_of):
    short, long = (batches_of(*tiny, max_steps=count, presets=["rough"]) for count in (6, 40))
    modes = []
    for step in range(6):
        one, two = short[step], long[step]
        assert one.keys() == two.keys()
        for key, value in one.items():
            equal = torch.equal(value, two[key]) if torch.is_tensor(value) else value == two[key]
            assert equal, (step, key)
        modes.append(one["mode"])
    assert set(modes) == {"audio", "text"}


@pytest.mark.parametrize("language", ["ru", "en"])
def test_the_reference_names_every_key_that_may_differ(language):
    page = Path(__file__).parents[3] / "docs" / language / "reference" / "recipe.md"
    [told] = [p for p in page.read_text("utf-8").split("\n\n") if "`model.decoding`" in p][:1]
    keys = {"model.decoding", "streaming", "name", "notes"}
    for name, inner in HARMLESS[StageSection].items():
        keys |= {name} if inner is True else {f"{name}.{key}" for key in inner}
    assert set(re.findall(r"`([^`]+)`", told)) == keys


def test_folders_that_are_read_are_not_written(recipe, data, world, tmp_path, capsys):
    def refused(says: str, *more: str) -> None:
        command = ["train", recipe, "--data", str(data), *more]
        assert main(command) == 2
        error = capsys.readouterr().err
        assert says in error and "Traceback" not in error, error

    listing = sorted(tmp_path.rglob("*"))
    refused("--output", "--output", str(data))
    refused("holds the data folder", "--output", str(tmp_path))
    refused("holds model.audio_tower", "--output", str(world))
    out = ["--output", str(tmp_path / "run")]
    refused("--pack", *out, "--pack", str(data))
    refused("holds model.language_model", *out, "--pack", str(world / "llm"))
    refused("of the run itself", *out, "--pack", str(tmp_path / "run" / "final"))
    assert sorted(tmp_path.rglob("*")) == listing
    (tmp_path / "photos" / "final").mkdir(parents=True)
    (tmp_path / "photos" / "final" / "me.jpg").write_bytes(b"")
    refused("isn't of a run", "--output", str(tmp_path / "photos"))
    refused("is a file", "--output", recipe)


def test_a_folder_of_recordings_is_known_by_names_sizes_and_texts(data):
    text = data / "0.txt"
    text.write_text("раз", encoding="utf-8")
    first = folder_digest(data)
    assert folder_digest(data) == first
    text.write_text("два", encoding="utf-8")
    assert folder_digest(data) != first
    text.write_text("раз", encoding="utf-8")
    (data / "notes.md").write_text("", encoding="utf-8")
    assert folder_digest(data) == first
    shutil.copy(next(data.glob("0.flac")), data / "9.flac")
    assert folder_digest(data) != first


def test_a_folder_that_has_changed_is_read_again(data, caplog):
    section = SourceSection(folder="calls", language="ru")
    calls = data / "calls"
    calls.mkdir()
    for name, text in (("0", "Раз."), ("1", "Два.")):
        shutil.copy(data / f"{name}.flac", calls)
        (calls / f"{name}.txt").write_text(text, encoding="utf-8")
        made = source_manifest("calls", section, data)
        assert made == data / "sources" / "calls.jsonl"
    assert [item.text for item in read_manifest(made)] == ["Раз.", "Два."]
    assert "the folder has changed, reading it again" in caplog.text
    caplog.clear()
    assert source_manifest("calls", section, data) == made and not caplog.text


def test_a_manifest_of_another_dataset_is_not_used(data, tmp_path):
    from datasets import Audio, Dataset

    rows = {"audio": [str(data / "0.flac"), str(data / "1.flac")], "text": ["Раз.", "Два."]}
    for name in ("one", "two"):
        Dataset.from_dict(rows).cast_column("audio", Audio(decode=False)).save_to_disk(tmp_path / name)  # fmt: skip
    one = SourceSection(dataset=str(tmp_path / "one"), limit=1)
    made = source_manifest("calls", one, data)
    assert len(read_manifest(made)) == 1 and source_manifest("calls", one, data) == made
    for changes, says in (
        ({"dataset": str(tmp_path / "two")}, "dataset: "),
        ({"split": "test"}, "split: 'train' -> 'test'"),
        ({"limit": 2}, "limit: 1 -> 2"),
    ):
        with pytest.raises(RecipeError, match="made from something else") as error:
            source_manifest("calls", one.model_copy(update=changes), data)
        assert says in str(error.value) and "another name" in str(error.value)
    other = one.model_copy(update={"weight": 3.0, "max_seconds": 9.0, "streaming": True})
    assert source_manifest("calls", other, data) == made


def test_a_stage_without_a_record_counts_as_begun(recipe, data, tmp_path):
    loaded = load_recipe(recipe)
    run = tmp_path / "run"
    (run / "start").mkdir(parents=True)
    (run / "start" / "config.json").write_text("{}")
    (run / "tune").mkdir()
    (run / "tune" / "model.safetensors").write_bytes(b"")
    folder = RunFolder(run, loaded, data)
    with pytest.raises(RecipeError, match="no record of what it was made from"):
        folder.look(["tune"], resume=True)
    plan = folder.look(["tune"], resume=False)
    assert plan.remake_start and plan.work == {"tune": "new"}
