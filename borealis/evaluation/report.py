"""Writes the table of results into Markdown pages, from `results/*.json`.

    python -m borealis.evaluation.report README.md
    python -m borealis.evaluation.report --check README.md      # fails when a page is stale

The table stands between `<!-- results:start -->` and `<!-- results:end -->`. A page under `en` or
`ru` gets one language, any other page (the README) both.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from borealis.errors import BorealisError
from borealis.evaluation.tasks import CLOSED
from borealis.files import write_text

START, END = "<!-- results:start -->", "<!-- results:end -->"
_NONE = "–"
# Names of result files that have tables of their own: `training_tables`, `nano_tables`.
_APART = ("training-", "nano-training", "nano-ablation")

_SETS = {
    "test": ("60 test utterances", "60 тестовых фраз"),
    "unseen": ("voices not in training", "голоса, которых не было в обучении"),
    "synthetic": ("synthetic speech, unseen texts", "синтезированная речь, новые тексты"),
    "english": ("English synthetic speech", "английская синтезированная речь"),
}
_MUST = {"test": "20 %", "unseen": "30 %"}
_TASKS = {
    "language": ("language", "язык"),
    "voice": ("man or woman", "мужчина или женщина"),
    "sound": ("kind of sound", "что за звук"),
    "word_present": ("is a word said", "сказано ли слово"),
    "first_word": ("first word", "первое слово"),
    "last_word": ("last word", "последнее слово"),
    "word_count": ("number of words", "число слов"),
}


class ReportError(BorealisError):
    """A page has no place for the table, or a result file can't be read."""


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Args:
        title: what is measured, in English and Russian.
        must: the bound that the project set itself.
        peer: figure of the peer in the same run.
        ours: figure of the model.
    """

    title: tuple[str, str]
    must: str
    peer: str
    ours: str


def load_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Result files by group: the part of `name` after its last hyphen.

    Those of training have tables of their own (`training_tables`, `nano_tables`) and are left out.

    Raises:
        ReportError: a file isn't a result file, or two are of one group.
    """
    groups: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["name"].startswith(_APART):
                continue
            group = record["name"].rsplit("-", 1)[-1]
            record["metrics"], record["date"]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ReportError(f"'{path.name}' isn't a result file of Borealis.") from None
        if group in groups:
            raise ReportError(f"'{path.name}' is a second result file of '{group}'; keep one.")
        groups[group] = record
    return groups


def rows(groups: dict[str, dict[str, Any]]) -> list[Row]:
    """Lines of the table for the groups that were measured."""
    out = []
    for name, m in groups.get("transcription", {}).get("metrics", {}).items():
        if m["word_error_rate"] is None:
            continue
        english, russian = _SETS.get(name, (name, name))
        out.append(
            Row(
                (f"WER / CER, {english}, %", f"WER / CER, {russian}, %"),
                _MUST.get(name, _NONE),
                _rates(m["peer"]) if "peer" in m else _NONE,
                _rates(m, interval=True),
            )
        )
    if questions := groups.get("questions", {}).get("metrics"):
        title = ("questions in unseen wordings, %", "вопросы в новых формулировках, %")
        out.append(Row(title, "85 %", _NONE, _percent(questions["balanced_accuracy"])))
        closed = [score for task, score in questions["tasks"].items() if task in CLOSED]
        if closed:
            title = ("· one answer of a few, on average", "· ответ из нескольких, в среднем")
            out.append(Row(title, _NONE, _NONE, _percent(sum(closed) / len(closed))))
        for task, score in questions["tasks"].items():
            english, russian = _TASKS.get(task, (task, task))
            out.append(Row((f"· {english}", f"· {russian}"), _NONE, _NONE, _percent(score)))
    if sounds := groups.get("sounds", {}).get("metrics"):
        kinds = list(sounds["kinds"].values())
        minutes = round(len(kinds) * sounds["seconds_each"] / 60)
        title = (
            f"words written in {minutes} min of silence, noise and music",
            f"слов, записанных за {minutes} мин тишины, шума и музыки",
        )
        peer = str(sum(k["peer"]["words"] for k in kinds)) if "peer" in kinds[0] else _NONE
        out.append(Row(title, "5", peer, str(sum(k["words"] for k in kinds))))
    model = next((r["model"] for r in groups.values() if "model" in r), None)
    if model:
        size = f"{model['parameters'] / 1e6:.1f} M"
        out.append(Row(("parameters", "параметры"), "< 45 M", "74 M", size))
    if speed := groups.get("speed", {}).get("metrics"):
        title = ("60 s of speech, times real time", "60 с речи, быстрее реального времени")
        peer = _times(speed["peer"]) if "peer" in speed else _NONE
        out.append(Row(title, "10×", peer, _times(speed)))
    for group, record in groups.items():
        if group.startswith("serving"):
            out.append(_serving(record["metrics"], group.partition("_")[2]))
    if load := groups.get("load", {}).get("metrics"):
        out += [Row(title, must, _NONE, value) for title, must, value in demo_lines(load)]
    if commands := groups.get("commands", {}).get("metrics"):
        for key, what, must in (
            ("transcribe", ("a 5 s file, whole process", "файл 5 с, весь процесс"), "< 8 s"),
            ("help", ("whole process", "весь процесс"), "< 1 s"),
        ):
            command = "borealis transcribe" if key == "transcribe" else "borealis --help"
            title = (f"`{command}`, {what[0]}", f"`{command}`, {what[1]}")
            out.append(Row(title, must, _NONE, f"{commands[key]['median_seconds']:.2g} s"))
    if install := groups.get("install", {}).get("metrics"):
        title = ("install by the lock, fresh venv", "установка по lock-файлу в чистое окружение")
        out.append(Row(title, "< 6 min", _NONE, f"{install['seconds'] / 60:.1f} min"))
    return out


def _serving(metrics: dict[str, Any], precision: str) -> Row:
    """Speed of the server under load; it should be thrice that of transformers, one at a time."""
    server, alone = metrics["server"], metrics.get("transformers_one_at_a_time")
    count = server["concurrency"]
    title = (
        f"server in {precision}, {count} requests at once, times real time",
        f"сервер в {precision}, запросов сразу: {count}, быстрее реального времени",
    )
    speed = "audio_seconds_per_second"
    must = f"{3 * alone[speed]:.0f}×" if alone else _NONE
    peer = f"{metrics['peer'][speed]:.0f}×" if "peer" in metrics else _NONE
    return Row(title, must, peer, f"{server[speed]:.0f}×")


def demo_lines(metrics: dict[str, Any]) -> list[tuple[tuple[str, str], str, str]]:
    """Title in both languages, bound and figure of the demo under load."""
    first, crowd = metrics["first_text_seconds"], metrics["crowd"]
    memory, seconds = metrics["memory_megabytes"], metrics["recording_seconds"]
    people, requests = crowd["visitors"], memory["requests"]
    return [
        (
            (
                f"demo: first text of a {seconds} s recording, worst case",
                f"демонстрация: первый текст записи в {seconds} с, худший случай",
            ),
            "< 1 s",
            f"{first['worst']:.2f} s",
        ),
        (
            (
                f"demo: {people} visitors at once, right answers",
                f"демонстрация: сразу {people} посетителей, верных ответов",
            ),
            str(people),
            str(crowd["right"]),
        ),
        (
            (
                f"demo: most memory over {requests} requests",
                f"демонстрация: больше всего памяти за {requests} запросов",
            ),
            "< 3 GB",
            f"{memory['most'] / 1024:.2f} GB",
        ),
    ]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _rates(m: dict[str, Any], *, interval: bool = False) -> str:
    text = f"{_percent(m['word_error_rate'])} / {_percent(m['character_error_rate'])}"
    if interval:
        low, high = m["word_error_rate_95"]
        text += f" ({_percent(low)}–{_percent(high)})"
    return text


def _times(m: dict[str, Any]) -> str:
    return f"{m['times_real_time']:.0f}×"


_HEADERS = {
    "en": ("Measured", "borealis-nano", "Whisper base", "Must"),
    "ru": ("Что измерено", "borealis-nano", "Whisper base", "Должно быть"),
    "both": ("Что измерено · Measured", "borealis-nano", "Whisper base", "Must"),
}
_EMPTY = {
    "en": "Nothing has been measured yet.",
    "ru": "Пока ничего не измерено.",
    "both": "Пока ничего не измерено. · Nothing has been measured yet.",
}
_INTERVAL = {
    "en": "In brackets: 95 % interval of WER.",
    "ru": "В скобках — 95-процентный интервал WER.",
}
_MADE = {
    "en": "Commit {commit}, {date}; {machine}, threads: {threads}.",
    "ru": "Коммит {commit}, {date}; {machine}, потоков: {threads}.",
}
_FILES = {
    "en": "Every figure has its file in `results/`.",
    "ru": "У каждого числа есть свой файл в `results/`.",
}


NOT_MEASURED = {"en": "This hasn't been measured yet.", "ru": "Это пока не измерено."}


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table of rows of cells, the first of which is the head."""
    head, *body = ("| " + " | ".join(line) + " |" for line in lines)
    return "\n".join([head, "|" + "---|" * len(lines[0]), *body])


def machine_note(record: dict[str, Any], language: str) -> str:
    """Where the numbers of a result file come from, in a sentence."""
    machine = record["machine"]
    return _MADE[language].format(
        commit=record["commit"] or _NONE,
        date=record["date"],
        machine=machine["accelerator"] or machine["processor"],
        threads=machine["threads"],
    )


def table(groups: dict[str, dict[str, Any]], language: str) -> str:
    """The Markdown table and its note.

    Args:
        groups: see `load_results`.
        language: `en`, `ru` or `both`.
    """
    lines = rows(groups)
    if not lines:
        return _EMPTY[language]
    units = {" s": " с", " min": " мин", " M": " млн", " GB": " ГБ"} if language == "ru" else {}

    def local(value: str) -> str:
        for english, russian in units.items():
            if value.endswith(english):
                value = value.removesuffix(english) + russian
        return value.replace(".", ",") if language == "ru" else value

    out: list[tuple[str, ...]] = [_HEADERS[language]]
    for row in lines:
        english, russian = row.title
        both = english if english == russian else f"{russian} · {english.removeprefix('· ')}"
        title = {"en": english, "ru": russian, "both": both}[language]
        out.append((title, local(row.ours), local(row.peer), local(row.must)))
    # Of groups measured on one day the error rates are what the note is about.
    last = max(groups.items(), key=lambda g: (g[1]["date"], g[0] == "transcription"))[1]
    machine = groups.get("speed", last)["machine"]  # it matters for speed alone
    notes = ("ru", "en") if language == "both" else (language,)
    text = "\n\n".join(
        f"{_INTERVAL[key]} {machine_note(last | {'machine': machine}, key)} {_FILES[key]}"
        for key in notes
    )
    return f"{markdown(out)}\n\n{text}"


def language_of(page: Path) -> str:
    """`en` or `ru` when a folder of the path says so, else `both`."""
    return next((part for part in reversed(page.parts[:-1]) if part in ("en", "ru")), "both")


def filled(text: str, content: str, page: str) -> str:
    """`text` with `content` between the marks.

    Raises:
        ReportError: a mark is missing or stands twice.
    """
    if text.count(START) != 1 or text.count(END) != 1 or text.index(START) > text.index(END):
        raise ReportError(f"'{page}' must have the lines {START} and {END} once, in this order.")
    before, rest = text.split(START)
    return f"{before}{START}\n{content}\n{END}{rest.split(END)[1]}"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of the module; 1 when `--check` finds a stale page."""
    parser = argparse.ArgumentParser(
        prog="python -m borealis.evaluation.report",
        description="Write the table of results into Markdown pages.",
    )
    parser.add_argument("pages", nargs="+", type=Path, metavar="PAGE")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder (results)")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if stale")
    args = parser.parse_args(argv)
    try:
        stale = _update(args.pages, args.results, check=args.check)
    except BorealisError as error:
        print(f"borealis: {error}", file=sys.stderr)
        return 2
    for page in stale:
        print(f"{page}: {'stale; run make results' if args.check else 'updated'}")
    return 1 if stale and args.check else 0


def _update(pages: Sequence[Path], folder: Path, *, check: bool) -> list[Path]:
    """Fill the pages; returns those whose text differed."""
    groups, stale = load_results(folder), []
    for page in pages:
        if not page.is_file():
            raise ReportError(f"There is no page '{page}'. Check the path.")
        old = page.read_text(encoding="utf-8")
        new = filled(old, table(groups, language_of(page)), page.name)
        if new != old:
            stale.append(page)
            if not check:
                write_text(page, new)
    return stale


if __name__ == "__main__":
    sys.exit(main())
