"""Puts results into pages: the short table, all tables, and sentences with numbers in them.

    python -m tools.site.report README.md README.ru.md
    python -m tools.site.report --check README.md      # fails when a page is stale

On a page of the repository the short table stands between `<!-- results:start LANGUAGE -->` and
`<!-- results:end -->`; the site has marks of its own (`docs/hooks.py`). Whatever can't be shown is
named together with the command that measures it; the command line lists it too.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from borealis.errors import BorealisError
from borealis.files import write_text
from tools.site.freshness import GROUPS, ReportError, Results, load_results
from tools.site.tables import (
    NONE,
    RATE_TARGETS,
    SETS,
    TASKS,
    again,
    goal,
    group_table,
    head,
    invented,
    markdown,
    marks_note,
    number,
    percent,
    rate_target,
    settings_note,
    silence_target,
    speed_target,
    times,
)

_BLOCK = re.compile(r"<!-- results:start (\w+) -->\n(.*?)<!-- results:end -->", re.S)
_MARK = re.compile(r"<!-- results:(?:start|end)\b")


def table(results: Results, language: str) -> str:
    """Every group with its title, table and note, or what measures it."""
    parts = [marks_note(language)] if results.groups else []
    for name, group in GROUPS.items():
        title = f"**{group.title[language == 'ru']}**"
        if (reason := results.missing(name)) is None:
            parts.append(f"{title}\n\n{group_table(results.groups[name], name, language)}")
        else:
            parts.append(f"{title}. {again(name, reason, language)}")
    return "\n\n".join(parts)


def minutes(results: Results, language: str) -> str:
    """What each part of `make bench` took when it was last measured, and what it writes."""
    russian = language == "ru"
    lines = [["команда", "минут", "файл"] if russian else ["command", "minutes", "file"]]
    for name, group in GROUPS.items():
        if not group.command.startswith("make bench"):
            continue
        record = results.groups.get(name)
        took = number(record["took_seconds"] / 60, 0, russian) if record else NONE
        lines.append([f"`{group.command}`", took, f"`{group.file}.json`"])
    return markdown(lines)


# ---- the short table ----


def headline(results: Results, language: str) -> str:
    """The short table: each row's number leads to a note with its commit, weights and settings."""
    russian = language == "ru"
    lines, notes = [head("Measured", "Что измерено", russian=russian)], []
    for group in _SHORT:
        if results.missing(group) is not None:
            continue
        record = results.groups[group]
        note = settings_note(record, language)
        if note not in notes:
            notes.append(note)
        for title, *cells in _SHORT[group](record, russian):
            mark = f"\N{NO-BREAK SPACE}<sup>{notes.index(note) + 1}</sup>"
            lines.append([title + mark, *cells])
    parts = []
    if len(lines) > 1:
        numbered = (f"{place}. {note}" for place, note in enumerate(notes, 1))
        parts += [markdown(lines), marks_note(language), "\n".join(numbered)]
    waiting = [
        f"- {GROUPS[group].title[russian]}: `{GROUPS[group].command}` ({reason[russian]})"
        for group in _SHORT
        if (reason := results.missing(group)) is not None
    ]
    if waiting:
        parts.append(
            "Здесь нет того, что нужно измерить заново:"
            if russian
            else "What has to be measured again isn't shown:"
        )
        parts.append("\n".join(waiting))
    return "\n\n".join(parts)


def _short_transcription(record: dict[str, Any], russian: bool) -> list[list[str]]:
    rows = []
    for name in RATE_TARGETS:
        if (m := record["metrics"].get(name)) is None or m["word_error_rate"] is None:
            continue
        peer = percent(m["peer"]["word_error_rate"], russian) if "peer" in m else NONE
        ours = percent(m["word_error_rate"], russian)
        rows.append([f"WER, %: {SETS[name][russian]}", ours, peer, rate_target(name, m, russian)])
    return rows


def _short_questions(record: dict[str, Any], russian: bool) -> list[list[str]]:
    mean = record["metrics"]["balanced_accuracy"]
    title = "верных ответов на вопросы, %" if russian else "questions answered right, %"
    return [[title, percent(mean, russian), NONE, goal("≥ 85", mean >= 0.85)]]


def _short_sounds(record: dict[str, Any], russian: bool) -> list[list[str]]:
    metrics = record["metrics"]
    minutes = round(len(metrics["kinds"]) * metrics["seconds_each"] / 60)
    title = (
        f"слов, записанных за {minutes} мин, пока никто не говорит"
        if russian
        else f"words written over {minutes} min in which nobody speaks"
    )
    words, peer = invented(metrics)
    return [[title, str(words), peer, silence_target(words)]]


def _short_speed(record: dict[str, Any], russian: bool) -> list[list[str]]:
    m = record["metrics"]
    title = (
        "минута речи: быстрее реального времени, раз (WER, %)"
        if russian
        else "a minute of speech: times real time (WER, %)"
    )

    def cell(one: dict[str, Any]) -> str:
        return f"{times(one, russian)} ({percent(one['word_error_rate'], russian)})"

    peer = cell(m["peer"]) if "peer" in m else NONE
    return [[title, cell(m), peer, speed_target(m, m.get("peer"), russian)]]


# Groups of the short table in its order, and their rows.
_SHORT = {
    "transcription": _short_transcription,
    "questions": _short_questions,
    "sounds": _short_sounds,
    "speed": _short_speed,
}


# ---- sentences ----


def sentence(results: Results, which: str, language: str) -> str:
    """A sentence of `SENTENCES`, or what has to be measured for it."""
    group, say = SENTENCES[which]
    if (reason := results.missing(group)) is not None:
        return again(group, reason, language)
    return say(results.groups[group]["metrics"], language == "ru")


def compared(metrics: dict[str, Any], russian: bool) -> str:
    """On which sets nano writes better than Whisper base, on which worse, in numbers."""
    kinds: dict[str, list[str]] = {"fewer": [], "more": [], "even": [], "alone": []}
    for name, m in metrics.items():
        if m["word_error_rate"] is None:
            continue
        title, ours = SETS.get(name, (name, name))[russian], percent(m["word_error_rate"], russian)
        if "peer" not in m:
            kinds["alone"].append(f"{title} ({ours})")
            continue
        low, high = m["difference"]["word_error_rate_95"]
        kind = "fewer" if high < 0 else "more" if low > 0 else "even"
        against = "против" if russian else "against"
        theirs = percent(m["peer"]["word_error_rate"], russian)
        kinds[kind].append(f"{title} ({ours} {against} {theirs})")
    words = {
        "fewer": ("nano gets fewer words wrong", "nano ошибается реже"),
        "more": ("nano gets more words wrong", "nano ошибается чаще"),
        "even": ("No difference beyond chance", "Различие не больше случайного"),
        "alone": ("nano alone", "Только nano"),
    }
    first = (
        "WER у nano и у Whisper base на одних и тех же записях, в процентах."
        if russian
        else "WER of nano and of Whisper base on the same recordings, in per cent."
    )
    told = [f"{words[kind][russian]}: {'; '.join(sets)}." for kind, sets in kinds.items() if sets]
    return " ".join([first, *told])


def answers(metrics: dict[str, Any], russian: bool) -> str:
    """How often each kind of question is answered right, the surest first."""
    dash = " — " if russian else " "
    shown = (
        f"{TASKS.get(task, (task, task))[russian]}{dash}{percent(score, russian)}"
        for task, score in sorted(metrics["tasks"].items(), key=lambda item: -item[1])
    )
    first = "Верных ответов nano, в процентах" if russian else "nano's right answers, in per cent"
    return f"{first}: {'; '.join(shown)}."


# Name of the sentence: the group that it tells of, and who says it.
SENTENCES: dict[str, tuple[str, Callable[[dict[str, Any], bool], str]]] = {
    "compared": ("transcription", compared),
    "answers": ("questions", answers),
}


# ---- pages of the repository ----


def filled(text: str, results: Results, page: str) -> str:
    """`text` with the short table and a sentence between its marks.

    Raises:
        ReportError: there are no marks, one is without its other half, or names no language.
    """
    found = list(_BLOCK.finditer(text))
    known = all(match[1] in ("ru", "en") for match in found)
    if not found or not known or 2 * len(found) != len(_MARK.findall(text)):
        raise ReportError(
            f"'{page}' must have the lines <!-- results:start ru --> (or en) and "
            "<!-- results:end -->, in pairs."
        )

    def block(match: re.Match[str]) -> str:
        language = match[1]
        parts = [headline(results, language)]
        if SENTENCES["compared"][0] in results.groups:
            parts.append(sentence(results, "compared", language))
        content = "\n\n".join(parts)
        return f"<!-- results:start {language} -->\n{content}\n<!-- results:end -->"

    return _BLOCK.sub(block, text)


def to_measure(results: Results) -> str:
    """What has to be measured (again) and by which command, a group a line; empty if nothing."""
    lines = [f"no table shows results/{name}" for name in results.unknown]
    waiting = results.to_measure()
    width = max((len(GROUPS[group].command) for group in waiting), default=0)
    lines += [
        f"{GROUPS[group].command:{width}}  {group}: {reason}"
        for group, (reason, _) in waiting.items()
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of the module; 1 when `--check` finds a stale page."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.site.report",
        description="Write the short table of results into pages; tell what has to be measured.",
    )
    parser.add_argument("pages", nargs="+", type=Path, metavar="PAGE")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder (results)")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if stale")
    args = parser.parse_args(argv)
    try:
        results = load_results(args.results)
        stale = _update(args.pages, results, check=args.check)
    except BorealisError as error:
        print(f"borealis: {error}", file=sys.stderr)
        return 2
    for page in stale:
        print(f"{page}: {'stale; run make results' if args.check else 'updated'}")
    if waiting := to_measure(results):
        print(f"To be measured (again):\n{waiting}")
    return 1 if stale and args.check else 0


def _update(pages: Sequence[Path], results: Results, *, check: bool) -> list[Path]:
    """Fill the pages; returns those whose text differed."""
    stale = []
    for page in pages:
        if not page.is_file():
            raise ReportError(f"There is no page '{page}'. Check the path.")
        old = page.read_text(encoding="utf-8")
        new = filled(old, results, page.name)
        if new != old:
            stale.append(page)
            if not check:
                write_text(page, new)
    return stale


if __name__ == "__main__":
    sys.exit(main())
