"""Padding never counts: one count, cut windows, a batch like a single clip.

Run it with `python examples/padding.py`.
"""

# Every section stands on the page beside its explanation and imports what it needs.
# ruff: noqa: E402

# --8<-- [start:count]
from borealis import BorealisConfig

ours = BorealisConfig()
published = BorealisConfig(keep_padding=True)
for seconds in (0.08, 3, 30, 31, 60):
    counts = [c.num_audio_tokens(round(seconds * 16_000)) for c in (ours, published)]
    print(f"{seconds:>5} s: {counts[0]:>4} tokens, with the padding {counts[1]:>4}")
# --8<-- [end:count]

# --8<-- [start:window]
full = BorealisConfig(encoder_window="full")
cut = BorealisConfig(encoder_window="cut", encoder_window_margin=0.5, encoder_window_step=0.5)
for seconds in (1, 3, 10, 29):
    windows = [c.encoder_samples(seconds * 16_000) / 16_000 for c in (full, cut)]
    print(f"{seconds:>3} s: full {windows[0]} s, cut {windows[1]} s")
# --8<-- [end:window]

# --8<-- [start:batch]
import torch

import borealis

model = borealis.load()
inner, processor = model.model.model, model.processor
short, long = (borealis.load_audio(f"examples/audio/{n}.flac") for n in ("post", "door"))
with torch.inference_mode():
    alone = inner.get_audio_features(**processor.extract_features([short])).pooler_output
    together = inner.get_audio_features(**processor.extract_features([short, long])).pooler_output
print("tokens", len(alone), "of", len(together))
print("equal", torch.allclose(alone, together[: len(alone)], atol=1e-4))
# --8<-- [end:batch]

# --8<-- [start:mismatch]
inputs = processor(text="<|audio|>Запиши речь.", audio=short)
inputs["input_ids"] = inputs["input_ids"][:, 1:]
try:
    model.model(input_ids=inputs["input_ids"], **processor.extract_features([short]))
except ValueError as error:
    print(error)
# --8<-- [end:mismatch]
