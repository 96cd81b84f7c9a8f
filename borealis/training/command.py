"""`borealis train`: run a recipe."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from borealis.training.planner import Plan
    from borealis.training.recipe import Recipe, StageSection

# `borealis train nano --data d seed=1`: changed keys may stand anywhere.
INTERMIXED = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `borealis train`."""
    parser.add_argument(
        "recipe", nargs="?", help="bundled name (nano, nano-codec, ...) or a YAML file"
    )
    parser.add_argument(
        "changes",
        nargs="*",
        metavar="KEY=VALUE",
        help="keys to change, such as seed=1 or stages.align.max_steps=100; stage=align,instruct "
        "runs only those",
    )
    parser.add_argument("--data", default="data", help="folder of manifests and corpora (data)")
    parser.add_argument("--output", default="runs/model", help="folder of the run (runs/model)")
    parser.add_argument("--stages", help="only these stages, with commas between")
    parser.add_argument("--max-steps", type=int, help="at most N steps a stage, for a trial")
    parser.add_argument(
        "--hub",
        metavar="OWNER/NAME",
        help="keep a private copy of the run on Hugging Face after each checkpoint; a run that "
        "isn't in --output goes on from there",
    )
    parser.add_argument("--no-resume", action="store_true", help="start every stage anew")
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be done")
    parser.add_argument("--gpu", help="accelerator of the dry run: h100, rtx4090, ... (h100)")
    parser.add_argument("--gpus", type=int, help="how many, for the dry run (1)")
    parser.add_argument(
        "--price", type=float, help="dollars for an hour of one GPU; the dry run knows some"
    )
    parser.add_argument("--threads", type=int, help="CPU threads (all cores)")
    parser.add_argument("--pack", metavar="DIR", help="also write the compact form there")
    parser.add_argument("--help-recipe", action="store_true", help="explain every recipe key")


def run(args: argparse.Namespace) -> int:
    """Run what `add_arguments` parsed."""
    from borealis.errors import RecipeError
    from borealis.training.codec.command import train_codec
    from borealis.training.codec.recipe import CodecRecipe
    from borealis.training.codec.refiner.command import train_refiner
    from borealis.training.codec.refiner.recipe import RefinerRecipe
    from borealis.training.recipe import Recipe, kind_of, load_recipe, recipe_help

    kind = kind_of(args.recipe) if args.recipe else ""
    if args.help_recipe:
        print(recipe_help({"codec": CodecRecipe, "refiner": RefinerRecipe}.get(kind, Recipe)))
        return 0
    if not args.recipe:
        raise RecipeError("Name a recipe: 'borealis train nano', or a YAML file of your own.")
    changes = [text for text in args.changes if not text.startswith(("stage=", "stages="))]
    asked = [text.partition("=")[2] for text in args.changes if text not in changes]
    named = args.stages or ",".join(asked)
    if args.max_steps is not None and args.max_steps < 1:
        raise RecipeError(f"--max-steps is {args.max_steps}; it must be 1 or more.")
    if args.price is not None and not 0 <= args.price < 1e6:
        raise RecipeError(f"--price is {args.price:g}; it is dollars for an hour, 0 or more.")
    if kind == "codec":
        return train_codec(args, changes, named)
    if kind == "refiner":
        return train_refiner(args, changes, named)
    recipe = load_recipe(args.recipe, changes)
    stages = named.split(",") if named else None
    if args.dry_run:
        print(dry_run(recipe, args, stages))
        return 0

    import logging

    import torch

    from borealis.training import processes
    from borealis.training.pipeline import run_recipe
    from borealis.training.publish.mirror import Mirror

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        folder = run_recipe(
            recipe,
            data=Path(args.data),
            output=Path(args.output),
            stages=stages,
            max_steps=args.max_steps,
            resume=not args.no_resume,
            pack_to=Path(args.pack) if args.pack else None,
            price=args.price,
            mirror=Mirror(args.hub, Path(args.output)) if args.hub else None,
        )
    finally:
        processes.stop()
    if processes.is_main():
        print(summary(folder))
    return 0


def summary(folder: Path) -> str:
    """What came of a run, and what to do with it: before and after, use, serve, publish.

    Args:
        folder: of the finished checkpoint.
    """
    run = folder.parent
    log = json.loads((run / "run.json").read_text(encoding="utf-8"))
    lines = []
    for stage in log["stages"]:
        rates = stage.get("word_error_rate", {})
        times = [when for when in ("before", "after") if when in rates]
        told = [f"{100 * rates[when]:.1f} % {when}" for when in times]
        if told:
            lines.append(f"stage {stage['stage']}, WER on validation: {', '.join(told)}")
        if told and rates.get("before", 1.0) <= rates["after"]:
            lines.append(
                "  no better than before: more recordings, or a smaller optimizer.learning_rate?"
            )
    return "\n".join(
        [
            *lines,
            f"The checkpoint is in {folder}",
            f"  use      borealis transcribe FILE --model {folder}",
            f"  measure  borealis eval MANIFEST --model {folder}",
            f"  serve    borealis serve {folder}",
            f"  publish  borealis export {run} --output DIR, then borealis push DIR OWNER/NAME",
        ]
    )


def dry_run(recipe: Recipe, args: argparse.Namespace, stages: list[str] | None) -> str:
    """What a run would do: sources, steps, tokens, and the planner's memory, hours and dollars.

    What stands in its way here is told too: the plan may be for another machine.
    """
    from borealis.training.plan_command import describe
    from borealis.training.planner import Options, plan_recipe
    from borealis.training.planner.recipes import vocabulary_line
    from borealis.training.recipe.leaks import refuse_leaks
    from borealis.training.supplies import streamed_sources

    data = Path(args.data)
    refuse_leaks(recipe, data)
    chosen = [recipe.stage(name) for name in stages] if stages else recipe.stages
    chosen = [stage for stage in recipe.stages if stage in chosen]
    if args.max_steps is not None:
        limit = args.max_steps
        chosen = [s.model_copy(update={"max_steps": min(limit, s.max_steps)}) for s in chosen]
    whole, recipe = recipe, recipe.model_copy(update={"stages": chosen})
    given = {"gpu": args.gpu, "gpus": args.gpus, "price": args.price}
    options = Options(**{name: value for name, value in given.items() if value is not None})
    plan = plan_recipe(recipe, options)
    said = {"whole_bill": False, "vocabulary": vocabulary_line(recipe)}
    lines = [describe(plan, options, f"recipe {recipe.name}", **said), ""]
    tokens = plan.tokens["audio_per_30_seconds"] / 30
    for stage, cost in zip(chosen, plan.stages, strict=True):
        batches = stage.max_steps * stage.batch.per_step
        heard = cost.audio_hours * 3600 * tokens
        lines.append(
            f"{stage.name}: {stage.max_steps:,} steps of {stage.batch.per_step} batches, "
            f"{batches:,} in all; {heard / 1e6:,.1f}M audio tokens, "
            f"{cost.text_tokens / 1e6:,.1f}M tokens without audio; checkpoint every "
            f"{stage.checkpoints.every:,} steps"
        )
        names = [*stage.sources, *stage.talk_sources, *stage.features, *stage.speech_sets]
        missing = [name for name in names if not _there(recipe, name, data)]
        if names:
            lines.append(f"  from {', '.join(names)}")
        lines += [f"  streamed, {told}" for told in streamed_sources(recipe, [stage], data)]
        if missing:
            lines.append(f"  not in '{args.data}' yet: {len(missing)} of {len(names)}")
    return "\n".join([*lines, *_in_the_way(whole, chosen, plan, args)])


def _in_the_way(
    recipe: Recipe, chosen: list[StageSection], plan: Plan, args: argparse.Namespace
) -> list[str]:
    """What would stop the run before its first step, a line each; and where it would go on."""
    from borealis.errors import BorealisError
    from borealis.training.codec.command import WORK
    from borealis.training.preflight import check_stage
    from borealis.training.supplies import (
        check_cache,
        check_data,
        check_room,
        planned_room,
        short_of_cache,
        short_of_memory,
        streamed_sources,
    )

    lines = []
    try:
        check_data(recipe, chosen, Path(args.data))
        if args.gpu is None:  # else the plan is for another machine
            lines += [f"on this machine: {told}" for told in short_of_memory(plan, chosen)]
            check_room(planned_room(plan, chosen), Path(args.output))
            streamed = streamed_sources(recipe, chosen, Path(args.data))
            lines += [f"on this machine: {told}" for told in short_of_cache(streamed)]
            check_cache(streamed)
    except BorealisError as error:
        lines.append(f"on this machine: {error}")
    for stage in chosen:
        try:
            check_stage(stage)
        except BorealisError as error:
            lines.append(f"on this machine: {error}")
    output = Path(args.output)
    if not output.exists():
        return lines
    from borealis.training.recipe.resolve import resolve
    from borealis.training.run.folder import RunFolder

    names = [stage.name for stage in chosen]
    try:
        resolved, _ = resolve(recipe, Path(args.data), names, args.max_steps)
        work = RunFolder(output, resolved, Path(args.data)).look(names, resume=not args.no_resume)
    except BorealisError as error:
        return [*lines, f"not with this folder: {error}"]
    return [*lines, *(f"{output}: {name} {WORK[state]}" for name, state in work.work.items())]


def _there(recipe: Recipe, name: str, data: Path) -> bool:
    """Whether the manifests of a source or feature cache are in the data folder."""
    if section := recipe.data.sources.get(name):
        return (data / (section.manifest or f"sources/{name}.jsonl")).is_file()
    if spoken := recipe.data.speech.get(name):
        return all((data / part.manifest).is_file() for part in spoken)
    parts = recipe.data.features.get(name, [])
    return all(
        (data / part.manifest).is_file()
        if part.manifest
        else _there(recipe, part.source or "", data)
        for part in parts
    )
