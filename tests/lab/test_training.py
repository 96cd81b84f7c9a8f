"""What nano's training took, condensed from a real tiny run, and the tables made of it."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from borealis.evaluation.results import describe, write
from tests.conftest import load_script
from tools.site.freshness import ReportError, load_results
from tools.site.nano_tables import ROWS, table
from tools.site.tables import NOT_MEASURED


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("lab/nano/training.py")


def measured(kinds: dict[str, tuple[float, float]], change: list[float] | None = None) -> dict:
    """A set of a row as ablation.py writes it, without the errors of single clips."""
    return {"clips": 2, "clip_words": [5, 7]} | {
        kind: {"word_error_rate": wer, "character_error_rate": cer}
        | ({"change": change} if change else {})
        for kind, (wer, cer) in kinds.items()
    }


def row(name: str, known: dict, apart: dict, **values: Any) -> dict[str, Any]:
    """A row of an ablation file; sets beside `known` and `held_out` are as `known`."""
    sets = dict.fromkeys(("known", "held_out", "synthetic", "english", "distorted"), known)
    return {
        "name": name,
        "note": "",
        "against": "",
        "steps": 0,
        "hours": 0.0,
        "held_out_voice_in_training": False,
        "sets": sets | {"held_out": apart},
    } | values


def ablation(folder: Path, hours: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)) -> Path:
    """A file of ablation rows; the points of the curve lie on WER = 0.4 / sqrt(hours)."""
    both = {"model": (0.421, 0.081), "ctc": (0.474, 0.089)}
    rows = [
        row("v0", measured(both), measured(both), held_out_voice_in_training=True),
        row(
            "encoder layers 4-6 learn",
            measured({"ctc": (0.486, 0.096)}, [1.24, -2.39, 5.05]),
            measured({"ctc": (0.4544, 0.077)}, [9.9, 5.84, 14.2]),
            against="v0",
        ),
        row(
            "a new idea",
            measured({"model": (0.4, 0.08), "ctc": (0.45, 0.08)}, [-2.1, -3.0, -1.2]),
            measured({"model": (0.3, 0.05), "ctc": (0.35, 0.06)}, [1.0, -1.0, 2.0]),
            against="v0",
        ),
    ]
    for at in reversed(hours):
        rate = {"ctc": (0.4 / at**0.5, 0.1)}
        point = row(f"scaling: {at} h", measured({"ctc": (0.5, 0.1)}), measured(rate))
        rows.append(point | {"hours": at, "steps": round(1000 * at)})
    return write(folder / "nano-ablation.json", {"rows": rows} | describe("nano-ablation"))


@pytest.mark.slow
def test_a_run_is_condensed_and_an_unfinished_one_refused(
    script, large, run_train, tmp_path, capsys
):
    run, output = tmp_path / "here" / "first", tmp_path / "results" / "nano-training.json"
    assert run_train(large(max_steps=6), run, "--price", "2") == 0
    assert script.main([str(run), "--output", str(output)]) == 0
    text = output.read_text("utf-8")
    assert str(tmp_path) not in text and "whisper" not in text
    record = json.loads(text)
    assert record["name"] == "nano-training" and record["recipe"] == "large"
    assert record["machine"]["threads"] == 1
    log = json.loads((run / "run.json").read_text("utf-8"))["stages"][0]
    state = json.loads((run / "instruct/checkpoint-6/trainer_state.json").read_text("utf-8"))
    [stage] = record["metrics"]["stages"]
    assert (stage["run"], stage["stage"], stage["tasks"]) == (
        "first",
        "instruct",
        ["conversations", "transcription"],
    )
    assert stage["steps"] == 6 and stage["audio_hours"] == log["audio_hours"] > 0
    assert stage["hours"] == pytest.approx(log["seconds"] / 3600, abs=6e-4)
    assert [p["loss"] for p in stage["curve"]] == [
        round(r["loss"], 4) for r in state["log_history"] if "loss" in r
    ]
    # Parts of the loss, where a step had them, and nothing else that was logged.
    assert {key for p in stage["curve"] for key in p} == {"step", "loss", "audio_lm", "text_lm"}
    assert stage["final"]["loss"] == stage["curve"][-1]["loss"]
    assert stage["dollars"] == pytest.approx(log["dollars"], abs=6e-4)
    total = record["metrics"]["total"]
    assert total["steps"] == 6 and total["dollars"] == stage["dollars"]
    dear = script.condense([run], 10_000)["total"]["dollars"]
    assert dear == pytest.approx(10_000 * log["seconds"] / 3600, abs=6e-4)
    # A run of this machine that heard nobody's price has no cost; an older one counted no audio.
    second = shutil.copytree(run, run.with_name("second"))
    old = json.loads((second / "run.json").read_text("utf-8"))
    del old["stages"][0]["audio_hours"], old["dollars_per_hour"]
    (second / "run.json").write_text(json.dumps(old), encoding="utf-8")
    two = script.condense([run, second])["total"]
    assert two["steps"] == 12 and two["audio_hours"] is None and "dollars" not in two

    assert script.main([str(run), str(second), "--ablation", str(ablation(tmp_path / "results")), "--output", str(output)]) == 0  # fmt: skip
    lines = table("training", output.parent, "ru").splitlines()
    assert lines[0] == "| этап | шаги | часы | часы звука | потери в конце |"
    loss = f"{stage['final']['loss']:.3f}".replace(".", ",")
    assert lines[2].startswith("| `first`: `instruct` | 6 | 0,0")
    assert lines[3].endswith(f" | – | {loss} |") and lines[4].startswith("| всего | 12 | ")
    assert "`results/nano-training.json`. Коммит" in lines[-1]
    assert "WER = 40.0 % · hours^(−0.50)" in table("scaling", output.parent, "en")
    assert not load_results(output.parent).groups

    # Folders of old runs needn't be kept: the file has what was in them.
    third = shutil.copytree(run, run.with_name("third"))
    later = script.condense([third], after=output)
    assert [r["run"] for r in later["runs"]] == ["first", "second", "third"]
    assert later["total"]["steps"] == 18 and later["stages"][0] == stage
    with pytest.raises(script.CondenseError, match="Two runs are called 'first'"):
        script.condense([run], after=output)
    with pytest.raises(script.CondenseError, match="isn't a result file"):
        script.condense([third], after=run / "run.json")

    def refused(folder: Path, says: str) -> None:
        capsys.readouterr()
        assert script.main([str(folder), "--output", str(tmp_path / "none.json")]) == 2
        assert says in capsys.readouterr().err
        assert not (tmp_path / "none.json").exists()

    refused(tmp_path / "nowhere", "has no run.json")
    (second / "final" / "model.safetensors").unlink()
    refused(second, "it has no folder 'final'")
    (run / "run.json").write_text('{"stages": []}', encoding="utf-8")
    refused(run, "holds no log of 'borealis train'")
    stages = {"recipe": old["recipe"], "stages": []}
    (run / "run.json").write_text(json.dumps(old | stages), encoding="utf-8")
    refused(run, "its stage 'instruct' was cut off")
    old["stages"][0]["steps"] = 9
    (run / "run.json").write_text(json.dumps(old), encoding="utf-8")
    refused(run, "has a log of 6 steps, and it took 9")
    for checkpoint in (run / "instruct").glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    refused(run, "Stage 'instruct' of")


def test_a_curve_keeps_its_ends_and_at_most_sixty_points(script):
    history = [{"step": n, "loss": 1 / n, "grad_norm": 1.0} for n in range(1, 1001)]
    points = script.thinned(script.curve([*history, {"step": 1000, "train_runtime": 5.0}]))
    assert len(points) == 60
    assert points[0] == {"step": 1, "loss": 1.0} and points[-1] == {"step": 1000, "loss": 0.001}
    steps = [point["step"] for point in points]
    assert max(b - a for a, b in pairwise(steps)) <= 17
    with pytest.raises(script.CondenseError, match="logging_steps"):
        script.curve([{"step": 3, "train_runtime": 5.0}])


def test_the_law_of_scaling_goes_through_points_that_obey_it(script, tmp_path):
    points = script.scaling(ablation(tmp_path))
    assert [point["hours"] for point in points] == [0.25, 0.5, 1.0, 2.0]
    assert points[0]["word_error_rate"]["known"] == {"ctc": 0.5}
    law = script.fit(points)
    assert (law["a"], law["b"], law["points"]) == (0.4, 0.5, 4) and law["largest_error"] < 1e-6
    assert law["predicted"] == {
        "one_more_hour": {"hours": 3.0, "word_error_rate": round(0.4 / 3**0.5, 4)},
        "twice": {"hours": 4.0, "word_error_rate": 0.2},
    }
    # The start has no hours, hence no logarithm: a point of the curve, none of the law.
    start = points[0] | {"hours": 0.0}
    assert script.fit([start, *points])["points"] == 4
    assert script.fit([start, *points[:2]]) is None
    assert script.fit([points[0], points[1], points[1]]) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "isn't a file of ablation.py"),
        ('{"rows": [{"name": "scaling: 1"}]}', "isn't a file of ablation.py"),
        ('{"rows": [{"name": "two beams"}]}', "begins with 'scaling:'"),
        (None, "There is no"),
    ],
)
def test_rows_that_make_no_curve_are_an_error(script, tmp_path, text, says):
    path = tmp_path / "rows.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(script.CondenseError, match=says):
        script.scaling(path)


def test_the_ablation_table_compares_like_with_like(tmp_path):
    ablation(tmp_path)

    def told(language: str) -> list[str]:
        """Lines with ordinary spaces: within a rate they don't break."""
        return table("ablation", tmp_path, language).replace("\N{NO-BREAK SPACE}", " ").splitlines()

    lines = told("en")
    assert [line.split(" | ")[:2] for line in lines[2:6]] == [
        ["| v0", "whole model"],
        # A row of CTC alone is compared with it, so its CTC is told too; that of "a new idea" isn't.
        ["| v0", "CTC alone"],
        ["| encoder layers 4-6 learn", "CTC alone"],
        ["| a new idea", "whole model"],
    ]
    assert lines[3] == "| v0 | CTC alone | 47.4 / 8.9 | 47.4 / 8.9 | 47.4 / 8.9 † | 47.4 / 8.9 | 47.4 / 8.9 | – | – |"  # fmt: skip
    assert lines[4].endswith("| 48.6 / 9.6 | 48.6 / 9.6 | +1.2 [−2.4; +5.0] | v0 |")
    assert "45.4 / 7.7 |" in lines[4] and len(lines) == 8
    assert "† the voice was in the training" in lines[-1]
    assert "their commits weren't recorded" in lines[-1]
    russian = told("ru")
    assert russian[4].startswith(f"| {ROWS['encoder layers 4-6 learn']} | одним CTC | 48,6 / 9,6 |")
    assert russian[4].endswith("| +1,2 [−2,4; +5,0] | веса v0 |")
    assert russian[5].startswith("| a new idea | всей моделью |")
    assert load_results(tmp_path).groups == {}


def test_the_scaling_table_tells_what_the_law_foretells(script, tmp_path):
    def fill(hours: tuple[float, ...]) -> list[str]:
        metrics: dict[str, Any] = {"scaling": script.scaling(ablation(tmp_path, hours))}
        if law := script.fit(metrics["scaling"]):
            metrics["scaling_fit"] = law
        record = describe("nano-training") | {"metrics": metrics}
        write(tmp_path / "nano-training.json", record)
        return table("scaling", tmp_path, "ru").splitlines()

    lines = fill((0.25, 0.5, 1.0, 2.0))
    assert (
        lines[2] == "| 0,25 | 250 | 80,0 | 50,0 |" and lines[5] == "| 2,00 | 2000 | 28,3 | 50,0 |"
    )
    assert "WER = 40,0 % · часы^(−0,50)" in lines[-1]
    assert "23,1 % на отметке 3,00 ч" in lines[-1] and "20,0 % на отметке 4,00 ч" in lines[-1]
    lines = fill((1.0, 2.0))
    assert len(lines) == 6 and "отметке" not in lines[-1] and "WER, %." in lines[-1]


def test_tables_of_nothing_and_of_nonsense(tmp_path):
    for which in ("training", "ablation", "scaling"):
        assert table(which, tmp_path, "ru") == NOT_MEASURED["ru"]
    with pytest.raises(ReportError, match="training, ablation, scaling"):
        table("magic", tmp_path, "en")
    (tmp_path / "nano-training.json").write_text('{"metrics": {}}', encoding="utf-8")
    with pytest.raises(ReportError, match="isn't a file of nano's training"):
        table("training", tmp_path, "en")
    (tmp_path / "nano-ablation.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ReportError, match=r"nano-ablation\.json"):
        table("ablation", tmp_path, "en")
    # A training without a scaling curve isn't wrong.
    write(tmp_path / "nano-training.json", describe("nano-training") | {"metrics": {}})
    assert table("scaling", tmp_path, "en") == NOT_MEASURED["en"]


def test_pages_get_the_tables_by_their_marks(tmp_path, monkeypatch):
    hooks = load_script("docs/hooks.py")
    (tmp_path / "results").mkdir()
    ablation(tmp_path / "results")
    monkeypatch.setattr(hooks, "ROOT", tmp_path)
    text = hooks.on_page_markdown("<!-- borealis nano ablation -->")
    assert text == table("ablation", tmp_path / "results", "en")
    assert hooks.on_page_markdown("<!-- borealis nano training -->") == NOT_MEASURED["en"]
