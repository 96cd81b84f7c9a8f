"""Tables of the training benchmarks for the site, from `results/training-*.json`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tools.site.freshness import ReportError
from tools.site.gain_plot import SUBJECTS, plot
from tools.site.tables import NOT_MEASURED, machine_note, markdown

PREFIX = "training-"
_LOOPS = {
    "original": ("the original's way", "как в оригинале"),
    "first": ("ours, first epoch", "наш, первая эпоха"),
    "first_with_cache": (
        "ours, first epoch and making the cache",
        "наш, первая эпоха вместе с записью кэша",
    ),
    "later": ("ours, later epochs, from the cache", "наш, следующие эпохи, из кэша"),
}
_CURVES = {
    "original": ("the original's way", "как в оригинале"),
    "original_masked": ("the original's way with our mask", "как в оригинале, но с нашей маской"),
    "ours_30_s": ("ours, the encoder reads 30 s", "наш, энкодер читает 30 с"),
    "ours": ("ours, the window is cut", "наш, окно обрезано"),
    "ours_cached": ("ours, from the cache", "наш, из кэша"),
}
# What an option is called on the page; one without a title goes by its name.
_OPTIONS = {
    "adapter": ("the adapter alone", "только адаптер"),
    "lora": ("LoRA of the language model", "LoRA языковой модели"),
    "full": ("all of the language model", "вся языковая модель"),
    "encoder-lora": ("LoRA of the encoder", "LoRA энкодера"),
    "adapter-checkpointing": (
        "the adapter, layers computed twice",
        "адаптер, слои считаются дважды",
    ),
    "lora-checkpointing": ("LoRA, layers computed twice", "LoRA, слои считаются дважды"),
    "full-checkpointing": ("all, layers computed twice", "вся модель, слои считаются дважды"),
    "adapter-bfloat16": ("the adapter, computed in bf16", "адаптер, счёт в bf16"),
    "full-bfloat16": ("all, computed in bf16", "вся модель, счёт в bf16"),
    "adapter-frozen-bfloat16": (
        "the adapter, frozen towers held in bf16 too",
        "адаптер, замороженное и хранится в bf16",
    ),
    "adapter-cache": ("the adapter, from the feature cache", "адаптер, из кэша признаков"),
    "adapter-no-buckets": (
        "the adapter, clips as they come",
        "адаптер, записи без подбора по длине",
    ),
    "adapter-split": (
        "the adapter, a step of four small batches",
        "адаптер, шаг из четырёх малых батчей",
    ),
}

_SPEED_HEAD = (
    "epoch | clips a second | times faster | counted | data, ms | encoder, ms | the rest, ms | "
    "places a clip",
    "эпоха | записей в секунду | быстрее, раз | по операциям, раз | данные, мс | энкодер, мс | "
    "остальное, мс | мест на запись",
)
_COUNTED_HEAD = ("recipe | first epoch | later", "рецепт | первая эпоха | следующие")
_LOSS_HEAD = ("step | largest difference | from", "шаг | наибольшее отличие | от чего")
_OPTIONS_HEAD = (
    "what | keys of the stage | clips a second | speed, times | memory, MiB | memory, times | "
    "against",
    "что | ключи этапа | записей в секунду | скорость, раз | память, МиБ | память, раз | "
    "против чего",
)


def table(which: str, folder: Path, language: str) -> str:
    """A Markdown table and a note on where its numbers come from.

    Args:
        which: `speed`, `counted`, `losses`, `options`, `gain` or `terms`; `picture` draws the gain.
        folder: of the result files.
        language: `en` or `ru`.

    Raises:
        ReportError: there is no such table, or a file isn't a result file.
    """
    if which == "picture":
        return _picture(folder, language)
    if which not in _TABLES:
        raise ReportError(
            f"There is no table '{which}' of training; there are {', '.join(_TABLES)}."
        )
    name, rows = _TABLES[which]
    path = folder / f"{PREFIX}{name}.json"
    if not path.is_file():
        return NOT_MEASURED[language]
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        cells = rows(record["metrics"], language == "ru")
        note = f"`results/{path.name}`. {machine_note(record, language)}"
    except (ValueError, KeyError, TypeError):
        raise ReportError(f"'{path.name}' isn't a file of the training benchmarks.") from None
    return f"{markdown(cells)}\n\n{note}"


def _picture(folder: Path, language: str) -> str:
    path = folder / f"{PREFIX}gain.json"
    if not path.is_file():
        return NOT_MEASURED[language]
    return plot(json.loads(path.read_text(encoding="utf-8"))["metrics"], language)


def _speed(metrics: dict[str, Any], russian: bool) -> list[list[str]]:
    head = _SPEED_HEAD[russian].split(" | ")
    rows = [head]
    for name, loop in metrics["loops"].items():
        ratio = metrics["times_faster"].get(name)
        spent = loop["processor_seconds_per_clip"]
        numbers = [f"{loop['clips_per_processor_second']:.2f}"]
        numbers += [f"{ratio['measured']:.1f}", f"{ratio['counted']:.1f}"] if ratio else ["1", "1"]
        numbers += [f"{1000 * spent[part]:.0f}" for part in ("data", "encoder", "rest")]
        numbers += [f"{loop['places_per_clip']:.0f}"]
        rows.append([_LOOPS[name][russian], *_local(numbers, russian)])
    return rows


def _counted(metrics: dict[str, Any], russian: bool) -> list[list[str]]:
    head = _COUNTED_HEAD[russian].split(" | ")
    rows = [head]
    for name, ratio in metrics["counted_for_recipes"].items():
        numbers = [f"{ratio['first']:.1f}", f"{ratio['later']:.1f}"]
        rows.append([f"`{name}`", *_local(numbers, russian)])
    return rows


def _losses(metrics: dict[str, Any], russian: bool) -> list[list[str]]:
    curves = metrics["loss"]["curves"]
    steps = metrics["loss"]["steps"]
    shown = sorted({1, (steps + 1) // 2, steps})
    words = _LOSS_HEAD[russian].split(" | ")
    pairs: dict[str, tuple[str, float]] = {}
    for key, largest in metrics["loss"]["largest_difference"].items():
        one, other = key.split(" - ")
        # The first pair of a curve is what it should equal; the original's is told of itself.
        name = other if one in pairs else one
        pairs[name] = (one if one in pairs else other, largest)
    first = "кривая" if russian else "curve"
    rows = [[first, *(f"{words[0]} {n}" for n in shown), *words[1:]]]
    for name, losses in curves.items():
        numbers = [f"{losses[n - 1]:.4f}" for n in shown]
        against = "–"
        if name in pairs:
            other, largest = pairs[name]
            numbers.append(f"{largest:.2g}")
            against = _CURVES[other][russian]
        else:
            numbers.append("–")
        rows.append([_CURVES[name][russian], *_local(numbers, russian), against])
    return rows


def _options(metrics: dict[str, Any], russian: bool) -> list[list[str]]:
    head = _OPTIONS_HEAD[russian].split(" | ")
    known = {option["name"]: option for option in metrics["options"]}
    rows = [head]
    for name, option in known.items():
        other = known.get(option.get("compare", ""))
        numbers = [f"{option['clips_per_processor_second']:.2f}"]
        numbers.append(_times(option, other, "clips_per_processor_second"))
        memory = "cuda_peak_mib" if "cuda_peak_mib" in option else "peak_mib"
        numbers += [f"{option[memory]:.0f}", _times(option, other, memory)]
        first, rate, faster, peak, more = _title(name, russian), *_local(numbers, russian)
        against = _title(option["compare"], russian) if other else "–"
        rows.append([first, _keys(option), rate, faster, peak, more, against])
    return rows


def _times(option: dict[str, Any], other: dict[str, Any] | None, key: str) -> str:
    return f"{option[key] / other[key]:.2f}" if other else "1"


def _title(name: str, russian: bool) -> str:
    return _OPTIONS[name][russian] if name in _OPTIONS else f"`{name}`"


def _keys(option: dict[str, Any]) -> str:
    """Keys of the stage as a recipe writes them, without what every option has."""
    keys = [
        f"`{key}: {json.dumps(value).replace(chr(34), '')}`"
        for key, value in option["keys"].items()
    ]
    if option.get("cache"):
        keys.append("`features`")
    return ", ".join(keys) or "–"


def _local(numbers: Sequence[str], russian: bool) -> list[str]:
    return [n.replace(".", ",") for n in numbers] if russian else list(numbers)


_GAIN_HEAD = (
    "what | clips | WER before, % | WER after, three runs, % | change, 95 % | a known voice, % | "
    "minutes",
    "что | записей | WER до, % | WER после, три запуска, % | изменение, 95 % | знакомый голос, % "
    "| минут",
)


def _gain(metrics: dict[str, Any], russian: bool) -> list[list[str]]:
    """Before and after fine-tuning; a change is of the middle run of three."""
    rows = [_GAIN_HEAD[russian].split(" | ")]
    for name, title in SUBJECTS.items():
        before = metrics[name]["before"]
        first = [_percent(before["word_error_rate"]), "–", "–", _known(before), "–"]
        rows.append([title[russian], "0", *_decimal(first, russian)])
        for clips in dict.fromkeys(row["clips"] for row in metrics[name]["after"]):
            runs = [row for row in metrics[name]["after"] if row["clips"] == clips]
            runs.sort(key=lambda row: row["word_error_rate"])
            middle = runs[len(runs) // 2]
            low, high = middle["change"]["word_error_rate_95"]
            cells = [
                title[russian],
                str(clips),
                _percent(before["word_error_rate"]),
                ", ".join(_percent(row["word_error_rate"]) for row in runs),
                f"{100 * low:+.1f} … {100 * high:+.1f}",
                _known(middle),
                f"{middle['seconds'] / 60:.1f}",
            ]
            rows.append([*cells[:2], *_decimal(cells[2:], russian)])
    return rows


def _terms(metrics: dict[str, Any], russian: bool) -> list[list[str]]:
    """How many of a trade's words are written right, with hot words and without."""
    head = "clips | words found, % | with hot words, %"
    if russian:
        head = "записей | найдено слов, % | с подсказками слов, %"
    rows, subject = [head.split(" | ")], metrics["terms"]
    by_clips: dict[int, list[dict[str, Any]]] = {0: [subject["before"]]}
    for row in subject["after"]:
        by_clips.setdefault(row["clips"], []).append(row)
    for clips, found in by_clips.items():
        plain = [row["terms_found"] for row in found]
        hot = [row["hot_words"]["terms_found"] for row in found]
        shares = [_percent(sum(values) / len(values)) for values in (plain, hot)]
        rows.append([str(clips), *_decimal(shares, russian)])
    return rows


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _known(row: dict[str, Any]) -> str:
    return _percent(row["known"]["word_error_rate"])


def _decimal(cells: Sequence[str], russian: bool) -> list[str]:
    """Numbers with the language's decimal mark; several in a cell stay apart."""
    if not russian:
        return list(cells)
    return ["; ".join(part.replace(".", ",") for part in cell.split(", ")) for cell in cells]


_Rows = Callable[[dict[str, Any], bool], list[list[str]]]
_TABLES: dict[str, tuple[str, _Rows]] = {
    "speed": ("speed", _speed),
    "counted": ("speed", _counted),
    "losses": ("speed", _losses),
    "options": ("options", _options),
    "gain": ("gain", _gain),
    "terms": ("gain", _terms),
}
