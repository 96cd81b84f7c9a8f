"""Sound as codec tokens: codebooks, orders, token names, files, streams.

Run it with `python examples/audio_tokens.py`.
"""

# Sections that stand apart on the page import what they need.
# ruff: noqa: E402

# --8<-- [start:make]
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import EncodecConfig, EncodecModel

from borealis import BorealisError, load_audio
from borealis.codec import (
    CodecVocabulary,
    bits_per_second,
    from_delay,
    load_codec,
    load_codes,
    to_delay,
    to_flat,
)

torch.manual_seed(0)
model = EncodecModel(EncodecConfig(num_filters=4, hidden_size=16, target_bandwidths=[3.0]))
for layer in model.quantizer.layers:
    torch.nn.init.normal_(layer.codebook.embed, std=0.02)
folder = tempfile.mkdtemp()
model.save_pretrained(folder)
# --8<-- [end:make]

# --8<-- [start:encode]
codec = load_codec(folder)  # with the hub at hand: load_codec("encodec_24khz")
waveform = load_audio("examples/audio/speech.flac", output_rate=codec.sampling_rate)
codes = codec.encode(waveform)
print(codec.sampling_rate, "Hz,", codec.hop_length, "samples a frame")
print(codes.num_samples, "samples ->", codes.codes.shape, "codes")
print(codes.codes[:, :3])
# --8<-- [end:encode]

# --8<-- [start:decode]
sound = codec.decode(codes)
coarse = codec.decode(codes.take(2))
print(sound.shape == coarse.shape == waveform.shape)
# --8<-- [end:decode]

# --8<-- [start:bitrate]
for books in (1, 2, 4):
    print(books, "codebooks:", round(bits_per_second(codec, books)), "bits a second")
# --8<-- [end:bitrate]

# --8<-- [start:layouts]
few = [[5, 6, 7], [15, 16, 17]]  # two codebooks, three frames
print(to_flat(few, codebook_size=20))
rows = to_delay(few, codebook_size=20)
print(rows)
print(from_delay(rows[:, :3], codebook_size=20, strict=False))  # the last column is missing
# --8<-- [end:layouts]

# --8<-- [start:tokens]
vocabulary = CodecVocabulary(num_codebooks=2, codebook_size=20, first_id=1000)
print(vocabulary.text(few))
print(vocabulary.ids(few))
print(vocabulary.codes([1000, 1008, 1038, 1009, 1001], strict=False))
# --8<-- [end:tokens]

# --8<-- [start:error]
try:
    vocabulary.codes([1000, 1008, 1038, 1009, 1001])
except BorealisError as error:
    print(error)
# --8<-- [end:error]

# --8<-- [start:vocabulary]
import borealis
from borealis.training.recipe import SpeechSection
from borealis.training.start.vocabulary import add_speech

nano = borealis.load("nano")
section = SpeechSection(codec=folder, num_codebooks=2)
vocabulary = add_speech(nano.model, nano.processor, section)
speech = nano.model.config.speech
print(f"{len(vocabulary)} tokens from id {speech['first_id']} on, layout {speech['layout']}")

ids = vocabulary.ids(codes.take(2).codes[:, :2], layout=speech["layout"])
print(ids)
print(nano.processor.tokenizer.decode(ids))
print(nano.transcribe("examples/audio/speech.flac").text)  # the old text is as it was
# --8<-- [end:vocabulary]

# --8<-- [start:recipe]
from borealis.training.planner.recipes import vocabulary_line
from borealis.training.recipe import load_recipe

recipe = load_recipe(
    "examples/assemble.yaml",
    [
        "model.speech={codec: encodec_24khz, num_codebooks: 2, layout: flat}",
        "stages.instruct.trainable=[adapter, speech]",
    ],
)
print(vocabulary_line(recipe))
# --8<-- [end:recipe]

# --8<-- [start:file]
path = Path(folder, "speech.safetensors")
codes.save(path)
again = load_codes(path)
print(again.seconds, "seconds,", again.num_codebooks, "codebooks,", path.stat().st_size, "bytes")
# --8<-- [end:file]

# --8<-- [start:stream]
stream = codec.stream_encoder()
parts = [stream.push(waveform[at : at + 1_000]) for at in range(0, len(waveform), 1_000)]
parts.append(stream.finish())
print(np.array_equal(np.concatenate(parts, axis=1), codes.codes))

stream = codec.stream_decoder(num_samples=codes.num_samples)
parts = [stream.push(codes.codes[:, [frame]]) for frame in range(codes.num_frames)]
parts.append(stream.finish())
print(np.abs(np.concatenate(parts) - sound).max() < 1e-4)
# --8<-- [end:stream]
