"""When each word was said and how sure the model is: forced alignment of a transcript to CTC.

A `ctc` adapter gives every 20 ms frame a probability for each letter. The spelling of a transcript
is known; what is looked for is the most probable way to lay its letters over the frames, with
blanks between (Viterbi over the CTC lattice of Graves et al., 2006).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from borealis.arguments import number
from borealis.audio import SAMPLING_RATE
from borealis.ctc.alignment import align, written_words
from borealis.ctc.alphabet import Alphabet
from borealis.errors import PromptError
from borealis.inference.messages import language_of
from borealis.inference.transcript import Guess, Segment, Transcript, Word, placed

if TYPE_CHECKING:
    from borealis.inference.engine import Borealis


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
        part = clip[a : max(b, a + 1)][: model.model.config.window_length]
        last = min(end, round(seconds, 2))
        timed = model.time_words(segment.text, ctc_log_probs(model, part), last - start)
        words += placed(timed, start, last)
    return words


@torch.inference_mode()
def ctc_log_probs(model: Borealis, clip: np.ndarray) -> np.ndarray:
    """What the adapter hears in a clip of at most one window: `[T, num_classes]`, natural log."""
    features = model.processor.extract_features([clip])
    heard = model.hear(features["input_features"].to(model.device), features["num_samples"])
    return heard.log_probs()[0].cpu().numpy()


def time_words(
    text: str,
    log_probs: np.ndarray,
    alphabet: Alphabet,
    step: float,
    duration: float,
    delay: float = 0.0,
) -> list[Word]:
    """When each word of a text was said.

    Args:
        text: of a clip.
        log_probs: what CTC heard in it, natural log `[T, num_classes]`.
        alphabet: of the classes.
        step: seconds of a frame.
        duration: of the clip, seconds.
        delay: seconds by which a letter is heard after it begins.

    Returns:
        Its words with times from the clip's beginning. Words that CTC can't spell share the gap
        they stand in.
    """
    labels: list[int] = []
    spans: list[tuple[str, int, int]] = []  # a word and its letters in `labels`
    for word in written_words(text):
        letters = alphabet.spell(word)
        if letters and labels:
            labels.append(alphabet.space)
        spans.append((word, len(labels), len(labels) + len(letters)))
        labels += letters
    path = align(log_probs, labels)
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
        # Letters are heard where they are surest; a word begins before that, after the one before.
        earliest = next((t[1] for t in reversed(timed) if t is not None), 0.0)
        start, heard = float(frames[0] * step), float((frames[-1] + 1) * step)
        timed.append((max(min(earliest, start), start - delay), heard, confidence))
    return [
        Word(round(start, 2), round(min(end, duration), 2), word, confidence)
        for (word, _, _), (start, end, confidence) in zip(
            spans, _fill(timed, duration), strict=True
        )
    ]


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
        done: share of the recording that is finished, 0 to 1.
        transcript: what is finished: whole segments.
        guess: what may follow the text, as it looks now.
    """

    text: str
    done: float
    transcript: Transcript
    guess: str = ""


def follow(
    model: Borealis, clip: np.ndarray, *, language: str | None = None, words: bool = True
) -> Iterator[Progress]:
    """Transcribe and tell how it goes, after every guess and every segment; the last is the whole.

    Closing the iterator stops the model.

    Args:
        model: the model.
        clip: float32 mono at 16 kHz `[num_samples]`, of any length.
        language: of the speech, `ru` or `en`.
        words: time the words, if the model can.
    """
    words = words and model.model.config.adapter_type == "ctc"
    seconds = len(clip) / SAMPLING_RATE
    transcript = Transcript("", round(seconds, 2), language=language)
    done = 0.0
    for step in model.transcribe_stream(
        clip, sampling_rate=SAMPLING_RATE, language=language, words=words
    ):
        if isinstance(step, Guess):
            yield Progress(transcript.text, done, transcript, f" {step.text}")
            continue
        transcript.segments.append(step)
        transcript.text = f"{transcript.text} {step.text}".lstrip()
        done = step.end / seconds
        if done < 1:  # what is whole is told once, below
            yield Progress(transcript.text, done, transcript)
    if language is None:
        transcript.language = language_of(transcript.text)
    yield Progress(transcript.text, 1.0, transcript)
