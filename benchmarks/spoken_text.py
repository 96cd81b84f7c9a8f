"""How well written text is made speakable: `python benchmarks/spoken_text.py`.

Compares what `borealis.data.spoken` and libraries make of the sentences of `tests/data/spoken/`
with what people say. `develop` may be looked at while rules are written, `measure` may not, so
`--errors` shows those of `develop` only. Beside ours, libraries are measured where they are
installed (`pip install num2words damga`); what isn't there is told and left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import jiwer

from borealis.evaluation import results
from borealis.evaluation.normalization import normalize

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data" / "spoken"
SETS = ("develop", "measure")
Speak = Callable[[str], str]
_CHOICE = re.compile(r"\{([^{}]*)\}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument("--errors", action="store_true", help="show the errors of 'develop'")
    parser.add_argument("--output", type=Path, help="write a result file, if nothing is left out")
    args = parser.parse_args()
    rows = {name: read(DATA / f"{name}.jsonl") for name in SETS}
    measured: dict[str, Any] = {}
    for name in args.only:
        package, make = CANDIDATES[name]
        if package and importlib.util.find_spec(package.replace("-", "_")) is None:
            print(f"{name}: not installed, left out")
            continue
        measured[name] = {"version": version(package) if package else ""}
        for language in ("ru", "en"):
            speak = make(language)
            for part in SETS:
                chosen = [row for row in rows[part] if row["language"] == language]
                scores = measure(speak, chosen, show=args.errors and part == "develop")
                measured[name][f"{language}-{part}"] = scores
                print(name, language, part, scores)
    if args.output and len(measured) == len(CANDIDATES):
        data = {
            part: {
                "file": f"{part}.jsonl",
                "sha256": results.file_digest(DATA / f"{part}.jsonl"),
                "sentences": len(rows[part]),
            }
            for part in SETS
        }
        record = results.describe("spoken-text", data=data, threads=1)
        results.write(args.output, record | {"metrics": measured})


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a test set: `written`, `spoken` with choices in braces, `language`, `kind`."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def readings(spoken: str) -> Iterator[str]:
    """Every way to say a sentence: `{a|b}` is a choice, and may be empty."""
    parts = _CHOICE.split(spoken)
    choices = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    for chosen in product(*choices):
        yield normalize("".join(chosen))


def errors(heard: str, spoken: str) -> tuple[int, int]:
    """Word errors and words of the reading that comes closest."""
    best = None
    for reading in readings(spoken):
        found = jiwer.process_words(reading, heard)
        wrong = found.substitutions + found.deletions + found.insertions
        if best is None or wrong < best[0]:
            best = (wrong, len(reading.split()))
    assert best is not None
    return best


def measure(speak: Speak, rows: list[dict[str, str]], *, show: bool) -> dict[str, Any]:
    """Word accuracy, sentences without an error, and the milliseconds a sentence takes."""
    speak(rows[0]["written"])  # what is loaded at the first call isn't counted
    words = wrong = whole = 0
    seconds = 0.0
    for row in rows:
        began = time.process_time()
        said = speak(row["written"])
        seconds += time.process_time() - began
        # A stress mark is no word.
        heard = normalize(said.replace("+", ""))
        these, of = errors(heard, row["spoken"])
        wrong, words, whole = wrong + these, words + of, whole + (not these)
        if show and these:
            print(f"  {row['written']}\n    heard  {heard}\n    spoken {row['spoken']}")
    return {
        "sentences": len(rows),
        "words": words,
        "word_errors": wrong,
        "word_accuracy": round(1 - wrong / words, 4),
        "sentences_right": whole,
        "cpu_ms": round(1000 * seconds / len(rows), 2),
    }


def as_written(language: str) -> Speak:
    """Nothing is done: how much there is to do."""
    return lambda text: text


def numbers_only(language: str) -> Speak:
    """num2words for every run of digits, as most small scripts do."""
    from num2words import num2words

    number = re.compile(r"\d+(?:[.,]\d+)?")

    def speak(text: str) -> str:
        return number.sub(lambda m: f" {num2words(m[0].replace(',', '.'), lang=language)} ", text)

    return speak


def damga(language: str) -> Speak:
    from damga import TextNormalizer

    return TextNormalizer(lang=language).normalize


def ru_normalizr(language: str) -> Speak:
    """For Russian; English it would write in Cyrillic letters."""
    if language != "ru":
        return as_written(language)
    from ru_normalizr import NormalizeOptions, Normalizer

    return Normalizer(NormalizeOptions.tts(letter_vowel_mode="single")).normalize


def ours(language: str) -> Speak:
    from borealis.data.spoken import speakable

    return lambda text: speakable(text, language).text


# Name -> package that it is installed by, and what makes it for a language.
CANDIDATES: dict[str, tuple[str, Callable[[str], Speak]]] = {
    "as written": ("", as_written),
    "num2words": ("num2words", numbers_only),
    "damga": ("damga", damga),
    "ru-normalizr": ("ru-normalizr", ru_normalizr),
    "borealis": ("", ours),
}


if __name__ == "__main__":
    main()
