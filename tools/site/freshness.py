"""Which result files a table may show, and what has to be measured again.

A file is refused when it can't vouch for its numbers: the files of its commit were changed, it
was measured with another checkpoint than the one that ships, by other rules of comparison, with
another lock, or it doesn't say how the model decoded. A table leaves a refused file out and says
why; it never shows its figures as today's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from borealis.checkpoints import bundled, checkpoint_digest
from borealis.errors import BorealisError
from borealis.evaluation.normalization import NORMALIZER_VERSION
from borealis.evaluation.results import FORMAT, file_digest

_LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
# Files that have tables of their own: `training_tables`, `nano_tables`, `spoken_table`.
_APART = ("training-", "nano-training", "nano-ablation", "spoken-text")
# Digits of a checkpoint's digest that tables show.
SHOWN = 8

Words = tuple[str, str]  # in English and Russian


class ReportError(BorealisError):
    """A page has no place for the table, or a result file can't be read."""


@dataclass(frozen=True)
class Group:
    """One result file: what it measures and how it is made.

    Args:
        title: of its table, in English and Russian.
        file: its `name` for the model that ships.
        command: what measures it anew.
        model: it measures the checkpoint that ships.
        lock: it depends on `requirements.lock`.
    """

    title: Words
    file: str
    command: str
    model: bool = True
    lock: bool = False


def _bench(what: str) -> str:
    return f"make bench WHAT={what}"


def _nano(what: str, english: str, russian: str) -> Group:
    return Group((english, russian), f"nano-{what}", _bench(what))


# In the order of the page. The name is the last part of the file's `name`.
GROUPS = {
    "transcription": _nano("transcription", "Transcription", "Расшифровка"),
    "questions": _nano("questions", "Questions", "Вопросы"),
    "sounds": _nano("sounds", "Where nobody speaks", "Где никто не говорит"),
    "speed": _nano("speed", "One recording at a time", "По одной записи"),
    "words": _nano("words", "Times of words", "Время слов"),
    "serving_float32": Group(
        ("Server, float32", "Сервер, float32"), "nano-serving_float32", _bench("server")
    ),
    "serving_bfloat16": Group(
        ("Server, bfloat16", "Сервер, bfloat16"), "nano-serving_bfloat16", _bench("server")
    ),
    "load": Group(
        ("The demo under load", "Демонстрация под нагрузкой"), "demo-load", _bench("demo")
    ),
    "commands": _nano("commands", "Commands", "Команды"),
    "install": Group(
        ("Installation", "Установка"), "install", _bench("install"), model=False, lock=True
    ),
    "test": Group(
        ("The project's tests", "Проверки проекта"),
        "make-test",
        "make test RECORD=results/make-test.json",
        model=False,
    ),
}


@dataclass(frozen=True)
class Shipped:
    """What tables are about: the bundled checkpoint and the lock of this checkout.

    Args:
        checkpoint: digest, see `borealis.checkpoints.checkpoint_digest`.
        lock: SHA-256 of `requirements.lock`; empty where there is none.
    """

    checkpoint: str
    lock: str = ""

    @classmethod
    def here(cls) -> Shipped:
        lock = file_digest(_LOCK) if _LOCK.is_file() else ""
        return cls(checkpoint_digest(bundled()["nano"]), lock)


@dataclass
class Results:
    """Result files of a folder.

    Args:
        groups: records that tables may show, by group.
        refused: those that they may not, with the reason in both languages.
        unknown: names of files of other groups, which no table shows.
    """

    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, Words] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def missing(self, group: str) -> Words | None:
        """Why a group has nothing to show; None when it has."""
        if group in self.groups:
            return None
        return self.refused.get(group, ("not measured yet", "ещё не измерено"))

    def to_measure(self) -> dict[str, Words]:
        """Groups that have to be measured (again), with the reason."""
        return {name: why for name in GROUPS if (why := self.missing(name)) is not None}


def load_results(folder: Path, shipped: Shipped | None = None) -> Results:
    """Read the result files of a folder and refuse those that can't vouch for their numbers.

    A group is the part of `name` after its last hyphen. Files of training have tables of their own
    and are left out.

    Args:
        folder: of the files.
        shipped: what they must have measured; by default what ships with this package.

    Raises:
        ReportError: a file isn't a result file, or two are of one group.
    """
    shipped = shipped or Shipped.here()
    found, names = Results(), set()
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["name"].startswith(_APART):
                continue
            group = record["name"].rsplit("-", 1)[-1]
            record["metrics"], record["date"]
            reason = refusal(record, GROUPS[group], shipped) if group in GROUPS else None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ReportError(f"'{path.name}' isn't a result file of Borealis.") from None
        if group not in GROUPS:
            found.unknown.append(path.name)
            continue
        if group in names:
            raise ReportError(f"'{path.name}' is a second result file of '{group}'; keep one.")
        names.add(group)
        if reason is None:
            found.groups[group] = record
        else:
            found.refused[group] = reason
    return found


def refusal(record: dict[str, Any], group: Group, shipped: Shipped) -> Words | None:
    """All that is wrong with a record, in both languages; None when nothing is."""
    reasons: list[Words] = []
    if not record.get("commit"):
        reasons.append(("no commit is named", "не назван коммит"))
    if record.get("dirty", True):
        reasons.append(("files differed from the commit", "файлы отличались от коммита"))
    if group.model:
        reasons += _about_model(record, shipped)
    if group.lock and record.get("lock") != shipped.lock:
        reasons.append(("the lock is another one", "lock-файл был другой"))
    if not reasons:
        return None
    return "; ".join(english for english, _ in reasons), "; ".join(ru for _, ru in reasons)


def _about_model(record: dict[str, Any], shipped: Shipped) -> list[Words]:
    reasons: list[Words] = []
    if record.get("format", 1) < FORMAT or not record.get("decoding"):
        reasons.append(
            ("how it decoded isn't recorded", "не записано, как модель декодировала")
        )  # fmt: skip
    measured = record.get("model", {})
    # Before files had the digest, the name of the unpacked folder told it.
    digest = measured.get("checkpoint") or measured.get("name", "").rpartition("-")[2]
    if digest != shipped.checkpoint:
        ours, theirs = shipped.checkpoint[:SHOWN], digest[:SHOWN] or "–"
        reasons.append(
            (
                f"measured with the weights {theirs}, and {ours} ship",
                f"измерено на весах {theirs}, а в пакете {ours}",
            )
        )
    if record.get("normalizer_version") != NORMALIZER_VERSION:
        reasons.append(("texts were compared by other rules", "тексты сравнивались иначе"))
    return reasons
