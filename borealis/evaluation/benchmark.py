"""Measures a model as its README reports it; one result file a group of numbers.

    python -m borealis.evaluation.benchmark --data data --output results [--peer whisper-base]

Groups: `transcription` (WER and CER on every named manifest), `questions` (balanced accuracy),
`speed` (a minute of speech, after loading), `commands` (whole processes, warm) and, only when
asked for, `install` (a fresh environment from the lock). A group whose data isn't given is left
out, and the last lines say so.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from borealis.audio import SAMPLING_RATE, load_audio
from borealis.data.manifest import Utterance, read_manifest
from borealis.errors import BorealisError, ManifestError
from borealis.evaluation import results, runner

if TYPE_CHECKING:
    import numpy as np

    from borealis.evaluation.peer import Whisper
    from borealis.inference import Borealis

GROUPS = ("transcription", "questions", "speed", "commands", "install")

# Manifests that `borealis data nano` writes, and what the table calls them.
_DATA_FILES = {
    "test": "festvox-ru.test.jsonl",
    "unseen": "asterisk-ru.unseen.jsonl",
    "synthetic": "synthetic-ru.test.jsonl",
    "english": "english-tts.test.jsonl",
}
_SOUNDS_FILE = "sounds.test.jsonl"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the driver."""
    parser.add_argument("--model", default="nano", help="bundled name, folder or hub id (nano)")
    parser.add_argument("--name", help="first part of the file names; by default the model's name")
    parser.add_argument("--output", default="results", help="folder of the result files (results)")
    parser.add_argument("--data", help="folder that 'borealis data nano' wrote")
    parser.add_argument("--test-manifest", help="the 60 test utterances")
    parser.add_argument("--unseen-manifest", help="people who aren't in the training data")
    parser.add_argument("--sounds-manifest", help="silence, noise and music, for the questions")
    parser.add_argument(
        "--manifest", action="append", default=[], metavar="NAME=PATH", help="another set; repeat"
    )
    parser.add_argument("--groups", default="transcription,questions,speed,commands")
    parser.add_argument("--limit", type=int, help="utterances a set in transcription")
    parser.add_argument(
        "--question-limit", type=int, default=60, help="utterances a set in questions (60)"
    )
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5, help="of every timing (5)")
    parser.add_argument("--threads", type=int, help="processor threads; by default PyTorch's")
    parser.add_argument("--peer", metavar="DIR", help="Whisper in CTranslate2 format")
    parser.add_argument("--recipe", default="nano", help="recipe the model was trained by")


def run(args: argparse.Namespace) -> list[Path]:
    """Measure the groups asked for; returns the files written.

    Raises:
        BorealisError: an unknown group, a bad manifest, or a model that can't be loaded.
    """
    groups = [group.strip() for group in args.groups.split(",") if group.strip()]
    if unknown := [group for group in groups if group not in GROUPS]:
        raise BorealisError(f"Unknown group '{unknown[0]}'; the groups are {', '.join(GROUPS)}.")
    if args.repeats < 1:
        raise BorealisError(f"--repeats is {args.repeats}; it must be 1 or more.")
    manifests, sounds = _manifests(args)
    if not manifests:
        raise ManifestError("Nothing to measure on: give --data, --test-manifest or --manifest.")
    bench = _Bench(args, manifests, sounds)
    return [path for group in groups if (path := bench.write(group)) is not None]


class _Bench:
    """One run: the model and the peer are loaded once, by the first group that needs them."""

    def __init__(
        self, args: argparse.Namespace, manifests: dict[str, Path], sounds: Path | None
    ) -> None:
        self.args, self.manifests, self.sounds = args, manifests, sounds
        self.name = args.name or Path(args.model).name
        self.loaded: Borealis | None = None
        self.whisper: Whisper | None = None
        # Bad manifests are told before anything is measured.
        self.sets = {name: read_manifest(path) for name, path in manifests.items()}
        if args.threads:
            import torch

            torch.set_num_threads(args.threads)

    @property
    def model(self) -> Borealis:
        if self.loaded is None:
            import borealis

            self.loaded = borealis.load(self.args.model)
        return self.loaded

    @property
    def peer(self) -> Whisper | None:
        if self.whisper is None and self.args.peer:
            import torch

            from borealis.evaluation.peer import Whisper

            self.whisper = Whisper(self.args.peer, threads=torch.get_num_threads())
        return self.whisper

    def write(self, group: str) -> Path | None:
        measured = getattr(self, group)()
        if measured is None:
            return None
        metrics, data = measured
        record = results.describe(
            f"{self.name}-{group}" if group != "install" else group,
            model=self.model if group not in ("install", "commands") else None,
            data=data,
            recipe=self.args.recipe,
            batch_size=self.args.batch_size,
        )
        if self.peer is not None and group in ("transcription", "speed"):
            record["peer"] = self.peer.describe()
        path = Path(self.args.output) / f"{record['name']}.json"
        results.write(path, record | {"metrics": metrics})
        print(f"{path}: {_headline(group, metrics)}", flush=True)
        return path

    def transcription(self) -> tuple[dict[str, Any], dict[str, Any]]:
        metrics, data = {}, {}
        for name, path in self.manifests.items():
            items = runner.select(self.sets[name], self.args.limit)
            data[name] = results.describe_manifest(path, items)
            metrics[name] = runner.evaluate_manifest(
                self.model, items, batch_size=self.args.batch_size
            ).to_dict()
            if self.peer is not None:
                from borealis.evaluation.peer import evaluate_peer

                metrics[name]["peer"] = evaluate_peer(self.peer, items).to_dict()
        return metrics, data

    def questions(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """All sets together: a task needs clips of all its classes."""
        pool: list[Utterance] = []
        data = {}
        sets = dict(self.manifests) | ({"sounds": self.sounds} if self.sounds else {})
        for name, path in sets.items():
            items = runner.select(path, self.args.question_limit)
            data[name] = results.describe_manifest(path, items)
            pool += items
        scores = runner.evaluate_questions(self.model, pool, batch_size=self.args.batch_size)
        return scores.to_dict(), data

    def speed(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """A minute of speech, joined from the first set, through a model already loaded."""
        name = next(iter(self.manifests))
        clip, used = _speech(self.sets[name], 60.0)
        seconds = len(clip) / SAMPLING_RATE
        ours = _timed(
            lambda: self.model.transcribe(clip, batch_size=self.args.batch_size), self.args.repeats
        )
        metrics = _speed(seconds, ours)
        if (peer := self.peer) is not None:
            language = used[0].language or "ru"
            theirs = _timed(lambda: peer.transcribe(clip, language=language), self.args.repeats)
            metrics["peer"] = _speed(seconds, theirs)
        return metrics, {name: results.describe_manifest(self.manifests[name], used)}

    def commands(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Whole processes; the first, untimed call warms the cache of checkpoints and files."""
        import soundfile

        clip, _ = _speech(next(iter(self.sets.values())), 5.0)
        base = [sys.executable, "-m", "borealis"]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "five-seconds.wav"
            soundfile.write(path, clip, SAMPLING_RATE)
            transcribe = [*base, "transcribe", str(path), "--model", self.args.model]
            times = {
                "transcribe": _timed(lambda: _call(transcribe), self.args.repeats),
                "help": _timed(lambda: _call([*base, "--help"]), self.args.repeats),
            }
        return {k: {"median_seconds": _median(v), "seconds": v} for k, v in times.items()}, {}

    def install(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """A fresh environment from the lock; pip's own cache and the registry as they are."""
        root = Path(__file__).resolve().parents[2]
        lock = root / "requirements.lock"
        if not lock.is_file():
            print("install: left out, there is no requirements.lock here", file=sys.stderr)
            return None
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            _call([sys.executable, "-m", "venv", folder])
            pip = [str(Path(folder) / "bin" / "pip"), "install", "--quiet", "--no-deps"]
            _call([*pip, "-r", str(lock)])
            _call([*pip, "--no-build-isolation", "-e", str(root)])
            taken = round(time.perf_counter() - began, 1)
        return {"seconds": taken}, {}


def _manifests(args: argparse.Namespace) -> tuple[dict[str, Path], Path | None]:
    """Named manifests in the order of the table, and the one of sounds."""
    found: dict[str, Path] = {}
    sounds = Path(args.sounds_manifest) if args.sounds_manifest else None
    if args.test_manifest:
        found["test"] = Path(args.test_manifest)
    if args.unseen_manifest:
        found["unseen"] = Path(args.unseen_manifest)
    if args.data:
        folder = Path(args.data)
        for name, file in _DATA_FILES.items():
            if (folder / file).is_file():
                found.setdefault(name, folder / file)
        if sounds is None and (folder / _SOUNDS_FILE).is_file():
            sounds = folder / _SOUNDS_FILE
    for pair in args.manifest:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise ManifestError(f"--manifest is '{pair}'; give NAME=PATH, like radio=radio.jsonl.")
        found[name] = Path(path)
    return found, sounds


def _speech(utterances: Sequence[Utterance], seconds: float) -> tuple[np.ndarray, list[Utterance]]:
    """Clips of speech joined and cut to `seconds`: float32 `[num_samples]` at 16 kHz."""
    import numpy as np

    wanted = round(seconds * SAMPLING_RATE)
    parts, used = [], []
    for item in (u for u in utterances if u.kind == "speech"):
        parts.append(load_audio(item.audio))
        used.append(item)
        if sum(map(len, parts)) >= wanted:
            break
    if not parts:
        raise ManifestError("The first manifest has no speech to time.")
    return np.concatenate(parts)[:wanted], used


def _timed(work: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each call, after one that isn't counted."""
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(round(time.perf_counter() - began, 3))
    return times


def _call(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BorealisError(f"'{' '.join(command[1:4])}' failed: {last}")


def _median(times: Sequence[float]) -> float:
    return round(statistics.median(times), 3)


def _speed(seconds: float, times: list[float]) -> dict[str, Any]:
    return {
        "audio_seconds": round(seconds, 2),
        "seconds": times,
        "median_seconds": _median(times),
        "times_real_time": round(seconds / _median(times), 1),
    }


def _headline(group: str, metrics: dict[str, Any]) -> str:
    if group == "transcription":
        return ", ".join(
            f"{name} WER {m['word_error_rate']:.1%} CER {m['character_error_rate']:.1%}"
            for name, m in metrics.items()
            if m["word_error_rate"] is not None
        )
    if group == "questions":
        return f"balanced accuracy {metrics['balanced_accuracy']:.1%}"
    if group == "speed":
        return f"{metrics['times_real_time']} times real time"
    if group == "commands":
        return ", ".join(f"{name} {m['median_seconds']} s" for name, m in metrics.items())
    return f"{metrics['seconds']} s"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of the module."""
    parser = argparse.ArgumentParser(
        prog="python -m borealis.evaluation.benchmark",
        description="Measure a model into result files.",
    )
    add_arguments(parser)
    try:
        run(parser.parse_args(argv))
    except BorealisError as error:
        print(f"borealis: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
