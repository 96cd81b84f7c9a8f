"""What each option of training buys: `python benchmarks/training_options.py --data data`.

Every option runs in a process of its own, on the same model and the same recordings, for one
epoch; it tells recordings a second, by the clock and of processor time (on one thread the latter is
what an idle machine would take), and the most memory the process had: `getrusage` on a CPU,
`torch.cuda.max_memory_allocated` on a GPU. A new option is a new entry of `OPTIONS`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from training_world import (
    World,
    add_world_arguments,
    epoch_steps,
    make_world,
    random_plan,
    watch,
)

from borealis.evaluation.results import describe, write
from borealis.training.data.features import FeatureCache
from borealis.training.recipe import StageSection

LORA = {"rank": 16, "alpha": 32}
FULL = ["adapter", "language_model"]
# `keys` are those of a recipe's stage. Beside them: `cache` learns from a feature cache, `buckets`
# false takes recordings as they come, `compare` names the option that this one is to be read with.
OPTIONS: list[dict[str, Any]] = [
    {"name": "adapter", "keys": {}},
    {"name": "lora", "keys": {"lora": LORA}, "compare": "adapter"},
    {"name": "full", "keys": {"trainable": FULL}, "compare": "adapter"},
    {
        "name": "encoder-lora",
        "keys": {"encoder_lora": {**LORA, "target_modules": ["q_proj", "v_proj"]}},
        "compare": "adapter",
    },
    {
        "name": "adapter-checkpointing",
        "keys": {"compute.gradient_checkpointing": True},
        "compare": "adapter",
    },
    {
        "name": "lora-checkpointing",
        "keys": {"lora": LORA, "compute.gradient_checkpointing": True},
        "compare": "lora",
    },
    {
        "name": "full-checkpointing",
        "keys": {"trainable": FULL, "compute.gradient_checkpointing": True},
        "compare": "full",
    },
    {"name": "adapter-bfloat16", "keys": {"compute.precision": "bfloat16"}, "compare": "adapter"},
    {
        "name": "full-bfloat16",
        "keys": {"trainable": FULL, "compute.precision": "bfloat16"},
        "compare": "full",
    },
    {
        "name": "adapter-frozen-bfloat16",
        "keys": {"compute.precision": "bfloat16", "compute.frozen_precision": "bfloat16"},
        "compare": "adapter-bfloat16",
    },
    {"name": "adapter-cache", "keys": {}, "cache": True, "compare": "adapter"},
    {"name": "adapter-no-buckets", "keys": {}, "buckets": False, "compare": "adapter"},
    {
        "name": "adapter-split",
        "keys": {"batch.seconds": 24.0, "batch.per_step": 4},
        "compare": "adapter",
    },
]
CACHE = "cache"


def stage(option: dict[str, Any]) -> StageSection:
    """The stage that an option runs: align through the language model, or more where it says so."""
    settings = {
        "name": "options",
        "max_steps": 10_000,
        "optimizer": {"learning_rate": 1e-4, "warmup_steps": 1},
        "batch": {"seconds": 96.0, "tokens": 8192},
        "trainable": ["adapter"],
        "augment": {"time_mask": 0.0},
        "compute": {"precision": "float32"},
        "log": {"every": 1},
        "features" if option.get("cache") else "sources": ["clips"],
    }
    return StageSection.model_validate(settings).changed(option["keys"])


def measure(option: dict[str, Any], folder: Path, threads: int, use_cpu: bool) -> dict[str, Any]:
    """One epoch with an option, in this process.

    Args:
        option: an entry of `OPTIONS`.
        folder: of a `World`, with its feature cache.
        threads: of the CPU.
        use_cpu: stay on the CPU even if there is an accelerator.
    """
    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    world = World.open(folder)
    model, processor = world.model()
    settings = stage(option)
    cache = FeatureCache([folder / CACHE]) if option.get("cache") else None
    batches = world.batches(settings, model, processor, cache=cache)
    count = epoch_steps(batches)
    if not option.get("buckets", True):
        # As many recordings in a batch as buckets hold on average: only their lengths differ.
        plan = random_plan(len(world.utterances), math.ceil(len(world.utterances) / count))
        batches = world.batches(settings, model, processor, plan=plan)
        count = len(plan)
    steps = math.ceil(count / settings.batch.per_step)
    before = _peak_mib()
    run = watch(model, settings, batches, folder / "trainer", steps=steps, use_cpu=use_cpu)
    record = {
        "clips": run.clips,
        "steps": steps,
        "clips_per_second": round(run.clips / run.seconds, 3),
        "clips_per_processor_second": round(run.clips / run.processor_seconds, 3),
        "places_per_clip": round(run.tokens / run.clips, 1),
        "peak_mib": round(_peak_mib()),
        "peak_before_training_mib": round(before),
        "learned_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }
    if not use_cpu and torch.cuda.is_available():
        record["cuda_peak_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return record


def _peak_mib() -> float:
    """The most memory this process had resident up to now."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def main() -> None:
    """Measure every option in its own process, and write the result file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_world_arguments(parser, clips=64)
    parser.add_argument("--output", type=Path, default=Path("results/training-options.json"))
    parser.add_argument("--only", help="names of options, with commas between")
    parser.add_argument("--gpu", action="store_true", help="train on the accelerator")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--world", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        [option] = [o for o in OPTIONS if o["name"] == args.one]
        print(json.dumps(measure(option, args.world, args.threads, use_cpu=not args.gpu)))
        return
    names = args.only.split(",") if args.only else [o["name"] for o in OPTIONS]
    if unknown := set(names) - {o["name"] for o in OPTIONS}:
        parser.error(f"there is no option '{min(unknown)}'")

    load, measured = os.getloadavg()[0], []
    with tempfile.TemporaryDirectory() as folder:
        world, data = make_world(args, Path(folder))
        world.cache(CACHE)
        record = describe("training-options", data=data)
        for option in [o for o in OPTIONS if o["name"] in names]:
            command = [sys.executable, __file__, "--one", option["name"], "--world", folder]
            command += ["--threads", str(args.threads)] + ["--gpu"] * args.gpu
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"option {option['name']} failed:\n{done.stderr[-2000:]}")
            result = json.loads(done.stdout.strip().splitlines()[-1])
            measured.append(option | result)
            print(option["name"], result, flush=True)
    record["metrics"] = {
        "clips": len(world.utterances),
        "batch_seconds": stage(OPTIONS[0]).batch.seconds,
        "load_before": round(load, 2),
        "options": measured,
    }
    write(args.output, record)


if __name__ == "__main__":
    main()
