"""Tokens a second and utilization of a GPU: `python benchmarks/training_gpu.py --shape 0.6b`.

Builds a recipe's model with random weights (nothing is downloaded), and runs its stages `align` and
`instruct`, the latter with LoRA, on random audio whose lengths spread as those of real speech. The
points go to `results/training-gpu.json`, where `borealis plan` finds them; a second shape measured
on the same device joins the first. `--shape trial` is a tiny model for a machine without a GPU.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch.utils.data import Dataset
from training_world import Run, take_steps
from transformers import Qwen3Config, WhisperConfig

from borealis.evaluation.results import describe, write
from borealis.model import BorealisConfig, BorealisForConditionalGeneration
from borealis.training.data.epochs import length_buckets
from borealis.training.data.talks import IGNORE
from borealis.training.loop.trainer import StageTrainer
from borealis.training.planner import GPUS, Options, parts
from borealis.training.planner.measured import gpu_of
from borealis.training.planner.operations import batch_operations
from borealis.training.planner.recipes import recipe_config
from borealis.training.recipe import LoraSection, Recipe, StageSection, load_recipe

TRIAL = "trial"
# Recordings that batches are made of, for each step that is measured.
_CLIPS_A_STEP = 64


def model_of(shape: str, device: str, seed: int = 0) -> BorealisForConditionalGeneration:
    """A model of a recipe's shapes with random weights, in bfloat16 on a GPU."""
    if shape == TRIAL:
        config = BorealisConfig(
            audio_config=WhisperConfig(
                d_model=64, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=128
            ),
            text_config=Qwen3Config(
                vocab_size=300,
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=32,
            ),
            encoder_window="cut",
        )
    else:
        config = recipe_config(load_recipe(shape).model)
    config.audio_token_id = config.text_config.vocab_size - 1
    torch.manual_seed(seed)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if device == "cuda" else torch.float32)
    try:
        with torch.device(device):
            return BorealisForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)


def stages_of(shape: str, steps: int, **changes: Any) -> dict[str, StageSection]:
    """What is measured, by the planner's word for what learns, with the recipe's own settings."""
    recipe: Recipe = load_recipe("0.6b" if shape == TRIAL else shape)
    common = {
        "max_steps": steps,
        "optimizer.warmup_steps": 1,
        "log.every": 1,
        "batch.per_step": 1,
        "sources": ["random"],
        "tasks": {"transcription": {}},
        "validation": {},
        "batch.workers": 0,
    } | changes
    align, instruct = recipe.stage("align"), recipe.stage("instruct")
    lora = instruct.lora or LoraSection()
    return {
        "adapter": align.changed(common),
        "lora": instruct.changed(common | {"lora": lora.model_dump()}),
    }


class RandomBatches(Dataset):
    """Batches of random audio and random text; all are made beforehand, so no time goes into them.

    Args:
        config: the model's.
        stage: bounds the batches.
        mean_seconds: mean length of a clip; lengths are log-normal, at most 30 s.
        seed: of everything.
    """

    def __init__(
        self, config: BorealisConfig, stage: StageSection, mean_seconds: float, seed: int = 0
    ) -> None:
        self.config = config
        rng = np.random.default_rng(seed)
        spread = 0.5
        count = stage.max_steps * _CLIPS_A_STEP
        seconds = rng.lognormal(np.log(mean_seconds) - spread**2 / 2, spread, count).clip(1, 30)
        samples = [round(s * config.sampling_rate) for s in seconds.tolist()]
        options = Options()
        texts = [
            round(options.text_rate * n / config.sampling_rate + options.prompt_tokens)
            for n in samples
        ]
        audio = [config.num_audio_tokens(n) for n in samples]
        frames = [config.encoder_samples(n) // config.frame_length for n in samples]
        tokens = [a + t for a, t in zip(audio, texts, strict=True)]
        limit = (frames, round(stage.batch.seconds * 50))
        plan = length_buckets(tokens, stage.batch.tokens, rng, limit)[: stage.max_steps]
        torch.manual_seed(seed)
        self.shapes = [[(samples[i], audio[i], texts[i]) for i in picks] for picks in plan]
        self.batches = [self._batch(shapes) for shapes in self.shapes]

    def _batch(self, shapes: Sequence[tuple[int, int, int]]) -> dict[str, Any]:
        config = self.config
        mels = max(config.encoder_samples(n) for n, _, _ in shapes) // config.hop_length
        width = max(audio + text for _, audio, text in shapes)
        ids = torch.randint(0, config.audio_token_id, (len(shapes), width))
        labels = torch.full_like(ids, IGNORE)
        for row, (_, audio, text) in enumerate(shapes):
            ids[row, :audio] = config.audio_token_id
            answer = slice(audio + text // 2, audio + text)
            labels[row, answer] = ids[row, answer]
        return {
            "mode": "audio",
            "input_features": torch.randn(len(shapes), config.audio_config.num_mel_bins, mels),
            "num_samples": torch.tensor([n for n, _, _ in shapes]),
            "input_ids": ids,
            "labels": labels,
        }

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int) -> dict[str, Any]:
        return self.batches[step]

    def operations(self, step: int, **settings: Any) -> float:
        """Counted operations of a batch; see `batch_operations`."""
        batch, shapes, config = self.batches[step], self.shapes[step], self.config
        rows, columns = batch["input_ids"].shape
        counted = batch_operations(
            parts(config),
            encoder_frames=[config.encoder_samples(n) // config.frame_length for n, _, _ in shapes],
            audio_tokens=(rows, max(audio for _, audio, _ in shapes)),
            tokens=(rows, columns),
            **settings,
        )
        return counted["total"]


def measure(shape: str, train: str, stage: StageSection, args: argparse.Namespace) -> dict:
    """One stage: tokens a second, utilization, memory."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    model = model_of(shape, "cuda" if cuda else "cpu")
    batches = RandomBatches(model.config, stage, args.mean_seconds)
    stage = stage.model_copy(update={"max_steps": len(batches)})
    if len(batches) <= args.warmup:
        raise SystemExit(f"--steps is {len(batches)}; it must be above --warmup {args.warmup}")
    with tempfile.TemporaryDirectory() as folder:
        run = Run()
        take_steps(StageTrainer(model, stage, batches, Path(folder), seed=0), run)
    lora = sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
    measured = range(args.warmup, len(batches))
    seconds = sum(run.step_seconds[i] for i in measured)
    counts = {
        again: sum(
            batches.operations(i, train=train, lora=lora, gradient_checkpointing=again)
            for i in measured
        )
        for again in (False, stage.compute.gradient_checkpointing)
    }
    places = sum(batches[i]["input_ids"].numel() for i in measured)
    tokens = sum(a + t for i in measured for _, a, t in batches.shapes[i])
    heard = sum(n for i in measured for n, _, _ in batches.shapes[i]) / 16_000
    peak = args.teraflops
    if peak is None and (gpu := _gpu()):
        peak = GPUS[gpu].teraflops
    share = None if peak is None else 1 / seconds / peak / 1e12
    return {
        "shape": shape,
        "stage": stage.name,
        "train": train,
        "steps": len(measured),
        "gradient_checkpointing": stage.compute.gradient_checkpointing,
        "batch_seconds": stage.batch.seconds,
        "batch_tokens": stage.batch.tokens,
        "mean_seconds": args.mean_seconds,
        "seconds": round(seconds, 3),
        "tokens_per_second": round(tokens / seconds, 1),
        "places_per_second": round(places / seconds, 1),
        "audio_seconds_per_second": round(heard / seconds, 1),
        "teraflop": counts[stage.compute.gradient_checkpointing] / 1e12,
        # Without what is computed twice: model FLOPs utilisation. With it: what the planner counts.
        "mfu": None if share is None else round(counts[False] * share, 4),
        "utilization": None
        if share is None
        else round(counts[stage.compute.gradient_checkpointing] * share, 4),
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if cuda else None,
    }


def _gpu() -> str:
    return gpu_of(torch.cuda.get_device_name()) if torch.cuda.is_available() else ""


def _others(path: Path, shape: str, device: str) -> list[dict[str, Any]]:
    """Points of other shapes that were measured on this device before."""
    if not path.is_file():
        return []
    metrics = json.loads(path.read_text(encoding="utf-8"))["metrics"]
    kept = metrics["points"] if metrics["device"] == device else []
    return [point for point in kept if point["shape"] != shape]


def main() -> None:
    """Measure both stages, and write the result file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", required=True, help="a recipe: 0.6b, 1.7b, 5b; or trial")
    parser.add_argument("--output", type=Path, default=Path("results/training-gpu.json"))
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warmup", type=int, default=10, help="steps that aren't counted")
    parser.add_argument("--mean-seconds", type=float, default=10.0, help="of a clip")
    parser.add_argument("--batch-seconds", type=float, help="instead of the recipe's")
    parser.add_argument("--batch-tokens", type=int, help="instead of the recipe's")
    parser.add_argument("--teraflops", type=float, help="peak of a device that we don't know")
    args = parser.parse_args()
    if args.shape != TRIAL and not torch.cuda.is_available():
        parser.error("this needs a GPU; '--shape trial' runs without one")
    transformers.logging.set_verbosity_error()
    given = {"batch.seconds": args.batch_seconds, "batch.tokens": args.batch_tokens}
    changes = {name: value for name, value in given.items() if value is not None}
    points = []
    for train, stage in stages_of(args.shape, args.steps, **changes).items():
        points.append(measure(args.shape, train, stage, args))
        print(points[-1], flush=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    record = describe("training-gpu")
    device = record["machine"]["accelerator"] or record["machine"]["processor"]
    record["metrics"] = {
        "gpu": _gpu(),
        "device": device,
        "points": [*_others(args.output, args.shape, device), *points],
    }
    write(args.output, record)


if __name__ == "__main__":
    main()
