"""The drivers that write result files: what they measure, record, keep and refuse."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

import borealis
from borealis.data.manifest import Utterance, read_manifest, write_manifest
from borealis.evaluation import benchmark, peer, results
from borealis.inference import Borealis
from tests.conftest import load_script
from tools.site.freshness import load_results


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    rng = np.random.default_rng(0)
    for name, kind in (("festvox-ru", "speech"), ("sounds", "noise")):
        items = []
        for k in range(3):
            file = f"{name}-{k}.wav"
            folder.mkdir(exist_ok=True)
            soundfile.write(folder / file, rng.normal(0, 0.1, 16_000), 16_000)
            text = f"Раз два три {'четыре' * k}." if kind == "speech" else ""
            items.append(Utterance(file, text, 1.0, "ru", "a", "male", kind))
        write_manifest(folder / f"{name}.test.jsonl", items)
    return folder


class Parrot:
    """A peer that says the same of every clip and counts them."""

    beam_size = 5

    def __init__(self) -> None:
        self.heard = 0

    def transcribe(self, clip, *, language):
        self.heard += 1
        return "раз два"

    def describe(self):
        return {"engine": "parrot", "compute_type": "float32", "beam_size": self.beam_size}


@pytest.fixture
def parrot(monkeypatch) -> Parrot:
    bird = Parrot()
    monkeypatch.setattr(peer, "Whisper", lambda folder, threads, compute_type: bird)
    return bird


@pytest.fixture
def tiny(make_tiny, monkeypatch) -> Borealis:
    model = Borealis(*make_tiny("mlp"))
    monkeypatch.setattr(borealis, "load", lambda name, **options: model)
    return model


def run(data: Path, output: Path, *options: str) -> int:
    words = ["--data", str(data), "--output", str(output), "--name", "tiny", *options]
    return benchmark.main(words)


def test_files_say_what_was_measured_and_how(data, tiny, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(benchmark, "_call", lambda command, cwd=None: None)
    output = tmp_path / "results"
    assert run(data, output, "--repeats", "2", "--batch-size", "3") == 0
    assert sorted(p.name for p in output.iterdir()) == [
        f"tiny-{group}.json" for group in ("commands", "questions", "speed", "transcription")
    ]
    files = {p.stem: json.loads(p.read_text(encoding="utf-8")) for p in output.iterdir()}
    # Sets that aren't there are named, not passed over.
    told = capsys.readouterr().err
    assert "unseen: left out" in told and "english: left out" in told
    transcription = files["tiny-transcription"]
    assert transcription["metrics"]["test"]["utterances"] == 3
    assert transcription["data"]["test"]["manifest"] == "festvox-ru.test.jsonl"
    assert transcription["decoding"]["strategy"] == "greedy"
    assert transcription["decoding"]["batch_size"] == 3
    questions = files["tiny-questions"]["decoding"]
    assert questions == {
        "answer": {"strategy": "greedy", "max_new_tokens": 48, "batch_size": 3}
    }  # this one answers without a transcript
    assert files["tiny-commands"]["decoding"]["batch_size"] == 8
    speed = files["tiny-speed"]["metrics"]
    assert len(speed["seconds"]) == len(speed["audio_seconds"]) == 1
    assert speed["word_error_rate"] > 0 and speed["times_real_time"] > 0
    assert speed["busy"]["processes"] >= 1 and speed["busy"]["slower"] > 0
    # The tables know these groups, and refuse another model than the one that ships.
    assert set(load_results(output).refused) >= {"transcription", "questions", "speed", "commands"}


def test_files_that_change_during_a_measurement_make_it_dirty(
    data, tiny, tmp_path, monkeypatch
) -> None:
    commits = iter(["one", *["two"] * 10])
    monkeypatch.setattr(results, "checkout", lambda: (next(commits), False))
    assert run(data, tmp_path, "--groups", "speed") == 0
    assert results.read(tmp_path / "tiny-speed.json")["dirty"]


def test_recordings_of_speed_are_whole_and_a_minute_long(tmp_path) -> None:
    items = []
    for k in range(16):
        file = tmp_path / f"{k}.wav"
        soundfile.write(file, np.full(8 * 16_000, k / 20), 16_000)
        items.append(Utterance(str(file), f"слово{k}", 8.0))
    made = benchmark._minutes(items)
    # 8 clips make 64 s; the rest of 64 s is a recording of its own, 8 s wouldn't be.
    assert [len(clip) / 16_000 for clip, _ in made] == [64, 64]
    assert made[0][1].split() == [f"слово{k}" for k in range(8)]
    assert [len(clip) / 16_000 for clip, _ in benchmark._minutes(items[:9])] == [72]


def test_the_peer_is_compared_and_its_texts_are_kept(data, tiny, parrot, tmp_path, capsys) -> None:
    options = ("--groups", "transcription", "--peer", "whisper")
    path = tmp_path / "tiny-transcription.json"
    assert run(data, tmp_path, *options) == 0
    first = results.read(path)
    assert parrot.heard == 3
    metrics = first["metrics"]["test"]
    ours, theirs = (m["word_error_rate"] for m in (metrics, metrics["peer"]))
    assert metrics["difference"]["word_error_rate"] == pytest.approx(ours - theirs, abs=2e-4)
    assert len(metrics["difference"]["word_error_rate_95"]) == 2
    assert first["peer"]["measured"].keys() == {"date", "commit"}
    # The same settings and recordings: nothing is heard again, and the file is the same.
    results.write(path, first | {"dirty": False})
    assert run(data, tmp_path, *options) == 0
    assert parrot.heard == 3 and "is kept" in capsys.readouterr().out
    assert results.read(path)["metrics"]["test"]["peer"] == metrics["peer"]
    for change in ("anew", "settings", "recordings"):
        results.write(path, first | {"dirty": False})
        before = parrot.heard
        if change == "settings":
            parrot.beam_size = 1
        elif change == "recordings":
            manifest = data / "festvox-ru.test.jsonl"
            write_manifest(manifest, read_manifest(manifest)[:2])
        words = ("--peer-anew",) if change == "anew" else ()
        assert run(data, tmp_path, *options, *words) == 0
        assert parrot.heard - before == (2 if change == "recordings" else 3), change


def test_a_peer_of_a_dirty_file_is_not_kept() -> None:
    settings, data = {"beam_size": 5}, {"test": {"sha256": "a"}}
    when = {"date": "2026-11-24", "commit": "abc"}
    old = {"peer": settings | {"measured": when}, "data": data | {"more": {}}, "dirty": False}
    assert peer.kept_since(old, settings, data) == when
    assert peer.kept_since(old | {"dirty": True}, settings, data) is None
    assert peer.kept_since({}, settings, data) is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Nothing to measure"),
        (["--groups", "magic", "--data", "."], "magic"),
        (["--manifest", "radio"], "NAME=PATH"),
        (["--manifest", "radio=none.jsonl"], "none.jsonl"),
        (["--test-manifest", "none.jsonl"], "none.jsonl"),
    ],
)
def test_benchmark_says_what_is_wrong(arguments: list[str], says: str, capsys) -> None:
    assert benchmark.main(arguments) == 2
    assert says in capsys.readouterr().err


# ---- make bench ----


@pytest.fixture
def script(monkeypatch) -> ModuleType:
    module = load_script("benchmarks/run.py")
    monkeypatch.setattr(module, "checkout", lambda: ("abc", False))
    return module


def bench(script: ModuleType, monkeypatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["run.py", *words])
    return script.main()


def test_parts_run_one_after_another_and_failures_are_told(
    script, data, tmp_path, monkeypatch, capfd
) -> None:
    def quick(args):
        said = {part: [["-c", f"print('{part} runs')"]] for part in script.PARTS}
        return said | {"speed": [["-c", "raise SystemExit(3)"], ["-c", "print('the other runs')"]]}

    monkeypatch.setattr(script, "commands", quick)
    words = ("--data", str(data), "--output", str(tmp_path))
    assert bench(script, monkeypatch, "commands,install", *words) == 0
    out = capfd.readouterr().out
    assert out.index("commands runs") < out.index("install runs") and "demo" not in out
    assert "Whisper isn't measured" in out
    assert bench(script, monkeypatch, "all", *words) == 1
    out = capfd.readouterr().out
    assert all(f"{part} runs" in out for part in script.PARTS if part != "speed")
    assert "the other runs" in out
    assert [line for line in out.splitlines() if line.startswith("speed ")][-1].endswith("above")


def test_every_part_is_a_command_line_that_its_program_takes(script, tmp_path) -> None:
    """The words are handed to the programs' own parsers, as far as that."""
    import argparse

    from borealis.serving.bench import add_arguments

    args = argparse.Namespace(
        data="data", output="results", peer="whisper", peer_anew=True, threads=2, serve_python="py"
    )
    runs = script.commands(args)
    assert list(runs) == list(script.PARTS)
    parsers = {"benchmark": argparse.ArgumentParser(), "serve": argparse.ArgumentParser()}
    benchmark.add_arguments(parsers["benchmark"])
    add_arguments(parsers["serve"])
    for part in ("transcription", "questions", "speed", "words", "commands", "install"):
        (words,) = runs[part]
        assert words[:2] == ["-m", "borealis.evaluation.benchmark"]
        assert parsers["benchmark"].parse_args(words[2:]).groups == part
    dtypes = []
    for words in runs["server"]:
        assert words[:3] == ["-m", "borealis", "bench"]
        parsed = parsers["serve"].parse_args(words[3:])
        dtypes.append(parsed.dtype)
        assert parsed.start == "py" and parsed.output.endswith(f"serving_{parsed.dtype}.json")
    assert dtypes == ["float32", "bfloat16"]
    for part in ("sounds", "demo"):
        assert Path(runs[part][0][0]).is_file()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["magic"], "no part 'magic'"),
        (["speed", "--data", "nowhere"], "python -m lab.nano.data"),
    ],
)
def test_make_bench_says_what_is_wrong(script, words, says, monkeypatch, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        bench(script, monkeypatch, *words)
    assert says in capsys.readouterr().err


def test_a_dirty_checkout_is_refused_before_anything_is_measured(
    script, data, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(script, "checkout", lambda: ("abc", True))
    with pytest.raises(SystemExit):
        bench(script, monkeypatch, "speed", "--data", str(data))
    assert "files differ from the commit" in capsys.readouterr().err
