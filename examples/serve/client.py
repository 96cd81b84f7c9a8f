"""A client of `borealis serve`, with OpenAI's own package: `python examples/serve/client.py`.

Where the server is and its key are in OPENAI_BASE_URL and OPENAI_API_KEY.
"""

# --8<-- [start:transcribe]
import base64
from pathlib import Path

from openai import OpenAI

audio = Path("examples/audio")
client = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY
answer = client.audio.transcriptions.create(model="nano", file=audio / "speech.flac")
print(answer.text)
# --8<-- [end:transcribe]

# --8<-- [start:segments]
detailed = client.audio.transcriptions.create(
    model="nano", file=audio / "door.flac", language="ru", response_format="verbose_json"
)
for segment in detailed.segments:
    print(f"{segment.start:.1f}-{segment.end:.1f} {segment.text}")
# --8<-- [end:segments]

# --8<-- [start:words]
exact = client.audio.transcriptions.create(
    model="nano", file=audio / "speech.flac", response_format="verbose_json",
    timestamp_granularities=["word"], extra_body={"hotwords": "предложения"},
)  # fmt: skip
for word in exact.words:
    print(f"{word.start:.2f}-{word.end:.2f} {word.word}")
# --8<-- [end:words]

# --8<-- [start:stream]
events = client.audio.transcriptions.create(model="nano", file=audio / "night.flac", stream=True)
for event in events:
    if event.type == "transcript.text.delta":
        print(event.delta, end="", flush=True)
print()
# --8<-- [end:stream]

# --8<-- [start:chat]
data = base64.b64encode((audio / "speech.flac").read_bytes()).decode()
question = [
    {"type": "input_audio", "input_audio": {"data": data, "format": "flac"}},
    {"type": "text", "text": "Какое слово первое?"},
]
reply = client.chat.completions.create(
    model="nano", messages=[{"role": "user", "content": question}]
)
print(reply.choices[0].message.content)
# --8<-- [end:chat]
