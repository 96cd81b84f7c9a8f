"""A tiny codec is trained by the command on real recordings: it learns, goes on exactly, refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from borealis.audio import load_audio
from borealis.cli import main
from borealis.codec.nano import BorealisCodec
from borealis.codec.nano.modeling import ResidualQuantizer
from borealis.data.text import LETTERS
from borealis.errors import RecipeError
from borealis.training.codec.clips import UNKNOWN, Clips
from borealis.training.codec.codebooks import CodebookLearner
from borealis.training.codec.losses import MelDistance
from borealis.training.codec.recipe import (
    CodecBatchSection,
    CodecRecipe,
    load_codec_recipe,
)
from borealis.training.codec.teacher import LetterTeacher
from borealis.training.recipe import bundled_recipes

OPTIMIZER = {"learning_rate": 2e-3, "warmup_steps": 4}
TINY = {
    "name": "tiny",
    "codec": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "codebook_size": 16,
        "latent_size": 8,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "num_codebooks": 3,
    },
    "data": {
        "train": [{"manifest": "speech.jsonl"}],
        "validation": ["speech.jsonl"],
        "teacher": "nano",
    },
    "stages": [
        {
            "name": "codes",
            "max_steps": 40,
            "quantizer": {"begin": 12, "books": {1: 0.3, 3: 0.7}},
            "losses": {"letters": 0.3},
            "optimizer": OPTIMIZER,
            "muon_rate": 0.01,
            "batch": {"clips": 3, "seconds": 0.8},
            "augment": "light",
            "precision": "float32",
            "checkpoints": {"every": 10, "keep": 4},
            "log": {"every": 10},
            "validation": {"every": 20, "clips": 3},
        },
        {
            "name": "sound",
            "max_steps": 4,
            "trainable": ["decoder"],
            "quantizer": {"books": {3: 1}},
            "losses": {"adversarial": 0.3, "features": 1, "commitment": 0},
            "optimizer": OPTIMIZER,
            "batch": {"clips": 2, "seconds": 0.5},
            "precision": "float32",
            "checkpoints": {"every": 2},
            "log": {"every": 2},
        },
    ],
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    return str(path)


def train(recipe: str, world: Path, output: Path, *more: str) -> int:
    return main(["train", recipe, "--data", str(world), "--output", str(output), "--threads", "1", *more])  # fmt: skip


@pytest.fixture(scope="module")
def trained(tiny, world, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("codec") / "run"
    assert train(tiny, world, run) == 0
    return run


@pytest.mark.slow
def test_it_learns_and_its_codes_stay_in_the_second_stage(trained, clips):
    stages = json.loads((trained / "run.json").read_text("utf-8"))["stages"]
    assert [stage["steps"] for stage in stages] == [40, 4]
    measured = [row for row in stages[0]["rows"] if "mel_3" in row]
    assert [row["step"] for row in measured] == [20, 40]
    assert measured[1]["mel_3"] < measured[0]["mel_3"]
    told = [row["letters"] for row in stages[0]["rows"] if "letters" in row]
    assert told[-1] < told[0]
    codes, final = (BorealisCodec.from_pretrained(trained / n) for n in ("codes", "final"))
    sound = torch.from_numpy(load_audio(clips[0].audio))[None]
    found = codes.encode(sound)
    assert torch.equal(found, final.encode(sound))
    assert not torch.equal(codes.decode(found), final.decode(found))
    # More than an untrained one makes of it.
    mel = MelDistance(16_000)
    untrained = BorealisCodec(final.config).eval()
    assert mel(final(sound), sound) < mel(untrained(sound), sound)


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "step"), [("codes", 10), ("codes", 30), ("sound", 2)])
def test_cut_off_anywhere_it_ends_with_the_same_weights(
    trained, tiny, world, tmp_path, stage, step
):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    shutil.rmtree(run / "final")
    for folder in ("sound", "codes") if stage == "codes" else ("sound",):
        (run / folder / "model.safetensors").unlink()
        for checkpoint in (run / folder).glob("checkpoint-*"):
            if folder != stage or int(checkpoint.name[11:]) > step:
                shutil.rmtree(checkpoint)
    assert train(tiny, world, run) == 0
    wanted = load_file(trained / "final/model.safetensors")
    found = load_file(run / "final/model.safetensors")
    assert all(torch.equal(found[name], weight) for name, weight in wanted.items())


@pytest.mark.slow
def test_a_folder_of_another_run_is_refused_by_naming_what_differs(trained, tiny, world, capsys):
    before = sorted(trained.rglob("*"))
    assert train(tiny, world, trained, "stages.codes.losses.letters=0.5") == 2
    error = capsys.readouterr().err
    assert "stages.codes.losses.letters: 0.3 -> 0.5" in error
    assert train(tiny, world, trained, "stages.codes.losses.letters=0.5", "--dry-run") == 0
    assert "stages.codes.losses.letters: 0.3 -> 0.5" in capsys.readouterr().out
    assert train(tiny, world, trained, "--dry-run") == 0
    assert "codes done already" in capsys.readouterr().out
    assert sorted(trained.rglob("*")) == before


@pytest.mark.slow
def test_a_folder_of_another_run_is_trained_anew_if_it_is_said(trained, tiny, world, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    other = ("stages.codes.losses.letters=0.5", "--max-steps", "2")
    assert train(tiny, world, run, *other, "--no-resume") == 0
    assert not list(run.glob("codes/checkpoint-10"))
    stages = json.loads((run / "run.json").read_text("utf-8"))["stages"]
    assert [stage["steps"] for stage in stages] == [2, 2]
    assert train(tiny, world, run, *other) == 0  # it is the folder of that run now


def test_recordings_that_cannot_be_read_are_left_out_and_others_folders_are_kept(
    tiny, world, tmp_path, capsys, caplog
):
    """A recipe with one broken file goes on; one of broken files alone doesn't begin."""
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    lines = (world / "speech.jsonl").read_text("utf-8").splitlines()[:2]
    row = json.dumps({"audio": str(broken), "text": "а", "duration": 1.0})
    (tmp_path / "speech.jsonl").write_text("\n".join([*lines, row]), encoding="utf-8")
    options = ("data.teacher=null", "stages.codes.losses.letters=0", "--max-steps", "2")
    caplog.set_level("WARNING")
    assert train(tiny, tmp_path, tmp_path / "run", *options) == 0
    assert "1 recordings can't be read, such as 'broken.wav'" in caplog.text
    (tmp_path / "speech.jsonl").write_text(row, encoding="utf-8")
    assert train(tiny, tmp_path, tmp_path / "other", *options) == 2
    assert "has no recording that can be read" in capsys.readouterr().err
    (tmp_path / "mine" / "clips").mkdir(parents=True)
    (tmp_path / "mine" / "clips" / "a.wav").write_bytes(b"")
    assert train(tiny, tmp_path, tmp_path / "mine", *options) == 2
    assert "something else is there" in capsys.readouterr().err
    assert (tmp_path / "mine" / "clips" / "a.wav").is_file()


def test_what_a_run_would_do_is_told(tiny, world, capsys):
    assert train("nano-codec", world, Path("nowhere"), "--dry-run") == 0
    out = capsys.readouterr().out
    assert "25 frames a second, 250 bit/s a codebook, 2000 bit/s with all 8" in out
    assert f"not in '{world}' yet: festvox-ru.train.jsonl" in out
    assert train("nano-codec", world, Path("nowhere")) == 2
    assert "has no festvox-ru.train.jsonl" in capsys.readouterr().err
    assert not Path("nowhere").exists()
    assert train(tiny, world, Path("nowhere"), "--gpu", "h100") == 2
    assert "--gpu goes with recipes of language models" in capsys.readouterr().err
    assert train(tiny, world, Path("nowhere"), "stage=sound") == 2
    assert "leave stage=... out" in capsys.readouterr().err
    assert main(["plan", "nano-codec"]) == 2
    assert "'borealis train nano-codec --dry-run' says" in capsys.readouterr().err
    assert train("nano-codec", world, Path("nowhere"), "stages.codes.optimizer.rates.ears=1") == 2
    assert "optimizer.rates has 'ears'; parts are encoder, decoder" in capsys.readouterr().err


def test_keys_are_explained(capsys):
    assert main(["train", "nano-codec", "--help-recipe"]) == 0
    assert "begin (0): Steps without a quantizer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("stages.codes.trainable=[]", "trainable: name encoder, decoder or both"),
        ("stages.codes.quantizer.begin=0", "give quantizer.begin"),
        ("stages.codes.quantizer.begin=99999", "must be less than max_steps"),
        ("stages.sound.losses.letters=1", "losses.letters needs an encoder that learns"),
        ("stages.sound.losses.adversarial=0", "losses.features needs losses.adversarial"),
        ("stages.sound.name=codes", "every stage needs a name of its own"),
        ("data.teacher=null", "losses.letters needs data.teacher"),
        ("codec.num_codebooks=4", "quantizer.books has more than there are"),
        ("codec.colour=red", "Extra inputs are not permitted"),
    ],
)
def test_mistakes_of_a_recipe_are_named(change, said):
    with pytest.raises(RecipeError, match=said):
        load_codec_recipe("nano-codec", [change])


def test_bundled_recipes_are_valid():
    assert all(isinstance(load_codec_recipe(n), CodecRecipe) for n in bundled_recipes("codec"))


# ---- parts ----


def test_a_batch_is_a_function_of_seed_and_step(trained):
    clips = Clips(trained / "clips", ["speech.jsonl"])
    batch = CodecBatchSection(clips=4, seconds=1)
    first, again, other = (
        clips.batch(batch, "rough", hop=640, seed=3, step=step) for step in (5, 5, 6)
    )
    assert first[0].shape == (4, 16_000) and first[1].shape == (4, 50)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert np.abs(first[0]).max() <= 1


def test_crops_longer_than_a_recording_stand_in_silence(trained, clips):
    batch = CodecBatchSection(clips=2, seconds=40)
    sound, letters = Clips(trained / "clips", ["speech.jsonl"]).batch(
        batch, "none", hop=640, seed=0, step=1
    )
    inside = letters != UNKNOWN
    lengths = {-(-round(clip.duration * 16_000) // 320) for clip in clips}
    assert {int(row.sum()) for row in inside} <= {n + d for n in lengths for d in (-1, 0, 1)}
    assert not sound.reshape(2, -1, 320)[~inside].any()


def test_letters_are_told_where_they_are_said(clips):
    teacher = LetterTeacher("nano")
    clip = clips[0]
    [row, silent] = teacher([load_audio(clip.audio), np.zeros(8000, np.float32)], [clip.text, "45"])
    assert len(row) == -(-len(load_audio(clip.audio)) // 320) and (silent == UNKNOWN).all()
    said = "".join(LETTERS.labels[k - 1] for k in row if k)
    # Letters last, and double ones melt together.
    short = "".join(c for i, c in enumerate(said) if i == 0 or said[i - 1] != c)
    wanted = LETTERS.fold(clip.text)
    wanted = "".join(c for i, c in enumerate(wanted) if i == 0 or wanted[i - 1] != c)
    assert short == wanted


def test_a_teacher_without_letters_is_refused(make_tiny, tmp_path):
    model, processor = make_tiny(adapter_type="mlp")
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match="hears no letters"):
        LetterTeacher(str(tmp_path))


def test_codebooks_find_the_clusters_and_revive_the_dead():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer.__new__(ResidualQuantizer)
    torch.nn.Module.__init__(quantizer)
    quantizer.register_buffer("codebooks", torch.randn(2, 8, 4))
    centres = torch.randn(8, 4) * 10
    vectors = (centres[:, None] + torch.randn(8, 50, 4) * 0.1).flatten(0, 1)
    learner = CodebookLearner(quantizer, 0.9, 0.04)
    learner.begin(vectors, per_step=len(vectors))
    distance = torch.cdist(centres, quantizer.codebooks[0]).min(1).values
    assert (distance < 1).sum() >= 6  # k-means may join two of them
    quantizer.codebooks[0, 0] = 1e4  # nobody is near it
    learner.sums[0, 0], learner.counts[0, 0] = 1e4, 0.04
    for _ in range(30):
        codes, parts = quantizer(vectors[None])
        learner.update(vectors[None], codes, parts)
    assert quantizer.codebooks[0].abs().max() < 100
    assert quantizer(vectors[None])[1].sum(0).sub(vectors).square().mean() < vectors.var()
