"""Tasks of speech: streams to be spoken, codec tokens to be written down, through the command."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from borealis.cli import main
from borealis.data.phrasings import load_phrasings
from borealis.errors import RecipeError
from borealis.model import BorealisForConditionalGeneration, BorealisProcessor
from borealis.speech.stream import Spoken, write_stream
from borealis.speech.symbols import SYMBOLS
from borealis.speech.vocabulary import SpeechVocabulary
from borealis.training.batches.cached import CachedBatches
from borealis.training.data.speech import SpeechCache, SpokenClip
from borealis.training.recipe import SpeechSection, StageSection, load_recipe
from borealis.training.recipe.resolve import resolve
from borealis.training.start.vocabulary import add_speech
from borealis.training.tasks.task import BatchContext

VOICES = [{"name": "anna"}, {"name": "slt", "language": "en"}]


@pytest.fixture
def context(nano_processor_with_voices):
    """Twenty made-up recordings of two voices, from three symbols to twenty-two."""
    processor, config = nano_processor_with_voices
    rng = np.random.default_rng(0)
    clips = []
    for i in range(20):
        lasts = rng.integers(0, 4, 3 + i).astype(np.int32)
        codes = rng.integers(0, 16, (2, int(lasts.sum()))).astype(np.int16)
        symbols = " " + "а" * (1 + i) + "."
        spoken = Spoken(symbols, lasts, codes, "anna" if i % 2 else "slt")
        clips.append(SpokenClip(spoken, symbols.strip(), "ru"))
    cache = SpeechCache([], 2)
    cache.clips = clips
    return BatchContext(processor.tokenizer, config, load_phrasings(), None, [], 0, {"mine": cache})


@pytest.fixture
def nano_processor_with_voices(codec, tmp_path):
    from borealis.checkpoints import resolve_checkpoint

    folder = resolve_checkpoint("nano")
    model = BorealisForConditionalGeneration.from_pretrained(folder)
    processor = BorealisProcessor.from_pretrained(folder)
    section = SpeechSection(codec=str(codec), num_codebooks=2, voices=VOICES)
    add_speech(model, processor, section)
    return processor, model.config


def a_stage(**keys) -> StageSection:
    settings = {"name": "speak", "max_steps": 40, "optimizer": {"learning_rate": 1e-3}, "trainable": ["language_model"], "batch": {"tokens": 200}, "tasks": {"speech": {"sets": ["mine"]}}}  # fmt: skip
    return StageSection(**(settings | keys))


def test_batches_of_speech_are_streams_within_the_budget(context):
    batches = CachedBatches(a_stage(), context)
    vocabulary = SpeechVocabulary.of_settings(context.config.speech)
    streams = {}
    for clip in context.speech["mine"].clips:
        ids, labels = write_stream(vocabulary, clip.spoken)
        streams[tuple(ids.tolist())] = labels.tolist()
    seen = set()
    for step in range(len(batches)):
        batch = batches[step]
        assert batch["mode"] == "speech" and batch["input_ids"].numel() <= 200
        for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
            row = next(s for s in streams if tuple(ids[: len(s)]) == s)
            assert labels == streams[row] + [-100] * (len(ids) - len(row))
            seen.add(row)
    assert seen == streams.keys()
    for key in ("input_ids", "labels"):
        assert torch.equal(batches[7][key], CachedBatches(a_stage(), context)[7][key])


def test_voices_are_heard_as_often_as_they_weigh(context):
    tasks = {"speech": {"sets": ["mine"], "voices": {"slt": 2.5, "anna": 0}}}
    task = CachedBatches(a_stage(tasks=tasks), context).tasks["speech"]
    counts = np.zeros(20)
    for seed in range(50):
        np.add.at(counts, task.times(np.random.default_rng(seed)), 1)
    assert counts[1::2].sum() == 0 and (counts[::2] >= 100).all()
    assert counts[::2].mean() == pytest.approx(125, rel=0.05)


def test_codes_are_heard_in_the_place_of_audio_and_the_text_is_learned(context):
    stage = a_stage(tasks={"listening": {"sets": ["mine"]}})
    batch = CachedBatches(stage, context)[0]
    codec = SpeechVocabulary.of_settings(context.config.speech).codec
    texts = {clip.text: clip.spoken.codes for clip in context.speech["mine"].clips}
    for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        learned = [t for t in labels if t != -100]
        answer = context.tokenizer.decode(learned, skip_special_tokens=True)
        first = ids.index(codec.start_id)
        heard = codec.ids(texts[answer]).tolist()
        assert ids[first : first + len(heard)] == heard and ids.count(codec.end_id) == 1
        assert context.config.audio_token_id not in ids
        assert learned[-1] == context.tokenizer.eos_token_id


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"trainable": ["adapter"]}, "tasks.speech needs a language model that learns"),
        ({"tasks": {"speech": {}}}, "sets"),
        ({"tasks": {"speech": {"sets": ["mine"], "voices": {"anna": -1}}}}, "greater than or"),
    ],
)
def test_a_stage_that_cannot_learn_speech_is_refused(keys, told):
    with pytest.raises(ValueError, match=told):
        a_stage(**keys)


# ---- through the command ----


@pytest.fixture
def speaks(world, codec, large, tokenizer):
    """`speaks(**stage)`: a recipe on the tiny world whose stage learns to speak."""
    # The tiny tokenizer has no token for some letters.
    symbols = "".join(s for s in SYMBOLS if len(tokenizer.encode(s, add_special_tokens=False)) == 1)

    def make(name="speaks", speech=None, **stage) -> str:
        value = yaml.safe_load(Path(large()).read_text("utf-8"))
        speech = {"codec": str(codec), "num_codebooks": 2, "voices": VOICES, "symbols": symbols} | (
            speech or {}
        )
        value["model"]["speech"] = speech
        recordings = [{"manifest": "speech.jsonl", "voices": {"": "anna"}}]
        value["data"]["speech"] = {"mine": recordings}
        value["stages"] = [
            {"name": "speak", "max_steps": 4, "optimizer": {"learning_rate": 1e-3, "warmup_steps": 1}, "batch": {"tokens": 1500}, "compute": {"precision": "float32"}, "log": {"every": 1}, "checkpoints": {"every": 2}, "trainable": ["language_model"], "tasks": {"speech": {"sets": ["mine"]}}, "validation": {"speech": ["mine"], "every": 2, "clips": 2}} | stage
        ]  # fmt: skip
        path = world / f"{name}.yaml"
        path.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")
        return str(path)

    return make


def test_a_model_learns_to_speak_by_a_recipe(speaks, run_train, tmp_path, monkeypatch):
    out = tmp_path / "run"
    assert run_train(speaks(), out) == 0
    state = json.loads((out / "speak/checkpoint-4/trainer_state.json").read_text("utf-8"))
    rows = state["log_history"]
    assert [row["speech_lm"] for row in rows if "speech_lm" in row]
    measured = [row["eval_speech_loss"] for row in rows if "eval_speech_loss" in row]
    assert len(measured) == 3 and measured[-1] < measured[0]
    found = json.loads((out / "speak/checkpoint-4/validation.json").read_text("utf-8"))
    assert 0 <= found["speech"]["accuracy"] <= 1 and found["speech"]["recordings"] == 2
    model = BorealisForConditionalGeneration.from_pretrained(out / "final")
    tokenizer = BorealisProcessor.from_pretrained(out / "final").tokenizer
    speaks_now = SpeechVocabulary.of_settings(model.config.speech)
    assert tokenizer.convert_tokens_to_ids("<|voice:slt|>") == speaks_now.voice_id("slt")
    # The recordings are there: nobody aligns them again.
    monkeypatch.setattr("borealis.training.prepare.Aligner", None)
    assert run_train(speaks(max_steps=6), out, "--no-resume") == 0


def test_only_rows_and_lora_learn_beside_recordings(speaks, run_train, tmp_path):
    recipe = speaks(
        sources=["speech"], trainable=["speech"], lora={"rank": 2},
        tasks={"speech": {"share": 0.5, "sets": ["mine"]}, "transcription": {"share": 0.5}},
        validation={}, max_steps=8,
    )  # fmt: skip
    assert run_train(recipe, tmp_path / "run") == 0
    rows = json.loads((tmp_path / "run/speak/checkpoint-8/trainer_state.json").read_text("utf-8"))
    names = {name for row in rows["log_history"] for name in row}
    assert {"speech_lm", "audio_lm"} <= names


def test_a_loss_of_speech_is_that_of_a_model_that_knows_nothing(speaks, run_train, tmp_path):
    assert run_train(speaks(), tmp_path / "run", "--max-steps", "1") == 0
    found = json.loads((tmp_path / "run/speak/checkpoint-1/validation.json").read_text("utf-8"))
    assert found["speech"]["loss"] == pytest.approx(math.log(1100), rel=0.3)


def test_mistakes_of_voices_are_told_before_anything_is_done(speaks, world):
    recipe = load_recipe(speaks(speech={"voices": VOICES[1:]}))
    with pytest.raises(RecipeError, match=r"data.speech.mine: there is no voice 'anna'"):
        resolve(recipe, world, None, None)
    recipe = load_recipe(speaks(tasks={"speech": {"sets": ["other"]}}))
    with pytest.raises(RecipeError, match="wants the speech 'other', which"):
        resolve(recipe, world, None, None)


def test_a_model_without_voices_is_told(speaks, run_train, tmp_path, capsys):
    assert run_train(speaks(speech={"voices": []}), tmp_path / "run") == 2
    assert "the model has no voices" in capsys.readouterr().err


def test_a_dry_run_names_the_recordings(speaks, world, tmp_path, capsys):
    assert main(["train", speaks(), "--data", str(world), "--output", str(tmp_path / "x"), "--dry-run"]) == 0  # fmt: skip
    out = capsys.readouterr().out
    assert "3 of voices" in out and "from mine" in out
