"""What the calculators of the documentation read is current, and they reckon as the package does."""

import json
import subprocess
from dataclasses import replace

import pytest

from borealis.training.planner import Options, plan
from tests.skips import needs_program
from tools import planner_data


def test_generated_files_are_current() -> None:
    stale = [
        p.name
        for p, text in planner_data.files().items()
        if not p.is_file() or p.read_text(encoding="utf-8") != text
    ]
    assert not stale, f"run: python -m tools.planner_data ({', '.join(stale)})"


def test_both_languages_have_the_same_words() -> None:
    def shape(value: object) -> object:
        return {k: shape(v) for k, v in value.items()} if isinstance(value, dict) else type(value)

    for table in (planner_data.TEXTS, planner_data.NAMES):
        assert shape(table["ru"]) == shape(table["en"])


CASES = [
    {},
    {"encoder": "tiny", "language_model": "nano", "adapter": "ctc", "train": "ctc", "clip_seconds": 1},
    {"encoder": "small", "language_model": "qwen3-0.6b", "adapter": "deep", "train": "full", "padding": "all", "clip_seconds": 7},
    {"adapter": "ctc", "train": "adapter", "feature_cache": False, "padding": "encoder", "clip_seconds": 30, "gpus": 8},
    {"train": "full", "gradient_checkpointing": True, "gpu": "rtx4090", "utilization": 0.45, "price": 0.35, "epochs": 0.5},
    {"gpu": "l40s", "gpus": 4, "validations": 7, "test_hours": 3.5, "storage_months": 2.5, "failed": 0},
    {"adapter": "ctc", "train": "full", "gpu": "b200", "validation_clips": 0, "bitrate": 64, "checkpoints_kept": 0, "decoding_utilization": 0.02, "storage_price": 0.015},
    {"lora_rank": 64, "text_tokens_per_second": 0, "prompt_tokens": 0, "batch_tokens": 1000, "hours_of_audio": 12.5},
]  # fmt: skip


@pytest.mark.slow
@needs_program("chromium")
def test_calculators_give_the_numbers_of_the_package(tmp_path) -> None:
    script = (planner_data.FOLDER.parent / "js" / "calculators.js").read_text(encoding="utf-8")
    answer = f"window.fetch = async () => ({{ ok: true, json: async () => ({planner_data.planner_json()}) }});"
    program = (
        f"const cases = {json.dumps(CASES)};\n"
        "borealisPlanner.ready.then(() => { document.body.textContent = 'JSON' + JSON.stringify(cases.map((c) => borealisPlanner.compute(c))) + 'END'; });"
    )
    page = tmp_path / "page.html"
    # Scripts without an address have none to tell: a base stands in for it.
    script = script.replace(
        "document.currentScript.src", "'https://example.org/assets/js/calculators.js'"
    )
    page.write_text(f"<!doctype html><html lang='en'><meta charset='utf-8'><body><script>{answer}</script><script>{script}</script><script>{program}</script></body></html>", encoding="utf-8")  # fmt: skip
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}"]  # fmt: skip
    done = subprocess.run(
        ["chromium", *flags, "--virtual-time-budget=10000", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = done.stdout.partition("JSON")[2].partition("END")[0]
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    for case, got in zip(CASES, json.loads(found), strict=True):
        assert flat(got) == pytest.approx(
            flat(plan(replace(Options(), **case)).to_dict()), rel=1e-9
        ), case


def flat(value: object, name: str = "") -> dict[str, float]:
    """Every number of nested dicts and lists by its path; texts must be equal as keys."""
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in flat(item, f"{name}.{key}").items()}
    if isinstance(value, list | tuple):
        return {k: v for i, item in enumerate(value) for k, v in flat(item, f"{name}.{i}").items()}
    return {f"{name}={value}": 1.0} if isinstance(value, str) else {name: float(value)}
