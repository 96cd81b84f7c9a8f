"""Times of words: the alignment against brute force, and real recordings."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from borealis import load_audio
from borealis.ctc.alignment import align, written_words
from borealis.errors import PromptError
from borealis.inference.transcript import Segment
from borealis.inference.words import _fill, align_words, follow


def best_by_brute_force(log_probs: np.ndarray, labels: list[int]) -> float:
    """Score of the best path that spells `labels`, out of all paths there are."""
    best = -np.inf
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        spelled = [k for k, _ in itertools.groupby(path) if k]
        if spelled == labels:
            best = max(best, sum(log_probs[t, k] for t, k in enumerate(path)))
    return best


@given(
    st.integers(0, 10_000), st.integers(1, 6), st.lists(st.integers(1, 2), min_size=1, max_size=4)
)
def test_alignment_is_the_most_probable_path(seed, frames, labels):
    logits = np.random.default_rng(seed).normal(0, 2, (frames, 3))
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    path = align(log_probs, labels)
    wanted = best_by_brute_force(log_probs, labels)
    if path is None:
        assert wanted == -np.inf
        return
    classes = [labels[i] if i >= 0 else 0 for i in path]
    assert [i for i, _ in itertools.groupby(p for p in path if p >= 0)] == list(range(len(labels)))
    assert sum(log_probs[t, k] for t, k in enumerate(classes)) == pytest.approx(wanted)


def test_a_long_spelling_is_aligned(noise):
    """More states than fit a byte: every letter gets its own frames."""
    labels = [1, 2] * 150
    log_probs = np.full((900, 3), -5.0)
    for i, label in enumerate(labels):
        log_probs[3 * i + 1, label] = -0.01
    path = align(log_probs, labels)
    assert all(path[3 * i + 1] == i for i in range(len(labels)))


def test_no_letters_have_no_path():
    assert align(np.zeros((5, 3)), []) is None


def test_words_follow_one_another_within_the_recording(nano, clips):
    for clip in clips[:3]:
        audio = load_audio(clip.audio)
        transcript = nano.transcribe(audio)
        words = align_words(nano, audio, transcript.segments)
        assert " ".join(w.text for w in words) == transcript.text
        times = [t for w in words for t in (w.start, w.end)]
        assert times == sorted(times)
        assert times[0] >= 0 and times[-1] <= transcript.duration
        assert all(w.confidence is None or 0 < w.confidence <= 1 for w in words)


def test_times_move_with_the_sound(nano, speech):
    """A second of silence before the recording: every word comes a second later."""
    audio = load_audio(speech)
    segment = nano.transcribe(audio).segments[0]
    before = align_words(nano, audio, [segment])
    late = np.concatenate([np.zeros(16_000, np.float32), audio])
    after = align_words(nano, late, [Segment(1.0, segment.end + 1, segment.text)])
    assert [w.start + 1 for w in before] == pytest.approx([w.start for w in after], abs=0.1)


def test_times_are_plain_numbers(nano, speech):
    audio = load_audio(speech)
    words = align_words(nano, audio, nano.transcribe(audio).segments)
    assert {type(v) for w in words for v in (w.start, w.end, w.confidence)} == {float}
    assert json.loads(json.dumps([asdict(w) for w in words]))[0]["text"] == words[0].text


def test_a_segment_after_the_end_is_of_another_recording(nano, speech):
    audio = load_audio(speech)
    with pytest.raises(PromptError, match=r"begins at 9 s and the clip has 5\.81 s"):
        align_words(nano, audio, [Segment(9.0, 10.0, "да")])
    with pytest.raises(PromptError, match="start"):
        align_words(nano, audio, [Segment(-1.0, 2.0, "да")])


def test_no_word_is_said_after_the_end(nano, speech):
    audio = load_audio(speech)
    text = nano.transcribe(audio).text
    words = align_words(nano, audio, [Segment(0.0, 100.0, f"{text} 25")])
    assert (words[-1].text, words[-1].confidence) == ("25", None)
    assert words[-1].end <= len(audio) / 16_000 + 0.01


def test_a_wrong_word_is_less_sure_than_what_was_said(nano, clips):
    clip = clips[0]
    audio = load_audio(clip.audio)
    segment = nano.transcribe(audio).segments[0]
    said = align_words(nano, audio, [segment])
    texts = segment.text.split()
    texts[3] = "экскаватор"
    wrong = align_words(nano, audio, [Segment(segment.start, segment.end, " ".join(texts))])
    assert wrong[3].text == "экскаватор"
    assert wrong[3].confidence < 0.5 * said[3].confidence


def test_numbers_stand_between_their_neighbours(nano, speech):
    audio = load_audio(speech)
    segment = nano.transcribe(audio).segments[0]
    first, *rest = segment.text.split()
    words = align_words(
        nano, audio, [Segment(segment.start, segment.end, " ".join([first, "25", *rest]))]
    )
    assert (words[1].text, words[1].confidence) == ("25", None)
    assert words[0].end <= words[1].start <= words[1].end <= words[2].start


def test_marks_stay_with_the_word_before_them():
    assert written_words("— Да — сказал он .") == ["—", "Да —", "сказал", "он ."]
    assert _fill([None, None], 3.0) == [(0.0, 1.5, None), (1.5, 3.0, None)]


def test_other_adapters_have_no_times(make_tiny, noise):
    import borealis

    model = borealis.Borealis(*make_tiny("mlp"))
    assert align_words(model, noise(1.0), [Segment(0.0, 1.0, "да")]) == []


def test_following_ends_where_transcribing_does(nano, clips):
    """Several segments, with silence between that nobody is asked about."""
    parts = [load_audio(c.audio) for c in clips[:3]]
    audio = np.concatenate([parts[0], np.zeros(32_000, np.float32), *parts[1:]])
    steps = list(follow(nano, audio))
    assert [s.done for s in steps] == sorted(s.done for s in steps)
    last, whole = steps[-1], nano.transcribe(audio)
    assert last.done == 1.0
    assert last.transcript.text == whole.text == last.text
    assert [(s.start, s.end) for s in last.transcript.segments] == [
        (s.start, s.end) for s in whole.segments
    ]
    assert " ".join(w.text for w in last.transcript.words) == whole.text
    # Each segment is shown as soon as it is final.
    assert list(dict.fromkeys(s.text for s in steps)) == [
        " ".join(s.text for s in whole.segments[: n + 1]) for n in range(len(whole.segments))
    ]
    assert [s.done for s in steps].count(1.0) == 1


def test_a_reader_who_leaves_stops_the_model(make_tiny, noise):
    """Where the language model writes, guesses come from a thread."""
    import threading

    import borealis

    model = borealis.Borealis(*make_tiny("mlp"))
    stream = model.transcribe_stream(noise(3.0))
    next(stream)
    assert threading.active_count() > 1
    before = threading.active_count()
    stream.close()
    assert threading.active_count() < before
