"""Our own codec as a model: lengths, windows, files, wrong sizes."""

from __future__ import annotations

import pytest
import torch

from borealis.codec.nano import BorealisCodec, BorealisCodecConfig
from borealis.codec.nano.modeling import mel_bands, nearest_entries
from borealis.errors import CheckpointError

SMALL = {"hidden_size": 32, "intermediate_size": 48, "codebook_size": 32, "latent_size": 8}


@pytest.fixture(scope="module")
def codec() -> BorealisCodec:
    torch.manual_seed(0)
    return BorealisCodec(BorealisCodecConfig(**SMALL)).eval()


@pytest.fixture(scope="module")
def sound() -> torch.Tensor:
    return torch.randn(1, 640 * 90, generator=torch.Generator().manual_seed(1)) * 0.1


@pytest.mark.parametrize("samples", [1, 639, 640, 641, 16_000])
def test_any_length_comes_back(codec, sound, samples):
    heard = sound[:, :samples]
    codes = codec.encode(heard)
    assert codes.shape == (1, 8, -(-samples // 640))
    assert codec(heard).shape == heard.shape
    assert torch.isfinite(codec.decode(codes)).all()


def test_the_first_codebooks_are_those_of_all(codec, sound):
    whole = codec.encode(sound)
    assert torch.equal(codec.encode(sound, 3), whole[:, :3])
    assert codec.decode(whole[:, :3]).shape == sound.shape


def test_each_codebook_takes_what_is_left_over(codec):
    latents = torch.randn(2, 5, 8)
    codes, parts = codec.quantizer(latents)
    rest = latents - parts[0]
    assert torch.equal(codes[:, 1], nearest_entries(rest, codec.quantizer.codebooks[1]))
    torch.testing.assert_close(codec.quantizer.look_up(codes), parts.sum(0))


def test_a_window_with_its_context_gives_what_the_whole_gives(codec, sound):
    config, start, end = codec.config, 30, 50
    codes, context = codec.encode(sound), config.encoder_context
    window = sound[:, (start - context) * 640 : (end + context) * 640]
    assert torch.equal(codec.encode(window)[:, :, context:-context], codes[:, :, start:end])
    whole, context = codec.decode(codes), config.decoder_context
    part = codec.decode(codes[:, :, start - context : end + context])
    inside = part[:, context * 640 : -context * 640]
    torch.testing.assert_close(inside, whole[:, start * 640 : end * 640], atol=1e-6, rtol=1e-5)


def test_a_file_gives_the_same_codec(codec, sound, tmp_path):
    codec.save_pretrained(tmp_path)
    again = BorealisCodec.from_pretrained(tmp_path)
    codes = codec.encode(sound)
    assert torch.equal(again.encode(sound), codes)
    assert torch.equal(again.decode(codes), codec.decode(codes))


def test_silence_is_taken(codec):
    codes = codec.encode(torch.zeros(2, 1280))
    assert codes.shape == (2, 8, 2)
    assert torch.isfinite(codec.decode(codes)).all()


def test_a_sine_is_in_its_band():
    time = torch.arange(16_000) / 16_000
    bands = mel_bands(16_000, 512, 40)
    for hertz in (200, 1000, 5000):
        spectrum = torch.fft.rfft(torch.sin(2 * torch.pi * hertz * time[:512])).abs()
        loudest = int((spectrum @ bands).argmax())
        frequencies = torch.linspace(0, 8000, 257)[bands[:, loudest] > 0]
        assert frequencies.min() - 40 <= hertz <= frequencies.max() + 40


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"mel_hop": 150}, "mel_hop is 150; it must divide hop_length 640"),
        ({"synthesis_window": 300}, "synthesis_window is 300; it must be longer than its hop 320"),
        ({"kernel_size": 4}, "kernel_size is 4; it must be odd"),
    ],
)
def test_sizes_that_do_not_go_together_are_named(sizes, said):
    with pytest.raises(CheckpointError, match=said):
        BorealisCodecConfig(**sizes)
