"""Measures a model as its README reports it; one result file a group of numbers.

    python -m borealis.evaluation.benchmark --data data --output results [--peer whisper-base]

Groups: `transcription` (WER and CER on every named manifest), `questions` (balanced accuracy),
`speed` (recordings of a minute, one at a time, after loading), `words` (when words begin, against
the phone labels beside the first set, and how sure they are), `commands` (whole processes, warm,
where the package alone is installed) and, only when asked for, `install` (a fresh environment from
the lock). `make bench` runs these and the benchmarks of the server, the demo and of silence
(`benchmarks/run.py`).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from borealis.audio import SAMPLING_RATE, load_audio
from borealis.data.manifest import Utterance, read_manifest
from borealis.errors import BorealisError, ManifestError
from borealis.evaluation import results, runner
from borealis.evaluation.metrics import error_rates, rate_difference

if TYPE_CHECKING:
    import numpy as np

    from borealis.evaluation.peer import Whisper
    from borealis.inference import Borealis

GROUPS = ("transcription", "questions", "speed", "words", "commands", "install")

# Manifests that `python -m lab.nano.data` writes, and what the table calls them.
_DATA_FILES = {
    "test": "festvox-ru.test.jsonl",
    "unseen": "asterisk-ru.unseen.jsonl",
    "synthetic": "synthetic-ru.test.jsonl",
    "english": "english-tts.test.jsonl",
}
_SOUNDS_FILE = "sounds.test.jsonl"
_ROOT = Path(__file__).resolve().parents[2]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the driver."""
    parser.add_argument("--model", default="nano", help="bundled name, folder or hub id (nano)")
    parser.add_argument("--name", help="first part of the file names; by default the model's name")
    parser.add_argument("--output", default="results", help="folder of the result files (results)")
    parser.add_argument("--data", help="folder that 'python -m lab.nano.data' wrote")
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
    parser.add_argument("--repeats", type=int, default=5, help="of every command (5)")
    parser.add_argument("--threads", type=int, help="processor threads; by default PyTorch's")
    parser.add_argument("--peer", metavar="DIR", help="Whisper in CTranslate2 format")
    parser.add_argument(
        "--peer-anew",
        action="store_true",
        help="let it transcribe again what OUTPUT has from it by the same settings",
    )
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
    if not manifests and groups != ["install"]:
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
        self.began = results.checkout()
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
            self.loaded = self.load()
        return self.loaded

    def load(self, **options: Any) -> Borealis:
        import borealis

        return borealis.load(self.args.model, **options)

    @property
    def peer(self) -> Whisper | None:
        if self.whisper is None and self.args.peer:
            self.whisper = self._load_peer("float32")
        return self.whisper

    def _load_peer(self, compute_type: str) -> Whisper:
        import torch

        from borealis.evaluation.peer import Whisper

        threads = torch.get_num_threads()
        return Whisper(self.args.peer, threads=threads, compute_type=compute_type)

    def write(self, group: str) -> Path | None:
        measured = getattr(self, group)()
        if measured is None:
            return None
        name = f"{self.name}-{group}" if group != "install" else group
        metrics = measured.pop("metrics")
        model = self.model if group != "install" else None
        about = {key: measured.pop(key) for key in ("decoding", "data") if key in measured}
        record = results.describe(name, model=model, recipe=self.args.recipe, **about)
        if self.began != results.checkout():
            record["dirty"] = True  # the files changed while they were measured
        path = self._path(group)
        results.write(path, record | measured | {"metrics": metrics})
        print(f"{path}: {_headline(group, metrics)}", flush=True)
        return path

    def _path(self, group: str) -> Path:
        name = f"{self.name}-{group}" if group != "install" else group
        return Path(self.args.output) / f"{name}.json"

    def transcription(self) -> dict[str, Any]:
        size = self.args.batch_size
        metrics, data = {}, {}
        measured: dict[str, Any] = {}
        for name, path in self.manifests.items():
            items = runner.select(self.sets[name], self.args.limit)
            data[name] = results.describe_manifest(path, items)
            # As the peer, ours is told the language where a set has one.
            known = {item.language for item in items if item.kind == "speech"}
            language = known.pop() if len(known) == 1 else None
            ours = runner.evaluate_manifest(
                self.model, items, batch_size=size, language=language
            ).to_dict()
            metrics[name] = ours
            if self.peer is not None:
                theirs, when = self._peer_on(name, items, data[name])
                ours["peer"] = theirs
                ours["difference"] = _difference(ours["rows"], theirs["rows"])
                measured["peer"] = self.peer.describe() | {"measured": when}
        decoding = results.describe_decoding(
            self.model, batch_size=size, language="that of the set"
        )
        return measured | {"metrics": metrics, "data": data, "decoding": decoding}

    def _peer_on(
        self, name: str, items: list[Utterance], data: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """What the peer writes for a set, and when it did.

        Its texts depend on its settings and the recordings alone: those that the last file has by
        the same settings are kept, and only counted anew.
        """
        from borealis.evaluation.peer import evaluate_peer, kept_since

        assert self.peer is not None
        old = {} if self.args.peer_anew else results.read(self._path("transcription"))
        when = kept_since(old, self.peer.describe(), {name: data})
        if when and (kept := old["metrics"][name].get("peer")):
            print(f"{name}: what the peer wrote at commit {when['commit']} is kept", flush=True)
            speed = {key: kept[key] for key in ("seconds", "times_real_time")}
            wall = speed["seconds"] / speed["times_real_time"]
            fresh = runner.summarize(kept["rows"], speed["seconds"], wall, kept["skipped"])
            return fresh.to_dict() | speed, when
        return evaluate_peer(self.peer, items).to_dict(), results.now()

    def questions(self) -> dict[str, Any]:
        """All sets together: a task needs clips of all its classes."""
        pool: list[Utterance] = []
        data = {}
        sets = dict(self.manifests) | ({"sounds": self.sounds} if self.sounds else {})
        for name, path in sets.items():
            items = runner.select(path, self.args.question_limit)
            data[name] = results.describe_manifest(path, items)
            pool += items
        size = self.args.batch_size
        scores = runner.evaluate_questions(self.model, pool, batch_size=size)
        decoding = runner.question_decoding(self.model, size)
        return {"metrics": scores.to_dict(), "data": data, "decoding": decoding}

    def speed(self) -> dict[str, Any]:
        """The first set, joined to recordings of a minute, one at a time by a loaded model."""
        name = next(iter(self.manifests))
        speech = [u for u in runner.select(self.sets[name], self.args.limit) if u.kind == "speech"]
        recordings = _minutes(speech)
        language = speech[0].language or "ru"
        settings = {"batch_size": self.args.batch_size, "language": language}

        def transcribe(clip: np.ndarray) -> str:
            return self.model.transcribe(clip, **settings).text

        metrics = _speed(recordings, transcribe)
        with _busy_processes(os.cpu_count() or 1) as count:
            busy = _speed(recordings[:2], transcribe)
        # The peer's weights are rounded as well.
        rounded = self.load(dtype="bfloat16")
        metrics["bfloat16"] = _speed(
            recordings, lambda clip: rounded.transcribe(clip, **settings).text
        )
        slower = metrics["times_real_time"] / busy["times_real_time"]
        metrics["busy"] = {"processes": count, "slower": round(slower, 2)}
        measured: dict[str, Any] = {}
        if (peer := self.peer) is not None:
            metrics["peer"] = _speed(recordings, lambda c: peer.transcribe(c, language=language))
            measured["peer"] = peer.describe()
            small = self._load_peer("int8")
            metrics["peer_int8"] = _speed(
                recordings, lambda c: small.transcribe(c, language=language)
            )
        data = {name: results.describe_manifest(self.manifests[name], speech)}
        decoding = results.describe_decoding(self.model, **settings)
        return measured | {"metrics": metrics, "data": data, "decoding": decoding}

    def words(self) -> dict[str, Any]:
        """Of the first set, whose recordings have phone labels beside them."""
        from borealis.evaluation.word_times import measure

        name, path = next(iter(self.manifests.items()))
        items = [u for u in runner.select(self.sets[name], self.args.limit) if u.kind == "speech"]
        settings = {"batch_size": self.args.batch_size, "language": items[0].language or "ru"}
        metrics = measure(self.model, items, **settings).to_dict()
        data = {name: results.describe_manifest(path, items)}
        decoding = results.describe_decoding(self.model, **settings)
        return {"metrics": metrics, "data": data, "decoding": decoding}

    def commands(self) -> dict[str, Any]:
        """Whole processes where the package alone is installed, without what developers add to it.

        The first, untimed call warms the cache of checkpoints and files.
        """
        import soundfile

        clip = _beginning(next(iter(self.sets.values())), 5.0)
        size, language = 8, "ru"
        options = ["--batch-size", str(size), "--language", language]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "five-seconds.wav"
            soundfile.write(path, clip, SAMPLING_RATE)
            base = [_package_alone(Path(folder)), "-m", "borealis"]
            transcribe = [*base, "transcribe", str(path), "--model", self.args.model, *options]
            times = {
                "transcribe": _timed(lambda: _call(transcribe), self.args.repeats),
                "help": _timed(lambda: _call([*base, "--help"]), self.args.repeats),
            }
        metrics = {k: {"median_seconds": _median(v), "seconds": v} for k, v in times.items()}
        decoding = results.describe_decoding(self.model, batch_size=size, language=language)
        return {"metrics": metrics, "decoding": decoding}

    def install(self) -> dict[str, Any]:
        """A fresh environment as `make` makes it; pip's own cache and the registry as they are."""
        if not (_ROOT / "Makefile").is_file():
            raise BorealisError("The installation is measured in a checkout: here is no Makefile.")
        with tempfile.TemporaryDirectory() as folder:
            target = f"{folder}/venv"
            began = time.perf_counter()
            _call(["make", "-C", str(_ROOT), f"VENV={target}", f"{target}/.installed"])
            taken = round(time.perf_counter() - began, 1)
        lock = results.file_digest(_ROOT / "requirements.lock")
        return {"metrics": {"seconds": taken}, "lock": lock}


def _package_alone(folder: Path) -> str:
    """The interpreter of a fresh environment with the wheel of this checkout and what it needs."""
    if not (_ROOT / "pyproject.toml").is_file():
        raise BorealisError("Commands are measured in a checkout: here is no pyproject.toml.")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    _call(build, cwd=_ROOT)
    _call([sys.executable, "-m", "venv", str(folder / "venv")])
    python = str(folder / "venv" / "bin" / "python")
    lock = str(_ROOT / "requirements.lock")
    _call([python, "-m", "pip", "install", "--quiet", "-c", lock, *map(str, folder.glob("*.whl"))])
    return python


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
            elif name not in found:
                print(f"{name}: left out, {folder} has no {file}", file=sys.stderr)
        if sounds is None and (folder / _SOUNDS_FILE).is_file():
            sounds = folder / _SOUNDS_FILE
    for pair in args.manifest:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise ManifestError(f"--manifest is '{pair}'; give NAME=PATH, like radio=radio.jsonl.")
        found[name] = Path(path)
    return found, sounds


def _minutes(utterances: Sequence[Utterance]) -> list[tuple[np.ndarray, str]]:
    """Recordings of about a minute and what is said in them.

    Whole utterances are joined until a minute is full; a rest under half a minute goes to the last.
    Each recording is float32 `[num_samples]` at 16 kHz.
    """
    import numpy as np

    if not utterances:
        raise ManifestError("The first manifest has no speech to time.")
    groups: list[list[tuple[np.ndarray, str]]] = [[]]
    for item in utterances:
        if sum(len(clip) for clip, _ in groups[-1]) >= 60 * SAMPLING_RATE:
            groups.append([])
        groups[-1].append((load_audio(item.audio), item.text))
    if len(groups) > 1 and sum(len(clip) for clip, _ in groups[-1]) < 30 * SAMPLING_RATE:
        rest = groups.pop()
        groups[-1] += rest
    return [
        (np.concatenate([clip for clip, _ in group]), " ".join(text for _, text in group))
        for group in groups
    ]


def _beginning(utterances: Sequence[Utterance], seconds: float) -> np.ndarray:
    """Clips of speech joined and cut to `seconds`: float32 `[num_samples]` at 16 kHz."""
    import numpy as np

    wanted, parts = round(seconds * SAMPLING_RATE), []
    for item in (u for u in utterances if u.kind == "speech"):
        parts.append(load_audio(item.audio))
        if sum(map(len, parts)) >= wanted:
            break
    if not parts:
        raise ManifestError("The first manifest has no speech to time.")
    return np.concatenate(parts)[:wanted]


def _speed(
    recordings: Sequence[tuple[np.ndarray, str]], transcribe: Callable[[np.ndarray], str]
) -> dict[str, Any]:
    """Seconds for each recording, and the error rate of what was written in them."""
    transcribe(recordings[0][0])  # what is made at the first call isn't timed
    times, texts = [], []
    for clip, _ in recordings:
        began = time.perf_counter()
        texts.append(transcribe(clip))
        times.append(round(time.perf_counter() - began, 3))
    lengths = [len(clip) / SAMPLING_RATE for clip, _ in recordings]
    rates = error_rates([text for _, text in recordings], texts)
    return {
        "audio_seconds": [round(length, 2) for length in lengths],
        "seconds": times,
        "times_real_time": round(sum(lengths) / sum(times), 1),
        "word_error_rate": rates.word_error_rate,
        "word_error_rate_95": rates.word_error_rate_95,
    }


@contextmanager
def _busy_processes(count: int) -> Iterator[int]:
    """So many processes that do nothing but keep a core busy, for as long as the block takes."""
    spin = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(spin) for _ in range(count)]
    try:
        yield count
    finally:
        for process in running:
            process.kill()
            process.wait()


def _difference(ours: list[dict[str, str]], theirs: list[dict[str, str]]) -> dict[str, Any]:
    """Difference of word error rates; both could read the same recordings."""
    return rate_difference(
        [row["reference"] for row in ours],
        [row["hypothesis"] for row in ours],
        [row["hypothesis"] for row in theirs],
    )


def _timed(work: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each call, after one that isn't counted."""
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(round(time.perf_counter() - began, 3))
    return times


def _call(command: Sequence[str], cwd: Path | None = None) -> None:
    # Whoever forbids Python to keep compiled modules would measure the compiler at every start.
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=kept, cwd=cwd)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BorealisError(f"'{' '.join(command[1:4])}' failed: {last}")


def _median(times: Sequence[float]) -> float:
    return round(statistics.median(times), 3)


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
        return f"{metrics['times_real_time']} times real time, WER {metrics['word_error_rate']:.1%}"
    if group == "words":
        error = metrics["start_error_seconds"]
        return (
            f"word starts off by {error['median']} s (95 %: {error['p95']} s), calibration error "
            f"{metrics['calibration_error']}"
        )
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
