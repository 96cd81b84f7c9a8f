"""Encoders of Whisper's real widths with every family of language model: train, save, load, write."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    Qwen2Config,
    Qwen3Config,
    WhisperFeatureExtractor,
)

import borealis
from borealis.data.manifest import read_manifest
from borealis.data.phrasings import load_phrasings
from borealis.model import BorealisConfig, BorealisForConditionalGeneration, BorealisProcessor
from borealis.model.processing import AUDIO_TOKEN
from borealis.training.batches.recorded import RecordingBatches, Source
from borealis.training.loop.stage import run_stage
from borealis.training.planner.shapes import encoder_config
from borealis.training.tasks.task import BatchContext
from tests.training.keys import a_stage

# The widths, heads and log-mel channels are the published ones; two layers of them fit a test.
PAIRS = [
    ("tiny", 384, 80, Qwen2Config),
    ("base", 512, 80, Gemma2Config),
    ("small", 768, 80, Qwen3Config),
    ("medium", 1024, 80, LlamaConfig),
    ("large-v3", 1280, 128, GemmaConfig),
    ("large-v3-turbo", 1280, 128, Gemma3TextConfig),
]
TEXT = {
    "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 12,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("whisper", "width", "channels", "family"), PAIRS)
def test_a_whisper_and_a_family_train_save_load_and_write(
    whisper, width, channels, family, tokenizer, world, tmp_path
):
    audio = encoder_config(whisper)
    assert (audio.d_model, audio.num_mel_bins) == (width, channels)
    audio.encoder_layers = 2
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = BorealisConfig(
        audio_config=audio,
        text_config=family(vocab_size=len(tokenizer), **TEXT, **ids),
        audio_token_id=tokenizer.convert_tokens_to_ids(AUDIO_TOKEN),
        encoder_window="cut",
        **ids,
    )
    torch.manual_seed(0)
    model = BorealisForConditionalGeneration(config)
    extractor = WhisperFeatureExtractor(feature_size=channels)
    processor = BorealisProcessor.from_config(config, extractor, tokenizer)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}

    stage = a_stage(
        max_steps=2, learning_rate=1e-3, warmup_steps=0,
        batch_seconds=12, trainable=["adapter", "language_model"], sources=["speech"],
        precision="float32", logging_steps=1, tasks={"transcription": {"questions": 0.35}},
    )  # fmt: skip
    context = BatchContext(tokenizer, config, load_phrasings(), None, [], 0)
    source = Source("speech", read_manifest(world / "speech.jsonl")[:3])
    batches = RecordingBatches(stage, context, [source], [], processor)
    assert batches[0]["input_features"].shape[1] == channels
    run_stage(model, stage, batches, tmp_path / "s", seed=0, use_cpu=True)

    # Two finite losses; the adapter and the language model moved, the encoder stayed.
    state = json.loads((tmp_path / "s/checkpoint-2/trainer_state.json").read_text("utf-8"))
    losses = [row["loss"] for row in state["log_history"] if "loss" in row]
    assert len(losses) == 2 and all(0 < loss < 20 for loss in losses)
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert not any("audio_tower" in name for name in moved)
    assert any("adapter" in name for name in moved) and any("layers.0.mlp" in n for n in moved)

    processor.save_pretrained(tmp_path / "s")
    loaded = borealis.load(tmp_path / "s", device="cpu")
    weights = loaded.model.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    clip = source.utterances[0].audio
    asked = borealis.Borealis(model.eval(), processor).ask(clip, "Кто?", max_new_tokens=4)
    assert loaded.ask(clip, "Кто?", max_new_tokens=4) == asked
