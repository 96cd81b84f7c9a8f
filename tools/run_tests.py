"""What "make test" does: phases in two lanes, one for each environment, none left out by a failure.

    python3 tools/run_tests.py                                   # make test
    python3 tools/run_tests.py --record results/make-test.json   # make test RECORD=...

Each phase is a target of the Makefile. The first lane is seen as it goes, what the second printed
follows when both are done. At the end come the seconds of every phase, what was left out and why,
and one line with all tests; the exit status is 0 if every phase succeeded. Only the standard
library, as it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
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
        needs: phases of any lane without which it can't begin; those of its own stand before it.
        counted: pytest, which writes its tests to `build/test/<name>.xml`.
    """

    name: str
    needs: tuple[str, ...] = ()
    counted: bool = False
    outcome: str = ""
    seconds: float = 0.0
    processor_seconds: float = 0.0
    tests: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


# vLLM has an environment of its own, and its tests wait much: both cores are busy until the end.
LANES = (
    (
        Phase("packages"),
        Phase("install"),
        Phase("lint", ("install",)),
        Phase("test-site", ("install",)),
        Phase("test-main", ("install",), counted=True),
    ),
    (
        Phase("install-serve"),
        Phase("test-serve", ("install-serve", "packages"), counted=True),
        Phase("test-wheel", ("install",)),
        Phase("types", ("install",)),
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--record", metavar="FILE", help="write the times to this result file")
    arguments = parser.parse_args()
    begun = time.monotonic()
    BUILD.mkdir(parents=True, exist_ok=True)
    phases = {phase.name: phase for lane in LANES for phase in lane}
    beside = threading.Thread(target=run_lane, args=(LANES[1], phases, True), daemon=True)
    beside.start()
    run_lane(LANES[0], phases, False)
    beside.join()
    for phase in LANES[1]:
        if (log := BUILD / f"{phase.name}.log").is_file():
            print(f"\n===== {phase.name} =====", flush=True)
            sys.stdout.write(log.read_text(encoding="utf-8", errors="replace"))
    seconds = time.monotonic() - begun
    report(list(phases.values()), seconds)
    failed = any(phase.outcome != "ok" for phase in phases.values())
    if arguments.record and not failed:
        record(Path(arguments.record), list(phases.values()), seconds)
    return int(failed)


def run_lane(lane: tuple[Phase, ...], phases: dict[str, Phase], aside: bool) -> None:
    """One phase after the other; `aside`: into files, with a line when each ends."""
    for phase in lane:
        for other in phase.needs:
            phases[other].over.wait()
        try:
            if missing := [n for n in phase.needs if phases[n].outcome != "ok"]:
                phase.outcome = f"not run: {missing[0]} failed"
                (BUILD / f"{phase.name}.log").unlink(missing_ok=True)
            else:
                run(phase, aside)
        finally:
            phase.over.set()
        if aside:
            print(f"----- {phase.name}: {phase.outcome} ({phase.seconds:.0f} s)", flush=True)


def run(phase: Phase, aside: bool) -> None:
    """One target of the Makefile."""
    (BUILD / f"{phase.name}.xml").unlink(missing_ok=True)
    if not aside:
        print(f"\n===== {phase.name} =====", flush=True)
    with (BUILD / f"{phase.name}.log").open("wb") as log:
        out = log if aside else None
        begun = time.monotonic()
        process = subprocess.Popen(
            ["make", "--no-print-directory", phase.name],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT if aside else None,
        )
        # Of this child alone, and of all that it waited for.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    phase.seconds = time.monotonic() - begun
    phase.processor_seconds = usage.ru_utime + usage.ru_stime
    phase.outcome = "ok" if process.returncode == 0 else "FAILED"
    if phase.counted:
        read_report(phase)


def read_report(phase: Phase) -> None:
    """Count the tests of a phase, and note `test: reason` of the skipped ones."""
    path = BUILD / f"{phase.name}.xml"
    counts: Counter[str] = Counter()
    # Pytest wrote the file on this machine.
    for case in ET.parse(path).iter("testcase") if path.is_file() else ():
        kinds = {child.tag: child for child in case}
        if kinds.keys() & {"failure", "error"}:
            counts["failed"] += 1
        elif "skipped" in kinds:
            counts["skipped"] += 1
            reason = kinds["skipped"].get("message", "")
            phase.skipped.append(f"{case.get('classname')}.{case.get('name')}: {reason}")
        else:
            counts["passed"] += 1
    phase.tests = dict(counts)
    if not counts["passed"]:
        phase.outcome = "FAILED"  # a run of no tests shows nothing


def report(phases: list[Phase], seconds: float) -> None:
    """The end of the output: times, skips, counts."""
    print(f"\n{'phase':<15}{'seconds':>9}{'processor':>11}")
    for p in phases:
        print(f"{p.name:<15}{p.seconds:>9.1f}{p.processor_seconds:>11.1f}  {p.outcome}")
    print(f"{'all':<15}{seconds:>9.1f}{sum(p.processor_seconds for p in phases):>11.1f}\n")
    for line in (line for phase in phases for line in phase.skipped):
        print(f"left out: {line}")
    total: Counter[str] = Counter()
    for phase in phases:
        total.update(phase.tests)
    # A phase without tests of its own counts as one.
    total["failed"] += sum(p.outcome != "ok" and not p.tests.get("failed") for p in phases)
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")


def record(path: Path, phases: list[Phase], seconds: float) -> None:
    """Write the result file, by the environment that was just installed."""
    metrics = {
        "seconds": round(seconds, 1),
        "skipped": [line for phase in phases for line in phase.skipped],
        "phases": {
            phase.name: {
                "seconds": round(phase.seconds, 1),
                "processor_seconds": round(phase.processor_seconds, 1),
                **phase.tests,
            }
            for phase in phases
        },
    }
    code = (
        "import json, sys; from borealis.evaluation.results import describe, write;"
        "write(sys.argv[1], describe('make-test') | {'metrics': json.loads(sys.argv[2])})"
    )
    command = [ROOT / ".venv/bin/python", "-c", code, path, json.dumps(metrics)]
    subprocess.run(command, cwd=ROOT, check=True)
    print(f"Written: {path}")


if __name__ == "__main__":
    sys.exit(main())
