"""Runs a model over a manifest: transcripts against references, and question tasks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from borealis.audio import SAMPLING_RATE, load_audio
from borealis.data.manifest import Utterance, read_manifest
from borealis.data.phrasings import load_phrasings
from borealis.errors import AudioError, ManifestError
from borealis.evaluation.metrics import ErrorRates, error_rates
from borealis.evaluation.tasks import (
    Question,
    balanced_accuracy,
    build_questions,
    is_right,
    recalls,
)

if TYPE_CHECKING:
    import numpy as np

    from borealis.inference import Borealis
    from borealis.inference.decoding import Decoding

# Longest answer to a question.
ANSWER_TOKENS = 48
# Clips in memory at once: four batches of the default size give room to sort by length.
_CHUNK = 32
# Reasons that the summary shows of clips that were left out.
_REASONS = 8


@dataclass
class Transcription:
    """Result of `evaluate_manifest`.

    Args:
        rates: error rates over all utterances that could be compared.
        seconds: length of the audio.
        wall_seconds: time the transcription took, decoding of files not included.
        rows: voice, reference and hypothesis of every utterance.
        skipped: utterances left out, with their reasons.
    """

    rates: ErrorRates
    seconds: float
    wall_seconds: float
    rows: list[dict[str, str]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return self.rates.to_dict() | {
            "seconds": round(self.seconds, 1),
            "times_real_time": round(self.seconds / max(self.wall_seconds, 1e-6), 1),
            "skipped": self.skipped,
            "rows": self.rows,
        }


@dataclass
class QuestionScores:
    """Result of `evaluate_questions`.

    Args:
        balanced_accuracy: mean over the tasks.
        tasks: balanced accuracy of each task (plain accuracy for words and counts).
        recalls: share answered right by task and class.
        questions: how many were asked of each task.
        wrong: the wrong answers, for reading.
        skipped: utterances left out, with their reasons.
    """

    balanced_accuracy: float
    tasks: dict[str, float]
    recalls: dict[str, dict[str, float]]
    questions: dict[str, int]
    wrong: list[dict[str, str]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def select(manifest: str | Path | Sequence[Utterance], limit: int | None = None) -> list[Utterance]:
    """Utterances of a manifest: all, or `limit` of them spread evenly over it.

    Raises:
        ManifestError: the manifest can't be read, or the limit is under 1.
    """
    items = read_manifest(manifest) if isinstance(manifest, (str, Path)) else list(manifest)
    if limit is None or limit >= len(items):
        return items
    if limit < 1:
        raise ManifestError(f"The limit is {limit} utterances; it must be 1 or more.")
    return [items[i * len(items) // limit] for i in range(limit)]


def read_clips(
    utterances: Sequence[Utterance], skipped: list[dict[str, str]]
) -> Iterator[tuple[Utterance, np.ndarray]]:
    """Decode clips one after another; the ones that can't be read are added to `skipped`."""
    for item in utterances:
        try:
            clip = load_audio(item.audio)
        except AudioError as error:
            skipped.append({"audio": Path(item.audio).name, "reason": str(error)})
        else:
            yield item, clip


def comparable(utterances: Sequence[Utterance], skipped: list[dict[str, str]]) -> list[Utterance]:
    """Utterances with something to compare with; speech without a text is added to `skipped`.

    Of those without a text the recording is read as well: if it is missing or broken, that is why.
    """
    kept = [u for u in utterances if u.text or u.kind != "speech"]
    if not kept:
        raise ManifestError("No utterance of the manifest has a text to compare with.")
    wordless = [u for u in utterances if not u.text and u.kind == "speech"]
    skipped.extend(
        {"audio": Path(item.audio).name, "reason": "speech without a reference text"}
        for item, _ in read_clips(wordless, skipped)
    )
    return kept


def evaluate_manifest(
    model: Borealis,
    manifest: str | Path | Sequence[Utterance],
    *,
    limit: int | None = None,
    batch_size: int = 8,
    language: str | None = None,
    decoding: Decoding | None = None,
) -> Transcription:
    """Transcribe every utterance and compare.

    Args:
        model: a loaded model.
        manifest: a file, or its utterances.
        limit: measure only so many, spread evenly.
        batch_size: parts decoded at once.
        language: of the speech; see `Borealis.transcribe`.
        decoding: likewise.

    Raises:
        ManifestError: no recording can be read, or none has a reference text.
    """
    skipped: list[dict[str, str]] = []
    utterances = comparable(select(manifest, limit), skipped)
    rows: list[dict[str, str]] = []
    seconds = wall = 0.0
    for start in range(0, len(utterances), _CHUNK):
        clips = list(read_clips(utterances[start : start + _CHUNK], skipped))
        if not clips:
            continue
        began = time.perf_counter()
        written = model.transcribe(
            [clip for _, clip in clips],
            batch_size=batch_size,
            language=language,
            decoding=decoding,
        )
        wall += time.perf_counter() - began
        seconds += sum(len(clip) for _, clip in clips) / SAMPLING_RATE
        rows += [
            transcript_row(item, result.text)
            for (item, _), result in zip(clips, written, strict=True)
        ]
    return summarize(rows, seconds, wall, skipped)


def summarize(
    rows: list[dict[str, str]], seconds: float, wall: float, skipped: list[dict[str, str]]
) -> Transcription:
    """Rates of `rows`, ours or a peer's."""
    if not rows:
        raise ManifestError(
            f"None of the {len(skipped)} recordings of the manifest can be read. "
            f"The first: {skipped[0]['reason']}"
        )
    rates = error_rates([r["reference"] for r in rows], [r["hypothesis"] for r in rows])
    return Transcription(rates, seconds, wall, rows, skipped)


def transcript_row(item: Utterance, hypothesis: str) -> dict[str, str]:
    """What is kept of one utterance; the audio by its name only."""
    return {
        "audio": Path(item.audio).name,
        "voice": item.voice,
        "reference": item.text,
        "hypothesis": hypothesis,
    }


def evaluate_questions(
    model: Borealis,
    manifest: str | Path | Sequence[Utterance],
    *,
    limit: int | None = None,
    batch_size: int = 8,
    seed: int = 0,
) -> QuestionScores:
    """Ask every task about the utterances, in wordings that training never used.

    Args:
        model: a loaded model.
        manifest: a file, or utterances; give several languages, voices and sounds together, for
            a task with one class says little.
        limit: use only so many utterances, spread evenly.
        batch_size: questions answered at once.
        seed: of the choice of wordings and words.
    """
    skipped: list[dict[str, str]] = []
    clips = list(read_clips(select(manifest, limit), skipped))
    if not clips:
        raise ManifestError(f"None of the {len(skipped)} recordings of the manifest can be read.")
    samples = {id(item): clip for item, clip in clips}
    questions = build_questions([item for item, _ in clips], load_phrasings(), seed=seed)
    answers = model.ask(
        [samples[id(q.utterance)] for q in questions],
        [q.text for q in questions],
        max_new_tokens=ANSWER_TOKENS,
        batch_size=batch_size,
    )
    right = [is_right(q, a) for q, a in zip(questions, answers, strict=True)]
    tasks: dict[str, float] = {}
    by_class: dict[str, dict[str, float]] = {}
    counts: dict[str, int] = {}
    for task in dict.fromkeys(q.task for q in questions):
        asked = [(q, good) for q, good in zip(questions, right, strict=True) if q.task == task]
        rows, goods = [q for q, _ in asked], [good for _, good in asked]
        tasks[task] = round(balanced_accuracy(rows, goods), 4)
        by_class[task] = {label: round(v, 4) for label, v in recalls(rows, goods).items()}
        counts[task] = len(rows)
    wrong = [
        _wrong(q, answer)
        for q, answer, good in zip(questions, answers, right, strict=True)
        if not good
    ]
    mean = round(sum(tasks.values()) / len(tasks), 4)
    return QuestionScores(mean, tasks, by_class, counts, wrong, skipped)


def question_decoding(model: Borealis, batch_size: int) -> dict[str, Any]:
    """How `evaluate_questions` lets a model decode, for the result file."""
    from borealis.evaluation.results import describe_decoding

    answer = {"strategy": "greedy", "max_new_tokens": ANSWER_TOKENS, "batch_size": batch_size}
    if not model.transcribes_first:
        return {"answer": answer}
    return {"transcript": describe_decoding(model, batch_size=batch_size), "answer": answer}


def _wrong(question: Question, answer: str) -> dict[str, str]:
    return {
        "task": question.task,
        "audio": Path(question.utterance.audio).name,
        "question": question.text,
        "expected": question.expected,
        "answer": answer,
    }


def summary(report: dict[str, Any]) -> str:
    """A few lines for people, of `Transcription.to_dict` and what `borealis eval` adds to it."""
    lines = [f"utterances  {report['utterances']} ({report['seconds']} s, {report['words']} words)"]
    if report["word_error_rate"] is not None:
        lines += [_rates(report), f"speed       {report['times_real_time']} times real time"]
    if report["wordless"]:
        lines.append(f"no speech   {report['wordless']} clips, {report['invented_words']} words")
    lines += _skipped(report["skipped"])
    if peer := report.get("peer"):
        lines += [f"{peer['name']}:", _rates(peer)]
    if questions := report.get("questions"):
        lines.append(f"questions   {questions['balanced_accuracy']:.1%}")
        lines += [f"  {task:<14}{score:.1%}" for task, score in questions["tasks"].items()]
    return "\n".join(lines)


def _skipped(skipped: list[dict[str, str]]) -> list[str]:
    """How many were left out, and each reason; of many the first."""
    if not skipped:
        return []
    reasons = Counter(row["reason"] for row in skipped)
    shown = [f"{reason} ({n})" if n > 1 else reason for reason, n in reasons.items()][:_REASONS]
    lines = [f"skipped     {len(skipped)}: {shown[0]}"]
    lines += [f"            {reason}" for reason in shown[1:]]
    if more := len(reasons) - len(shown):
        lines.append(f"            and {more} more reasons")
    return lines


def _rates(report: dict[str, Any]) -> str:
    low, high = report["word_error_rate_95"]
    return (
        f"WER         {report['word_error_rate']:.1%} (95 %: {low:.1%} to {high:.1%})\n"
        f"CER         {report['character_error_rate']:.1%}"
    )
