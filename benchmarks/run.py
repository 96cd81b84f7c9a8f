"""Measures borealis-nano anew, all of it or parts: `make bench`, `make bench WHAT=speed,demo`.

Each part is a process of its own and writes one result file (the server two); at the end a list
says what was written, how long it took, and what failed. The figures of speed are worth something
on an idle machine only. Minutes are those of two cores:

    transcription  16   word error rates on four sets of recordings, Whisper too
    questions       7   accuracy by kind of question
    sounds         18   words written over silence, noise and music, Whisper too
    speed           3   recordings of a minute, one at a time, Whisper too
    words           1   beginnings of words against phone labels, and how sure words are
    commands        2   `borealis transcribe` and `borealis --help`, the package alone installed
    demo            4   the live demo: first text, twenty visitors, memory
    server         14   vLLM under load in float32 and bfloat16; needs make .venv-serve/.installed
    install         2   a fresh environment from the lock

What Whisper writes doesn't depend on us: texts of the same settings and recordings are kept from
the last files, and then transcription takes 4 minutes and sounds 3. `--peer-anew` makes them again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from borealis.evaluation.results import checkout

ROOT = Path(__file__).resolve().parent.parent
PARTS = (
    *("transcription", "questions", "sounds", "speed", "words"),
    *("commands", "demo", "server", "install"),
)


def commands(args: argparse.Namespace) -> dict[str, list[list[str]]]:
    """What each part runs, without the interpreter."""
    output, data = Path(args.output), Path(args.data)
    peer = ["--peer", args.peer] if args.peer else []
    kept = [*peer, "--peer-anew"] if peer and args.peer_anew else peer
    threads = ["--threads", str(args.threads)] if args.threads else []
    driver = ["-m", "borealis.evaluation.benchmark", "--data", args.data, "--output", args.output]
    driver += [*threads, "--groups"]
    sounds = str(ROOT / "benchmarks" / "nano_sounds.py")
    demo = str(ROOT / "benchmarks" / "demo_load.py")
    serve = ["-m", "borealis", "bench", "serve", str(data / "festvox-ru.test.jsonl")]
    serve += ["--local", "nano", "--start", args.serve_python, *peer]
    servers = [
        [*serve, "--dtype", dtype, "--output", str(output / f"nano-serving_{dtype}.json")]
        for dtype in ("float32", "bfloat16")
    ]
    return {
        "transcription": [[*driver, "transcription", *kept]],
        "questions": [[*driver, "questions"]],
        "sounds": [
            [sounds, "--data", args.data, "--output", str(output / "nano-sounds.json"), *kept]
        ],
        "speed": [[*driver, "speed", *peer]],
        "words": [[*driver, "words"]],
        "commands": [[*driver, "commands"]],
        "demo": [[demo, "--output", str(output / "demo-load.json")]],
        "server": servers,
        "install": [[*driver, "install"]],
    }


def measure(part: str, runs: list[list[str]]) -> tuple[str, float]:
    """Run the commands of a part; a word on how it went, and the minutes."""
    began = time.perf_counter()
    done = "measured"
    for words in runs:
        print(f"\n== {part}: {' '.join(words)}", flush=True)
        result = subprocess.run([sys.executable, *words], cwd=ROOT, check=False)
        if result.returncode:
            done = "FAILED, see above"
    return done, (time.perf_counter() - began) / 60


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", metavar="WHAT", help="parts; by default all")
    parser.add_argument("--data", default="data", help="folder of 'python -m lab.nano.data' (data)")
    parser.add_argument("--output", default="results", help="folder of the result files (results)")
    parser.add_argument("--peer", metavar="DIR", help="Whisper in CTranslate2 format")
    parser.add_argument("--peer-anew", action="store_true", help="keep none of its old texts")
    parser.add_argument("--threads", type=int, help="processor threads; by default PyTorch's")
    parser.add_argument(
        "--serve-python",
        default=str(ROOT / ".venv-serve" / "bin" / "python"),
        metavar="PATH",
        help="interpreter of an environment with vLLM (.venv-serve/bin/python)",
    )
    parser.add_argument(
        "--dirty", action="store_true", help="measure though files differ; no table will show it"
    )
    args = parser.parse_args()
    asked = [part for words in args.what for part in words.split(",") if part] or ["all"]
    parts = list(PARTS) if "all" in asked else asked
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"there is no part '{unknown[0]}'; there are {', '.join(PARTS)}")
    if checkout()[1] and not args.dirty:
        parser.error("files differ from the commit, so no table would show the results: commit")
    needs = {"transcription", "questions", "sounds", "speed", "words", "commands", "server"}
    if needs & set(parts) and not Path(args.data, "festvox-ru.test.jsonl").is_file():
        parser.error(
            f"'{args.data}' has no manifests: python -m lab.nano.data --output {args.data}"
        )
    for name in ("data", "output", "peer"):  # the parts run in the root of the repository
        if value := getattr(args, name):
            setattr(args, name, str(Path(value).resolve()))
    if (busy := os.getloadavg()[0]) > 0.5:
        print(f"The machine isn't idle (load {busy:.1f}): figures of speed will be too low.")
    if not args.peer:
        print("No --peer was given: Whisper isn't measured.")
    runs = commands(args)
    outcome = {part: measure(part, runs[part]) for part in parts}
    print()
    for part, (done, minutes) in outcome.items():
        print(f"{part:14} {minutes:5.1f} min  {done}")
    return 1 if any(done != "measured" for done, _ in outcome.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
