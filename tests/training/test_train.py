"""Training through the command: a whole tiny recipe, kill -9 and resume, LoRA, mistakes."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import borealis
from borealis.checkpoints import SCOPE, bundled
from borealis.cli import main
from borealis.ctc.ngram import Ngram
from borealis.ctc.words import NO_WORD, grown
from borealis.data.scope import load_scope_wordings
from borealis.data.text import LETTERS
from borealis.errors import RecipeError
from borealis.training.pipeline import run_recipe
from borealis.training.recipe import bundled_recipes, load_recipe, recipe_help
from borealis.training.recipe.renamed import RENAMED
from tests.conftest import save_tiny_whisper
from tests.training.keys import SENTENCES, spelled

TEXT = ["Мороз и солнце, день чудесный!", "Ещё ты дремлешь, друг прелестный.", "Пора, красавица, проснись."]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory, clips):
    """A data folder: a corpus, a manifest of two short recordings, a tiny Whisper."""
    root = tmp_path_factory.mktemp("data")
    (root / "corpus.txt").write_text("\n".join(TEXT * 20), encoding="utf-8")
    rows = [{"audio": c.audio, "text": c.text, "duration": c.duration, "gender": "male"} for c in clips[:3]]  # fmt: skip
    (root / "speech.jsonl").write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    save_tiny_whisper(root / "whisper")
    return root


def recipe(data: Path, **changes) -> dict:
    common = {"learning_rate": 1e-3, "warmup_steps": 2, "batch_seconds": 12, "batch_tokens": 200, "precision": "float32", "logging_steps": 1}  # fmt: skip
    value = {
        "name": "tiny",
        "model": {
            "audio_tower": str(data / "whisper"),
            "tokenizer_vocab_size": 330,
            "tokenizer_single_characters": True,
            "text_config": {
                "model_type": "qwen3", "hidden_size": 32, "intermediate_size": 48,
                "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
                "head_dim": 16, "tie_word_embeddings": True,
            },
            "config": {
                "adapter_type": "ctc", "adapter_hidden_size": 32, "adapter_num_layers": 1,
                "adapter_dropout": 0.1, "encoder_window": "cut",
            },
            "decoding": {"max_segment_seconds": 12.0},
        },
        "data": {
            "corpora": ["corpus.txt"],
            "features": {"speech": [{"manifest": "speech.jsonl", "augment": "rough"}]},
        },
        "stages": [
            {"name": "text", "max_steps": 4, "trainable": ["language_model", "adapter.label_embeddings"], "tasks": {"text": {"share": 0.3}, "pseudo": {"share": 0.7, "questions": 0.35, "kinds": SENTENCES}}, "losses.guide.weight": 1.0, "losses.guide.layers": [1], **common},
            {"name": "align", "max_steps": 4, "trainable": ["adapter"], "tasks": {"letters": {}}, "losses.ctc.weight": 1.0, "features": ["speech"], **common},
            {"name": "instruct", "max_steps": 4, "trainable": ["adapter", "language_model"], "losses.ctc.weight": 0.3, "tasks": {"text": {"share": 0.15}, "chat": {"share": 0.05}, "pseudo": {"share": 0.3}, "transcription": {"share": 0.5, "questions": 0.35}}, "features": ["speech"], **common},
        ],
    }  # fmt: skip
    return value | changes


def write(path: Path, value: dict) -> str:
    path.write_text(yaml.safe_dump(spelled(value), allow_unicode=True), encoding="utf-8")
    return str(path)


def train(config: str, data: Path, output: Path, *more: str) -> int:
    return main(["train", config, "--data", str(data), "--output", str(output), "--threads", "1", *more])  # fmt: skip


@pytest.mark.slow
def test_a_whole_recipe_gives_a_model_that_works(data, tmp_path, capsys, speech):
    value = recipe(data)
    (data / "words.txt").write_text("лесопилка\n", encoding="utf-8")
    words = {"word_bits": 16, "word_corpora": ["words.txt", "missing.txt"]}
    value["data"]["optional"] = ["missing.txt"]
    value["model"]["ngram"] = {"order": 4, "min_gain": 0.5, **words}
    value["model"]["decoding"] |= {"search": {"num_beams": 8, "ngram_weight": 0.6}}
    value["model"]["scope"] = True
    config = write(tmp_path / "tiny.yaml", value)
    assert train(config, data, tmp_path / "run", "--pack", str(tmp_path / "packed")) == 0
    assert "final" in capsys.readouterr().out
    log = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert [s["stage"] for s in log["stages"]] == ["text", "align", "instruct"]
    start = load_file(tmp_path / "run" / "start" / "model.safetensors")
    stages = {n: load_file(tmp_path / "run" / n / "model.safetensors") for n in ("text", "align", "instruct")}  # fmt: skip
    # Each stage moved what the recipe says, and nothing else.
    previous = start
    moved = {}
    for name, weights in stages.items():
        moved[name] = {k for k in weights if not torch.equal(weights[k], previous[k])}
        previous = weights
    assert all("language_model" in k or "label_embeddings" in k or "lm_head" in k for k in moved["text"])  # fmt: skip
    assert moved["align"] and all("adapter" in k for k in moved["align"])
    assert not any("audio_tower" in k for k in moved["instruct"])
    model = borealis.load(tmp_path / "run" / "final")
    assert model.model.config.max_segment_seconds == 12.0
    assert isinstance(model.transcribe(speech).text, str)
    assert (tmp_path / "packed" / "bundle.safetensors").is_file()
    counted = (tmp_path / "run" / "final" / "ngram.safetensors").read_bytes()
    assert (tmp_path / "packed" / "ngram.safetensors").read_bytes() == counted
    ngram = Ngram.load(tmp_path / "packed" / "ngram.safetensors")
    assert ngram.words is not None
    word, other = np.full(2, NO_WORD, np.int64), "лесопилкв"
    for pair in zip(LETTERS.spell("лесопилка"), LETTERS.spell(other), strict=True):
        word = grown(word, np.array(pair))
    assert ngram.words.has(word).tolist() == [True, False]
    # What goes on from a checkpoint, and what is exported, keeps its n-gram.
    assert main(["export", str(tmp_path / "run"), "--output", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "ngram.safetensors").read_bytes() == counted
    # The final model, its compact form and what is exported refuse alike.
    assert model.ask(speech, "Переведи на английский.") == load_scope_wordings().refusal["ru"]
    refusing = [
        (tmp_path / folder / SCOPE).read_bytes() for folder in ("run/final", "packed", "out")
    ]
    assert len(set(refusing)) == 1
    # Run again: every stage is found done, the result is the same.
    before = (tmp_path / "run" / "final" / "model.safetensors").read_bytes()
    assert train(config, data, tmp_path / "run") == 0
    assert (tmp_path / "run" / "final" / "model.safetensors").read_bytes() == before


@pytest.mark.slow
def test_kill_and_resume_gives_the_same_weights(data, tmp_path):
    """Killed in every stage, a little after a checkpoint or while it is written.

    The last stage has LoRA, and pseudo-audio of pieces that are cut anew when it goes on.
    """
    value = recipe(data)
    value["stages"] = [s | {"max_steps": 9, "save_steps": 3} for s in value["stages"]]
    value["stages"][2] |= {
        "lora": {"rank": 2, "alpha": 4, "dropout": 0.1},
        "pseudo_audio.source": "clips",
    }
    config = write(tmp_path / "tiny.yaml", value)
    assert train(config, data, tmp_path / "whole") == 0
    command = [sys.executable, "-m", "borealis", "train", config, "--data", str(data), "--output", str(tmp_path / "cut"), "--threads", "1"]  # fmt: skip
    chance = random.Random(0)
    for stage in ("text", "align", "instruct"):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        mark = tmp_path / "cut" / stage / f"checkpoint-{chance.choice((3, 6))}"
        deadline = time.monotonic() + 600
        while not mark.is_dir() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(chance.random() * 0.02)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    assert not (tmp_path / "cut" / "final").exists()
    assert train(config, data, tmp_path / "cut") == 0
    for stage in ("text", "align", "instruct", "final"):
        whole = load_file(tmp_path / "whole" / stage / "model.safetensors")
        resumed = load_file(tmp_path / "cut" / stage / "model.safetensors")
        assert whole.keys() == resumed.keys()
        for name, tensor in whole.items():
            assert torch.equal(tensor, resumed[name]), (stage, name)
    # The same data in the same order: every step has the loss it had.
    for stage in ("text", "align", "instruct"):
        one, two = (losses(tmp_path / run / stage, 9) for run in ("whole", "cut"))
        assert one == two and len(one) == 9


def losses(folder: Path, step: int) -> list[float]:
    state = json.loads((folder / f"checkpoint-{step}/trainer_state.json").read_text("utf-8"))
    return [row["loss"] for row in state["log_history"] if "loss" in row]


def test_a_checkpoint_cut_off_while_saving_is_passed_over(tmp_path):
    from borealis.training.loop.checkpoints import latest_checkpoint

    assert latest_checkpoint(tmp_path) is None
    for step, files in ((3, ["trainer_state.json"]), (9, ["trainer_state.json"]), (12, [])):
        (tmp_path / f"checkpoint-{step}").mkdir()
        for file in files:
            (tmp_path / f"checkpoint-{step}" / file).write_text("{}")
    assert latest_checkpoint(tmp_path).name == "checkpoint-9"


@pytest.mark.slow
def test_twenty_steps_lower_the_loss_as_they_did_before(data, tmp_path):
    value = recipe(data)
    value["stages"] = [dict(value["stages"][0], max_steps=20, save_steps=20, learning_rate=3e-3)]
    assert train(write(tmp_path / "t.yaml", value), data, tmp_path / "run") == 0
    state = tmp_path / "run" / "text" / "checkpoint-20" / "trainer_state.json"
    history = json.loads(state.read_text(encoding="utf-8"))["log_history"]
    losses = [row["loss"] for row in history if "loss" in row]
    assert len(losses) == 20
    assert all(abs(float(a) - b) < 0.1 for a, b in zip(losses[::5], GOLDEN_LOSSES, strict=True)), (
        losses
    )
    text = [row["pseudo_lm"] for row in history if "pseudo_lm" in row]
    assert text[-1] < text[0] - 0.5


# Every fifth loss of that run, made once.
GOLDEN_LOSSES = [9.825, 8.981, 4.756, 4.524]


@pytest.mark.slow
def test_optional_files_may_be_missing(data, tmp_path, caplog):
    value = recipe(data)
    value["data"]["optional"] = ["more.txt", "more.jsonl"]
    value["data"]["corpora"] = ["corpus.txt", "more.txt"]
    value["data"]["features"]["more"] = [{"manifest": "more.jsonl"}]
    value["stages"] = [dict(value["stages"][1], features=["speech", "more"])]
    assert train(write(tmp_path / "o.yaml", value), data, tmp_path / "run") == 0
    assert "going on without more.jsonl, more.txt" in caplog.text


@pytest.mark.slow
def test_lora_is_merged_when_the_stage_ends(data, tmp_path):
    value = recipe(data)
    value["stages"] = [
        dict(value["stages"][2], max_steps=5, save_steps=3, lora={"rank": 2, "alpha": 4})
    ]
    assert train(write(tmp_path / "l.yaml", value), data, tmp_path / "run") == 0
    start = load_file(tmp_path / "run" / "start" / "model.safetensors")
    end = load_file(tmp_path / "run" / "instruct" / "model.safetensors")
    assert start.keys() == end.keys()
    moved = {k for k in end if "language_model" in k and not torch.equal(start[k], end[k])}
    assert moved and all("_proj" in k and "self_attn" in k for k in moved)
    rank = torch.linalg.matrix_rank(end[min(moved)] - start[min(moved)], rtol=1e-3)
    assert rank <= 2


@pytest.mark.slow
def test_going_on_from_a_checkpoint(data, tmp_path, make_tiny):
    model, processor = make_tiny("mlp")
    model.save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    (tmp_path / "base" / SCOPE).write_bytes((bundled()["nano"] / SCOPE).read_bytes())
    value = recipe(data)
    stage = dict(value["stages"][2], losses__ctc__weight=0.0, tasks={"transcription": {}})
    value |= {"model": {"checkpoint": str(tmp_path / "base")}, "stages": [stage]}
    assert train(write(tmp_path / "c.yaml", value), data, tmp_path / "run") == 0
    end = load_file(tmp_path / "run" / "final" / "model.safetensors")
    assert not torch.equal(end["model.adapter.w_in.weight"], model.state_dict()["model.adapter.w_in.weight"])  # fmt: skip
    # It may have learned what the checkpoint refuses to answer.
    assert borealis.load(tmp_path / "run" / "final").scope is None


# ---- recipes ----


def test_bundled_recipes_are_valid():
    assert set(bundled_recipes()) >= {"nano"}
    for name in bundled_recipes():
        loaded = load_recipe(name)
        assert loaded.name == name and loaded.stages
        for stage in loaded.stages:
            assert set(stage.features) <= set(loaded.data.features)


def test_help_names_every_key():
    text = recipe_help()
    for key in ("max_steps", "learning_rate", "adapter_type", "join_probability", "rank"):
        assert key in text


BROKEN = {
    "unknown key": ({"colour": 1}, "colour"),
    "no origin": ({"model": {}}, "audio_tower"),
    "both origins": ({"model": {"checkpoint": "nano", "audio_tower": "x"}}, "checkpoint"),
    "bad steps": ({"stages": [{"name": "a", "max_steps": 0, "optimizer": {"learning_rate": 1}}]}, "max_steps"),
    "bad task": ({"stages": [{"name": "a", "tasks": {"sing": {}}, "max_steps": 1, "optimizer": {"learning_rate": 1}}]}, "tasks.sing"),
    "no clips to cut": ({"stages": [{"name": "a", "max_steps": 1, "tasks": {"pseudo": {}}, "optimizer": {"learning_rate": 1}, "pseudo_audio": {"source": "clips"}}]}, "pseudo_audio.source clips needs features"),
    "bad augment": ({"data": {"features": {"a": [{"manifest": "m", "augment": "loud"}]}}}, "augment"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_mistakes_in_a_recipe_name_the_key(data, tmp_path, case):
    change, word = BROKEN[case]
    with pytest.raises(RecipeError, match=word):
        load_recipe(write(tmp_path / "r.yaml", recipe(data) | change))


@pytest.mark.parametrize("old", RENAMED)
def test_keys_of_before_are_refused_with_their_new_spelling(data, tmp_path, old):
    value = spelled(recipe(data))
    value["stages"][0][old] = 1
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")
    new = re.escape(RENAMED[old])
    with pytest.raises(RecipeError, match=rf"stages\.text: .*{old} is {new} now"):
        load_recipe(path)


@pytest.mark.parametrize("key", ["kind: text", "augment: [none]", "validation: [speech]"])
def test_values_of_before_are_refused_with_their_new_place(data, tmp_path, key):
    value = spelled(recipe(data))
    value["stages"][0] |= yaml.safe_load(key)
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")
    new = {"kind": "a stage is what its tasks say", "augment": "augment.presets now"}
    says = new.get(key.partition(":")[0], "validation.sources now")
    with pytest.raises(RecipeError, match=says):
        load_recipe(path)


def test_further_words_need_a_set_to_go_to(data, tmp_path):
    value = recipe(data)
    value["model"]["ngram"] = {"word_corpora": ["words.txt"]}
    with pytest.raises(RecipeError, match="word_corpora needs word_bits above 0"):
        load_recipe(write(tmp_path / "r.yaml", value))


def test_an_ngram_without_ctc_is_refused(data, tmp_path):
    value = recipe(data)
    value["model"]["config"] = {"adapter_type": "mlp"}
    value["model"]["ngram"] = {}
    value["stages"] = [dict(value["stages"][0], tasks={"text": {}}, losses__guide__weight=0.0)]
    with pytest.raises(RecipeError, match="needs adapter_type ctc"):
        run_recipe(
            load_recipe(write(tmp_path / "r.yaml", value)), data=data, output=tmp_path / "run"
        )


def test_mistakes_around_a_recipe(data, tmp_path, capsys):
    config = write(tmp_path / "r.yaml", recipe(data))
    (tmp_path / "broken.yaml").write_text("a: [1,", encoding="utf-8")
    (tmp_path / "list.yaml").write_text("- 1", encoding="utf-8")
    cases = [
        (["train"], "Name a recipe"),
        (["train", "no-such"], "no recipe 'no-such'"),
        (["train", str(tmp_path / "broken.yaml")], "isn't valid YAML"),
        (["train", str(tmp_path / "list.yaml")], "keys and values"),
        (["train", config, "--data", str(tmp_path)], "has no corpus.txt, speech.jsonl"),
        (["train", config, "--data", str(data), "--stages", "sing"], "no stage 'sing'"),
        (["train", config, "--max-steps", "0"], "--max-steps is 0"),
    ]
    for arguments, words in cases:
        assert main([*arguments]) == 2, arguments
        error = capsys.readouterr().err
        assert words in error and "Traceback" not in error, (arguments, error)
