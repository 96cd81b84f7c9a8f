"""The road of a sound, step by step, with the size of everything: `python examples/road.py`."""

# Every section stands on the page beside its explanation and imports what it needs.
# ruff: noqa: E402

# --8<-- [start:sound]
import borealis

model = borealis.load()
inner, processor, config = model.model.model, model.processor, model.model.config

clip = borealis.load_audio("examples/audio/speech.flac")
print(clip.dtype, clip.shape, f"{len(clip) / 16_000:.2f} s")
# --8<-- [end:sound]

# --8<-- [start:mel]
batch = processor.extract_features([clip])
print("log-mel", list(batch["input_features"].shape))
print("seconds the encoder sees", config.encoder_samples(len(clip)) / 16_000)
# --8<-- [end:mel]

# --8<-- [start:tokens]
import torch

with torch.inference_mode():
    frames, mask = inner.encode_audio(**batch)
    heard = inner.hear_frames(frames, mask)
print("frames of the encoder", list(frames.shape))
print("audio tokens", list(heard.tokens.shape))
# --8<-- [end:tokens]

# --8<-- [start:letters]
best = heard.logits[0].argmax(-1).tolist()  # a class for each frame of 20 ms; 0 is "no letter"
letters = ["." if label == 0 else config.ctc_labels[label - 1] for label in best]
for second in range(0, len(letters) // 50 + 1):
    print(f"{second} s", "".join(letters[second * 50 : second * 50 + 50]))
# --8<-- [end:letters]

# --8<-- [start:prompt]
import re

messages = [
    {"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": "Запиши речь."}]}
]
prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
ids = processor(text=prompt, audio=clip)["input_ids"]
text = processor.tokenizer.decode(ids[0])
print(re.sub(r"(<\|audio\|>)+", lambda run: f"{run[1]} * {run[0].count(run[1])}", text))
# --8<-- [end:prompt]
