"""What finished trainings took: `python lab/nano/training.py RUN [RUN ...]`.

Condenses run folders of `borealis train` into one result file: for every stage its steps, hours,
hours of audio and loss curve, and their sums. The runs are given in the order in which they were
trained, and on the machine that trained them, for the file describes that one. Older runs counted
no audio; there the hours of audio are null, and so is their sum.

The planner knows prices of GPU hours, none of a CPU hour. So money is told only if somebody named a
price: `borealis train --price`, which a run remembers, or `--price` here, dollars for an hour of
the machine, of all runs. Without it the file has hours and no `dollars`.

Training goes on over months, and folders of old runs needn't be kept: with `--after FILE` the runs
of an earlier result file stand before the new ones.

With `--ablation FILE` the file gets a scaling curve too: rows of `ablation.py` whose name
begins with `scaling:`, and a power law `WER = a * hours ** -b` through what CTC alone makes of the
voice kept apart (the form of Hestness et al., 2017, arXiv:1712.00409, without an irreducible
error: a few points can't tell it). Fewer than three points give no law.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from borealis.errors import BorealisError
from borealis.evaluation.results import describe, write
from borealis.training.loop.checkpoints import is_whole, latest_checkpoint
from tools.site.nano_tables import FITTED, SCALING

POINTS = 60  # of a curve; a picture shows no more
LEAST = 3  # points that a law is drawn through: two fit any
# What a stage's entry keeps of its recipe; the rest may hold paths of the machine.
SETTINGS = {
    "trainable": ("trainable",),
    "learning_rate": ("optimizer", "learning_rate"),
    "batch_seconds": ("batch", "seconds"),
    "batch_tokens": ("batch", "tokens"),
}
# What `Trainer` and `Meter` log beside losses.
_NOT_LOSSES = {"epoch", "grad_norm", "learning_rate", "step", "seconds", "audio_hours", "dollars"}


class CondenseError(BorealisError):
    """A run folder, or a file of ablation rows, isn't what is needed here."""


def condense(
    folders: Sequence[Path], price: float | None = None, after: Path | None = None
) -> dict[str, Any]:
    """Stages of finished runs and their sums.

    Args:
        folders: of the runs, in the order of training.
        price: dollars for an hour of the machine; None: what each run was told, if anything.
        after: a file of this command with the runs that came before.

    Raises:
        CondenseError: a run isn't finished, has no log, or two runs have one name; `after` isn't
            such a file.
    """
    runs, stages = earlier(after) if after else ([], [])
    for folder in folders:
        run = read_run(folder, price)
        if run["run"] in (known["run"] for known in runs):
            raise CondenseError(f"Two runs are called '{run['run']}'; give each run once.")
        stages += run.pop("stages")
        runs.append(run)
    total: dict[str, Any] = {
        "steps": sum(stage["steps"] for stage in stages),
        "hours": round(sum(stage["hours"] for stage in stages), 3),
        "audio_hours": _sum([stage["audio_hours"] for stage in stages]),
    }
    dollars = _sum([stage.get("dollars") for stage in stages])
    if dollars is not None:
        total["dollars"] = dollars
    return {"runs": runs, "stages": stages, "total": total}


def earlier(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Runs and stages of a file of this command."""
    try:
        metrics = _read(path)["metrics"]
        return list(metrics["runs"]), list(metrics["stages"])
    except (OSError, ValueError, KeyError, TypeError):
        raise CondenseError(f"'{path}' isn't a result file of training.py.") from None


def _sum(numbers: Sequence[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return round(sum(known), 3) if len(known) == len(numbers) else None


def read_run(folder: Path, price: float | None = None) -> dict[str, Any]:
    """What a run was made with, and its stages.

    Args:
        folder: that `borealis train` wrote.
        price: dollars for an hour of the machine; None: what the run was told, if anything.

    Raises:
        CondenseError: the run isn't finished, or has no log.
    """
    name = folder.absolute().name
    if not (folder / "run.json").is_file():
        raise CondenseError(
            f"'{folder}' has no run.json: it isn't a run of 'borealis train', or none of its "
            "stages is finished. Run the same 'borealis train' again, it goes on from there."
        )
    try:
        log = _read(folder / "run.json")
        settings = {stage["name"]: stage for stage in log["recipe"]["stages"]}
        entries = {entry["stage"]: entry for entry in log["stages"]}
        if price is None and log.get("dollars_per_hour") is not None:
            price = log["dollars_per_hour"] * log["processes"]
        made = {key: log.get(key) for key in ("threads", "accelerator", "python", "torch")}
        run = {"run": name, "recipe": log["recipe"]["name"], "processes": log.get("processes", 1)}
        run |= made
        begun = [n for n in settings if n not in entries and latest_checkpoint(folder / n)]
        if begun or not is_whole(folder / "final"):
            what = f"its stage '{begun[0]}' was cut off" if begun else "it has no folder 'final'"
            raise CondenseError(
                f"The run '{folder}' isn't finished: {what}. Run the same 'borealis train' again, "
                "it goes on from there."
            )
        run["stages"] = [
            {"run": name} | _stage(folder, settings[entry["stage"]], entry, price)
            for entry in entries.values()
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CondenseError(f"'{folder}' holds no log of 'borealis train'.") from None
    return run


def _stage(
    folder: Path, settings: dict[str, Any], entry: dict[str, Any], price: float | None
) -> dict[str, Any]:
    checkpoint = latest_checkpoint(folder / entry["stage"])
    if checkpoint is None:
        raise CondenseError(
            f"Stage '{entry['stage']}' of '{folder}' has no log: a finished stage keeps it in its "
            "last checkpoint-N/trainer_state.json. Were the checkpoints removed?"
        )
    state = _read(checkpoint / "trainer_state.json")
    if state["global_step"] < entry["steps"]:
        raise CondenseError(
            f"Stage '{entry['stage']}' of '{folder}' has a log of {state['global_step']} steps, "
            f"and it took {entry['steps']}. Was its last checkpoint removed, or is it being "
            "trained anew?"
        )
    points = curve(state["log_history"])
    hours = entry["seconds"] / 3600
    stage = {
        "stage": entry["stage"],
        "tasks": [name for name, task in settings["tasks"].items() if task],
        "settings": {key: _at(settings, path) for key, path in SETTINGS.items()},
        "steps": entry["steps"],
        "hours": round(hours, 3),
        "audio_hours": entry.get("audio_hours"),
        "final": {key: value for point in points for key, value in point.items()},
        "curve": thinned(points),
    }
    if price is not None:
        stage["dollars"] = round(hours * price, 3)
    return stage


def _at(values: Any, path: Sequence[str]) -> Any:
    for key in path:
        values = values[key]
    return values


def curve(history: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """Points of a log: the step, the loss and its parts, each a mean since the point before.

    Raises:
        CondenseError: no loss was logged.
    """
    points = [
        {"step": row["step"]}
        | {key: round(value, 4) for key, value in row.items() if key not in _NOT_LOSSES}
        for row in history
        if "loss" in row
    ]
    if not points:
        raise CondenseError("No loss was logged: a stage is shorter than its logging_steps.")
    return points


def thinned(points: Sequence[dict[str, float]], count: int = POINTS) -> list[dict[str, float]]:
    """At most `count` of the points, evenly spread, the first and the last among them."""
    chosen = np.linspace(0, len(points) - 1, min(len(points), count)).round().astype(int)
    return [points[i] for i in chosen]


def scaling(path: Path) -> list[dict[str, Any]]:
    """Points of the scaling curve, by hours.

    Args:
        path: a file that `ablation.py` wrote.

    Raises:
        CondenseError: no such file, another kind of file, or no row of the curve in it.
    """
    if not path.is_file():
        raise CondenseError(f"There is no '{path}'. ablation.py makes it.")
    try:
        points = [
            {
                "name": row["name"],
                "steps": row["steps"],
                "hours": row["hours"],
                "held_out_voice_in_training": row["held_out_voice_in_training"],
                "word_error_rate": {
                    name: {
                        kind: result[kind]["word_error_rate"]
                        for kind in ("ctc", "model")
                        if kind in result
                    }
                    for name, result in row["sets"].items()
                },
            }
            for row in _read(path)["rows"]
            if row["name"].startswith(SCALING)
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CondenseError(f"'{path}' isn't a file of ablation.py.") from None
    if not points:
        raise CondenseError(f"No row of '{path}' has a name that begins with '{SCALING}'.")
    return sorted(points, key=lambda point: point["hours"])


def fit(points: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The law `WER = a * hours ** -b` and what it foretells.

    Points without hours or without errors have no logarithm and are left out.

    Args:
        points: see `scaling`.

    Returns:
        `a`, `b`, the number of points, the largest distance of a point from the law as a part of
        the law's value, and the rates that it gives an hour after the last point and at twice its
        hours; None if fewer than three hours are left.
    """
    set_name, kind = FITTED
    pairs = []
    for point in points:
        rate = point["word_error_rate"].get(set_name, {}).get(kind, 0)
        if point["hours"] > 0 and rate > 0:
            pairs.append((point["hours"], rate))
    if len({hours for hours, _ in pairs}) < LEAST:
        return None
    hours, rates = np.array(pairs).T
    slope, height = np.polyfit(np.log(hours), np.log(rates), 1)

    def law(at: Any) -> Any:
        return np.exp(height) * at**slope

    last = float(hours.max())
    predicted = {"one_more_hour": last + 1, "twice": 2 * last}
    return {
        "set": set_name,
        "kind": kind,
        "points": len(pairs),
        "a": round(float(np.exp(height)), 6),
        "b": round(float(-slope), 6),
        "largest_error": round(float(np.abs(rates / law(hours) - 1).max()), 4),
        "predicted": {
            name: {"hours": round(at, 3), "word_error_rate": round(float(law(at)), 4)}
            for name, at in predicted.items()
        },
    }


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 2 when a run or a file can't be used."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--output", type=Path, default=Path("results/nano-training.json"))
    parser.add_argument("--after", type=Path, help="result file whose runs came before these")
    parser.add_argument("--ablation", type=Path, help="rows that the scaling curve is made of")
    parser.add_argument("--price", type=float, help="dollars for an hour of the machine")
    args = parser.parse_args(argv)
    if args.price is not None and not 0 <= args.price < 1e6:
        parser.error(f"--price is {args.price:g}; it is dollars for an hour, 0 or more")
    try:
        metrics = condense(args.runs, args.price, args.after)
        if args.ablation:
            metrics["scaling"] = scaling(args.ablation)
            if law := fit(metrics["scaling"]):
                metrics["scaling_fit"] = law
    except BorealisError as error:
        print(f"borealis: {error}", file=sys.stderr)
        return 2
    last = metrics["runs"][-1]
    record = describe("nano-training", recipe=last["recipe"])
    # The training's, not this command's.
    record["machine"] |= {key: last[key] for key in ("threads", "accelerator")}
    record["versions"] |= {key: last[key] for key in ("python", "torch")}
    write(args.output, record | {"metrics": metrics})
    for stage in metrics["stages"]:
        print(f"{stage['run']}/{stage['stage']}: {stage['steps']} steps, {stage['hours']:.2f} h")
    print(f"in all {metrics['total']['hours']:.2f} h; written to {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
