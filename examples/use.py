"""Write speech down: a file, many, a long recording, a stream, JSON: `python examples/use.py`."""

# Every section stands in the lesson beside its explanation and imports what it needs.
# ruff: noqa: E402

# --8<-- [start:load]
import borealis

model = borealis.load()
# --8<-- [end:load]

# --8<-- [start:transcribe]
transcript = model.transcribe("examples/audio/speech.flac")
print(transcript.text)
# --8<-- [end:transcribe]

# --8<-- [start:many]
files = ["examples/audio/sleep.flac", "examples/audio/door.flac"]
for file, result in zip(files, model.transcribe(files), strict=True):
    print(f"{file}, {result.duration} s: {result.text}")
# --8<-- [end:many]

# --8<-- [start:long]
import numpy as np

names = ("night", "door", "pounds", "sleep", "post", "speech")
parts = [borealis.load_audio(f"examples/audio/{name}.flac") for name in names]
transcript = model.transcribe(np.concatenate(parts))
for segment in transcript.segments:
    print(f"{segment.start:5.2f} - {segment.end:5.2f}  {segment.text}")
# --8<-- [end:long]

# --8<-- [start:stream]
for piece in model.transcribe("examples/audio/night.flac", stream=True):
    print(piece, end="|", flush=True)
print()
# --8<-- [end:stream]

# --8<-- [start:guesses]
from borealis.inference import Guess

text = ""
for piece in model.transcribe("examples/audio/night.flac", stream=True, guesses=True):
    if isinstance(piece, Guess):
        print(f"{text}[{piece}]")
    else:
        text += piece
print(text)
# --8<-- [end:guesses]

# --8<-- [start:json]
import json

transcript = model.transcribe("examples/audio/post.flac")
print(json.dumps(transcript.to_dict(), ensure_ascii=False, indent=1))
# --8<-- [end:json]

# --8<-- [start:error]
try:
    model.transcribe("README.md")
except borealis.AudioError as error:
    print(error)
# --8<-- [end:error]
