"""When each word was said, and subtitles made of that: `python examples/words.py`."""

# Every section stands on the page beside its explanation and imports what it needs.
# ruff: noqa: E402

# --8<-- [start:words]
import borealis

model = borealis.load()
transcript = model.transcribe("examples/audio/speech.flac", words=True)
for word in transcript.words:
    print(f"{word.start:5.2f} - {word.end:5.2f}  {word.confidence:4.0%}  {word.text}")
# --8<-- [end:words]

# --8<-- [start:subtitles]
from borealis.inference import formats

print(formats.write(transcript, "srt"))
# --8<-- [end:subtitles]
