"""Transcribe, ask, stream and hold a conversation: `python examples/use.py`."""

# --8<-- [start:load]
import borealis

model = borealis.load()
# --8<-- [end:load]

# --8<-- [start:transcribe]
transcript = model.transcribe("examples/audio/speech.flac")
print(transcript.text)
for segment in transcript.segments:
    print(f"{segment.start:.2f}-{segment.end:.2f}: {segment.text}")
# --8<-- [end:transcribe]

# --8<-- [start:many]
for result in model.transcribe(["examples/audio/sleep.flac", "examples/audio/door.flac"]):
    print(result)
# --8<-- [end:many]

# --8<-- [start:ask]
for question in (
    "Кто говорит: мужчина или женщина?",
    "Сколько слов сказано?",
    "What language is it?",
):
    print(question, model.ask("examples/audio/speech.flac", question))
# --8<-- [end:ask]

# --8<-- [start:stream]
for piece in model.transcribe("examples/audio/night.flac", stream=True):
    print(piece, end="", flush=True)
print()
# --8<-- [end:stream]

# --8<-- [start:chat]
messages = [
    {
        "role": "user",
        "content": [
            {"type": "audio", "audio": "examples/audio/post.flac"},
            {"type": "text", "text": "На каком языке говорят?"},
        ],
    }
]
answer = model.chat(messages)
print(answer)
messages += [
    {"role": "assistant", "content": answer},
    {"role": "user", "content": "Кто говорит?"},
]
print(model.chat(messages))
# --8<-- [end:chat]

# --8<-- [start:array]
import numpy as np  # noqa: E402

minute = np.concatenate(
    [borealis.load_audio(f"examples/audio/{name}.flac") for name in ("night", "door", "pounds")] * 3
)
print(model.transcribe(minute).duration)
# --8<-- [end:array]

# --8<-- [start:error]
try:
    model.transcribe("README.md")
except borealis.AudioError as error:
    print(error)
# --8<-- [end:error]
