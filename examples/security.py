"""What Borealis refuses, tried: `python examples/security.py`."""

# Every section stands on the page beside its explanation and imports what it needs.
# ruff: noqa: E402

# --8<-- [start:files]
import borealis
from borealis.audio import load_audio

attempts = {
    "a list of files": b"ffconcat version 1.0\nfile examples/audio/speech.flac\n",
    "a playlist": b"#EXTM3U\n#EXTINF:9,\nexamples/audio/speech.flac\n",
    "a call": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nt=0 0\nm=audio 9102 RTP/AVP 0\n",
    "an address": "https://example.com/speech.flac",
}
for name, given in attempts.items():
    try:
        load_audio(given)
    except borealis.AudioError as error:
        print(f"{name:<16}{type(error).__name__}")
# --8<-- [end:files]

# --8<-- [start:limits]
from borealis.audio import DEFAULT_LIMITS
from borealis.demo.desk import LIMITS
from borealis.serving.settings import Settings

server = Settings()
for name, size, seconds in (
    ("Python, commands", DEFAULT_LIMITS.max_bytes, DEFAULT_LIMITS.max_seconds),
    ("server", server.max_bytes, server.max_seconds),
    ("demo", LIMITS.max_bytes, LIMITS.max_seconds),
):
    print(f"{name:<18}{size // 2**20:>3} MB{seconds / 60:>5.0f} min")
# --8<-- [end:limits]

# --8<-- [start:bomb]
import io

import numpy as np
import soundfile

from borealis.audio import AudioLimits

bomb = io.BytesIO()
soundfile.write(bomb, np.zeros(3600 * 8000, np.int16), 8000, format="FLAC")
print(f"{len(bomb.getvalue()) / 1e6:.2f} MB of file")
print(f"{3600 * 16_000 * 4 / 1e6:.2f} MB of samples")
try:
    load_audio(bomb.getvalue(), limits=AudioLimits(max_seconds=60))
except borealis.AudioError as error:
    print(type(error).__name__)
# --8<-- [end:bomb]

# --8<-- [start:pickle]
import shutil
from pathlib import Path

import torch

from borealis.checkpoints import resolve_checkpoint

stranger = Path("build/stranger")
skip = shutil.ignore_patterns("*.safetensors")
shutil.copytree(resolve_checkpoint("nano"), stranger, ignore=skip, dirs_exist_ok=True)
torch.save({"weight": torch.zeros(1)}, stranger / "pytorch_model.bin")
try:
    borealis.load(stranger)
except borealis.BorealisError as error:
    print(type(error).__name__)
# --8<-- [end:pickle]
