"""A tiny refiner is trained by the command on real recordings: it learns, goes on exactly, refuses."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from borealis.cli import main
from borealis.codec import load_codec
from borealis.codec.loading import load_refiner
from borealis.codec.nano import BorealisCodec, BorealisCodecConfig
from borealis.errors import CodecError, RecipeError
from borealis.speech.symbols import SYMBOLS
from borealis.training.codec.codebooks import CodebookLearner
from borealis.training.codec.refiner.recipe import (
    RefinerRecipe,
    load_refiner_recipe,
)
from borealis.training.codec.refiner.run import refiner_config
from borealis.training.codec.refiner.spoken import read_spoken
from borealis.training.codec.refiner.trainer import RefinerTrainer
from borealis.training.recipe import bundled_recipes

TINY = {
    "name": "tiny",
    "refiner": {"hidden_size": 32, "intermediate_size": 48, "num_layers": 2, "kernel_size": 3},
    "data": {
        "speech": {"all": [{"manifest": "speech.jsonl", "voices": {"": "reader"}}]},
        "train": ["all"],
        "validation": ["all"],
    },
    "stages": [
        {
            "name": "latents",
            "max_steps": 40,
            "errors": {"near": 0.05, "nearest": 3, "random": 0.02},
            "optimizer": {"learning_rate": 5e-3, "warmup_steps": 4},
            "batch": {"clips": 6, "frames": 40},
            "precision": "float32",
            "checkpoints": {"every": 10, "keep": 4},
            "log": {"every": 10},
            "validation": {"every": 20, "clips": 2},
        },
        {
            "name": "sound",
            "max_steps": 4,
            "losses": {"latents": 1.0, "mel": 0.5},
            "optimizer": {"learning_rate": 1e-3, "warmup_steps": 1},
            "batch": {"clips": 2, "frames": 20},
            "precision": "float32",
            "checkpoints": {"every": 2},
            "log": {"every": 2},
        },
    ],
}


@pytest.fixture(scope="module")
def codec_folder(clips, tmp_path_factory) -> Path:
    """A tiny codec whose codebooks fit its latents of real speech."""
    from borealis.audio import load_audio

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "codebook_size": 16, "latent_size": 8}
    layers = {"encoder_layers": 1, "decoder_layers": 1, "num_codebooks": 3}
    model = BorealisCodec(BorealisCodecConfig(**sizes, **layers)).eval()
    sound = torch.cat([torch.from_numpy(load_audio(clip.audio)) for clip in clips])[None]
    with torch.no_grad():
        latents = model.encoder(model.whole_frames(sound))[0]
    CodebookLearner(model.quantizer, 0.9, 0.0).begin(latents, per_step=len(latents))
    folder = tmp_path_factory.mktemp("codec") / "codec"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def train(tiny, world, codec_folder):
    def run(output: Path, *more: str, recipe: str = tiny, data: Path = world) -> int:
        options = ["--data", str(data), "--output", str(output), "--threads", "1"]
        return main(["train", recipe, *options, f"refiner.codec={codec_folder}", *more])

    return run


@pytest.fixture(scope="module")
def trained(train, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("refiner") / "run"
    assert train(run) == 0
    return run


def test_it_learns_and_the_finished_codec_has_it(trained, codec_folder):
    stages = json.loads((trained / "run.json").read_text("utf-8"))["stages"]
    assert [stage["steps"] for stage in stages] == [40, 4]
    measured = [row for row in stages[0]["rows"] if "mel_refined" in row]
    assert [row["step"] for row in measured] == [20, 40]
    assert measured[1]["latents"] < measured[0]["latents"] < 1.2
    assert {"equal_2", "mel_given", "mel_wrong"} < measured[0].keys()
    assert "mel" in stages[1]["rows"][0]
    codec, refiner = load_codec(trained / "final"), load_refiner(trained / "final")
    own = load_file(codec_folder / "model.safetensors")
    assert all(torch.equal(own[k], v) for k, v in codec.model.state_dict().items() if k in own)
    assert refiner.config.voices == ["reader"] and refiner.config.symbols == SYMBOLS
    spoken = read_spoken(trained / "spoken", ["all"], 3)[0]
    whole = refiner.complete(
        codec, spoken.codes[:1], spoken.symbols, spoken.durations, spoken.voice
    )
    assert whole.shape == spoken.codes.shape and np.array_equal(whole[0], spoken.codes[0])


@pytest.mark.parametrize(("stage", "step"), [("latents", 10), ("latents", 30), ("sound", 2)])
def test_cut_off_anywhere_it_ends_with_the_same_weights(trained, train, tmp_path, stage, step):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    shutil.rmtree(run / "final")
    for folder in ("sound", "latents") if stage == "latents" else ("sound",):
        (run / folder / "model.safetensors").unlink()
        for checkpoint in (run / folder).glob("checkpoint-*"):
            if folder != stage or int(checkpoint.name[11:]) > step:
                shutil.rmtree(checkpoint)
    assert train(run) == 0
    wanted = load_file(trained / "final/refiner/model.safetensors")
    found = load_file(run / "final/refiner/model.safetensors")
    assert all(torch.equal(found[name], weight) for name, weight in wanted.items())


def test_the_small_form_is_written_beside_the_run(trained, train, tmp_path, capsys):
    small = tmp_path / "small"
    assert train(trained, "--pack", str(small)) == 0
    assert f"MB, is in {small}" in capsys.readouterr().out
    names = {str(p.relative_to(small)) for p in small.rglob("*") if p.is_file()}
    assert names == {
        "bundle.safetensors", "config.json", "refiner/bundle.safetensors", "refiner/config.json"
    }  # fmt: skip
    whole, packed = (load_refiner(place) for place in (trained / "final", small))
    codec = load_codec(small)
    assert packed.config.symbols == whole.config.symbols and packed.config.voices == ["reader"]
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(packed.state_dict()[name], weight, atol=0.02, rtol=0.02)
    spoken = read_spoken(trained / "spoken", ["all"], 3)[0]
    told = (codec, spoken.codes[:1], spoken.symbols, spoken.durations, spoken.voice)
    assert (packed.complete(*told) == whole.complete(*told)).mean() > 0.8
    assert train(trained, "--pack", str(small)) == 0  # over its own kind


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("{run}/small", "must lie apart"),
        ("{run}/..", "must lie apart"),
        ("{codec}", "holds '.*', which is read"),
        ("{world}/llm", "holds something else"),
        ("{world}/speech.jsonl", "is a file"),
    ],
)
def test_the_small_form_costs_nothing_that_is_there(
    trained, train, world, codec_folder, capsys, place, said
):
    place = place.format(run=trained, codec=codec_folder, world=world)
    assert train(trained, "--pack", place) == 2
    assert re.search(said, capsys.readouterr().err)


def test_another_codec_makes_the_codes_anew_and_keeps_the_alignment(
    trained, train, codec_folder, tmp_path, capsys
):
    run, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(trained, run)
    shutil.copytree(codec_folder, other)
    model = BorealisCodec.from_pretrained(other)
    model.quantizer.codebooks.mul_(0.9)
    model.save_pretrained(other)
    before = (run / "spoken/all/aligned.jsonl").stat().st_mtime_ns
    assert train(run, f"refiner.codec={other}", "--max-steps", "2") == 2
    assert "codec: " in capsys.readouterr().err
    assert train(run, f"refiner.codec={other}", "--max-steps", "2", "--no-resume") == 0
    assert (run / "spoken/all/aligned.jsonl").stat().st_mtime_ns == before
    old, new = (read_spoken(place / "spoken", ["all"], 3)[0] for place in (trained, run))
    assert old.codes.shape == new.codes.shape and not np.array_equal(old.codes, new.codes)


def test_a_batch_is_a_function_of_seed_and_step_and_has_errors(trained, tiny, tmp_path):
    from borealis.codec.nano import CodeRefiner

    codec = load_codec(trained / "final", device="cpu")
    recipe = load_refiner_recipe(tiny, ["stages.latents.errors.near=0.5"])
    refiner = CodeRefiner(refiner_config(recipe, codec))
    clips = read_spoken(trained / "spoken", ["all"], 3)
    trainer = RefinerTrainer(
        refiner, codec, recipe.stages[0], clips, np.ones(len(clips)), tmp_path, seed=3
    )
    first, again, other = trainer.batch(5), trainer.batch(5), trainer.batch(6)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["codes"], other["codes"])
    assert first["codes"].shape == (6, 3, 40) and first["given"].shape == (6, 1, 40)
    changed = (first["codes"][:, :1] != first["given"])[:, 0][first["mask"]].float().mean()
    assert 0.35 < float(changed) < 0.7


def test_recordings_that_cannot_be_used_are_counted(train, world, tmp_path, caplog):
    rows = [json.loads(line) for line in (world / "speech.jsonl").read_text("utf-8").splitlines()]
    rows = [*rows[:2], rows[2] | {"text": "В 1900 году"}, rows[3] | {"text": "а" * 900}]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "speech.jsonl").write_text(lines, encoding="utf-8")
    caplog.set_level("INFO")
    assert train(tmp_path / "run", "--max-steps", "1", data=tmp_path) == 0
    assert "1 left out: text with numbers" in caplog.text
    assert "1 left out: text doesn't fit the recording" in caplog.text
    assert "frames of each voice: reader" in caplog.text


def test_what_a_run_would_do_is_told(trained, train, world, codec_folder, capsys):
    before = sorted(trained.rglob("*"))
    assert train(trained, "--dry-run") == 0
    out = capsys.readouterr().out
    assert "completes 3 codebooks" in out and "voices: reader" in out
    assert "latents done already" in out
    assert train(Path("nowhere"), "--dry-run", recipe="nano-refiner") == 0
    out = capsys.readouterr().out
    assert f"not in '{world}' yet: festvox-ru.train.jsonl" in out and "nikolai, slt, rms" in out
    assert train(Path("nowhere"), recipe="nano-refiner") == 2
    assert "has no synthetic-ru.train.jsonl" in capsys.readouterr().err
    assert not Path("nowhere").exists()
    assert train(trained, "seed=7") == 2
    assert "seed: 0 -> 7" in capsys.readouterr().err
    assert train(trained, "--gpu", "h100") == 2
    assert "not of refiners" in capsys.readouterr().err
    assert main(["plan", "nano-refiner"]) == 2
    assert (
        "is the recipe of a refiner, and a plan is of a language model" in capsys.readouterr().err
    )
    assert sorted(trained.rglob("*")) == before


def test_keys_are_explained(capsys):
    assert main(["train", "nano-refiner", "--help-recipe"]) == 0
    assert "voice_dropout (0.1): Share of crops" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("stages.latents.losses.latents=0", "give latents, mel or both a weight"),
        ("stages.latents.errors.near=1", "more than 1 together"),
        ("data.train=[nowhere]", "'nowhere' isn't in speech"),
        ("data.weights.boris=2", "weights has the voice 'boris'"),
        ("refiner.colour=red", "Extra inputs are not permitted"),
    ],
)
def test_mistakes_of_a_recipe_are_named(change, said):
    with pytest.raises(RecipeError, match=said):
        load_refiner_recipe("nano-refiner", [change])


def test_bundled_recipes_are_valid():
    names = bundled_recipes("refiner")
    assert names and all(isinstance(load_refiner_recipe(n), RefinerRecipe) for n in names)


def test_a_codec_without_a_refiner_says_so(codec_folder):
    with pytest.raises(CodecError, match="has no refiner"):
        load_refiner(codec_folder)
