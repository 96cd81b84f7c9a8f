"""Tables from result files, and the benchmark that writes those."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import borealis
from borealis.data.manifest import Utterance, write_manifest
from borealis.evaluation import benchmark, report, report_details
from borealis.inference import Borealis

PAGE = f"# Borealis\n\n{report.START}\nold\n{report.END}\n\nAfter.\n"
MACHINE = {"processor": "A CPU", "accelerator": "", "threads": 2}

SOUNDS = {"silence": 0, "noise": 1, "music": 2}


def write_results(folder: Path) -> Path:
    """Result files with the keys that the table reads."""
    folder.mkdir(exist_ok=True)
    rates = {
        "word_error_rate": 0.2512,
        "character_error_rate": 0.0712,
        "word_error_rate_95": [0.21, 0.294],
    }
    peer = rates | {"word_error_rate": 0.207, "character_error_rate": 0.052}
    metrics = {
        "transcription": {"test": rates | {"peer": peer}, "radio": rates},
        "questions": {"balanced_accuracy": 0.913, "tasks": {"voice": 0.97, "word_count": 0.6}},
        "speed": {"times_real_time": 31.4, "peer": {"times_real_time": 12.0}},
        "commands": {"transcribe": {"median_seconds": 2.84}, "help": {"median_seconds": 0.12}},
        "sounds": {
            "seconds_each": 600.0,
            "kinds": {k: {"words": n, "peer": {"words": 9}} for k, n in SOUNDS.items()},
        },
        "install": {"seconds": 150.0},
    }
    for group, values in metrics.items():
        record = {
            "name": "install" if group == "install" else f"nano-{group}",
            "date": "2026-11-24",
            "commit": "abc123",
            "machine": MACHINE,
            "model": {"parameters": 32_400_000},
            "metrics": values,
        }
        (folder / f"{record['name']}.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def fill(tmp_path: Path, name: str) -> str:
    page = tmp_path / name
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(PAGE, encoding="utf-8")
    folder = write_results(tmp_path / "results")
    assert report.main([str(page), "--results", str(folder)]) == 0
    return page.read_text(encoding="utf-8")


def test_table_has_a_row_for_every_number(tmp_path: Path) -> None:
    text = fill(tmp_path, "docs/en/results.md")
    assert text.startswith("# Borealis\n\n<!-- results:start -->\n| Measured | borealis-nano |")
    assert text.endswith("<!-- results:end -->\n\nAfter.\n")
    assert "old" not in text
    for line in (
        "| WER / CER, 60 test utterances, % | 25.1 / 7.1 (21.0–29.4) | 20.7 / 5.2 | 20 % |",
        "| WER / CER, radio, % | 25.1 / 7.1 (21.0–29.4) | – | – |",
        "| questions in unseen wordings, % | 91.3 | – | 85 % |",
        "| · one answer of a few, on average | 97.0 | – | – |",
        "| · man or woman | 97.0 | – | – |",
        "| parameters | 32.4 M | 74 M | < 45 M |",
        "| 60 s of speech, times real time | 31× | 12× | 10× |",
        "| `borealis transcribe`, a 5 s file, whole process | 2.8 s | – | < 8 s |",
        "| words written in 30 min of silence, noise and music | 3 | 27 | 5 |",
        "| `borealis --help`, whole process | 0.12 s | – | < 1 s |",
        "| install by the lock, fresh venv | 2.5 min | – | < 6 min |",
    ):
        assert line in text
    assert "Commit abc123, 2026-11-24; A CPU, threads: 2." in text


def test_russian_page_is_in_russian(tmp_path: Path) -> None:
    text = fill(tmp_path, "docs/ru/results.md")
    assert "| Что измерено |" in text
    assert "| · мужчина или женщина | 97,0 | – | – |" in text
    assert "32,4 млн" in text
    assert "Measured" not in text


def test_readme_is_in_both_languages(tmp_path: Path) -> None:
    text = fill(tmp_path, "README.md")
    assert "Что измерено · Measured" in text
    assert "| · мужчина или женщина · man or woman |" in text
    assert "Коммит abc123" in text
    assert "Commit abc123" in text


def test_check_tells_stale_pages_and_writes_nothing(tmp_path: Path, capsys) -> None:
    page = tmp_path / "README.md"
    page.write_text(PAGE, encoding="utf-8")
    arguments = [str(page), "--results", str(write_results(tmp_path / "results"))]
    assert report.main([*arguments, "--check"]) == 1
    assert page.read_text(encoding="utf-8") == PAGE
    assert "stale" in capsys.readouterr().out
    assert report.main(arguments) == 0
    assert report.main([*arguments, "--check"]) == 0


def test_no_results_are_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    page = tmp_path / "README.md"
    page.write_text(PAGE, encoding="utf-8")
    assert report.main([str(page), "--results", str(tmp_path / "results")]) == 0
    assert "Nothing has been measured yet." in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "text", ["no marks", report.START, f"{report.END}{report.START}", PAGE * 2]
)
def test_page_without_its_marks_is_an_error(text: str, tmp_path: Path, capsys) -> None:
    page = tmp_path / "README.md"
    page.write_text(text, encoding="utf-8")
    assert report.main([str(page), "--results", str(tmp_path)]) == 2
    assert "README.md" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("content", ["{", "[]", '{"name": "a"}', '{"metrics": {}}'])
def test_file_that_is_no_result_is_an_error(content: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "odd.json").write_text(content, encoding="utf-8")
    (tmp_path / "README.md").write_text(PAGE, encoding="utf-8")
    assert report.main([str(tmp_path / "README.md"), "--results", str(tmp_path)]) == 2
    assert "odd.json" in capsys.readouterr().err


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


def test_benchmark_writes_files_that_the_table_reads(
    data: Path, make_tiny, tmp_path: Path, monkeypatch, capsys
) -> None:
    model = Borealis(*make_tiny("mlp"))
    monkeypatch.setattr(borealis, "load", lambda name: model)
    monkeypatch.setattr(benchmark, "_call", lambda command: None)
    output = tmp_path / "results"
    arguments = ["--data", str(data), "--output", str(output), "--repeats", "2"]
    assert benchmark.main([*arguments, "--name", "tiny"]) == 0
    assert sorted(p.name for p in output.iterdir()) == [
        "tiny-commands.json",
        "tiny-questions.json",
        "tiny-speed.json",
        "tiny-transcription.json",
    ]
    record = json.loads((output / "tiny-transcription.json").read_text(encoding="utf-8"))
    assert record["metrics"]["test"]["utterances"] == 3
    assert record["data"]["test"]["manifest"] == "festvox-ru.test.jsonl"
    speed = json.loads((output / "tiny-speed.json").read_text(encoding="utf-8"))
    assert len(speed["metrics"]["seconds"]) == 2
    groups = report.load_results(output)
    assert set(groups) == {"transcription", "questions", "speed", "commands"}
    assert "60 test utterances" in report.table(groups, "en")


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


def test_server_should_be_thrice_as_fast_as_transformers_alone() -> None:
    speed = "audio_seconds_per_second"
    metrics = {
        "server": {"concurrency": 32, speed: 61.2},
        "transformers_one_at_a_time": {speed: 12.3},
        "peer": {speed: 8.9},
    }
    record = {"metrics": metrics, "date": "2026-11-24", "commit": "abc"}
    (row,) = report.rows({"serving_float32": record})
    assert (row.must, row.peer, row.ours) == ("37×", "9×", "61×")
    del metrics["transformers_one_at_a_time"], metrics["peer"]
    (row,) = report.rows({"serving_float32": record})
    assert (row.must, row.peer) == ("–", "–")


MADE = {
    "date": "2026-11-24",
    "commit": "abc",
    "machine": {"accelerator": None, "processor": "A processor", "threads": 2},
}


def test_the_demo_under_load_is_told_in_both_languages() -> None:
    metrics = {
        "recording_seconds": 10,
        "first_text_seconds": {"median": 0.4, "worst": 0.49, "runs": 12},
        "crowd": {"visitors": 20, "right": 19, "median_seconds": 15.0, "last_seconds": 30.6},
        "memory_megabytes": {"requests": 500, "samples": [800.0, 830.5, 812.0], "most": 830.5},
    }
    groups = {"load": MADE | {"metrics": metrics}}
    lines = report_details.detail(groups, "load", "ru").splitlines()
    assert lines[2:7] == [
        "| первый текст записи в 10 с, худший случай | < 1 с | 0,49 с |",
        "| сразу 20 посетителей, верных ответов | 20 | 19 |",
        "| больше всего памяти за 500 запросов | < 3 ГБ | 0,81 ГБ |",
        "| последний из 20 ждёт | – | 31 с |",
        "| память выросла от первого замера до последнего | – | 12 МБ |",
    ]
    assert lines[-1] == "Коммит abc, 2026-11-24; A processor, потоков: 2."
    row = report.rows(groups)[1]
    assert (row.title[0], row.must, row.ours) == (
        "demo: 20 visitors at once, right answers", "20", "19",
    )  # fmt: skip


def test_engines_are_compared_with_transformers_one_at_a_time() -> None:
    speed, rate = "audio_seconds_per_second", {"word_error_rate": 0.371}
    times = {"p50": 0.5, "p90": 1.0, "p99": 2.04}
    waits = {"first_token_seconds": times, "latency_seconds": times}
    metrics = {
        "server": {"concurrency": 32, speed: 60.0} | waits | rate,
        "transformers_one_at_a_time": {speed: 20.0} | rate,
    }
    groups = {"serving_bfloat16": MADE | {"metrics": metrics}}
    lines = report_details.detail(groups, "serving_bfloat16", "en").splitlines()
    assert lines[2:4] == [
        "| vLLM, 32 requests at once | 60.0 | 3.0× | 0.50 / 2.04 | 0.50 / 2.04 | 37.1 |",
        "| transformers, one at a time | 20.0 | 1.0× | – | – | 37.1 |",
    ]
    assert report_details.detail({}, "serving_float32", "en") == "This hasn't been measured yet."
    with pytest.raises(report.ReportError, match="no table of 'speed'"):
        report_details.detail(groups, "speed", "en")
