"""The training benchmarks on a tiny model: what they write, and what must be true of it anywhere."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from borealis.cli import main as borealis
from borealis.data.manifest import write_manifest
from borealis.training.planner import PlanError
from borealis.training.planner.measured import gpu_of, measured_points
from tests.conftest import ROOT
from tools.site.report import ReportError, load_results
from tools.site.training_tables import table


@pytest.fixture
def run_benchmark(monkeypatch):
    """`run_benchmark(name, *arguments)`: a script of `benchmarks/` in this process."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))

    def run(name: str, *arguments: str) -> None:
        script = importlib.import_module(name)
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        script.main()

    yield run
    for name in ("training_world", "training_loop", "training_options", "training_gpu"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def data(clips, tmp_path_factory) -> Path:
    """A data folder whose two manifests hold the example recordings."""
    folder = tmp_path_factory.mktemp("data")
    write_manifest(folder / "synthetic-ru.train.jsonl", clips[:4])
    write_manifest(folder / "festvox-ru.train.jsonl", clips[4:])
    return folder


@pytest.mark.slow
def test_the_loop_and_the_options_are_measured(data, world, run_benchmark, tmp_path):
    common = ["--data", str(data), "--audio-tower", str(world / "whisper"), "--hidden-size", "32"]
    speed, options = tmp_path / "training-speed.json", tmp_path / "training-options.json"
    run_benchmark("training_loop", *common, "--output", str(speed), "--clips", "4", "--rounds", "1", "--steps", "2", "--precision", "float32")  # fmt: skip
    run_benchmark("training_options", *common, "--output", str(options), "--clips", "4", "--only", "adapter,adapter-cache")  # fmt: skip
    metrics = json.loads(speed.read_text("utf-8"))["metrics"]
    loops = metrics["loops"]
    # Every epoch hears every recording; the original's rows are 375 audio tokens and 320 of text.
    assert {name: loop["clips"] for name, loop in loops.items()} == dict.fromkeys(loops, 4)
    assert loops["original"]["places_per_clip"] == 375 + 320
    assert loops["later"]["gigaflop_per_clip"]["encoder"] == 0
    assert 1 < metrics["times_faster"]["first"]["counted"] < metrics["times_faster"]["later"]["counted"]  # fmt: skip
    assert loops["first"]["gigaflop_per_clip"]["total"] == pytest.approx(
        loops["first_with_cache"]["gigaflop_per_clip"]["total"], rel=0.15
    )
    for ratio in metrics["counted_for_recipes"].values():
        assert 5 < ratio["first"] < ratio["later"]
    # The original with our mask loses what ours does; so does the cache, but for its rounding.
    assert len(metrics["loss"]["curves"]["original"]) == 2
    largest = metrics["loss"]["largest_difference"]
    assert largest["ours_30_s - original_masked"] < 1e-5
    assert largest["ours_cached - ours"] < 1e-2
    measured = {o["name"]: o for o in json.loads(options.read_text("utf-8"))["metrics"]["options"]}
    assert set(measured) == {"adapter", "adapter-cache"}
    assert all(o["clips"] == 4 and o["peak_mib"] >= o["peak_before_training_mib"] > 50 for o in measured.values())  # fmt: skip
    # The site's tables are made of them; the table of the README leaves them out.
    for which, words in (("speed", "из кэша"), ("counted", "`5b`"), ("losses", "шаг 2"), ("options", "кэша признаков")):  # fmt: skip
        text = table(which, tmp_path, "ru")
        assert words in text and "Коммит" in text
        rows = [line.count("|") for line in text.splitlines() if line.startswith("|")]
        assert len(set(rows)) == 1
    assert not load_results(tmp_path).groups


def test_tables_of_nothing_and_of_nonsense(tmp_path):
    assert table("speed", tmp_path, "en") == "This hasn't been measured yet."
    with pytest.raises(ReportError, match="speed, counted, losses, options"):
        table("magic", tmp_path, "en")
    (tmp_path / "training-options.json").write_text('{"metrics": {}}')
    with pytest.raises(ReportError, match="isn't a file of the training benchmarks"):
        table("options", tmp_path, "en")


@pytest.mark.slow
def test_a_device_is_measured_and_the_plan_quotes_it(run_benchmark, tmp_path, capsys):
    output = tmp_path / "training-gpu.json"
    arguments = ["--shape", "trial", "--steps", "3", "--warmup", "1", "--batch-tokens", "500", "--output", str(output)]  # fmt: skip
    run_benchmark("training_gpu", *arguments, "--teraflops", "0.1")
    record = json.loads(output.read_text("utf-8"))
    points = record["metrics"]["points"]
    assert [p["train"] for p in points] == ["adapter", "lora"]
    for point in points:
        assert point["tokens_per_second"] > 0
        # The recipe computes layers twice: the planner counts that, model FLOPs don't.
        assert point["gradient_checkpointing"] and 0 < point["mfu"] < point["utilization"]
    # A CPU is no GPU of the table: such a file has no points for the plan.
    assert measured_points(output) == []
    record["metrics"]["gpu"] = "h100"
    output.write_text(json.dumps(record))
    assert [p.train for p in measured_points(output)] == ["adapter", "lora"]
    capsys.readouterr()
    assert borealis(["plan", "5b", "--measured", str(output)]) == 0
    text = capsys.readouterr().out
    assert "assumed     H100" in text and text.count("measured    ") == 2
    assert "measured    align: H100 SXM reached" in text and "the shapes of trial" in text
    assert borealis(["plan", "5b", "--measured", str(output), "--gpu", "a100"]) == 0
    assert "measured    " not in capsys.readouterr().out
    assert borealis(["plan", "5b", "--measured", str(output), "--format", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["measured"]) == 2
    # Twice the share of the peak, half the hours.
    for point in record["metrics"]["points"]:
        point["utilization"] = 0.6
    output.write_text(json.dumps(record))
    assert borealis(["plan", "--train", "lora", "--measured", str(output)]) == 0
    text = capsys.readouterr().out
    assert "reached 60%" in text and "at that 2.77 GPU hours, $8.3" in text


def test_points_that_cannot_be_read_are_an_error(tmp_path):
    with pytest.raises(PlanError, match=r"training_gpu\.py makes it"):
        measured_points(tmp_path / "none.json")
    (tmp_path / "odd.json").write_text('{"metrics": {"gpu": "h100", "points": [{}]}}')
    with pytest.raises(PlanError, match=r"odd\.json' isn't a file"):
        measured_points(tmp_path / "odd.json")


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("AMD EPYC", ""),
    ],
)
def test_a_device_is_known_by_its_name(device, name):
    assert gpu_of(device) == name
