"""Speech from `borealis serve`, with OpenAI's own package: `python examples/serve/speech.py`.

Where the server is and its key are in OPENAI_BASE_URL and OPENAI_API_KEY.
"""

# ruff: noqa: E402  # every section imports what it needs

# --8<-- [start:voices]
from openai import OpenAI

client = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY
voices = client.get("/audio/voices", cast_to=dict)["voices"]
for voice in voices:
    print(voice["id"], voice["language"], voice["description"])
# --8<-- [end:voices]

# --8<-- [start:file]
name = voices[0]["id"]
text = "Мороз и солнце; день чудесный! За окном минус 25."
with client.audio.speech.with_streaming_response.create(
    model="nano", voice=name, input=text
) as answer:
    answer.stream_to_file("frost.mp3")
# --8<-- [end:file]

# --8<-- [start:stream]
with client.audio.speech.with_streaming_response.create(
    model="nano", voice=name, input=text, response_format="pcm", speed=1.2,
    extra_body={"temperature": 0.4, "seed": 7},
) as answer:  # fmt: skip
    for samples in answer.iter_bytes(3200):  # 16 bits, mono
        print(f"{len(samples)} bytes", flush=True)
# --8<-- [end:stream]

# --8<-- [start:chat]
import base64
from pathlib import Path

reply = client.chat.completions.create(
    model="nano", messages=[{"role": "user", "content": "Ты кто?"}],
    modalities=["text", "audio"], audio={"voice": name, "format": "wav"},
)  # fmt: skip
message = reply.choices[0].message
print(message.content)
if message.audio:
    Path("answer.wav").write_bytes(base64.b64decode(message.audio.data))
# --8<-- [end:chat]
