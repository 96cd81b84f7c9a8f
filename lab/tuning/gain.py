"""Does fine-tuning help, and with how many recordings? Before and after, in one result file.

    python -m lab.tuning.material --sentences data/synthetic-ru.test.jsonl --output data
    python -m lab.tuning.gain --data data --known data/festvox-ru.validation.jsonl

Runs `examples/fine_tune.yaml`, the recipe of the tutorial, on 10, 40 and 160 recordings of each
subject, three times each, and writes down the test recordings before and after. What is forgotten
is measured on a voice that nano knows. Settings of the recipe were chosen on the validation
recordings. A run that was cut off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import borealis
from borealis.data.manifest import Utterance, read_manifest
from borealis.data.text import LETTERS
from borealis.evaluation import results
from borealis.evaluation.metrics import error_rates, rate_difference
from borealis.training.pipeline import run_recipe
from borealis.training.recipe import load_recipe
from lab.tuning.material import SIZES, TERMS

RECIPE = Path(__file__).parents[2] / "examples" / "fine_tune.yaml"
SUBJECTS = ("stranger", "terms")


def written(
    model: borealis.Borealis, items: Sequence[Utterance], hot_words: Sequence[str] = ()
) -> list[str]:
    """Transcripts of recordings."""
    heard = model.transcribe([item.audio for item in items], hot_words=hot_words)
    return [transcript.text for transcript in heard]


def measured(items: Sequence[Utterance], texts: Sequence[str]) -> dict[str, Any]:
    """Error rates, and the share of the trade's words that were written as they are said."""
    said = [item.text for item in items]
    rates = error_rates(said, texts)
    out: dict[str, Any] = {
        "word_error_rate": rates.word_error_rate,
        "word_error_rate_95": rates.word_error_rate_95,
        "character_error_rate": rates.character_error_rate,
        "words": rates.words,
    }
    wanted = found = 0
    for reference, text in zip(said, texts, strict=True):
        names = set(LETTERS.fold(reference).split()) & set(TERMS)
        wanted, found = wanted + len(names), found + len(names & set(LETTERS.fold(text).split()))
    return out | ({"terms_found": round(found / wanted, 4)} if wanted else {})


def tuned(data: Path, size: int, seed: int, folder: Path) -> tuple[Path, float]:
    """Run the recipe; the finished checkpoint, and seconds that it took."""
    changes = [f"data.features.mine.*.manifest=train-{size}.jsonl", f"seed={seed}"]
    start = time.monotonic()
    return run_recipe(load_recipe(RECIPE, changes), data=data, output=folder), (
        time.monotonic() - start
    )


def subject(
    name: str, args: argparse.Namespace, known: Sequence[Utterance], records: Path
) -> dict[str, Any]:
    """Before and after of one subject."""
    folder = args.data / name
    test, hot = read_manifest(folder / "test.jsonl"), TERMS if name == "terms" else []
    before = borealis.load()
    first = {"test": written(before, test), "known": written(before, known)}
    out: dict[str, Any] = {
        "data": results.describe_manifest(folder / "test.jsonl", test),
        "before": measured(test, first["test"]) | {"known": measured(known, first["known"])},
        "after": [],
    }
    if hot:
        out["before"]["hot_words"] = measured(test, written(before, test, hot))
    for size in args.sizes:
        for seed in args.seeds:
            record = records / f"{name}-{size}-{seed}.json"
            if not record.is_file():
                run = records / f"{name}-{size}-{seed}"
                final, seconds = tuned(folder, size, seed, run)
                model = borealis.load(final)
                texts = {"test": written(model, test), "known": written(model, known)}
                row = {"clips": size, "seed": seed, "seconds": round(seconds, 1)}
                row |= measured(test, texts["test"])
                said = [item.text for item in test]
                row["change"] = rate_difference(said, texts["test"], first["test"])
                row["known"] = measured(known, texts["known"])
                said = [item.text for item in known]
                row["known"]["change"] = rate_difference(said, texts["known"], first["known"])
                if hot:
                    row["hot_words"] = measured(test, written(model, test, hot))
                record.write_text(json.dumps(row), encoding="utf-8")
                shutil.rmtree(run)
            out["after"].append(json.loads(record.read_text(encoding="utf-8")))
            print(name, {k: v for k, v in out["after"][-1].items() if k != "known"}, flush=True)
    return out


def main() -> None:
    """Measure both subjects, and write the result file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of lab.tuning.material")
    parser.add_argument("--known", type=Path, required=True, help="manifest of a known voice")
    parser.add_argument("--output", type=Path, default=Path("results/training-gain.json"))
    parser.add_argument("--work", type=Path, default=Path("runs/gain"), help="runs lie here")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--only", choices=SUBJECTS, help="one subject's runs, beside another process; no file yet"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    known = read_manifest(args.known)[:40]
    model = borealis.load()
    record = results.describe(
        "training-gain",
        recipe=RECIPE.name,
        model=model,
        decoding=results.describe_decoding(model, batch_size=8),
        data={"known": results.describe_manifest(args.known, known)},
        threads=args.threads,
    )
    names = [args.only] if args.only else SUBJECTS
    record["metrics"] = {name: subject(name, args, known, args.work) for name in names}
    if not args.only:
        results.write(args.output, record)


if __name__ == "__main__":
    main()
