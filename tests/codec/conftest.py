"""Tiny codecs of random weights, one of each kind, saved as folders and loaded through the door."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel, MimiConfig, MimiModel

from borealis.audio import load_audio
from borealis.codec import load_codec
from borealis.codec.nano import BorealisCodec, BorealisCodecConfig
from tests.codec.networks import liven

RATE = 8_000
NAMES = ("encodec", "encodec_ahead", "mimi", "dac", "nano")

_SEANET = {"num_filters": 4, "hidden_size": 16, "codebook_size": 32, "sampling_rate": RATE}
_ENCODEC = _SEANET | {"num_lstm_layers": 1, "upsampling_ratios": [5, 4, 2]}
_BANDWIDTHS = [1.0, 4.0]  # kbit/s of 1 and 4 codebooks


def networks(speech: torch.Tensor) -> dict[str, torch.nn.Module]:
    """A network of each kind: what it is made of is as in the real ones, only narrower."""
    torch.manual_seed(0)
    made = {
        "encodec": EncodecModel(EncodecConfig(target_bandwidths=_BANDWIDTHS, **_ENCODEC)),
        "encodec_ahead": EncodecModel(
            EncodecConfig(target_bandwidths=_BANDWIDTHS, use_causal_conv=False, **_ENCODEC)
        ),
        "mimi": MimiModel(
            MimiConfig(
                upsampling_ratios=[5, 2, 2], num_quantizers=4, codebook_dim=8, upsample_groups=16,
                vector_quantization_hidden_dimension=8, num_hidden_layers=2, intermediate_size=32,
                num_attention_heads=2, num_key_value_heads=2, sliding_window=12, **_SEANET,
            )
        ),
        "dac": DacModel(
            DacConfig(
                encoder_hidden_size=4, decoder_hidden_size=64, downsampling_ratios=[2, 4, 5],
                n_codebooks=4, codebook_size=32, codebook_dim=4, sampling_rate=RATE,
            )
        ),
        "nano": BorealisCodec(
            BorealisCodecConfig(
                hop_length=40, num_codebooks=4, codebook_size=32, latent_size=8, hidden_size=32,
                intermediate_size=48, kernel_size=5, encoder_layers=2, decoder_layers=2, mel_hop=20,
                mel_window=40, num_mel_bins=10, synthesis_hop=20, synthesis_window=40,
                sampling_rate=RATE,
            )
        ),
    }  # fmt: skip
    for name, network in made.items():
        liven(network, speech[None] if name == "nano" else speech[None, None])
    return made


@pytest.fixture(scope="session")
def sound(speech: Path) -> np.ndarray:
    """Two seconds and a bit of a real recording, at the codecs' rate."""
    return load_audio(speech, output_rate=RATE)[: 2 * RATE + 77]


@pytest.fixture(scope="session")
def folders(tmp_path_factory, sound) -> dict[str, Path]:
    """Checkpoints by kind."""
    root = tmp_path_factory.mktemp("codecs")
    for name, network in networks(torch.tensor(sound[: 2 * RATE])).items():
        network.save_pretrained(root / name)
    return {name: root / name for name in NAMES}


@pytest.fixture(scope="session")
def codecs(folders):
    """Codecs by kind."""
    return {name: load_codec(folder, device="cpu") for name, folder in folders.items()}


@pytest.fixture(params=NAMES)
def codec(request, codecs):
    """Each codec in turn."""
    return codecs[request.param]
