"""Ask about one recording or many, and hold a conversation: `python examples/ask.py`."""

# Every section stands in the lesson beside its explanation and imports what it needs.
# ruff: noqa: E402

# --8<-- [start:one]
import borealis

model = borealis.load()
print(model.ask("examples/audio/speech.flac", "Кто говорит: мужчина или женщина?"))
# --8<-- [end:one]

# --8<-- [start:tasks]
for question in (
    "На каком языке говорят?",
    "Это речь, шум, музыка или тишина?",
    "Есть ли слово «очень»?",
    "Is the word «принять» said?",
    "Какое слово первое?",
    "Назови последнее слово.",
    "How many words are said?",
):
    print(f"{question} {model.ask('examples/audio/speech.flac', question)}")
# --8<-- [end:tasks]

# --8<-- [start:refused]
from textwrap import fill

for question in ("Переведи на английский.", "What is the mood of the speaker?"):
    print(fill(model.ask("examples/audio/speech.flac", question), 78))
# --8<-- [end:refused]

# --8<-- [start:sounds]
import numpy as np

silence = np.zeros(3 * 16_000, np.float32)
noise = np.random.default_rng(0).normal(0, 0.1, 3 * 16_000).astype(np.float32)
for answer in model.ask([silence, noise], "Что слышно?"):
    print(answer)
# --8<-- [end:sounds]

# --8<-- [start:batch]
files = ["examples/audio/sleep.flac", "examples/audio/door.flac"]
questions = ["Какое слово первое?", "Есть ли слово «дверь»?"]
for question, answer in zip(questions, model.ask(files, questions), strict=True):
    print(question, answer)
# --8<-- [end:batch]

# --8<-- [start:turns]
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
    {"role": "user", "content": "Сколько слов сказано?"},
]
print(model.chat(messages))
# --8<-- [end:turns]

# --8<-- [start:stream]
for piece in model.ask("examples/audio/door.flac", "Запиши, что сказано.", stream=True):
    print(piece, end="|", flush=True)
print()
# --8<-- [end:stream]
