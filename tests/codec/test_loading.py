"""The door: names, folders and hub ids, and what is said when a codec can't be had."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import EncodecConfig, EncodecModel

from borealis.codec import load_codec, loading, packed
from borealis.errors import CodecError


@pytest.fixture
def copy(folders, tmp_path: Path) -> Path:
    """A folder of an EnCodec, to be damaged."""
    return Path(shutil.copytree(folders["encodec"], tmp_path / "copy"))


def test_a_name_that_is_none_is_answered_with_those_that_are():
    with pytest.raises(CodecError, match=r"no codec 'encodek'. Give .*encodec_24khz.*dac_44khz"):
        load_codec("encodek")
    with pytest.raises(CodecError, match=r"There is no codec '\./nowhere'"):
        load_codec("./nowhere")


@pytest.mark.parametrize("name", [*loading.HUB, "owner/nothing"])
def test_without_a_network_a_codec_of_the_hub_is_missed_in_a_sentence(name):
    with pytest.raises(CodecError, match="HF_HUB_OFFLINE is set; unset it, or give a folder"):
        load_codec(name)


def test_a_folder_is_told_by_its_config(copy):
    assert load_codec(copy).num_codebooks == 4
    (copy / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    with pytest.raises(CodecError, match="type 'whisper'; a codec of type encodec, mimi, dac"):
        load_codec(copy)
    (copy / "config.json").write_text("[1]")
    with pytest.raises(CodecError, match="isn't a JSON object"):
        load_codec(copy)
    (copy / "config.json").unlink()
    with pytest.raises(CodecError, match=r"without config.json"):
        load_codec(copy)


def test_weights_are_read_from_safetensors_only(copy):
    weights = copy / "model.safetensors"
    torch.save(load_file(weights), copy / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(CodecError, match="can't be loaded"):
        load_codec(copy)


def test_weights_with_names_of_older_torch_are_read(copy, sound):
    """The files on the hub were written when weight normalisation named its two parts otherwise."""
    weights = copy / "model.safetensors"
    before = load_codec(copy, device="cpu").encode(sound)
    parts = {
        "parametrizations.weight.original0": "weight_g",
        "parametrizations.weight.original1": "weight_v",
    }
    tensors = {}
    for name, value in load_file(weights).items():
        for new, old in parts.items():
            name = name.replace(new, old)
        tensors[name] = value
    assert any(name.endswith("weight_g") for name in tensors)
    save_file(tensors, weights, metadata={"format": "pt"})
    assert np.array_equal(load_codec(copy, device="cpu").encode(sound).codes, before.codes)


def test_damaged_weights_are_said(copy):
    weights = copy / "model.safetensors"
    tensors = load_file(weights)
    del tensors["decoder.layers.0.conv.bias"]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(CodecError, match=r"1 tensors are missing.*decoder.layers.0.conv.bias"):
        load_codec(copy)
    weights.write_bytes(weights.read_bytes()[:1_000])
    with pytest.raises(CodecError, match="can't be loaded"):
        load_codec(copy)


def test_weights_of_another_shape_are_said(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"hidden_size": 8, "codebook_dim": 8}))
    with pytest.raises(CodecError, match="copy"):
        load_codec(copy)


def test_a_codec_for_stereo_is_refused(tmp_path):
    config = EncodecConfig(
        num_filters=2, hidden_size=8, codebook_size=32, upsampling_ratios=[4, 2], num_lstm_layers=1,
        audio_channels=2, normalize=True, target_bandwidths=[20.0],
    )  # fmt: skip
    EncodecModel(config).save_pretrained(tmp_path)
    with pytest.raises(CodecError, match="for stereo"):
        load_codec(tmp_path)


def test_a_device_that_is_not_there_is_said(copy):
    with pytest.raises(CodecError, match="device is 'quantum'"):
        load_codec(copy, device="quantum")


def test_a_bundled_codec_is_found_by_its_name(folders, monkeypatch, tmp_path):
    shutil.copytree(folders["dac"], tmp_path / "ours")
    monkeypatch.setattr(loading, "_BUNDLED", tmp_path)
    codec = load_codec("ours", device="cpu")
    assert codec.encode(np.zeros(100, np.float32)).codec == "ours"
    assert loading.names()[0] == "ours"


def test_a_small_form_is_read_as_the_whole_one(codecs, folders, sound, tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "_LARGE", 64)  # all of the tiny network
    size = packed.pack_codec(folders["nano"], tmp_path)
    assert size == (tmp_path / "bundle.safetensors").stat().st_size
    tensors = load_file(tmp_path / "bundle.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.int8, torch.float16}
    assert tensors["quantizer.codebooks.int8_scale"].shape == (4 * 32,)
    whole, small = codecs["nano"], load_codec(tmp_path)
    for name, weight in whole.model.state_dict().items():
        torch.testing.assert_close(small.model.state_dict()[name], weight, atol=0.03, rtol=0.01)
    codes = whole.encode(sound)
    assert (small.encode(sound).codes[0] == codes.codes[0]).mean() > 0.9
    difference = small.decode(codes) - whole.decode(codes)
    assert np.abs(difference).mean() < 0.1 * np.abs(whole.decode(codes)).mean()


def test_a_damaged_small_form_is_told(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "_LARGE", 64)
    packed.pack_codec(folders["nano"], tmp_path)
    file = tmp_path / "bundle.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith(".int8_scale"))
    save_file({k: v for k, v in tensors.items() if k != name}, file)
    with pytest.raises(CodecError, match="has no scale for each of its rows"):
        load_codec(tmp_path)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CodecError, match="can't be loaded"):
        load_codec(tmp_path)
