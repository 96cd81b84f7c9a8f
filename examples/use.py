"""Write speech down: a file, many, long, a stream, words, JSON: `python examples/use.py`."""

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
import numpy as np

parts = [borealis.load_audio(f"examples/audio/{name}.flac") for name in ("sleep", "post")]
for segment in model.transcribe_stream(np.concatenate(parts), max_segment_seconds=6):
    print(f"{segment.start:5.2f} - {segment.end:5.2f}  {segment.text}", flush=True)
# --8<-- [end:stream]

# --8<-- [start:words]
transcript = model.transcribe("examples/audio/night.flac", words=True)
for word in transcript.words:
    print(f"{word.start:4.2f} - {word.end:4.2f}  {word.confidence:4.0%}  {word.text}")
# --8<-- [end:words]

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
