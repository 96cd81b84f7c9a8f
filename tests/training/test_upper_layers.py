"""Caches from the middle of the encoder: the layers above are computed, and learn, at every step."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from borealis.data.manifest import read_manifest
from borealis.data.phrasings import load_phrasings
from borealis.errors import RecipeError
from borealis.training.batches import BatchContext, StepBatches
from borealis.training.features import (
    FeatureCache,
    FeatureSource,
    build_features,
    cache_key,
    plan_clips,
)
from borealis.training.losses import finish_encoding
from borealis.training.recipe import StageSection, load_recipe
from borealis.training.trainer import scale_learning_rates
from tests.training.test_train import data, recipe, train, write  # noqa: F401

STAGE = {"name": "s", "kind": "align", "max_steps": 4, "learning_rate": 1e-3, "ctc_weight": 1.0, "time_mask": 0.0}  # fmt: skip


@pytest.fixture(scope="module")
def model(make_tiny):
    return make_tiny("ctc")


@pytest.fixture(scope="module")
def manifest(clips) -> Path:
    return Path(clips[0].audio).parent / "manifest.jsonl"


def make_batches(model, manifest: Path, folder: Path, layers: int | None) -> StepBatches:
    tiny, processor = model
    build_features(
        plan_clips([FeatureSource(str(manifest))], folder, seed=0),
        folder / "c",
        audio_tower=tiny.model.audio_tower,
        feature_extractor=processor.feature_extractor,
        config=tiny.config,
        layers=layers,
    )
    cache = FeatureCache([folder / "c"])
    context = BatchContext(processor.tokenizer, tiny.config, load_phrasings(), cache, [], 0, layers)
    return StepBatches(StageSection(**STAGE), context)


def test_two_halves_of_the_encoder_are_the_whole(model):
    tower = model[0].model.audio_tower
    features = torch.randn(2, 80, 200, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = tower(features).last_hidden_state
        for layers in (0, 1, 2):
            assert torch.equal(tower.finish(tower.begin(features, layers), layers), whole)


def test_what_fills_a_batch_up_is_not_listened_to(model):
    tower = model[0].model.audio_tower
    hidden = torch.randn(2, 60, 32, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 60, dtype=torch.bool)
    mask[1, 40:] = False
    with torch.inference_mode():
        both = tower.finish(hidden, 1, mask)
        alone = tower.finish(hidden[1:, :40], 1)
    torch.testing.assert_close(both[1:, :40], alone, atol=1e-5, rtol=1e-5)


def test_frames_finished_at_a_step_are_those_of_the_whole_encoder(model, manifest, tmp_path):
    whole = make_batches(model, manifest, tmp_path / "whole", None)
    upper = make_batches(model, manifest, tmp_path / "upper", 1)
    for step in range(3):
        wanted, batch = whole[step], upper[step]
        assert batch["encoded_layers"] == 1
        assert (batch["window_mask"].sum(1) > batch["frame_mask"].sum(1)).all(), "no silence kept"
        got = finish_encoding(model[0].model, batch)
        assert torch.equal(got["frame_mask"], wanted["frame_mask"])
        there = wanted["frame_mask"]
        torch.testing.assert_close(
            got["frames"][there], wanted["frames"][there], atol=0.05, rtol=0.02
        )
        assert torch.equal(batch["ctc_targets"], wanted["ctc_targets"])


def test_only_layers_below_make_a_cache(model, manifest, tmp_path, make_tiny):
    tiny = model[0]
    sources = [FeatureSource(str(manifest))]

    def key(tower, layers):
        return cache_key(sources, tmp_path, tower, tiny.config, seed=0, layers=layers)

    other = make_tiny("ctc")[0].model.audio_tower
    first = key(tiny.model.audio_tower, 1)
    assert key(other, 1) == first != key(other, 2)
    with torch.no_grad():
        other.layers[1].fc1.weight.add_(1.0)
        other.layer_norm.bias.add_(1.0)
    assert key(other, 1) == first
    with torch.no_grad():
        other.layers[0].fc1.weight.add_(1.0)
    assert key(other, 1) != first


def test_voices_are_picked(clips, tmp_path):
    rows = [{"audio": c.audio, "text": c.text, "voice": f"voice-{i % 2}"} for i, c in enumerate(clips)]  # fmt: skip
    (tmp_path / "m.jsonl").write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")

    def voices(**keys) -> set[str]:
        source = FeatureSource("m.jsonl", join_probability=0.5, **keys)
        planned = plan_clips([source], tmp_path, seed=0)
        return {part.voice for clip in planned for part in clip.parts}

    assert voices() == {"voice-0", "voice-1"} == {u.voice for u in read_manifest(tmp_path / "m.jsonl")}  # fmt: skip
    assert voices(voices=["voice-1"]) == {"voice-1"}
    with pytest.raises(RecipeError, match="no utterance of nobody"):
        voices(voices=["nobody"])


def test_a_prefix_has_its_own_learning_rate(model):
    tiny = model[0]
    optimizer = torch.optim.AdamW(tiny.parameters(), lr=1.0)
    scale_learning_rates(optimizer, tiny, {"audio_tower": 0.1, "audio_tower.layers.1": 0.5})
    rates = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    assert len(rates) == len(list(tiny.parameters()))
    inner = tiny.model
    assert rates[id(inner.audio_tower.conv1.weight)] == pytest.approx(0.1)
    assert rates[id(inner.audio_tower.layers[1].fc1.weight)] == pytest.approx(0.5)
    assert rates[id(inner.adapter.w_in.weight)] == pytest.approx(1.0)
    with pytest.raises(RecipeError, match="begins with 'codec'"):
        scale_learning_rates(optimizer, tiny, {"codec": 0.1})


TRAINABLE = ["adapter", "audio_tower.layers.0", "audio_tower.layer_norm"]


def with_upper_layers(data: Path, layers: int | None, trainable: list[str]) -> dict:  # noqa: F811
    value = recipe(data)
    align = dict(value["stages"][1], trainable=trainable, learning_rate_scale={"audio_tower": 0.1}, max_steps=4, save_steps=2)  # fmt: skip
    instruct = dict(value["stages"][2], ctc_weight=0.0, trainable=["language_model"], pseudo_source="clips")  # fmt: skip
    value["data"] = value["data"] | {"features_layer": layers}
    return value | {"stages": [align, instruct]}


@pytest.mark.parametrize(
    ("layers", "trainable", "words"),
    [
        (None, ["audio_tower.layers.1"], "features_layer"),
        (1, ["audio_tower"], "trains audio_tower "),
        (1, ["adapter", "audio_tower.layers.0.fc1"], "audio_tower.layers.0.fc1"),
        (1, ["audio_tower.conv1"], "audio_tower.conv1"),
    ],
)
def test_layers_below_the_cache_can_not_learn(data, tmp_path, layers, trainable, words):  # noqa: F811
    config = write(tmp_path / "r.yaml", with_upper_layers(data, layers, trainable))
    with pytest.raises(RecipeError, match=words):
        load_recipe(config)


def test_more_layers_than_there_are_is_an_error(data, tmp_path, capsys):  # noqa: F811
    config = write(tmp_path / "r.yaml", with_upper_layers(data, 9, ["adapter"]))
    assert train(config, data, tmp_path / "run") == 2
    assert "features_layer is 9" in capsys.readouterr().err


@pytest.mark.slow
def test_upper_layers_learn_and_resume_is_exact(data, tmp_path):  # noqa: F811
    config = write(tmp_path / "r.yaml", with_upper_layers(data, 0, TRAINABLE))
    assert train(config, data, tmp_path / "run") == 0
    start, end = (load_file(tmp_path / "run" / n / "model.safetensors") for n in ("start", "align"))
    moved = {k.removeprefix("model.") for k in start if not torch.equal(start[k], end[k])}
    assert any(k.startswith("audio_tower.layers.0.") for k in moved)
    assert all(k.startswith(tuple(TRAINABLE)) for k in moved)
    # In AdamW's first steps a weight moves by about its learning rate.
    tower, adapter = ([k for k in moved if k.startswith(p)] for p in ("audio_tower", "adapter"))
    steps = [max(float((start[f"model.{k}"] - end[f"model.{k}"]).abs().max()) for k in part) for part in (tower, adapter)]  # fmt: skip
    assert steps[0] < 0.3 * steps[1]
    # The same again, cut off after two steps of align.
    assert train(config, data, tmp_path / "cut") == 0
    for name in ("model.safetensors", "checkpoint-4"):
        target = tmp_path / "cut" / "align" / name
        target.rename(tmp_path / f"away-{name}")
    for name in ("instruct", "final"):
        (tmp_path / "cut" / name).rename(tmp_path / f"away-{name}")
    assert train(config, data, tmp_path / "cut") == 0
    for stage in ("align", "instruct"):
        files = [tmp_path / run / stage / "model.safetensors" for run in ("run", "cut")]
        weights = [load_file(file) for file in files]
        assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0]), stage


def test_a_cache_from_the_middle_holds_whole_windows(model, manifest, tmp_path):
    tiny, _ = model
    made = make_batches(model, manifest, tmp_path, 1)
    cache = made.context.cache
    assert cache is not None
    rows = sum(clip.kept for clip in cache.clips)
    assert len(cache.arrays[0]) == rows
    for clip in cache.clips:
        samples = clip.frames * tiny.config.frame_length
        assert clip.kept >= tiny.config.encoder_samples(samples) // tiny.config.frame_length - 1
        assert np.isfinite(cache.frames(clip)).all()
