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
    machine.add_argument("--price", type=float, help="dollars for a GPU hour (the GPU's own)")
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
    bill = parser.add_argument_group("the rest of the bill")
    bill.add_argument("--validations", type=int, help="measurements during training (20)")
    bill.add_argument("--validation-clips", type=int, help="recordings heard each time (64)")
    bill.add_argument("--test-hours", type=float, help="recordings heard at the end (20)")
    bill.add_argument(
        "--decoding-mfu",
        dest="decoding_utilization",
        type=float,
        help="share of the peak where tokens are written one by one (0.005)",
    )
    bill.add_argument("--bitrate", type=float, help="of recordings on disk, kbit/s (256)")
    bill.add_argument("--checkpoints-kept", type=int, help="of each stage (3)")
    bill.add_argument("--storage-price", type=float, help="dollars for a GB and month (0.07)")
    bill.add_argument("--storage-months", type=float, help="how long all is kept (1)")
    bill.add_argument(
        "--failed", type=float, help="training lost or repeated, as a share of training (0.15)"
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="also what other choices and other GPUs would cost, one by one",
    )
    machine.add_argument(
        "--measured",
        metavar="FILE",
        help="points of benchmarks/training_gpu.py (results/training-gpu.json of a checkout)",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")


# What a recipe says itself.
_OF_RECIPES = (
    "encoder",
    "language_model",
    "adapter",
    "train",
    "lora_rank",
    "encoder_lora_rank",
    "padding",
    "validations",
    "validation_clips",
    "checkpoints_kept",
)


def run(args: argparse.Namespace) -> int:
    """Run what `add_arguments` parsed."""
    from dataclasses import asdict, fields

    from borealis.training.planner import Options, PlanError, plan, plan_recipe
    from borealis.training.planner.measured import measured_points
    from borealis.training.planner.recipes import vocabulary_line
    from borealis.training.recipe import kind_of, load_recipe

    if args.compare and args.format == "json":
        raise PlanError("--compare prints text; JSON has one plan.")
    values = {f.name: getattr(args, f.name, None) for f in fields(Options)}
    given = {name: value for name, value in values.items() if value is not None}
    if args.recipe:
        if both := [name for name in _OF_RECIPES if name in given]:
            option = both[0].replace("_", "-")
            raise PlanError(f"--{option} and a recipe: the recipe says that already; give one.")
        hours, epochs = given.pop("hours_of_audio", None), given.pop("epochs", None)
        if epochs is not None and hours is None:
            raise PlanError("--epochs needs --hours-of-audio: how much is one epoch?")
        options = Options(**given)
        if part := kind_of(args.recipe):
            raise PlanError(
                f"'{args.recipe}' is the recipe of a {part}, and a plan is of a language model: "
                f"'borealis train {args.recipe} --dry-run' says what it takes."
            )
        recipe = load_recipe(args.recipe)
        result = plan_recipe(recipe, options, hours_of_audio=hours, epochs=epochs)
        title = f"recipe {args.recipe}"
    else:
        options = Options(**given)
        result = plan(options)
        title = f"{options.encoder} + {options.adapter} + {options.language_model}"
    points = measured_points(Path(args.measured) if args.measured else None)
    if args.format == "json":
        said = set() if not args.recipe else {*_OF_RECIPES, "hours_of_audio", "epochs"}
        used = {name: value for name, value in asdict(options).items() if name not in said}
        price = {"dollars_per_hour": options.hour_price, "source": price_source(options)}
        record = {"model": title, "options": used, "price": price} | result.to_dict()
        if lines := measured_lines(result, options, points):
            record["measured"] = lines
        print(json.dumps(record, ensure_ascii=False))
    else:
        vocabulary = vocabulary_line(recipe) if args.recipe else ""
        print(describe(result, options, title, points, vocabulary=vocabulary))
        if args.compare and args.recipe:
            print("\n" + compare_recipe(recipe, options, hours_of_audio=hours, epochs=epochs))
        elif args.compare:
            print("\n" + compare(options))
    return 0


# What is changed, and what plans with it.
_Choice = tuple[dict[str, Any], Callable[[], "Plan"]]


def compare(options: Options) -> str:
    """What one other choice each would cost in hours, dollars and memory; then other GPUs."""
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
    plans: list[_Choice] = []
    for change in choices:
        if not change or any(getattr(options, name) != value for name, value in change.items()):
            plans.append((change, partial(plan, replace(options, **change))))
    return _compared(plans) + "\n\n" + _other_gpus(options, plan)


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
    plans: list[_Choice] = [({}, partial(plan_recipe, recipe, options, **given))]
    for change in changes:
        stages = [_changed(stage, change) for stage in recipe.stages]
        if stages != recipe.stages:
            other = recipe.model_copy(update={"stages": stages})
            plans.append((change, partial(plan_recipe, other, options, **given)))
    gpus = _other_gpus(options, lambda other: plan_recipe(recipe, other, **given))
    return _compared(plans) + "\n\n" + gpus


def _other_gpus(options: Options, make: Callable[[Options], Plan]) -> str:
    """A table of the other GPUs that the plan fits on, the cheapest first, at their own prices.

    Args:
        options: as planned.
        make: plans with other options.
    """
    from dataclasses import replace

    from borealis.training.planner import GPUS

    found = {
        name: (gpu, make(replace(options, gpu=name, price=None)))
        for name, gpu in GPUS.items()
        if name != options.gpu
    }
    fitting = [(gpu, plan) for gpu, plan in found.values() if plan.fits]
    rows = [("on another GPU", "an hour", "GPU h", "dollars", "bill", "memory", "has")]
    for gpu, plan in sorted(fitting, key=lambda pair: pair[1].bill.total):
        rows.append((gpu.title, _short(gpu.price), *_figures(plan), f"{gpu.gigabytes} GB"))
    lines = _columns(rows, left=1) if fitting else []
    if small := [gpu.title for gpu, plan in found.values() if not plan.fits]:
        lines.append(f"doesn't fit on {', '.join(small)}")
    return "\n".join(lines)


def _changed(stage: StageSection, change: dict[str, Any]) -> StageSection:
    """A stage with other values of its keys, or as it is where they don't go with the rest."""
    from pydantic import ValidationError

    try:
        return stage.changed(change)
    except ValidationError:
        return stage


def _compared(plans: Sequence[_Choice]) -> str:
    """A table of plans, each with what was changed for it."""
    from borealis.training.planner import PlanError

    rows = [("instead", "GPU h", "dollars", "bill", "memory")]
    for change, make in plans:
        try:
            result = make()
        except PlanError:  # the two don't go together
            continue
        words = (
            ", ".join(f"{k.split('.')[-1]} {_word(v)}" for k, v in change.items()) or "as planned"
        )
        rows.append((words, *_figures(result)))
    return "\n".join(_columns(rows, left=1))


def _figures(plan: Plan) -> tuple[str, str, str, str]:
    """GPU hours and dollars of training, dollars in all, and memory."""
    memory = _bytes(max(stage.memory["total"] for stage in plan.stages))
    return _short(plan.gpu_hours), _short(plan.dollars), _short(plan.bill.total), memory


def _word(value: Any) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def describe(
    plan: Plan,
    options: Options,
    title: str,
    points: Sequence[Point] | None = None,
    *,
    whole_bill: bool = True,
    vocabulary: str = "",
) -> str:
    """The plan for people.

    Args:
        plan: what is told.
        options: what it was planned with.
        title: of the model.
        points: measured shares of the peak, quoted beside the assumed one; None: the checkout's.
        whole_bill: a line for each part of the bill, with what it assumes; else one line in all.
        vocabulary: a line on a codec's part in it, see `planner.recipes.vocabulary_line`.
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
        *([f"vocabulary  {vocabulary}"] if vocabulary else []),
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
    lines += bill_lines(plan, options) if whole_bill else [f"bill        {bill_line(plan)}"]
    lines.append(
        f"assumed     {gpu.title} at {options.utilization:.0%} of {_short(gpu.teraflops)} TFLOPS, "
        f"${_short(options.hour_price)} an hour: {price_source(options)}"
    )
    if whole_bill:
        lines += [f"assumed     {text}" for text in _bill_assumptions(options)]
    lines += [f"measured    {text}" for text in measured_lines(plan, options, points)]
    return "\n".join(lines)


def price_source(options: Options) -> str:
    """Who says what a GPU hour costs."""
    from borealis.training.planner import GPUS

    return GPUS[options.gpu].price_source if options.price is None else "as given"


def bill_line(plan: Plan) -> str:
    """The bill in one line: its sum, and the parts."""
    bill = plan.bill
    return (
        f"${_short(bill.total)}: training {_short(bill.training)}, evaluation "
        f"{_short(bill.evaluation)}, storage {_short(bill.storage)}, failed runs "
        f"{_short(bill.failed)}"
    )


def bill_lines(plan: Plan, options: Options) -> list[str]:
    """The bill, a line for each part with what it was reckoned from."""
    bill = plan.bill
    stored = ", ".join(f"{name} {_bytes(size)}" for name, size in bill.stored.items() if size)
    rows = [
        ("training", bill.training, f"{_short(plan.gpu_hours)} GPU hours"),
        (
            "evaluation",
            bill.evaluation,
            f"{_short(bill.evaluation_gpu_hours)} GPU hours: {bill.validation_recordings:,.0f} "
            f"recordings on the way, {bill.test_recordings:,.0f} at the end",
        ),
        ("storage", bill.storage, stored),
        ("failed runs", bill.failed, f"{options.failed:.0%} of training"),
        ("sum", bill.total, ""),
    ]
    cells = _columns([(name, f"${_short(dollars)}") for name, dollars, _ in rows], left=1)
    heads = ["bill", *[""] * (len(rows) - 1)]
    return [
        f"{head:12}{cell}  {words}".rstrip()
        for head, cell, (_, _, words) in zip(heads, cells, rows, strict=True)
    ]


def _bill_assumptions(options: Options) -> list[str]:
    from borealis.training.planner.bill import STORAGE_PRICE, STORAGE_SOURCE

    source = STORAGE_SOURCE if options.storage_price == STORAGE_PRICE else "as given"
    months = _short(options.storage_months)
    return [
        f"{_short(100 * options.decoding_utilization)}% of the peak where tokens are written one "
        f"by one; tests of {_short(options.test_hours)} h",
        f"recordings at {_short(options.bitrate)} kbit/s; all is kept for {months} "
        f"month{'' if months == '1' else 's'}",
        f"${_short(options.storage_price)} for a GB and month: {source}",
    ]


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
