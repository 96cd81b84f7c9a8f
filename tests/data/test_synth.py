"""Speech from sentences, by the engines that are here and by a model of transformers."""

from __future__ import annotations

import json

import pytest

from borealis.cli import main
from borealis.data.manifest import read_manifest
from tests.skips import needs_program


def test_engines_that_are_not_there_are_named(tmp_path, capsys, monkeypatch):
    (tmp_path / "s.txt").write_text("Раз.\n", encoding="utf-8")
    (tmp_path / "flite").write_text("#!/bin/sh\n", encoding="utf-8")
    (tmp_path / "flite").chmod(0o755)
    for path, arguments, words in (
        ("", [str(tmp_path / "none.txt")], "There is no file"),
        ("", [str(tmp_path / "s.txt"), "--engine", "radio"], "no engine 'radio'"),
        ("", [str(tmp_path / "s.txt"), "--engine", "flite"], "'flite' isn't installed"),
        # It is there, and speaks English only.
        (str(tmp_path), [str(tmp_path / "s.txt"), "--engine", "flite"], "Nothing here speaks 'ru'"),
    ):
        monkeypatch.setenv("PATH", path)
        assert main(["data", "synth", *arguments, "--output", str(tmp_path)]) == 2
        assert words in capsys.readouterr().err


def test_sentences_are_spoken_by_a_model_of_transformers(tmp_path, capsys):
    """A tiny random VITS speaks noise, but it speaks; a voice of its own in the manifest."""
    from transformers import VitsConfig, VitsModel, VitsTokenizer

    letters = {c: i for i, c in enumerate("_ абвгдежзийклмнопрстуфхцчшщъыьэюя")}
    (tmp_path / "vocab.json").write_text(json.dumps(letters), encoding="utf-8")
    model = tmp_path / "tiny-vits"
    VitsTokenizer(str(tmp_path / "vocab.json"), pad_token="_", phonemize=False, is_uroman=False).save_pretrained(model)  # fmt: skip
    sizes = {"hidden_size": 16, "flow_size": 16, "spectrogram_bins": 9, "ffn_dim": 16, "num_hidden_layers": 1, "upsample_initial_channel": 16, "wavenet_dilation_rate": 1, "num_attention_heads": 2}  # fmt: skip
    config = VitsConfig(vocab_size=len(letters), posterior_encoder_num_wavenet_layers=1, prior_encoder_num_flows=1, prior_encoder_num_wavenet_layers=1, duration_predictor_num_flows=1, **sizes)  # fmt: skip
    VitsModel(config).save_pretrained(model)
    (tmp_path / "s.txt").write_text("Мороз и солнце.\nДень чудесный.\n", encoding="utf-8")
    command = ["data", "synth", str(tmp_path / "s.txt"), "--output", str(tmp_path)]
    assert main([*command, "--model", str(model)]) == 0
    assert "clips" in capsys.readouterr().out
    items = [i for p in tmp_path.glob("synth.*.jsonl") if p.stat().st_size for i in read_manifest(p)]  # fmt: skip
    assert sorted(i.text for i in items) == ["День чудесный.", "Мороз и солнце."]
    assert {i.voice for i in items} == {f"transformers:{model}"} and all(i.duration for i in items)
    assert main([*command, "--name", "other", "--model", str(tmp_path / "none")]) == 2
    assert "can't be loaded to speak" in capsys.readouterr().err


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param("espeak-ng", marks=needs_program("espeak-ng")),
        pytest.param("festival", marks=needs_program("text2wave", "festival and festvox-ru")),
    ],
)
def test_sentences_are_spoken_by_the_engines_found(tmp_path, engine, capsys):
    (tmp_path / "s.txt").write_text("Мороз и солнце.\n\nДень чудесный.\n", encoding="utf-8")
    assert main(["data", "synth", str(tmp_path / "s.txt"), "--output", str(tmp_path), "--engine", engine]) == 0  # fmt: skip
    assert "clips" in capsys.readouterr().out
    items = [i for p in tmp_path.glob("synth.*.jsonl") if p.stat().st_size for i in read_manifest(p)]  # fmt: skip
    assert sorted(i.text for i in items) == ["День чудесный.", "Мороз и солнце."]
    assert all(i.voice.startswith(f"{engine}:") and i.duration > 0.4 for i in items)
