"""Tables, sentences and pages made from result files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from borealis.evaluation import results
from tests.evaluation.records import METRICS, PEER, record
from tools.site import report, tables
from tools.site.freshness import Results, load_results

PAGE = (
    "# Borealis\n\n<!-- results:start ru -->\nold\n<!-- results:end -->\n\n"
    "# In English\n\n<!-- results:start en -->\n<!-- results:end -->\n\nAfter.\n"
)


def shown(group: str, **values: Any) -> Results:
    """Results with one group, as tables show it."""
    return Results({group: record(group, **values)})


def cells(text: str) -> list[str]:
    """Lines with plain spaces."""
    return text.replace("\N{NO-BREAK SPACE}", " ").splitlines()


@pytest.fixture
def everything() -> Results:
    return Results({group: record(group) for group in METRICS})


@pytest.mark.parametrize(
    ("group", "lines"),
    [
        (
            "transcription",
            [
                "| WER / CER, % | nano | Whisper base | Target |",
                "| known speaker, 60 new utterances | 25.1 / 7.1 (21.0–29.4) "
                "| 20.7 / 5.2 (21.0–29.4) | WER ≤ 17.7 ✗ |",
                "| radio | 25.1 / 7.1 (21.0–29.4) | – | – |",
                "| parameters | 32.4 M | 74 M | < 45 M ✓ |",
            ],
        ),
        (
            "questions",
            [
                "| all, mean of the kinds | 280 | 84.3 | ≥ 85 ✗ |",
                "| one answer of a few, mean | 160 | 97.0 | – |",
                "| · number of words | 120 | 60.0 | – |",
            ],
        ),
        ("sounds", ["| noise | 1 | 9 | – |", "| in all | 3 | 27 | 0 ✗ |"]),
        (
            "speed",
            [
                "| times real time | 31× | 12× | twice Whisper's ✓ |",
                "| WER of the same transcripts, % | 18.8 | 20.0 | – |",
                "| with rounded weights, times: nano's in bfloat16, Whisper's in int8 "
                "| 22× | 14× | twice Whisper's ✗ |",
                "| slower with another busy process on each core, times | 2.2× | – | ≤ 3 ✓ |",
            ],
        ),
        (
            "serving_float32",
            [
                "| the server, 32 requests at once | 26.2 | 31.9 | 0.50 / 2.04 | 0.50 / 2.04 |",
                "| Whisper base, batches of 32, beams: 5, float32 | 9.2 | 16.0 | – | – |",
            ],
        ),
        (
            "load",
            [
                "| first text of a 10 s recording, worst case | 0.49 s | < 1 s ✓ |",
                "| 20 visitors at once: right answers | 19 | 20 ✗ |",
                "| most memory over 100 requests | 0.81 GB | < 3 GB ✓ |",
                "| memory grew from the first sample to the last | 12 MB | – |",
            ],
        ),
        ("commands", ["| `borealis transcribe`, a 5 s file, whole process | 2.8 s | < 3.5 s ✓ |"]),
        (
            "words",
            [
                "| word start off the phone label, median | 22 ms | ≤ 80 ms ✓ |",
                "| the same, 95 % of words | 300 ms | ≤ 250 ms ✗ |",
                "| calibration error of confidences | 0.041 | ≤ 0.05 ✓ |",
            ],
        ),
        ("install", ["| by the lock, in a fresh venv | 2.5 min | < 6 min ✓ |"]),
        (
            "test",
            [
                "| `make test`, install included | 16.0 min | < 15 min ✗ |",
                "| tests passed | 790 | – |",
                "| tests left out | 2 | – |",
            ],
        ),
    ],
)
def test_every_group_has_a_table_and_a_note(group: str, lines: list[str]) -> None:
    text = cells(tables.detail(shown(group), group, "en"))
    for line in lines:
        assert line in text
    assert text[-1].startswith("Commit abc123")
    assert f"`results/{record(group)['name']}.json`" in text[-1]
    assert "✓: target met, ✗: missed; targets were set before measuring." in text[-1]
    assert text[-1].count("weights ") == (group not in ("install", "test"))


def test_a_note_names_how_each_was_run() -> None:
    note = cells(tables.detail(shown("speed"), "speed", "en"))[-1]
    assert "A CPU, threads: 2." in note
    assert "nano: CTC prefix beam search, beams: 12, n-gram 0.9, batches of 8." in note
    assert "Whisper base: faster-whisper 1.2.1, float32, beams: 5, one recording at a time" in note
    assert "with its own guards against silence and loops." in note
    note = cells(tables.detail(shown("serving_float32"), "serving_float32", "ru"))[-1]
    assert "nano: жадно, n-грамма 0,9, записей сразу: 32." in note
    assert "float32, лучей: 5, записей сразу: 32, потоков: 2." in note
    note = cells(tables.detail(shown("questions"), "questions", "ru"))[-1]
    assert "nano: сначала расшифровка (лучевой поиск по CTC, лучей: 12" in note
    assert "потом ответ (жадно)." in note


def test_a_peer_measured_earlier_is_told_with_its_commit() -> None:
    def note(commit: str) -> str:
        peer = PEER | {"measured": {"commit": commit, "date": "2026-11-20"}}
        return tables.detail(shown("sounds", peer=peer), "sounds", "en")

    assert "measured at commit 0old" in note("0old")
    assert "measured at commit" not in note("abc123")


def test_russian_tables_are_in_russian(everything: Results) -> None:
    text = "\n".join(cells(report.table(everything, "ru")))
    for piece in ("| 31× |", "97,0", "32,4 млн", "0,81 ГБ", "< 3,5 с ✓", "✗ — нет", "потоков: 2"):
        assert piece in text
    for piece in ("Measured", "target", "threads", "beams", "recording", " s |"):
        assert piece not in text


def test_the_short_table_leads_each_row_to_what_it_was_measured_with(everything: Results) -> None:
    other = record("speed", commit="fed987", machine={"processor": "A CPU", "threads": 1} | {"accelerator": ""})  # fmt: skip
    everything.groups["speed"] = other
    text = cells(report.headline(everything, "en"))
    assert text[:4] == [
        "| Measured | nano | Whisper base | Target |",
        "|---|---|---|---|",
        "| WER, %: known speaker, 60 new utterances <sup>1</sup> | 25.1 | 20.7 | ≤ 17.7 ✗ |",
        "| WER, %: a voice that wasn't in training <sup>1</sup> | 25.1 | 20.7 | ≤ 25.5 ✓ |",
    ]
    rows = [line for line in text if line.startswith("| ")]
    speed = next(row for row in rows if "a minute of speech" in row)
    assert "| 31× (18.8) | 12× (20.0) | twice Whisper's ✓ |" in speed
    mark = speed.partition("<sup>")[2][0]
    assert any(line.startswith(f"{mark}. Commit fed987") and "threads: 1" in line for line in text)
    assert sum(line[:3] in ("1. ", "2. ", "3. ", "4. ") for line in text) == 3
    # What was measured alike shares a note: the sounds with the transcripts.
    assert "nobody speaks <sup>1</sup>" in "\n".join(rows)


def test_sentences_say_what_the_table_says() -> None:
    found = Results({group: record(group) for group in ("transcription", "questions")})
    assert report.sentence(found, "compared", "en") == (
        "WER of nano and of Whisper base on the same recordings, in per cent. nano gets more "
        "words wrong: a voice that wasn't in training (25.1 against 20.7). No difference beyond "
        "chance: known speaker, 60 new utterances (25.1 against 20.7). nano alone: radio (25.1)."
    )
    assert report.sentence(found, "answers", "ru") == (
        "Верных ответов nano, в процентах: мужчина или женщина — 97,0; число слов — 60,0."
    )


def test_each_part_is_told_with_its_minutes() -> None:
    lines = report.minutes(shown("speed"), "en").splitlines()
    assert "| `make bench WHAT=speed` | 4 | `nano-speed.json` |" in lines
    assert "| `make bench WHAT=server` | – | `nano-serving_float32.json` |" in lines


# ---- pages ----


def fill(tmp_path: Path, *groups: str) -> tuple[Path, Path]:
    page, folder = tmp_path / "README.md", tmp_path / "results"
    page.write_text(PAGE, encoding="utf-8")
    folder.mkdir(exist_ok=True)
    for group in groups:
        results.write(folder / f"{group}.json", record(group))
    return page, folder


def test_a_page_gets_each_language_between_its_marks(tmp_path: Path, capsys) -> None:
    page, folder = fill(tmp_path, *METRICS)
    assert report.main([str(page), "--results", str(folder)]) == 0
    text = page.read_text(encoding="utf-8")
    russian, english = text.split("# In English")
    assert "| Что измерено |" in russian and "Measured" not in russian and "old" not in russian
    assert "| Measured |" in english and "Что" not in english
    assert "nano gets more words wrong" in english and text.endswith("After.\n")
    assert capsys.readouterr().out == f"{page}: updated\n"


def test_check_tells_stale_pages_and_writes_nothing(tmp_path: Path, capsys) -> None:
    page, folder = fill(tmp_path, "transcription")
    arguments = [str(page), "--results", str(folder)]
    assert report.main([*arguments, "--check"]) == 1
    assert page.read_text(encoding="utf-8") == PAGE
    told = capsys.readouterr().out
    assert "stale" in told and "make bench WHAT=server" in told and "not measured yet" in told
    assert report.main(arguments) == 0
    assert report.main([*arguments, "--check"]) == 0
    # A figure that loses its ground makes the page stale.
    results.write(folder / "transcription.json", record("transcription", dirty=True))
    assert report.main([*arguments, "--check"]) == 1
    assert report.main(arguments) == 0
    text = page.read_text(encoding="utf-8")
    assert "25.1" not in text and "files differed from the commit" in text


@pytest.mark.parametrize(
    "text",
    [
        "no marks",
        "<!-- results:start ru -->",
        "<!-- results:end -->\n<!-- results:start ru -->\n",
        "<!-- results:start fr -->\n<!-- results:end -->\n",
        f"{PAGE}<!-- results:end -->\n",
    ],
)
def test_page_without_its_marks_is_an_error(text: str, tmp_path: Path, capsys) -> None:
    page = tmp_path / "README.md"
    page.write_text(text, encoding="utf-8")
    assert report.main([str(page), "--results", str(tmp_path)]) == 2
    assert "README.md" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == text


def test_a_table_that_isnt_there_is_an_error() -> None:
    with pytest.raises(report.ReportError, match="no table of 'magic'"):
        tables.detail(Results(), "magic", "en")
    found = load_results(Path(__file__).parent)  # no files
    assert "make bench WHAT=speed" in tables.detail(found, "speed", "en")
