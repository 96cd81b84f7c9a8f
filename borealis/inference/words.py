"""When each word was said and how sure the model is: forced alignment of a transcript to CTC.

A `ctc` adapter gives every 20 ms frame a probability for each letter. The spelling of a transcript
is known; what is looked for is the most probable way to lay its letters over the frames, with
blanks between (Viterbi over the CTC lattice of Graves et al., 2006).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from borealis.arguments import number
from borealis.audio import SAMPLING_RATE, split_at_silence
from borealis.data.text import ctc_text
from borealis.errors import PromptError
from borealis.inference.streaming import Guess
from borealis.inference.transcript import Segment, Transcript

if TYPE_CHECKING:
    from borealis.inference.engine import Borealis


@dataclass
class Word:
    """A word as it is written in the transcript.

    Args:
        start: seconds from the beginning of the recording.
        end: likewise.
        text: the word with its punctuation.
        confidence: geometric mean of the probabilities of its letters, 0 to 1; None where the
            word has nothing that CTC could hear (digits), and its time is a guess.
    """

    start: float
    end: float
    text: str
    confidence: float | None


def align(log_probs: np.ndarray, labels: Sequence[int]) -> np.ndarray | None:
    """Lay a spelling over the frames.

    Args:
        log_probs: CTC log probabilities `[T, num_classes]`, class 0 is the blank.
        labels: classes of the letters in order, `[L]`.

    Returns:
        For each frame the index of its letter, or -1 for a blank: `[T]`. None where the frames
        are too few for the letters.
    """
    frames, letters = len(log_probs), len(labels)
    repeats = sum(a == b for a, b in pairwise(labels))
    if not letters or frames < letters + repeats:
        return None
    # States are blank, letter, blank, letter, ..., blank.
    path = np.zeros(2 * letters + 1, np.int64)
    path[1::2] = labels
    skip = np.zeros(len(path), bool)
    skip[2:] = (path[2:] != 0) & (path[2:] != path[:-2])
    score = np.full(len(path), -np.inf)
    score[:2] = log_probs[0, path[:2]]
    came = np.zeros((frames, len(path)), np.int8)  # how many states back the best way came from
    for t in range(1, frames):
        ways = np.full((3, len(path)), -np.inf)
        ways[0], ways[1, 1:] = score, score[:-1]
        ways[2, 2:] = np.where(skip[2:], score[:-2], -np.inf)
        came[t] = ways.argmax(0)
        score = ways.max(0) + log_probs[t, path]
    state = len(path) - 1 if score[-1] >= score[-2] else len(path) - 2
    out = np.empty(frames, np.int64)
    for t in range(frames - 1, -1, -1):
        out[t] = state // 2 if state % 2 else -1
        state -= int(came[t, state])
    return out


def align_words(model: Borealis, clip: np.ndarray, segments: Sequence[Segment]) -> list[Word]:
    """The words of a transcript with their times.

    Args:
        model: a model whose adapter is `ctc`; with another there is nothing to align to.
        clip: the recording, float32 mono at 16 kHz `[num_samples]`.
        segments: the segments of its transcript.

    Returns:
        All words in order; empty if the adapter isn't `ctc`.

    Raises:
        PromptError: a segment begins after the clip's end: it is of another recording.
    """
    if model.model.config.adapter_type != "ctc":
        return []
    words: list[Word] = []
    seconds = len(clip) / SAMPLING_RATE
    for segment in segments:
        start = number("A segment's start", segment.start, 0)
        end = number("A segment's end", segment.end, start)
        if start >= seconds:
            raise PromptError(
                f"A segment begins at {start:g} s and the clip has {seconds:.2f} s: give the clip "
                "that these segments were written down from."
            )
        a, b = round(start * SAMPLING_RATE), round(end * SAMPLING_RATE)
        part = Segment(start, min(end, round(seconds, 2)), segment.text)
        words += _segment_words(model, clip[a : max(b, a + 1)], part)
    return words


@torch.inference_mode()
def ctc_log_probs(model: Borealis, clip: np.ndarray) -> np.ndarray:
    """What the adapter hears in a clip of at most one window: `[T, num_classes]`, natural log."""
    inner = model.model.model
    features = model.processor.extract_features([clip])
    heard = inner.hear(features["input_features"].to(model.device), features["num_samples"])
    return heard.log_probs()[0].cpu().numpy()


def _segment_words(model: Borealis, clip: np.ndarray, segment: Segment) -> list[Word]:
    config = model.model.config
    index = {c: i + 1 for i, c in enumerate(config.ctc_labels)}
    labels: list[int] = []
    spans: list[tuple[str, int, int]] = []  # a word and its letters in `labels`
    for text in _written_words(segment.text):
        letters = [index[c] for c in ctc_text(text) if c in index]
        if letters and labels and " " in index:
            labels.append(index[" "])
        spans.append((text, len(labels), len(labels) + len(letters)))
        labels += letters
    log_probs = ctc_log_probs(model, clip[: config.window_length])
    path = align(log_probs, labels)
    step = config.frame_length / config.sampling_rate
    timed: list[tuple[float, float, float | None] | None] = []
    for _, first, end in spans:
        if path is None or first == end:
            timed.append(None)
            continue
        frames = np.flatnonzero((path >= first) & (path < end))
        # A letter is as sure as its best frame.
        best = [
            max(log_probs[t, labels[i]] for t in frames[path[frames] == i])
            for i in range(first, end)
        ]
        confidence = round(float(np.exp(np.mean(best))), 3)
        timed.append((float(frames[0] * step), float((frames[-1] + 1) * step), confidence))
    return [
        Word(
            round(segment.start + start, 2),
            round(min(segment.start + end, segment.end), 2),
            text,
            confidence,
        )
        for (text, _, _), (start, end, confidence) in zip(
            spans, _fill(timed, segment.end - segment.start), strict=True
        )
    ]


def _written_words(text: str) -> list[str]:
    """Words of a text; a mark that stands alone, as a dash does, stays with the word before it."""
    words: list[str] = []
    for piece in text.split():
        if words and not any(c.isalnum() for c in piece):
            words[-1] += f" {piece}"
        else:
            words.append(piece)
    return words


def _fill(
    timed: Sequence[tuple[float, float, float | None] | None], duration: float
) -> list[tuple[float, float, float | None]]:
    """Give words without a time of their own an equal share of the gap they stand in."""
    out: list[tuple[float, float, float | None]] = []
    at = 0
    while at < len(timed):
        known = timed[at]
        if known is not None:
            out.append(known)
            at += 1
            continue
        stop = at
        while stop < len(timed) and timed[stop] is None:
            stop += 1
        left = out[-1][1] if out else 0.0
        following = timed[stop] if stop < len(timed) else None
        right = max(left, following[0] if following else duration)
        share = (right - left) / (stop - at)
        out += [(left + i * share, left + (i + 1) * share, None) for i in range(stop - at)]
        at = stop
    return out


# ---- a transcription that can be watched ----


@dataclass
class Progress:
    """How far a transcription has come.

    Args:
        text: all that is written so far.
        guess: what may follow it, as it looks now.
        done: share of the recording that is finished, 0 to 1.
        transcript: what is finished: whole segments.
        words: their words.
    """

    text: str
    done: float
    transcript: Transcript
    words: list[Word]
    guess: str = ""


def follow(
    model: Borealis, clip: np.ndarray, *, language: str | None = None, words: bool = True
) -> Iterator[Progress]:
    """Transcribe and tell how it goes: after every piece of text and after every segment.

    Closing the iterator stops the model.

    Args:
        model: the model.
        clip: float32 mono at 16 kHz `[num_samples]`, of any length.
        language: language of the prompt, `ru` or `en`.
        words: align the words of each segment when it is finished.
    """
    spans = split_at_silence(clip, max_seconds=model.longest_part)
    transcript = Transcript("", round(len(clip) / SAMPLING_RATE, 2))
    heard: list[Word] = []
    for start, end in spans:
        before, text, guess = transcript.text, "", ""
        part = clip[start:end]
        for piece in model.transcribe(
            part, sampling_rate=SAMPLING_RATE, language=language, stream=True, guesses=True
        ):
            if isinstance(piece, Guess):
                guess = piece if text or not before else f" {piece.lstrip()}"
            else:
                text += piece
                guess = guess.removeprefix(piece) if guess.startswith(piece) else ""
            written = f"{before} {text.lstrip()}" if before and text else before or text
            yield Progress(written, start / len(clip), transcript, heard, guess)
        if text.strip():
            a, b = round(start / SAMPLING_RATE, 2), round(end / SAMPLING_RATE, 2)
            segment = Segment(a, b, text.strip())
            transcript.segments.append(segment)
            transcript.text = f"{before} {segment.text}".strip()
            if words:
                heard += align_words(model, clip, [segment])
        yield Progress(transcript.text, end / len(clip), transcript, heard)
