"""The training loop against the original's: `python benchmarks/training_loop.py --data data`.

The original's loop is made again from its description: every clip is padded to 30 s and encoded as
such, all 375 audio tokens are kept, text is padded to 320 tokens, the encoder runs in every epoch,
batches are 16 clips as they come. Ours cuts encoder windows, drops padding, forms batches of clips
of like length, and keeps the frozen encoder's features on disk. Both run through the same trainer,
with the same towers, the same recordings, the same optimizer and number format; the adapter learns
through the frozen language model. The kinds of epoch take turns. On one thread processor time is
what an idle machine would take, so the ratio is taken of it; the clock's is written beside.

A second part trains all of them for a few steps on equal batches in float32 and compares losses.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import transformers
from training_world import (
    Run,
    World,
    add_world_arguments,
    epoch_steps,
    make_world,
    random_plan,
    watch,
)

from borealis.evaluation.results import describe, write
from borealis.training.data.features import FeatureCache
from borealis.training.planner import model_config, parts
from borealis.training.planner.costs import Options
from borealis.training.planner.operations import batch_operations
from borealis.training.recipe import StageSection

# The original's settings, as its description has them.
BATCH, TEXT_WIDTH = 16, 320
ORIGINAL = {"encoder_window": "full", "keep_padding": True}
# About as many clips in a step as the original has.
RECORDED_SECONDS, CACHED_SECONDS = 6.0 * BATCH, 5.0 * BATCH
LOOPS = ("original", "first", "first_with_cache", "later")
RECIPES = {"0.6b": "qwen3-0.6b", "1.7b": "qwen3-1.7b", "5b": "qwen3-4b"}


def stage(precision: str, *, cached: bool = False, **values: Any) -> StageSection:
    """Align: the adapter learns through the frozen language model; nothing is distorted."""
    settings = {
        "name": "align",
        "max_steps": 10_000,
        "optimizer": {
            "learning_rate": 3e-4,
            "warmup_steps": 1,
            "scheduler": "constant_with_warmup",
        },
        "batch": {"seconds": CACHED_SECONDS if cached else RECORDED_SECONDS, "tokens": 8192},
        "trainable": ["adapter"],
        "augment": {"time_mask": 0.0},
        "compute": {"precision": precision},
        "log": {"every": 1},
        "features" if cached else "sources": ["clips"],
    }
    return StageSection.model_validate(settings).changed(values)


# ---- speed ----


def speed(world: World, rounds: int, precision: str) -> dict[str, Any]:
    """Every kind of epoch in turn; the original's is spread over the rounds, ours is whole in each.

    A padded clip costs the same whichever it is, so a part of the original's epoch is measured in
    each round.
    """
    plan = random_plan(len(world.utterances), BATCH)
    shares = [plan[i::rounds] for i in range(rounds) if plan[i::rounds]]
    found: dict[str, list[Run]] = {name: [] for name in LOOPS}
    # The first step of a process pays for what later ones find ready.
    _original(world, plan[-1:], precision)
    cache, _ = world.cache("warm")
    _later(world, cache, precision, steps=1)
    for number, share in enumerate(shares):
        found["original"].append(_original(world, share, precision))
        found["first"].append(_first(world, precision))
        cache, made = world.cache(f"round-{number}")
        later = _later(world, cache, precision)
        found["later"].append(later)
        found["first_with_cache"].append(_with_cache(later, found["first"][-1], made))
        print(f"round {number + 1} of {len(shares)}:", _rates(found), flush=True)
    loops = {name: _summary(runs) for name, runs in found.items()}
    return {
        "precision": precision,
        "rounds": len(shares),
        "loops": loops,
        "times_faster": {name: _ratio(loops["original"], loops[name]) for name in LOOPS[1:]},
    }


def _original(world: World, plan: list[list[int]], precision: str) -> Run:
    model, processor = world.model(**ORIGINAL)
    settings = stage(precision)
    batches = world.batches(settings, model, processor, plan=plan, text_width=TEXT_WIDTH)
    return watch(model, settings, batches, world.folder / "trainer", steps=len(plan))


def _first(world: World, precision: str) -> Run:
    model, processor = world.model()
    settings = stage(precision)
    batches = world.batches(settings, model, processor)
    return watch(model, settings, batches, world.folder / "trainer", steps=epoch_steps(batches))


def _later(world: World, cache: FeatureCache, precision: str, steps: int | None = None) -> Run:
    model, processor = world.model()
    settings = stage(precision, cached=True)
    batches = world.batches(settings, model, processor, cache=cache)
    steps = steps or epoch_steps(batches)
    return watch(model, settings, batches, world.folder / "trainer", steps=steps)


def _with_cache(later: Run, first: Run, made: Run) -> Run:
    """An epoch from the cache and the making of it; the encoder computes what it does without."""
    operations = dict(later.operations)
    operations["encoder"] = first.operations["encoder"] * later.clips / first.clips
    operations["total"] = sum(v for name, v in operations.items() if name != "total")
    return Run(
        clips=later.clips,
        tokens=later.tokens,
        seconds=later.seconds + made.seconds,
        processor_seconds=later.processor_seconds + made.processor_seconds,
        # Reading and log-mel features are a part of making the cache.
        seconds_of={"data": later.seconds_of["data"], "encoder": made.processor_seconds},
        operations=operations,
    )


def _rates(found: dict[str, list[Run]]) -> dict[str, float]:
    return {name: round(_rate(runs[-1]), 3) for name, runs in found.items()}


def _rate(run: Run) -> float:
    return run.clips / run.processor_seconds


def _summary(runs: list[Run]) -> dict[str, Any]:
    clips, seconds = sum(r.clips for r in runs), sum(r.seconds for r in runs)
    processor = sum(r.processor_seconds for r in runs)
    spent = {name: sum(r.seconds_of[name] for r in runs) for name in ("data", "encoder")}
    spent["rest"] = processor - sum(spent.values())
    counted = {name: sum(r.operations[name] for r in runs) for name in runs[0].operations}
    return {
        "clips": clips,
        "seconds": round(seconds, 2),
        "processor_seconds": round(processor, 2),
        "clips_per_second": round(clips / seconds, 4),
        "clips_per_processor_second": round(clips / processor, 4),
        "by_round": [round(_rate(r), 4) for r in runs],
        "processor_seconds_per_clip": {k: round(v / clips, 5) for k, v in spent.items()},
        "gigaflop_per_clip": {k: round(v / clips / 1e9, 3) for k, v in counted.items()},
        "gigaflop_per_second": round(counted["total"] / processor / 1e9, 1),
        "places_per_clip": round(sum(r.tokens for r in runs) / clips, 1),
    }


def _ratio(original: dict[str, Any], ours: dict[str, Any]) -> dict[str, float]:
    """How many times faster; see the head of the file for the two clocks."""
    rounds = [b / a for a, b in zip(original["by_round"], ours["by_round"], strict=True)]
    counted = original["gigaflop_per_clip"]["total"] / ours["gigaflop_per_clip"]["total"]

    def times(key: str) -> float:
        return round(ours[key] / original[key], 2)

    return {
        "measured": times("clips_per_processor_second"),
        "lowest_round": round(min(rounds), 2),
        "highest_round": round(max(rounds), 2),
        "by_the_clock": times("clips_per_second"),
        "counted": round(counted, 2),
        # What the counted ratio is multiplied by: operations that a second holds.
        "operations_per_second": times("gigaflop_per_second"),
    }


def counted_elsewhere(seconds: float) -> dict[str, dict[str, float]]:
    """The same ratios, counted for the shapes of the large recipes; nothing of it was run.

    Args:
        seconds: length of a clip.
    """
    options = Options(clip_seconds=seconds)
    text = round(options.text_rate * seconds + options.prompt_tokens)
    ratios = {}
    for recipe, name in RECIPES.items():
        config = model_config("large-v3", name, "mlp")
        samples = round(seconds * config.sampling_rate)
        frames, audio = config.encoder_samples(samples) // 320, config.num_audio_tokens(samples)
        full, most = config.window_length // 320, 375
        totals = [
            batch_operations(
                parts(config),
                train="adapter",
                encoder_frames=windows,
                audio_tokens=(1, tokens),
                tokens=(1, tokens + columns),
            )["total"]
            for windows, tokens, columns in (
                ([full], most, TEXT_WIDTH),
                ([frames], audio, text),
                ([], audio, text),
            )
        ]
        ratios[recipe] = {
            "first": round(totals[0] / totals[1], 2),
            "later": round(totals[0] / totals[2], 2),
        }
    return ratios


# ---- loss ----


def equal_losses(world: World, steps: int, size: int) -> dict[str, Any]:
    """Losses of the same steps on the same batches, in float32.

    `original` gives padding to the language model, so its losses are its own. With our mask
    (`original_masked`) they must be those of our loop where its encoder reads 30 s (`ours_30_s`):
    what is left is that text isn't padded. `ours` cuts the encoder's window, `ours_cached` reads
    its frames from the disk in float16.
    """
    plan = random_plan(len(world.utterances), size, seed=1)[:steps]
    full = {"encoder_window": "full"}
    curves: dict[str, list[float]] = {}
    for name, config, width in (
        ("original", ORIGINAL, TEXT_WIDTH),
        ("original_masked", full, TEXT_WIDTH),
        ("ours_30_s", full, None),
        ("ours", {}, None),
    ):
        model, processor = world.model(**config)
        settings = stage("float32")
        batches = world.batches(settings, model, processor, plan=plan, text_width=width)
        run = watch(model, settings, batches, world.folder / "trainer", steps=len(plan))
        curves[name] = run.losses
        print(name, [round(x, 4) for x in run.losses], flush=True)
    cache, _ = world.cache("losses")
    model, processor = world.model()
    settings = stage("float32", cached=True)
    batches = world.batches(settings, model, processor, cache=cache, plan=plan)
    run = watch(model, settings, batches, world.folder / "trainer", steps=len(plan))
    curves["ours_cached"] = run.losses
    pairs = [
        ("ours_30_s", "original_masked"),
        ("ours", "original_masked"),
        ("ours_cached", "ours"),
        ("ours", "original"),
    ]
    return {
        "steps": len(plan),
        "clips_per_step": size,
        "precision": "float32",
        "curves": {name: [round(x, 6) for x in losses] for name, losses in curves.items()},
        "largest_difference": {
            f"{a} - {b}": round(_largest(curves[a], curves[b]), 7) for a, b in pairs
        },
    }


def _largest(a: list[float], b: list[float]) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def main() -> None:
    """Measure, and write the result file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_world_arguments(parser, clips=200)
    parser.add_argument("--output", type=Path, default=Path("results/training-speed.json"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20, help="for the comparison of losses")
    parser.add_argument("--loss-clips", type=int, default=2, help="in each of those steps")
    parser.add_argument("--precision", default="auto", help="of the speed: as in a recipe")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        world, data = make_world(args, Path(folder))
        model, processor = world.model()
        sizes = {name: part.parameters for name, part in parts(model.config).items()}
        texts = [u.text for u in world.utterances]
        pieces = sum(len(processor.tokenizer(t).input_ids) for t in texts)
        record = describe("training-speed", data=data)
        seconds = sum(u.duration for u in world.utterances)
        record["metrics"] = {
            "clips": len(world.utterances),
            "mean_seconds": round(seconds / len(world.utterances), 3),
            "letters_per_token": round(sum(map(len, texts)) / pieces, 2),
            "parameters": sizes,
            "load_before": round(load, 2),
            **speed(world, args.rounds, args.precision),
            "counted_for_recipes": counted_elsewhere(args.mean_seconds),
            "loss": equal_losses(world, args.steps, args.loss_clips),
        }
    write(args.output, record)
    print(record["metrics"]["times_faster"], record["metrics"]["loss"]["largest_difference"])


if __name__ == "__main__":
    main()
