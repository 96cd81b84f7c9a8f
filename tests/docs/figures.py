"""Numbers have files: tables of the README come from `results/`, pages type no measurement.

A page may quote the measurements of others. Those are listed here with their source, so that a
number that is changed by hand, or has no source, is found.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

from tests.docs.blocks import ROOT, relative
from tests.docs.scan import Scan, scan
from tools.site.report import ReportError, filled, load_results

# Measurements of others, as their sources give them; see docs/*/story/results.md for the links.
QUOTED = {
    "VikhrModels, article and result files of Borealis": """
        20.88 19.17
        6.63 3.49 5.64 2.59 11.68 2.72
        8.88 5.04 12.67 8.59 12.23 4.75
        56.87 52.47 60.55 54.20 7.77 5.36
        6.03 3.75 5.25 2.75 11.95 3.41
        4.63 3.38 6.49 5.19 2.68 0.46
        17.28 8.03 21.57 11.48 19.87 9.36
        48.9 49.2""",
    "SLAM-ASR, arXiv 2402.08846": "1.84 3.39",
    "GigaAM, evaluation.md": """
        2.4 3.9 4.4 0.9 17.4 10.6 8.2
        5.7 12.2 6.2 5.2 19.8 21.9 13.4
        19.0 16.4 9.4 5.5 27.4 17.8 14.3""",
    "Whisper tuned to Russian, antony66": "9.84 6.39",
    "our trial of the search on nano v1.3; story/experiments.md#counts-win says what it is": """
        40.3 59.0 93.8
        18.6 4.0 28.8 5.9 84.7 35.0
        17.6 27.2 4.8 68.4 28.3
        20.1 5.1 23.3 63.2 21.8
        22.8 22.9 24.3 25.3 17.2""",
}
_KNOWN = {number for numbers in QUOTED.values() for number in numbers.split()}

_MARK = "<!-- results:"  # of pages of the repository
_MEASURE = re.compile(r"\b(?:WER|CER)\b|частот\w+ ошибок|error rate", re.I)
# A decimal number that isn't part of a name (Qwen3-0.6B, v0.4, 1.7 billion) and has no thousands.
_DECIMAL = re.compile(
    r"(?<![\w.,/–-])(?!\d{1,3},\d{3}(?!\d))(\d+[.,]\d+)(?![\d]|[.,]\d|\w|-[A-Za-zА-Яа-я])"
    r"(?!\s*(?:B|M|млн|млрд|million|billion)\b)"
)
# In prose: a number before %, alone or in a pair, or right after the name of a measure.
_PERCENT = re.compile(
    r"(?<![\w.,/–-])(\d+[.,]\d+)(?=\s*(?:%|(?:и|and|or|или|to|до|/|–|—|->|→)\s*\d+[.,]\d+\s*%))"
    r"|(?:WER|CER)\D{0,12}?(\d+[.,]\d+)(?!\d)"
)


def pages(root: Path = ROOT) -> list[Path]:
    """Pages with a table between marks: those of the project, not of the site."""
    return [path for path in (root / "README.md", root / "README.ru.md") if path.is_file()]


def check_tables(root: Path = ROOT) -> list[str]:
    """Lines of the README's table that `results/*.json` and the shipped weights don't give.

    Weights that nobody measured make the table stale: it then has to say what must be measured.
    """
    problems: list[str] = []
    try:
        results = load_results(root / "results")
    except ReportError as error:
        return [f"results:1: {error}"]
    for path in pages(root):
        name, text = relative(path, root), path.read_text(encoding="utf-8")
        try:
            fresh = filled(text, results, name)
        except ReportError as error:
            problems.append(f"{name}:1: {error}")
            continue
        problems += _differences(name, text.splitlines(), fresh.splitlines())
    return problems


def _differences(name: str, shown: list[str], given: list[str]) -> Iterator[str]:
    matcher = difflib.SequenceMatcher(None, shown, given, autojunk=False)
    for operation, a, b, c, d in matcher.get_opcodes():
        if operation == "equal":
            continue
        for offset in range(max(b - a, d - c)):
            line = min(a + offset, b - 1 if b > a else a) + 1
            old = shown[a + offset] if a + offset < b else "nothing"
            new = given[c + offset] if c + offset < d else "nothing"
            yield f"{name}:{line}: shows '{old}', but results/*.json give '{new}'; run make results"


def check_typed(root: Path = ROOT) -> list[str]:
    """Measurements typed into pages of the site."""
    problems: list[str] = []
    for path in sorted((root / "docs").rglob("*.md")):
        page = scan(path, root)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if _MARK in line:
                problems.append(f"{page.at(number)}: pages write <!-- borealis results --> instead")
        for line, number in typed(page):
            problems.append(
                f"{page.at(line)}: '{number}' is typed by hand and no source is known; let the "
                "table come from <!-- borealis results -->, or name the source in tests/docs/figures.py"
            )
    return problems


def typed(page: Scan) -> Iterator[tuple[int, str]]:
    """(line, number) of error rates and percentages that no source gives."""
    table, before = False, ""
    for item in page.items:
        pattern = _PERCENT
        if item.kind == "row":
            # A table measures when its head says so, or the text that introduces it.
            table = table or bool(_MEASURE.search(f"{before} {item.raw[0]}"))
            pattern = _DECIMAL if table else _PERCENT
            before = ""
        else:
            table, before = False, " ".join(text for _, text in item.prose())
        for line, text in item.prose():
            for found in pattern.finditer(text):
                number = next(group for group in found.groups() if group)
                if number.replace(",", ".") not in _KNOWN:
                    yield line, number
