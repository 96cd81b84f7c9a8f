"""A small world of a large recipe: a tiny Whisper, a tiny language model, recordings, talks."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from transformers import Qwen3Config, Qwen3ForCausalLM

from borealis.cli import main
from borealis.codec.nano import BorealisCodec, BorealisCodecConfig
from borealis.data.manifest import read_manifest
from borealis.data.phrasings import load_phrasings
from borealis.training.batches.recorded import RecordingBatches, Source
from borealis.training.recipe import StageSection
from borealis.training.tasks.task import BatchContext
from tests.conftest import save_tiny_whisper
from tests.training.keys import ASKED, nested
from tests.warm import LAUNCHED, Warm

TALK = [
    {"role": "system", "content": "Отвечай кратко."},
    {"role": "user", "content": "Сколько будет два и два?"},
    {"role": "assistant", "content": "Четыре."},
    {"role": "user", "content": "А три и три?"},
    {"role": "assistant", "content": "Шесть."},
]


@pytest.fixture(scope="session")
def world(tmp_path_factory, clips, tokenizer) -> Path:
    """Data folder with `whisper`, `llm`, `speech.jsonl`, `asked.jsonl` and `chat.jsonl`."""
    root = tmp_path_factory.mktemp("world")
    rows = [{"audio": c.audio, "text": c.text, "duration": c.duration, "gender": "male"} for c in clips]  # fmt: skip
    asked = [r | {"question": "Кто говорит?", "answer": "Мужчина."} for r in rows[:2]]
    asked.append(rows[2] | {"messages": TALK})
    chat = [{"messages": TALK}, {"messages": TALK[1:3]}]
    for name, lines in (("speech", rows), ("asked", asked), ("chat", chat)):
        text = "\n".join(json.dumps(r, ensure_ascii=False) for r in lines)
        (root / f"{name}.jsonl").write_text(text, encoding="utf-8")
    save_tiny_whisper(root / "whisper")
    Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, head_dim=16, tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )
    ).save_pretrained(root / "llm")  # fmt: skip
    tokenizer.save_pretrained(root / "llm")
    return root


@pytest.fixture
def large(world, tmp_path):
    """`large(**keys)`: path of a recipe with one stage on recordings; keys change the stage."""

    def make(name: str = "large", **keys) -> str:
        stage = {
            "name": "instruct", "max_steps": 4, "learning_rate": 1e-3,
            "warmup_steps": 1, "batch_seconds": 24, "batch_tokens": 1200, "precision": "float32",
            "logging_steps": 1, "save_steps": 2, "sources": ["speech", "asked"],
            "tasks.conversations": {"share": 0.25, "sources": ["chat"]},
            "tasks.transcription": ASKED | {"share": 0.75}, "presets": ["none", "hard"],
            "augment.frequency_mask": 0.1, "trainable": ["adapter", "language_model"],
        }  # fmt: skip
        value = {
            "name": name,
            "model": {
                "audio_tower": str(world / "whisper"),
                "language_model": str(world / "llm"),
                "config": {"adapter_type": "mlp", "encoder_window": "cut"},
            },
            "data": {
                "sources": {
                    "speech": {"manifest": "speech.jsonl"},
                    "asked": {"manifest": "asked.jsonl", "weight": 2},
                    "chat": {"manifest": "chat.jsonl"},
                }
            },
            "stages": [nested(stage, keys)],
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")
        return str(path)

    return make


@pytest.fixture
def run_train(world):
    """`run_train(recipe, output, *more)`: the command in this process, on one thread."""

    def run(recipe: str, output: Path, *more: str) -> int:
        return main(["train", recipe, "--data", str(world), "--output", str(output), "--threads", "1", *more])  # fmt: skip

    return run


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """Python that has imported the launcher and the training."""
    with Warm(
        "borealis.training.pipeline", "torch.distributed.launcher.api", free=LAUNCHED
    ) as warm:
        yield warm


@pytest.fixture
def two(world, warm):
    """`two(recipe, output)`: the command in two processes."""

    def run(recipe: str, output: Path, *more: str) -> str:
        python = str(warm.folder / "python")
        command = [
            python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            "-m", "borealis", "train", recipe, "--data", str(world), "--output", str(output),
            "--threads", "1", *more,
        ]  # fmt: skip
        environment = warm.environment(os.environ | {"PYTHON_EXEC": python})  # the launcher's
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stderr

    return run


@pytest.fixture
def batches_of(world, tokenizer):
    """`batches_of(model, processor, **stage)`: recordings of the world as batches."""

    def make(model, processor, seed=0, **values):
        settings = {"name": "s", "max_steps": 12, "learning_rate": 1e-3, "batch_seconds": 20, "batch_tokens": 1500, "trainable": ["adapter", "language_model"], "sources": ["a"], "tasks.conversations": {"share": 0.25, "sources": ["t"]}, "tasks.transcription": ASKED | {"share": 0.75}}  # fmt: skip
        stage = StageSection(**nested(settings, values))
        context = BatchContext(processor.tokenizer, model.config, load_phrasings(), None, [], seed)
        read = [read_manifest(world / f"{name}.jsonl") for name in ("speech", "asked", "chat")]
        sources = [Source("speech", read[0]), Source("asked", read[1], 2.0)]
        talks = [Source("chat", read[2])] if stage.talk_sources else []
        return RecordingBatches(stage, context, sources, talks, processor)

    return make


@pytest.fixture(scope="session")
def codec(tmp_path_factory) -> Path:
    """A tiny codec of random weights: 4 codebooks of 16 codes, 25 frames a second."""
    folder = tmp_path_factory.mktemp("codec") / "tiny"
    torch.manual_seed(0)
    BorealisCodec(
        BorealisCodecConfig(
            num_codebooks=4, codebook_size=16, latent_size=8, hidden_size=16, intermediate_size=24,
            encoder_layers=1, decoder_layers=1, num_mel_bins=20,
        )
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def small() -> dict[str, int]:
    """Shapes of a tiny language model of any family."""
    return {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip
