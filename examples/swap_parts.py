"""Join a Whisper and a language model, here tiny random ones: `python examples/swap_parts.py`."""

# Every section stands in the lesson beside its explanation and imports what it needs.
# ruff: noqa: E402

# --8<-- [start:parts]
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, WhisperConfig, WhisperModel

from borealis.checkpoints import resolve_checkpoint

parts = Path("build/parts")
torch.manual_seed(0)
WhisperModel(
    WhisperConfig(
        d_model=64,
        encoder_layers=2,
        encoder_attention_heads=4,
        decoder_layers=1,
        decoder_attention_heads=4,
    )
).save_pretrained(parts / "whisper")

tokenizer = AutoTokenizer.from_pretrained(resolve_checkpoint("nano"))
LlamaForCausalLM(
    LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        eos_token_id=tokenizer.eos_token_id,
    )
).save_pretrained(parts / "llama")
tokenizer.save_pretrained(parts / "llama")
# --8<-- [end:parts]

# --8<-- [start:assemble]
from borealis.model.convert import assemble

model, processor = assemble(
    parts / "whisper", parts / "llama", adapter_type="deep", output=parts / "deep"
)
for name in ("audio_tower", "adapter", "language_model"):
    count = sum(p.numel() for p in getattr(model.model, name).parameters())
    print(f"{name:<15}{count:>9,}")
# --8<-- [end:assemble]

# --8<-- [start:use]
import borealis

mine = borealis.load(parts / "deep")
answer = mine.ask("examples/audio/speech.flac", "Запиши речь.", max_new_tokens=5)
print(type(mine.model.model.language_model).__name__, type(answer).__name__)
# --8<-- [end:use]

# --8<-- [start:frames]
config = borealis.load().model.config
frame = 1000 * config.frame_length // config.sampling_rate
print(f"a frame of the encoder       {frame} ms")
print(f"a letter or nothing, by CTC  {frame} ms")
print(f"a step of the adapter        {frame * config.adapter_frame_stack} ms")
print(f"an audio token               {frame * config.downsample_factor} ms")
# --8<-- [end:frames]

# --8<-- [start:recipe]
from borealis.training.recipe import load_recipe

recipe = load_recipe("examples/assemble.yaml")
print(recipe.model.audio_tower, "+", recipe.model.language_model)
for stage in recipe.stages:
    print(f"{stage.name:<9} learns: {', '.join(stage.trainable)}")
# --8<-- [end:recipe]
