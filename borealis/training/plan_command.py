"""`borealis plan`: sizes, memory, hours and dollars of a model or a recipe, before training it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from borealis.training.planner import Options, Plan, StageCost
    from borealis.training.planner.measured import Point
    from borealis.training.recipe import Recipe, StageSection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `borealis plan`; their defaults live in `planner.Options`."""
    parser.add_argument("recipe", nargs="?", help="bundled name (nano) or a YAML file")
    model = parser.add_argument_group("model, where no recipe is given")
    model.add_argument("--encoder", help="Whisper: tiny ... large-v3 or a folder (large-v3)")
    model.add_argument("--language-model", help="qwen3-0.6b, -1.7b, -4b, nano, folder (qwen3-4b)")
    model.add_argument("--adapter", help="mlp, deep or ctc (mlp)")
    model.add_argument("--train", help="what learns: adapter, lora, full, ctc (lora)")
    model.add_argument("--lora-rank", type=int, help="rank of LoRA (16)")
    model.add_argument(
        "--encoder-lora-rank", type=int, help="rank of LoRA on the encoder (0: none)"
    )
    model.add_argument("--padding", help="pad clips to 30 s: none, encoder, all (none)")
    data = parser.add_argument_group("data")
    data.add_argument("--hours-of-audio", type=float, help="size of the data (1000)")
    data.add_argument("--epochs", type=float, help="times the data are seen (5)")
    data.add_argument("--clip-seconds", type=float, help="mean length of a clip (10)")
    data.add_argument("--text-tokens-per-second", type=float, help="of the transcript (about 4)")
    data.add_argument(
        "--no-feature-cache",
        dest="feature_cache",
        action="store_const",
        const=False,
        help="run the encoder in every epoch",
    )
    machine = parser.add_argument_group("machine")
    machine.add_argument("--gpu", help="h100, h200, a100, rtx4090, ... (h100)")
    machine.add_argument("--gpus", type=int, help="how many (1)")
    machine.add_argument("--mfu", dest="utilization", type=float, help="share of the peak (0.3)")
    machine.add_argument("--price", type=float, help="dollars for a GPU hour (3)")
    machine.add_argument("--batch-tokens", type=int, help="tokens on a GPU at once (4096)")
    machine.add_argument(
        "--gradient-checkpointing",
        action="store_const",
        const=True,
        help="compute layers again instead of keeping their results",
    )
    machine.add_argument(
        "--packing", action="store_const", const=True, help="examples in one row without padding"
    )
    machine.add_argument("--frozen-precision", help="bfloat16, or nf4 for 4 bits (bfloat16)")
    machine.add_argument("--sharding", help="none, or fsdp: GPUs share the model (none)")
    parser.add_argument(
        "--compare", action="store_true", help="also what other choices would cost, one by one"
    )
    machine.add_argument(
        "--measured",
        metavar="FILE",
        help="points of benchmarks/training_gpu.py (results/training-gpu.json of a checkout)",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")


# What a recipe says itself.
_MODEL_OPTIONS = (
    "encoder",
    "language_model",
    "adapter",
    "train",
    "lora_rank",
    "encoder_lora_rank",
    "padding",
)


def run(args: argparse.Namespace) -> int:
    """Run what `add_arguments` parsed."""
    from dataclasses import asdict, fields

    from borealis.training.planner import Options, PlanError, plan, plan_recipe
    from borealis.training.planner.measured import measured_points
    from borealis.training.recipe import load_recipe

    if args.compare and args.format == "json":
        raise PlanError("--compare prints text; JSON has one plan.")
    values = {f.name: getattr(args, f.name, None) for f in fields(Options)}
    given = {name: value for name, value in values.items() if value is not None}
    if args.recipe:
        if both := [name for name in _MODEL_OPTIONS if name in given]:
            option = both[0].replace("_", "-")
            raise PlanError(f"--{option} and a recipe: the recipe says that already; give one.")
        hours, epochs = given.pop("hours_of_audio", None), given.pop("epochs", None)
        if epochs is not None and hours is None:
            raise PlanError("--epochs needs --hours-of-audio: how much is one epoch?")
        options = Options(**given)
        recipe = load_recipe(args.recipe)
        result = plan_recipe(recipe, options, hours_of_audio=hours, epochs=epochs)
        title = f"recipe {args.recipe}"
    else:
        options = Options(**given)
        result = plan(options)
        title = f"{options.encoder} + {options.adapter} + {options.language_model}"
    points = measured_points(Path(args.measured) if args.measured else None)
    if args.format == "json":
        said = set() if not args.recipe else {*_MODEL_OPTIONS, "hours_of_audio", "epochs"}
        used = {name: value for name, value in asdict(options).items() if name not in said}
        record = {"model": title, "options": used} | result.to_dict()
        if lines := measured_lines(result, options, points):
            record["measured"] = lines
        print(json.dumps(record, ensure_ascii=False))
    else:
        print(describe(result, options, title, points))
        if args.compare and args.recipe:
            print("\n" + compare_recipe(recipe, options, hours_of_audio=hours, epochs=epochs))
        elif args.compare:
            print("\n" + compare(options))
    return 0


def compare(options: Options) -> str:
    """What one other choice each would cost in hours, dollars and memory."""
    from dataclasses import replace

    from borealis.training.planner import plan

    choices: list[dict[str, Any]] = [{}]
    choices += [{"feature_cache": not options.feature_cache}]
    choices += [{"padding": name} for name in ("none", "encoder", "all")]
    choices += [{"train": name} for name in ("adapter", "lora", "full")]
    choices += [
        {name: not getattr(options, name)} for name in ("gradient_checkpointing", "packing")
    ]
    choices += [{"frozen_precision": name} for name in ("bfloat16", "nf4")]
    choices += [{"sharding": name} for name in ("none", "fsdp") if options.gpus > 1]
    choices += [{"feature_cache": False, "encoder_lora_rank": 16}]
    plans: list[tuple[dict[str, Any], Callable[[], Plan]]] = []
    for change in choices:
        if not change or any(getattr(options, name) != value for name, value in change.items()):
            plans.append((change, partial(plan, replace(options, **change))))
    return _compared(plans)


def compare_recipe(recipe: Recipe, options: Options, **given: Any) -> str:
    """The same of a recipe: one other value of a key in every stage that takes it.

    Args:
        recipe: as planned.
        options: as planned.
        **given: further arguments of `plan_recipe`.
    """
    from borealis.training.planner import plan_recipe

    changes: list[dict[str, Any]] = [
        {f"{group}.{name}": value}
        for group, name in (("compute", "gradient_checkpointing"), ("batch", "packing"))
        for value in (False, True)
    ]
    changes += [{"compute.frozen_precision": "nf4"}]
    changes += [{"compute.sharding": name} for name in ("none", "fsdp") if options.gpus > 1]
    plans: list[tuple[dict[str, Any], Callable[[], Plan]]] = [
        ({}, partial(plan_recipe, recipe, options, **given))
    ]
    for change in changes:
        stages = [_changed(stage, change) for stage in recipe.stages]
        if stages != recipe.stages:
            other = recipe.model_copy(update={"stages": stages})
            plans.append((change, partial(plan_recipe, other, options, **given)))
    return _compared(plans)


def _changed(stage: StageSection, change: dict[str, Any]) -> StageSection:
    """A stage with other values of its keys, or as it is where they don't go with the rest."""
    from pydantic import ValidationError

    try:
        return stage.changed(change)
    except ValidationError:
        return stage


def _compared(plans: Sequence[tuple[dict[str, Any], Callable[[], Plan]]]) -> str:
    """A table of plans, each with what was changed for it."""
    from borealis.training.planner import PlanError

    rows = [("instead", "GPU h", "dollars", "memory")]
    for change, make in plans:
        try:
            result = make()
        except PlanError:  # the two don't go together
            continue
        words = (
            ", ".join(f"{k.split('.')[-1]} {_word(v)}" for k, v in change.items()) or "as planned"
        )
        memory = max(stage.memory["total"] for stage in result.stages)
        rows.append((words, _short(result.gpu_hours), _short(result.dollars), _bytes(memory)))
    return "\n".join(_columns(rows, left=1))


def _word(value: Any) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def describe(
    plan: Plan, options: Options, title: str, points: Sequence[Point] | None = None
) -> str:
    """The plan for people.

    Args:
        plan: what is told.
        options: what it was planned with.
        title: of the model.
        points: measured shares of the peak, quoted beside the assumed one; None: the checkout's.
    """
    from borealis.training.planner.measured import measured_points

    points = measured_points() if points is None else points
    from borealis.training.planner import GPUS

    gpu, sizes = GPUS[options.gpu], plan.parameters
    weights = ", ".join(f"{name} {_bytes(size)}" for name, size in plan.weights.items())
    tokens = plan.tokens
    lines = [
        f"model       {title}",
        f"parameters  {_count(sizes['total'])}: encoder {_count(sizes['encoder'])}, adapter "
        f"{_count(sizes['adapter'])}, language model {_count(sizes['language_model'])}",
        f"weights     {weights}",
        f"audio       {tokens['audio_per_30_seconds']} tokens for 30 s, KV cache "
        f"{_bytes(plan.kv_cache)}",
        f"example     {_short(options.clip_seconds)} s: {tokens['audio_per_clip']} audio tokens, "
        f"about {tokens['text_per_clip']:.0f} of text",
    ]
    if plan.feature_cache:
        lines.append(f"disk        {_bytes(plan.feature_cache)} of encoder features")
    lines += ["", *_table(plan.stages), ""]
    clock = f", {_short(plan.hours)} h on {options.gpus}" if options.gpus > 1 else ""
    lines.append(f"in all      {_short(plan.gpu_hours)} GPU hours{clock}, ${_short(plan.dollars)}")
    if not plan.fits:
        lines.append(
            f"memory      doesn't fit into the {gpu.gigabytes} GB of one {gpu.title}: try lora, "
            "fewer --batch-tokens or --gradient-checkpointing"
        )
    lines.append(
        f"assumed     {gpu.title} at {options.utilization:.0%} of {_short(gpu.teraflops)} TFLOPS, "
        f"${_short(options.price)} an hour"
    )
    lines += [f"measured    {text}" for text in measured_lines(plan, options, points)]
    return "\n".join(lines)


def measured_lines(plan: Plan, options: Options, points: Sequence[Point]) -> list[str]:
    """What stages would take at the share of the peak that was measured on the same GPU."""
    from borealis.training.planner import GPUS
    from borealis.training.planner.measured import closest

    lines = []
    for stage in plan.stages:
        point = closest(points, options.gpu, stage.train)
        if point is not None and point.utilization:
            times = options.utilization / point.utilization
            lines.append(
                f"{stage.name}: {GPUS[options.gpu].title} reached {point.utilization:.0%} with "
                f"the shapes of {point.shape} ({point.tokens_per_second:,.0f} tokens a second); "
                f"at that {_short(stage.gpu_hours * times)} GPU hours, "
                f"${_short(stage.dollars * times)}"
            )
    return lines


def _table(stages: tuple[StageCost, ...]) -> list[str]:
    rows = [("stage", "learns", "numbers", "audio", "FLOP", "memory", "GPU h", "dollars")]
    for stage in stages:
        rows.append(
            (
                stage.name,
                stage.train,
                _count(stage.learned_parameters),
                f"{_short(stage.audio_hours)} h",
                f"{stage.flops['total']:.2g}",
                _bytes(stage.memory["total"]),
                _short(stage.gpu_hours),
                _short(stage.dollars),
            )
        )
    return _columns(rows, left=2)


def _columns(rows: Sequence[tuple[str, ...]], *, left: int) -> list[str]:
    """Lines of a table, its first `left` columns flush left and the others right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _short(value: float) -> str:
    """Three digits that matter: 0.00123, 1.23, 123, 1,230,000."""
    if value == 0:
        return "0"
    text = f"{value:.3g}" if abs(value) < 1000 else f"{float(f'{value:.3g}'):,.0f}"
    return text if "e" not in text else f"{value:.6f}".rstrip("0")


def _count(value: float) -> str:
    scale, unit = (1e9, "B") if value >= 1e9 else (1e6, "M")
    return f"{value / scale:.{2 if unit == 'B' else 1}f}{unit}"


def _bytes(value: Any) -> str:
    for scale, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if value >= scale:
            return f"{_short(value / scale)} {unit}"
    return f"{_short(value / 1e3)} kB"
