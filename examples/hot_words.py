"""Words that are expected are found more easily: `python examples/hot_words.py`."""

# --8<-- [start:hot]
import borealis

model = borealis.load()
for expected in ([], ["ваши предложения", "благодарна"]):
    print(model.transcribe("examples/audio/speech.flac", hot_words=expected).text)
# --8<-- [end:hot]
