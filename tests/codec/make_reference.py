"""Makes the files that prove EnCodec equal to its authors' package, `encodec` 0.1.1 of PyPI.

That release is under CC BY-NC 4.0, so it isn't among this project's dependencies. What is stored
are random weights of our own, a clip of examples/audio, and the numbers that the package made of
both; nothing of the package itself. To make them again, install it anywhere, then run this:

    pip install --no-deps --target build/encodec encodec==0.1.1 einops
    PYTHONPATH=.:build/encodec python tests/codec/make_reference.py
"""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import EncodecConfig, EncodecModel

from borealis.audio import load_audio
from tests.codec.networks import liven

HERE = Path(__file__).parent
CLIP = HERE.parent.parent / "examples" / "audio" / "speech.flac"
BOOKS, SIZE = 4, 64

# The shapes of the two models for mono speech, far narrower.
SETTINGS = {
    "reference_24khz": {"sampling_rate": 24_000, "upsampling_ratios": [8, 5, 4, 2]},
    "reference_32khz": {
        "sampling_rate": 32_000,
        "upsampling_ratios": [8, 5, 4, 4],
        "use_causal_conv": False,
    },
}


def main() -> None:
    """Write a folder for each of the settings."""
    # The package imports torchaudio for reading files, which isn't done here.
    sys.modules.setdefault("torchaudio", ModuleType("torchaudio"))
    for name, settings in SETTINGS.items():
        model = random_model(settings)
        samples = clip(model.config.sampling_rate)
        theirs = package_model(model)
        with torch.no_grad():
            x = torch.tensor(samples.astype(np.float32) / 32768)[None, None]
            frames = theirs.encode(x)
            sound = theirs.decode(frames)[0, 0, : len(samples)]
        codes = frames[0][0][0].numpy().astype(np.int32)
        folder = HERE / name
        model.save_pretrained(folder)
        expected = {"samples": samples, "codes": codes, "sound": sound.numpy()}
        save_file(expected, folder / "expected.safetensors")
        print(name, codes.shape, [len(set(book)) for book in codes.tolist()], "codes in use")


def clip(rate: int) -> np.ndarray:
    """Eight tenths of a second of speech and three samples, int16."""
    audio = load_audio(CLIP, output_rate=rate)[rate // 2 : rate // 2 + rate * 8 // 10 + 3]
    return np.round(audio * 32767).astype(np.int16)


def random_model(settings: dict) -> EncodecModel:
    """A tiny EnCodec of random weights."""
    torch.manual_seed(0)
    ratios, rate = settings["upsampling_ratios"], settings["sampling_rate"]
    bandwidth = BOOKS * math.log2(SIZE) * math.ceil(rate / math.prod(ratios)) / 1000
    config = EncodecConfig(
        num_filters=2, hidden_size=8, codebook_size=SIZE, target_bandwidths=[bandwidth], **settings
    )
    model = EncodecModel(config)
    liven(model, torch.tensor(load_audio(CLIP, output_rate=rate)[: 2 * rate])[None, None])
    return model


def package_model(model: EncodecModel) -> torch.nn.Module:
    """The package's model with the same weights."""
    from encodec import modules, quantization
    from encodec.model import EncodecModel as Theirs

    config = model.config
    shape = {
        "channels": 1,
        "dimension": config.hidden_size,
        "n_filters": config.num_filters,
        "ratios": list(config.upsampling_ratios),
        "causal": config.use_causal_conv,
        "norm": "weight_norm",
    }
    theirs = Theirs(
        modules.SEANetEncoder(**shape),
        modules.SEANetDecoder(**shape),
        quantization.ResidualVectorQuantizer(dimension=config.hidden_size, n_q=BOOKS, bins=SIZE),
        target_bandwidths=list(config.target_bandwidths),
        sample_rate=config.sampling_rate,
        channels=1,
    ).eval()
    theirs.load_state_dict({package_name(k): v for k, v in model.state_dict().items()})
    return theirs


def package_name(name: str) -> str:
    """The package's name of a tensor."""
    name = re.sub(r"^quantizer\.layers\.(\d+)\.codebook", r"quantizer.vq.layers.\1._codebook", name)
    name = re.sub(r"^(encoder|decoder)\.layers", r"\1.model", name)
    # Every third layer of the decoder is a transposed convolution.
    upsampling = re.match(r"decoder\.model\.(\d+)\.conv", name)
    kind = "convtr" if upsampling and int(upsampling[1]) in range(3, 14, 3) else "conv"
    name = re.sub(r"\.conv\.", f".{kind}.{kind}.", name)
    name = name.replace("parametrizations.weight.original0", "weight_g")
    return name.replace("parametrizations.weight.original1", "weight_v")


if __name__ == "__main__":
    main()
