"""What the chapters of the story show, from counts to prompts: `python examples/story.py`."""

# Every section stands on a page of its own and imports what it needs.
# ruff: noqa: E402

# --8<-- [start:three-lines]
import borealis

model = borealis.load()
print(model.transcribe("examples/audio/speech.flac"))
# --8<-- [end:three-lines]

# --8<-- [start:questions]
for question in (
    "Кто говорит: мужчина или женщина?",
    "Какое слово первое?",
    "Is the word «принять» said?",
    "What language is it?",
):
    print(question, model.ask("examples/audio/speech.flac", question))
# --8<-- [end:questions]

# --8<-- [start:count]
from borealis import BorealisConfig

lengths = BorealisConfig()
for seconds in (3, 30, 31):
    print(seconds, "->", lengths.num_audio_tokens(seconds * 16_000))
# --8<-- [end:count]

# --8<-- [start:shapes]
import torch

import borealis

nano = borealis.load()
inner, config = nano.model.model, nano.model.config
clip = borealis.load_audio("examples/audio/speech.flac")
batch = nano.processor.extract_features([clip])
with torch.inference_mode():
    frames, mask = inner.encode_audio(**batch)
    tokens = inner.hear_frames(frames, mask).flat_tokens
print("samples   ", list(clip.shape))
print("log-mel   ", list(batch["input_features"].shape))
print("frames    ", list(frames.shape))
print("tokens    ", list(tokens.shape))
print("the count ", config.num_audio_tokens(len(clip)))
# --8<-- [end:shapes]

# --8<-- [start:prompt]
question = [{"type": "audio"}, {"type": "text", "text": "Запиши речь."}]
prompt = nano.processor.apply_chat_template(
    [{"role": "user", "content": question}], add_generation_prompt=True
)
print(prompt, end="")
ids = nano.processor(text=prompt, audio=clip)["input_ids"]  # [1, sequence]
places = int((ids == config.audio_token_id).sum())
print("tokens:", ids.shape[1], "placeholders:", places)
# --8<-- [end:prompt]

# --8<-- [start:recipe-data]
from borealis.training.recipe import load_recipe

recipe = load_recipe("nano")
for name, passes in recipe.data.features.items():
    for one in passes:
        print(f"{name:<16} {one.manifest:<26} {one.augment}")
for name in recipe.data.corpora:
    print("text            ", name)
# --8<-- [end:recipe-data]

# --8<-- [start:recipe-stages]
from borealis.training.recipe import load_recipe

for stage in load_recipe("nano").stages:
    print(f"{stage.name:<9}{stage.max_steps:>6} steps, learns: {', '.join(stage.trainable)}")
# --8<-- [end:recipe-stages]

# --8<-- [start:pseudo]
import numpy as np

from borealis.data.text import CTC_CHARACTERS
from borealis.training.tasks.pseudo_audio import PseudoAudio

make = PseudoAudio(CTC_CHARACTERS, factor=4)
for damage in (0.0, 0.15, 0.3):
    rng = np.random.default_rng(0)
    posteriors = make("Тогда я соскочил на пол.", rng, damage).posteriors
    best = posteriors.argmax(1)  # [frames], 0 is the blank
    changed = best != np.append(0, best[:-1])
    heard = "".join(CTC_CHARACTERS[c - 1] for c in best[changed & (best > 0)])
    print(f"{damage:.2f}", posteriors.shape, heard)
# --8<-- [end:pseudo]

# --8<-- [start:normalizers]
import string

from jiwer import wer

from borealis.evaluation.normalization import normalize

said = "«Ещё пять минут, — сказал он, — и всё-таки уйдём»."
written = "Еще пять минут, - сказал он, - и все таки уйдем."
marks = str.maketrans("", "", string.punctuation)  # ASCII marks only
ways = {
    "as written": str,
    "no ASCII marks": lambda text: text.translate(marks),
    "ours": normalize,
}
for name, way in ways.items():
    print(f"{name:<15} {wer(way(said), way(written)):.0%}")
# --8<-- [end:normalizers]
