"""Word times against phone labels: letters laid over phones, and what the numbers mean."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from borealis import load_audio
from borealis.data.manifest import Utterance
from borealis.errors import ManifestError
from borealis.evaluation.phones import Phone, read_labels, word_starts
from borealis.evaluation.word_times import calibration, measure


def said(text: str, each: float = 0.1) -> list[Phone]:
    """Phones of equal length."""
    return [Phone(i * each, (i + 1) * each, name) for i, name in enumerate(text.split())]


@pytest.mark.parametrize(
    ("words", "phones", "starts"),
    [
        ("я иду в цех", "pau j aa i d uu v c ee h", [0.1, 0.3, 0.6, 0.7]),
        # Voiceless at the end of a word, a soft sign, a vowel that is lost, a pause.
        ("сад мягкий", "s aa t # mm ae h kk i j", [0.0, 0.4]),
        ("большой ещё", "b a ll sh oo j pau j i sch oo", [0.0, 0.7]),
        ("жизнь объект", "zh i z nn a b j ee k t", [0.0, 0.4]),
    ],
)
def test_words_begin_with_their_first_phone(words, phones, starts):
    assert word_starts(words.split(), said(phones)) == pytest.approx(starts)


def test_labels_are_read_and_bad_ones_told(tmp_path: Path):
    good = tmp_path / "a.lab"
    good.write_text("#\n0.25 125 pau\n0.5 125 d\n0.75 125 aa\n", encoding="utf-8")
    assert read_labels(good) == [
        Phone(0.0, 0.25, "pau"),
        Phone(0.25, 0.5, "d"),
        Phone(0.5, 0.75, "aa"),
    ]
    (tmp_path / "b.lab").write_text("none 125 d\n", encoding="utf-8")
    for name in ("b.lab", "missing.lab"):
        with pytest.raises(ManifestError, match=name):
            read_labels(tmp_path / name)


def test_confidences_that_are_true_have_no_error():
    sure = np.repeat([0.95, 0.55], [100, 100])
    right = np.concatenate([np.arange(100) < 95, np.arange(100) < 55])
    error, bins = calibration(sure, right)
    assert error == pytest.approx(0.0)
    assert bins == [(0.55, 0.55, 100), (0.95, 0.95, 100)]
    assert calibration(sure, np.zeros(200, bool))[0] == pytest.approx(0.75)
    assert calibration(np.array([1.0, 0.0]), np.array([True, False]))[0] == 0.0


def test_a_shift_of_the_labels_is_measured(nano, speech, tmp_path: Path):
    """Labels that are made of our own times, half a second late."""
    transcript = nano.transcribe(speech, words=True, language="ru")
    for folder in ("wav", "lab"):
        (tmp_path / folder).mkdir()
    audio = tmp_path / "wav" / "a.wav"
    soundfile.write(audio, load_audio(speech), 16_000)
    lines, first = [], {"а": "aa", "з": "z", "в": "v", "п": "p", "я": "j", "о": "oo", "б": "b"}
    first |= {"н": "n", "и": "i", "м": "m"}
    for word in transcript.words:
        begin = word.start - 0.5 + 1  # ours are half a second late of these
        lines += [f"{begin:.3f} 125 pau", f"{begin + 0.01:.3f} 125 {first[word.text.lower()[0]]}"]
    (tmp_path / "lab" / "a.lab").write_text("\n".join(lines), encoding="utf-8")
    item = Utterance(audio=str(audio), text=transcript.text, duration=transcript.duration)
    found = measure(nano, [item], batch_size=1, language="ru")
    assert found.right == 1.0 and found.words == len(transcript.words)
    assert found.start_shift_seconds == pytest.approx(-0.5, abs=0.02)
    assert found.start_error_seconds["median"] == pytest.approx(0.5, abs=0.02)
    assert json.loads(json.dumps(found.to_dict()))["timed"] == found.timed
    (tmp_path / "lab" / "a.lab").unlink()
    with pytest.raises(ManifestError, match=r"a\.lab"):
        measure(nano, [item], batch_size=1, language="ru")
