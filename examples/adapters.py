"""Shapes and sizes of the adapters, and what a plan tells: `python examples/adapters.py`."""

# Every section stands on a page of its own and imports what it needs.
# ruff: noqa: E402

# --8<-- [start:concat]
import torch

from borealis.model.adapters import concat_frames

frames = torch.randn(1, 1500, 1280)  # 30 s from Whisper large v3
joined = concat_frames(frames, 4)
print(list(frames.shape), "->", list(joined.shape))

w_in = torch.nn.Linear(5120, 2560, bias=False)
w_out = torch.nn.Linear(2560, 2560, bias=False)
tokens = w_out(torch.nn.functional.gelu(w_in(joined)))
print(list(joined.shape), "->", list(tokens.shape))
print(f"{w_in.weight.numel() + w_out.weight.numel():,} numbers")
# --8<-- [end:concat]

# --8<-- [start:plan]
from borealis.training.planner import Options, plan

for train in ("adapter", "lora", "full"):
    cost = plan(Options(train=train, hours_of_audio=500, epochs=3))
    learned = cost.stages[0].learned_parameters / 1e6
    print(f"{train:8} {learned:7.1f}M learn, ${cost.dollars:.1f}")
# --8<-- [end:plan]
