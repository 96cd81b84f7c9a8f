"""Tables of single result files for the pages they belong to: the demo and the server at work."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from borealis.evaluation.report import (
    NOT_MEASURED,
    ReportError,
    demo_lines,
    machine_note,
    markdown,
)

_NONE = "–"
Lines = list[tuple[str, ...]]


def detail(groups: dict[str, dict[str, Any]], group: str, language: str) -> str:
    """The Markdown table of a group, and the machine it was measured on.

    Args:
        groups: see `report.load_results`.
        group: `load`, or `serving_float32` and the like.
        language: `en` or `ru`.

    Raises:
        ReportError: there is no such table.
    """
    kind = group.partition("_")[0]
    if kind not in _TABLES:
        raise ReportError(f"There is no table of '{group}'; there are {', '.join(_TABLES)}.")
    if group not in groups:
        return NOT_MEASURED[language]
    record = groups[group]
    out = markdown(_TABLES[kind](record["metrics"], language))
    if language == "ru":
        out = re.sub(r"(?<=\d)\.(?=\d)", ",", out)
    return f"{out}\n\n{machine_note(record, language)}"


def _load(metrics: dict[str, Any], language: str) -> Lines:
    """The demo: the same lines as in the large table, and how long a crowd waits."""
    number = ("en", "ru").index(language)
    units = {" s": " с", " GB": " ГБ"} if language == "ru" else {}

    def local(value: str) -> str:
        for english, russian in units.items():
            value = value.replace(english, russian)
        return value

    head = {"en": ("Measured", "Must", "Is"), "ru": ("Что измерено", "Должно быть", "Есть")}
    out: Lines = [head[language]]
    for title, must, value in demo_lines(metrics):
        out.append((title[number].partition(": ")[2], local(must), local(value)))
    crowd, memory = metrics["crowd"], metrics["memory_megabytes"]["samples"]
    people = crowd["visitors"]
    waits = (f"the last of {people} waits", f"последний из {people} ждёт")
    out.append((waits[number], _NONE, local(f"{crowd['last_seconds']:.0f} s")))
    grown = (
        "memory grew from the first sample to the last",
        "память выросла от первого замера до последнего",
    )
    megabytes = {"en": "MB", "ru": "МБ"}[language]
    out.append((grown[number], _NONE, f"{memory[-1] - memory[0]:.0f} {megabytes}"))
    return out


_ENGINES = {
    "server": ("vLLM, {concurrency} requests at once", "vLLM, запросов сразу: {concurrency}"),
    "server_one_at_a_time": ("vLLM, one at a time", "vLLM, по одному"),
    "transformers_one_at_a_time": ("transformers, one at a time", "transformers, по одному"),
    "transformers_batches": (
        "transformers, batches of {batch_size}",
        "transformers, пакетами по {batch_size}",
    ),
    "peer": ("Whisper base, int8, one at a time", "Whisper base, int8, по одному"),
}


_SERVING_HEAD = {
    "en": (
        "Engine",
        "Seconds of audio a second",
        "To transformers, one at a time",
        "First token, s: p50 / p99",
        "Whole answer, s: p50 / p99",
        "WER, %",
    ),
    "ru": (
        "Движок",
        "Секунд аудио в секунду",
        "К transformers по одному",
        "Первый токен, с: p50 / p99",
        "Весь ответ, с: p50 / p99",
        "WER, %",
    ),
}


def _serving(metrics: dict[str, Any], language: str) -> Lines:
    """Engines under the same recordings, in one run."""
    number = ("en", "ru").index(language)
    out: Lines = [_SERVING_HEAD[language]]
    speed = "audio_seconds_per_second"
    alone = metrics.get("transformers_one_at_a_time", {}).get(speed)
    for engine, names in _ENGINES.items():
        if engine not in metrics:
            continue
        m = metrics[engine]
        out.append(
            (
                names[number].format_map(m),
                f"{m[speed]:.1f}",
                f"{m[speed] / alone:.1f}×" if alone else _NONE,
                _pair(m.get("first_token_seconds")),
                _pair(m.get("latency_seconds")),
                f"{100 * m['word_error_rate']:.1f}",
            )
        )
    return out


def _pair(percentiles: dict[str, float] | None) -> str:
    return f"{percentiles['p50']:.2f} / {percentiles['p99']:.2f}" if percentiles else _NONE


_TABLES: dict[str, Callable[[dict[str, Any], str], Lines]] = {"load": _load, "serving": _serving}
