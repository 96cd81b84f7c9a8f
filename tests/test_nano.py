"""The bundled model: its size, how it is unpacked, and what it hears in real recordings."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open

import borealis
from borealis.checkpoints import BUNDLE, bundled, resolve_checkpoint
from borealis.errors import CheckpointError
from borealis.evaluation.metrics import word_error_rate

# What six clips of the test split may cost; results/ has the figures of the whole split.
MAX_WORD_ERROR_RATE = 0.45


def test_sizes():
    folder = bundled()["nano"]
    assert sum(f.stat().st_size for f in folder.iterdir()) < 40_000_000
    with safe_open(folder / BUNDLE, framework="pt") as file:
        count = sum(
            int(np.prod(file.get_slice(k).get_shape()))
            for k in file.keys()  # noqa: SIM118 - the handle is no dict
            if not k.endswith("_scale")
        )
    assert count < 35_000_000


def test_transcripts_of_six_real_recordings(nano, clips):
    written = nano.transcribe([c.audio for c in clips])
    rate = word_error_rate([c.text for c in clips], [t.text for t in written])
    assert rate < MAX_WORD_ERROR_RATE, [t.text for t in written]
    for clip, transcript in zip(clips, written, strict=True):
        assert transcript.text[0].isupper() and transcript.text[-1] in ".!?"
        assert transcript.duration == pytest.approx(clip.duration, abs=0.02)


def test_batch_and_single_are_the_same_words(nano, clips):
    batch = [t.text for t in nano.transcribe([c.audio for c in clips[:3]])]
    assert batch == [nano.transcribe(c.audio).text for c in clips[:3]]


@pytest.mark.parametrize("seconds", [0.5, 4.0, 12.0])
def test_silence_gives_no_words(nano, seconds):
    rng = np.random.default_rng(0)
    silence = np.zeros(round(seconds * 16_000), np.float32)
    hiss = (1e-4 * rng.standard_normal(len(silence))).astype(np.float32)
    assert [t.text for t in nano.transcribe([silence, hiss])] == ["", ""]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("На каком языке говорят?", ("русск",)),
        ("What language is spoken?", ("russian",)),
        ("Кто говорит: мужчина или женщина?", ("мужчин", "мужск")),
        ("Does a man or a woman speak?", ("man", "male")),
        ("Что слышно?", ("речь",)),
    ],
)
def test_questions_about_six_real_recordings(nano, clips, question, words):
    answers = [str(a).lower() for a in nano.ask([c.audio for c in clips], question)]
    right = [any(w in a.replace("woman", "").replace("female", "") for w in words) for a in answers]
    assert sum(right) >= 5, answers


def test_it_says_what_it_is(nano):
    answer = nano.chat([{"role": "user", "content": "Кто ты?"}])
    assert "borealis" in answer.lower()


@pytest.mark.slow
def test_two_processes_that_start_at_once_share_one_cache(tmp_path):
    """Both unpack into an empty cache and both load; nothing half-written stays behind."""
    code = (
        "import borealis, json; m = borealis.load(); "
        "print(json.dumps(sum(p.double().sum().item() for p in m.model.parameters())))"
    )
    environment = os.environ | {"BOREALIS_CACHE": str(tmp_path)}
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    sums = [json.loads(p.communicate(timeout=240)[0]) for p in started]
    assert [p.returncode for p in started] == [0, 0]
    assert sums[0] == sums[1]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A fresh cache with the bundled model in it; its folder there."""
    monkeypatch.setenv("BOREALIS_CACHE", str(tmp_path))
    return resolve_checkpoint("nano")


@pytest.mark.parametrize("damage", ["cut", "longer", "gone", "zeros", "config", "ngram", "empty"])
def test_a_damaged_cache_is_unpacked_anew(damage, cache, caplog):
    weights, ngram = cache / "model.safetensors", cache / "ngram.safetensors"
    whole = {file.name: file.read_bytes() for file in cache.iterdir()}
    if damage == "cut":
        weights.write_bytes(whole[weights.name][:-100])
    if damage == "longer":
        weights.write_bytes(whole[weights.name] + b"more")
    if damage == "zeros":
        weights.write_bytes(bytes(len(whole[weights.name])))
    if damage == "gone":
        weights.unlink()
    if damage == "config":
        (cache / "config.json").write_text("{}", encoding="utf-8")
    if damage == "ngram":
        ngram.write_bytes(whole[ngram.name][:-1] + b"?")
    if damage == "empty":
        shutil.rmtree(cache)
        cache.mkdir()
    assert resolve_checkpoint("nano") == cache
    assert {file.name: file.read_bytes() for file in cache.iterdir()} == whole
    assert [p.name for p in cache.parent.iterdir()] == [cache.name]
    assert len(caplog.records) == 1
    before = {file.name: file.stat().st_mtime_ns for file in cache.iterdir()}
    assert resolve_checkpoint("nano") == cache
    assert before == {file.name: file.stat().st_mtime_ns for file in cache.iterdir()}


@pytest.mark.parametrize(
    ("umask", "file_mode", "folder_mode"), [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750)]
)
def test_other_users_of_a_cache_can_read_it(umask, file_mode, folder_mode, tmp_path, monkeypatch):
    monkeypatch.setenv("BOREALIS_CACHE", str(tmp_path))
    before = os.umask(umask)
    try:
        folder = resolve_checkpoint("nano")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == folder_mode
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {file_mode}


def test_a_place_where_nothing_can_be_unpacked_is_named(tmp_path, monkeypatch, cache):
    shutil.rmtree(cache)
    cache.write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(CheckpointError, match="delete that folder, or set BOREALIS_CACHE"):
        resolve_checkpoint("nano")
    assert [p.name for p in tmp_path.iterdir()] == [cache.name]


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("BOREALIS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CheckpointError, match="Set BOREALIS_CACHE"):
        borealis.load("nano")


def test_a_damaged_bundle_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    from borealis import checkpoints

    source = tmp_path / "package" / "nano"
    shutil.copytree(bundled()["nano"], source)
    whole = (source / BUNDLE).read_bytes()
    (source / BUNDLE).write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr(checkpoints, "bundled", lambda: {"nano": source})
    monkeypatch.setenv("BOREALIS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoints.resolve_checkpoint("nano")
    assert not list((tmp_path / "cache").iterdir())


def test_position_embeddings_are_not_stored_and_come_back(tmp_path):
    """Only sines are left out: positions that somebody trained are kept."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers.models.whisper.modeling_whisper import sinusoids

    from borealis.checkpoints import pack, unpack

    sines, learned = sinusoids(30, 16), torch.randn(30, 16)
    (tmp_path / "whole").mkdir()
    weights = {"tower.embed_positions.weight": sines, "other.embed_positions.weight": learned}
    save_file(weights, tmp_path / "whole" / "model.safetensors")
    pack(tmp_path / "whole", tmp_path / "packed")
    unpack(tmp_path / "packed", tmp_path / "whole")
    stored = load_file(tmp_path / "packed" / BUNDLE)
    assert sum(v.numel() for v in stored.values()) == learned.numel() + 2
    again = load_file(tmp_path / "whole" / "model.safetensors")
    for name, value in weights.items():
        torch.testing.assert_close(again[name], value.half())


def test_the_unpacked_folder_is_a_standard_checkpoint():
    from transformers import AutoConfig, AutoModelForMultimodalLM, AutoProcessor

    import borealis.model  # noqa: F401 - registers the classes

    folder = resolve_checkpoint("nano")
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= set(os.listdir(folder))
    assert AutoConfig.from_pretrained(folder).model_type == "borealis"
    assert AutoProcessor.from_pretrained(folder) is not None
    assert AutoModelForMultimodalLM.from_pretrained(folder) is not None
