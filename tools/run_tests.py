"""What "make test" does: one phase after the other, none left out because another failed.

    python3 tools/run_tests.py                                   # make test
    python3 tools/run_tests.py --record results/make-test.json   # make test RECORD=...

Each phase is a target of the Makefile. At the end come the seconds of every phase, what was left
out and why, and one line with all tests; the exit status is 0 if every phase succeeded. Only the
standard library, as it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "test"


@dataclass
class Phase:
    """A target of the Makefile and how it went.

    Args:
        name: the target.
        needs: phases without which it can't begin.
        counted: it writes its tests to `build/test/<name>.xml`.
    """

    name: str
    needs: tuple[str, ...] = ()
    counted: bool = False
    outcome: str = ""
    seconds: float = 0.0
    processor_seconds: float = 0.0
    tests: dict[str, int] = field(default_factory=dict)


PHASES = (
    Phase("packages"),
    Phase("install"),
    Phase("install-serve"),
    Phase("lint", ("install",)),
    Phase("types", ("install",)),
    Phase("test-site", ("install",)),
    Phase("test-main", ("install",), counted=True),
    Phase("test-serve", ("install-serve",), counted=True),
    Phase("test-wheel", ("install",)),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--record", metavar="FILE", help="write the times to this result file")
    arguments = parser.parse_args()
    begun = time.monotonic()
    BUILD.mkdir(parents=True, exist_ok=True)
    outcomes: dict[str, str] = {}
    skipped: list[str] = []
    for phase in PHASES:
        if missing := [n for n in phase.needs if outcomes[n] != "ok"]:
            phase.outcome = f"not run: {missing[0]} failed"
        else:
            run(phase)
        if phase.counted and phase.seconds:
            skipped += read_report(phase)
        outcomes[phase.name] = phase.outcome
    seconds = time.monotonic() - begun
    report(seconds, skipped)
    failed = any(phase.outcome != "ok" for phase in PHASES)
    if arguments.record and not failed:
        record(Path(arguments.record), seconds, len(skipped))
    return int(failed)


def run(phase: Phase) -> None:
    """One target; what it prints is seen as it comes."""
    print(f"\n===== {phase.name} =====", flush=True)
    (BUILD / f"{phase.name}.xml").unlink(missing_ok=True)
    used, begun = children_seconds(), time.monotonic()
    # Without this variable make would take itself for a part of the make that called it.
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    command = ["make", "--no-print-directory", phase.name]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL)
    phase.seconds = time.monotonic() - begun
    phase.processor_seconds = children_seconds() - used
    phase.outcome = "ok" if done.returncode == 0 else "FAILED"


def children_seconds() -> float:
    """Processor seconds of everything that ran and ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def read_report(phase: Phase) -> list[str]:
    """Count the tests of a phase; returns `test: reason` of the skipped ones."""
    path = BUILD / f"{phase.name}.xml"
    counts: Counter[str] = Counter()
    skipped = []
    # Pytest wrote the file on this machine.
    for case in ET.parse(path).iter("testcase") if path.is_file() else ():
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            counts["failed"] += 1
        elif "skipped" in kinds:
            counts["skipped"] += 1
            reason = case.find("skipped").get("message", "")
            skipped.append(f"{case.get('classname')}.{case.get('name')}: {reason}")
        else:
            counts["passed"] += 1
    phase.tests = dict(counts)
    if not counts["passed"]:
        phase.outcome = "FAILED"  # a run of no tests shows nothing
    return skipped


def report(seconds: float, skipped: list[str]) -> None:
    """The end of the output: times, skips, counts."""
    print(f"\n{'phase':<15}{'seconds':>9}{'processor':>11}")
    processor = sum(phase.processor_seconds for phase in PHASES)
    for p in PHASES:
        print(f"{p.name:<15}{p.seconds:>9.1f}{p.processor_seconds:>11.1f}  {p.outcome}")
    print(f"{'all':<15}{seconds:>9.1f}{processor:>11.1f}\n")
    for line in skipped:
        print(f"left out: {line}")
    total: Counter[str] = Counter()
    for phase in PHASES:
        total.update(phase.tests)
    # A phase without tests of its own counts as one.
    total["failed"] += sum(p.outcome != "ok" and not p.tests.get("failed") for p in PHASES)
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")


def record(path: Path, seconds: float, skipped: int) -> None:
    """Write the result file, by the environment that was just installed."""
    phases = {
        p.name: {
            "seconds": round(p.seconds, 1),
            "processor_seconds": round(p.processor_seconds, 1),
            **p.tests,
        }
        for p in PHASES
    }
    metrics = {"seconds": round(seconds, 1), "skipped": skipped, "phases": phases}
    code = (
        "import json, sys; from borealis.evaluation.results import describe, write;"
        "write(sys.argv[1], describe('make-test') | {'metrics': json.loads(sys.argv[2])})"
    )
    command = [ROOT / ".venv/bin/python", "-c", code, path, json.dumps(metrics)]
    subprocess.run(command, cwd=ROOT, check=True)
    print(f"Written: {path}")


if __name__ == "__main__":
    sys.exit(main())
