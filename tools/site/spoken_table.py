"""Who says written texts right: a table for the site, from `results/spoken-text.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tools.site.freshness import ReportError
from tools.site.tables import NONE, NOT_MEASURED, machine_note, markdown, number, percent

FILE = "spoken-text.json"
_HEAD = (
    "who | Russian words right, % (sentences) | English words right, % (sentences) | ms a sentence",
    "кто | русских слов верно, % (предложений) | английских слов верно, % (предложений) | "
    "мс на предложение",
)
_NAMES = {
    "as written": ("nobody: the text as it is", "никто: текст как есть"),
    "borealis": ("`speakable`", "`speakable`"),
}


def table(folder: Path, language: str) -> str:
    """A Markdown table of the sentences that nobody looked at, and where its numbers come from.

    Args:
        folder: of the result files.
        language: `en` or `ru`.

    Raises:
        ReportError: the file isn't a result file.
    """
    path = folder / FILE
    if not path.is_file():
        return NOT_MEASURED[language]
    russian = language == "ru"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        cells = [_HEAD[russian].split(" | ")]
        cells += [_row(name, told, russian) for name, told in record["metrics"].items()]
        note = f"`results/{FILE}`. {machine_note(record, language)}"
    except (ValueError, KeyError, TypeError):
        raise ReportError(f"'{FILE}' isn't a file of benchmarks/spoken_text.py.") from None
    return f"{markdown(cells)}\n\n{note}"


def _row(name: str, told: dict[str, Any], russian: bool) -> list[str]:
    title = _NAMES.get(name, (f"{name} {told['version']}",) * 2)[russian]
    row = [title]
    for language in ("ru", "en"):
        measured = told[f"{language}-measure"]
        # A library that leaves all English as it is doesn't say English.
        if language == "en" and name != "as written" and not measured["cpu_ms"]:
            row.append(NONE)
            continue
        right = f"{measured['sentences_right']} / {measured['sentences']}"
        row.append(f"{percent(measured['word_accuracy'], russian)} ({right})")
    return [*row, number(told["ru-measure"]["cpu_ms"], 1, russian)]
