"""Tables of nano's training for the site, from `results/nano-*.json`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tools.site.freshness import ReportError
from tools.site.tables import NOT_MEASURED, machine_note, markdown

# Rows of the ablation file that begin so are points of the scaling curve.
SCALING = "scaling:"
# Set and kind of the error rate that the curve's law is fitted to.
FITTED = ("held_out", "ctc")
_NONE = "–"

# Russian for names of ablation rows; a row that isn't here goes by its English name.
ROWS = {
    "v0": "веса v0",
    "encoder layers 4-6 learn": "учатся слои энкодера 4–6",
    "pseudo-audio from clips": "псевдозвук из записей",
    "one voice left out": "один голос исключён",
    "v1 weights, decoded as v0": "веса v1, декодирование как у v0",
    "v1: n-gram and four beams": "v1: n-грамма и четыре луча",
    "v1: n-gram, greedy": "v1: n-грамма, жадно",
    "v1: four beams, no n-gram": "v1: четыре луча, без n-граммы",
    "v1: no CTC, greedy": "v1: без CTC, жадно",
    "v1: n-gram and eight beams": "v1: n-грамма и восемь лучей",
    "v1.1: larger n-gram, four beams": "v1.1: большая n-грамма, четыре луча",
    "v1.1: larger n-gram, eight beams": "v1.1: большая n-грамма, восемь лучей",
    "v1.1: sixteen beams": "v1.1: шестнадцать лучей",
    "v1.1: as shipped": "v1.1: как в пакете",
    "v1.1: eight beams, merged": "v1.1: восемь лучей, слияние",
    "v1.2: as shipped": "v1.2: как в пакете",
    "v1.2: and known words": "v1.2: и известные слова",
    "v1.3: as shipped": "v1.3: как в пакете",
}
# Columns of the ablation table, in this order.
_SETS = {
    "known": ("the man", "диктор"),
    "distorted": ("the man, distorted", "диктор, с искажениями"),
    "held_out": ("synthetic voice set apart", "отложенный синтетический голос"),
    "synthetic": ("other synthetic voices", "другие синтетические голоса"),
    "english": ("English", "английский"),
}
_KINDS = {"model": ("whole model", "всей моделью"), "ctc": ("CTC alone", "одним CTC")}

_TRAINING_HEAD = (
    "stage | steps | hours | hours of audio | last loss",
    "этап | шаги | часы | часы звука | потери в конце",
)
_TOTAL = ("in all", "всего")
_TRAINING_NOTE = (
    "The last loss is a mean of the last logged steps; stages of different kinds lose different "
    "things.",
    "Потери в конце — среднее последних шагов, попавших в журнал; у этапов разного вида это разные "
    "величины.",
)
_MONEY = ("dollars", "доллары")
_ABLATION_HEAD = (("variant", "transcribed by"), ("вариант", "чем расшифровано"))
_CHANGE_HEAD = (
    ("change for the man, points", "against"),
    ("изменение у диктора, пункты", "против чего"),
)
_ABLATION_NOTE = (
    "WER / CER, %. Change: of WER, with its 95 % interval in brackets.",
    "WER / CER, %. Изменение — в WER, в скобках 95-процентный интервал.",
)
_SCALING_HEAD = (
    "hours | steps | CTC, synthetic voice set apart | CTC, the man",
    "часы | шаги | CTC, отложенный синтетический голос | CTC, диктор",
)
_SCALING_NOTE = ("WER, %.", "WER, %.")
_LAW = (
    "A power law through the voice set apart ({points} points), WER = {a} · hours^({power}), "
    "misses none of them by more than {error} % of its value. It foretells {more} % at "
    "{more_hours} hours, one more than the last point has, and {twice} % at {twice_hours} hours, "
    "twice as many.",
    "Степенной закон для отложенного голоса (точек: {points}), WER = {a} · часы^({power}), "
    "расходится с ними не больше чем на {error} % своего значения. Он предсказывает {more} % на "
    "отметке {more_hours} ч, через час после последней точки, и {twice} % на отметке "
    "{twice_hours} ч, когда часов станет вдвое больше.",
)
_ALL = ("Rows are of several commits", "Строки измерены на разных коммитах")
_OTHERS = ("The other rows were measured earlier", "Другие строки измерены раньше")
_UNKNOWN = (
    ", each with the weights of its own; their commits weren't recorded.",
    ", каждая на своих весах; коммиты тогда не записывались.",
)
_HEARD = "†"
_HEARD_NOTE = (
    f"{_HEARD} the voice was in the training of this variant.",
    f"{_HEARD} этот голос был в обучении этого варианта.",
)


def table(which: str, folder: Path, language: str) -> str:
    """A Markdown table and a note on where its numbers come from.

    Args:
        which: `training`, `ablation` or `scaling`.
        folder: of the result files.
        language: `en` or `ru`.

    Raises:
        ReportError: there is no such table, or a file isn't a result file.
    """
    if which not in _TABLES:
        raise ReportError(f"There is no table '{which}' of nano; there are {', '.join(_TABLES)}.")
    name, text = _TABLES[which]
    path = folder / name
    if not path.is_file():
        return NOT_MEASURED[language]
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        body = text(record, language == "ru")
        note = f"`results/{name}`. {_source(record, language)}"
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ReportError(f"'{name}' isn't a file of nano's training.") from None
    return f"{body} {note}" if body else NOT_MEASURED[language]


def _source(record: dict[str, Any], language: str) -> str:
    """Where the numbers come from; rows of an ablation each have a commit and weights."""
    if "rows" not in record:
        return machine_note(record, language)
    russian = language == "ru"
    own: dict[str, list[str]] = {}
    for row in record["rows"]:
        if not row["name"].startswith(SCALING):
            note = machine_note(row, language) if "commit" in row else ""
            own.setdefault(note, []).append(_title(row["name"], russian))
    old = own.pop("", [])
    told = [f"{', '.join(names)}: {note}" for note, names in own.items()]
    if old:
        told.append((_OTHERS if own else _ALL)[russian] + _UNKNOWN[russian])
    return " ".join(told)


def _training(record: dict[str, Any], russian: bool) -> str:
    """Stages in their order; of several runs each stage is told with its run."""
    metrics = record["metrics"]
    money = "dollars" in metrics["total"]
    head = _TRAINING_HEAD[russian].split(" | ")
    rows = [[*head, _MONEY[russian]] if money else head]
    several = len(metrics["runs"]) > 1
    for stage in metrics["stages"]:
        title = f"`{stage['run']}`: `{stage['stage']}`" if several else f"`{stage['stage']}`"
        rows.append([title, *_spent(stage, f"{stage['final']['loss']:.3f}", money, russian)])
    rows.append([_TOTAL[russian], *_spent(metrics["total"], _NONE, money, russian)])
    return f"{markdown(rows)}\n\n{_TRAINING_NOTE[russian]}"


def _spent(entry: dict[str, Any], loss: str, money: bool, russian: bool) -> list[str]:
    audio = _NONE if entry["audio_hours"] is None else f"{entry['audio_hours']:.1f}"
    numbers = [str(entry["steps"]), f"{entry['hours']:.2f}", audio, loss]
    if money:
        numbers.append(f"{entry['dollars']:.2f}" if "dollars" in entry else _NONE)
    return [_local(number, russian) for number in numbers]


def _ablation(record: dict[str, Any], russian: bool) -> str:
    """Rows as the whole model has them; CTC where there is nothing else, or that is compared."""
    known = {r["name"]: r for r in record["rows"] if not r["name"].startswith(SCALING)}
    if not known:
        return ""
    compared = {r["against"] for r in known.values() if "model" not in r["sets"]["known"]}
    sets = [titles[russian] for titles in _SETS.values()]
    lines = [[*_ABLATION_HEAD[russian], *sets, *_CHANGE_HEAD[russian]]]
    heard = False
    for name, row in known.items():
        for kind, titles in _KINDS.items():
            if kind not in row["sets"]["known"]:
                continue
            if kind == "ctc" and "model" in row["sets"]["known"] and name not in compared:
                continue
            cells = []
            for one in _SETS:
                cell = _rates(row["sets"][one][kind], russian) if one in row["sets"] else _NONE
                if one == "held_out" and cell != _NONE and row["held_out_voice_in_training"]:
                    cell, heard = f"{cell} {_HEARD}", True
                cells.append(cell)
            change = row["sets"]["known"][kind].get("change")
            against = _title(row["against"], russian) if change else _NONE
            cells += [_change(change, russian) if change else _NONE, against]
            lines.append([_title(name, russian), titles[russian], *cells])
    return _with_notes(lines, [_ABLATION_NOTE[russian]], heard, russian)


def _scaling(record: dict[str, Any], russian: bool) -> str:
    """Points of the curve, and what the law through them foretells."""
    metrics = record["metrics"]
    if "scaling" not in metrics:
        return ""
    lines = [_SCALING_HEAD[russian].split(" | ")]
    heard = False
    for point in metrics["scaling"]:
        rates = point["word_error_rate"]
        apart = _local(f"{100 * rates['held_out']['ctc']:.1f}", russian)
        if point["held_out_voice_in_training"]:
            apart, heard = f"{apart} {_HEARD}", True
        man = _local(f"{100 * rates['known']['ctc']:.1f}", russian)
        lines.append([_local(f"{point['hours']:.2f}", russian), str(point["steps"]), apart, man])
    notes = [_SCALING_NOTE[russian]]
    if law := metrics.get("scaling_fit"):
        more, twice = law["predicted"]["one_more_hour"], law["predicted"]["twice"]
        numbers = {
            "a": f"{100 * law['a']:.1f} %",
            "power": _signed(f"{-law['b']:+.2f}").removeprefix("+"),
            "error": f"{100 * law['largest_error']:.0f}",
            "more": f"{100 * more['word_error_rate']:.1f}",
            "more_hours": f"{more['hours']:.2f}",
            "twice": f"{100 * twice['word_error_rate']:.1f}",
            "twice_hours": f"{twice['hours']:.2f}",
        }
        told = {key: _local(number, russian) for key, number in numbers.items()}
        notes.append(_LAW[russian].format(points=law["points"], **told))
    return _with_notes(lines, notes, heard, russian)


def _with_notes(
    lines: Sequence[Sequence[str]], notes: Sequence[str], heard: bool, russian: bool
) -> str:
    told = [*notes, _HEARD_NOTE[russian]] if heard else notes
    return f"{markdown(lines)}\n\n{' '.join(told)}"


def _rates(rates: dict[str, Any], russian: bool) -> str:
    words, letters = rates["word_error_rate"], rates["character_error_rate"]
    # Spaces that don't break: a row of the widest table stays one line high.
    return _local(
        f"{100 * words:.1f}\N{NO-BREAK SPACE}/\N{NO-BREAK SPACE}{100 * letters:.1f}", russian
    )


def _change(change: Sequence[float], russian: bool) -> str:
    middle, low, high = (_local(_signed(f"{points:+.1f}"), russian) for points in change)
    return f"{middle} [{low}; {high}]"


def _signed(number: str) -> str:
    return number.replace("-", "−")


def _title(name: str, russian: bool) -> str:
    return ROWS.get(name, name) if russian else name


def _local(number: str, russian: bool) -> str:
    return number.replace(".", ",") if russian else number


_TABLES: dict[str, tuple[str, Callable[[dict[str, Any], bool], str]]] = {
    "training": ("nano-training.json", _training),
    "ablation": ("nano-ablation.json", _ablation),
    "scaling": ("nano-training.json", _scaling),
}
