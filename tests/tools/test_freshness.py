"""Which result files tables show, and what they say of the others."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from borealis.checkpoints import bundled, checkpoint_digest, resolve_checkpoint
from borealis.evaluation import results
from tests.conftest import ROOT, load_script
from tests.evaluation.records import METRICS, record
from tools.site import freshness, report, tables
from tools.site.freshness import GROUPS, Shipped, load_results


def folder_of(tmp_path: Path, *records: dict) -> Path:
    folder = tmp_path / "results"
    for one in records:
        results.write(folder / f"{one['name']}.json", one)
    return folder


def test_files_that_vouch_for_their_numbers_are_shown(tmp_path):
    found = load_results(folder_of(tmp_path, *map(record, METRICS)))
    assert set(METRICS) == set(GROUPS)
    assert set(found.groups) == set(GROUPS) and not found.refused and not found.to_measure()
    assert report.to_measure(found) == ""


@pytest.mark.parametrize(
    ("group", "change", "english", "russian"),
    [
        ("speed", {"dirty": True}, "files differed from the commit", "отличались от коммита"),
        ("speed", {"commit": ""}, "no commit is named", "не назван коммит"),
        ("speed", {"decoding": None}, "how it decoded isn't recorded", "не записано, как модель"),
        ("speed", {"format": 1}, "how it decoded isn't recorded", "не записано, как модель"),
        ("speed", {"normalizer_version": 0}, "by other rules", "сравнивались иначе"),
        (
            "serving_float32",
            {"model": {"checkpoint": "f" * 16}},
            "with the weights ffffffff, and",
            "на весах ffffffff, а в пакете",
        ),
        ("load", {"model": {}}, "with the weights –", "на весах –"),
        ("install", {"lock": "0" * 64}, "the lock is another one", "lock-файл был другой"),
        ("install", {"dirty": True}, "files differed", "отличались"),
        ("test", {"dirty": True}, "files differed", "отличались"),
    ],
)
def test_a_refused_file_is_left_out_with_its_reason(tmp_path, group, change, english, russian):
    found = load_results(folder_of(tmp_path, record("transcription"), record(group, **change)))
    assert set(found.groups) == {"transcription"}
    assert english in found.refused[group][0] and russian in found.refused[group][1]
    # The page names reason and command instead of a figure; the command line too.
    for language, reason in (("en", english), ("ru", russian)):
        for text in (report.table(found, language), tables.detail(found, group, language)):
            assert reason in text and GROUPS[group].command in text
    assert f"{group}: " in report.to_measure(found) and english in report.to_measure(found)


def test_all_reasons_are_told_at_once(tmp_path):
    old = record("speed", dirty=True, format=1, model={"name": "nano-aaaabbbbccccdddd"})
    reason, _ = load_results(folder_of(tmp_path, old)).refused["speed"]
    assert "differed" in reason and "decoded" in reason and "weights aaaabbbb" in reason


def test_other_weights_make_every_figure_of_the_model_stale(tmp_path):
    folder = folder_of(tmp_path, *map(record, METRICS))
    newer = Shipped("f" * 16, Shipped.here().lock)
    found = load_results(folder, newer)
    assert set(found.groups) == {"install", "test"}
    assert "25.1" not in report.headline(found, "en")


def test_an_empty_folder_says_what_to_run(tmp_path):
    (tmp_path / "results").mkdir()
    found = load_results(tmp_path / "results")
    text = report.table(found, "ru")
    assert "`make bench WHAT=demo` (ещё не измерено)" in text and "✓" not in text
    assert "WHAT=transcription" in report.sentence(found, "compared", "en")


def test_files_of_training_have_tables_of_their_own_and_unknown_ones_are_told(tmp_path):
    names = ("training-speed", "nano-training", "nano-ablation", "make-check")
    folder = folder_of(tmp_path, *(record("test", name=name) for name in names))
    found = load_results(folder)
    assert not found.groups and found.unknown == ["make-check.json"]
    assert "make-check.json" in report.to_measure(found)


@pytest.mark.parametrize("content", ["{", "[]", '{"name": "a"}', '{"metrics": {}}'])
def test_file_that_is_no_result_is_an_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text(content, encoding="utf-8")
    with pytest.raises(freshness.ReportError, match=r"odd\.json"):
        load_results(tmp_path)


def test_two_files_of_one_group_are_an_error(tmp_path):
    folder = folder_of(tmp_path, record("speed"), record("speed", name="other-speed"))
    with pytest.raises(freshness.ReportError, match="keep one"):
        load_results(folder)


def test_every_command_is_one_that_exists():
    parts = load_script("benchmarks/run.py").PARTS
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for group in GROUPS.values():
        _, target, words = group.command.split()
        assert f"\n{target}:" in makefile
        variable, _, value = words.partition("=")
        assert value in parts if variable == "WHAT" else value == "results/make-test.json"


# ---- digests ----


def test_a_bundle_and_its_unpacked_folder_have_one_digest(tmp_path):
    bundle = bundled()["nano"]
    digest = checkpoint_digest(bundle)
    assert checkpoint_digest(resolve_checkpoint("nano")) == digest and len(digest) == 16
    copy = tmp_path / "nano"
    shutil.copytree(bundle, copy)
    assert checkpoint_digest(copy) == digest
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps(config | {"search": {"num_beams": 1}}))
    assert checkpoint_digest(copy) != digest  # decoding settings are part of it
    assert checkpoint_digest("owner/model") == ""


# ---- the commit ----


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with one commit that `results` takes for its own."""

    def git(*words: str) -> None:
        options = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", *options, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    for name in ("code.py", "README.md", "results/speed.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    monkeypatch.setattr(results, "_ROOT", tmp_path)
    return tmp_path


def test_what_a_measurement_writes_doesnt_make_the_next_one_dirty(checkout):
    commit, dirty = results.checkout()
    assert len(commit) == 12 and not dirty
    for name in ("README.md", "results/speed.json", "notes.txt"):
        (checkout / name).write_text("2")
    assert results.checkout() == (commit, False)
    (checkout / "code.py").write_text("2")
    assert results.checkout() == (commit, True)
    assert results.describe("a")["dirty"]


def test_outside_of_a_checkout_no_commit_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "_ROOT", tmp_path)
    assert results.checkout() == ("", False)
