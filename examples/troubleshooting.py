"""Sound that is read wrongly, and how to say what it is: `python examples/troubleshooting.py`."""

# Every section stands on the page beside its explanation and imports what it needs.
# ruff: noqa: E402

# --8<-- [start:repaired]
from pathlib import Path

import numpy as np

from borealis.audio import load_audio

clip = load_audio("examples/audio/speech.flac")
against = np.stack([clip, -clip], axis=1)
print("loudest sample of their mean:", abs(against.mean(axis=1)).max())
heard = load_audio((16_000, against))
print("loudest sample of what is read:", abs(heard).max().round(2))

file = Path("examples/audio/speech.flac").read_bytes()
print("joined:", len(load_audio(file + file)) / len(clip), "times as long")
# --8<-- [end:repaired]

# --8<-- [start:arrays]
import soundfile

import borealis

samples, rate = soundfile.read("examples/audio/speech.flac", dtype="int16")
print(len(load_audio((rate, samples))), "samples at 16 kHz")

floats = samples.astype("float32")  # still up to 32767
try:
    load_audio((rate, floats))
except borealis.AudioError as error:
    print(type(error).__name__)

print(len(load_audio((rate, floats / 32768))), "samples at 16 kHz")
# --8<-- [end:arrays]
