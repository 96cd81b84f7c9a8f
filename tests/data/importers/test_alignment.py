"""A long recording and its text without times: cut where text and sound agree, the rest left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import soundfile

from borealis.data.importers.alignment import align_text

RATE = 16_000


@dataclass
class Heard:
    start: float
    end: float
    text: str


def say(text: str, pause: float = 0.3) -> tuple[list[Heard], np.ndarray]:
    """Words of 0.4 s with pauses between; the sound is noise where there is a word."""
    words = [
        Heard(at * (0.4 + pause), at * (0.4 + pause) + 0.4, w) for at, w in enumerate(text.split())
    ]
    audio = np.zeros(round((words[-1].end + pause) * RATE), np.float32)
    for word in words:
        audio[round(word.start * RATE) : round(word.end * RATE)] = 0.1
    return words, audio


WORDS = [
    "однажды",
    "утром",
    "старый",
    "рыбак",
    "вышел",
    "на",
    "берег",
    "моря",
    "увидел",
    "большую",
    "лодку",
    "сел",
    "в",
    "неё",
    "поплыл",
    "далеко",
    "на",
    "восток",
]
TEXT = " ".join(WORDS)


def test_a_text_that_was_said_is_kept_whole_and_cut_in_pauses():
    heard, audio = say(" ".join([TEXT] * 6))
    made = align_text(" ".join([TEXT] * 6), heard, audio, rate=RATE, longest=30.0)
    assert made.kept == made.words == 6 * len(WORDS)
    assert len(made.pieces) > 2
    assert " ".join(piece.text for piece in made.pieces) == " ".join([TEXT] * 6)
    for piece in made.pieces:
        assert piece.end - piece.start <= 30 and piece.error == 0
        assert not any(w.start < cut < w.end for w in heard for cut in (piece.start, piece.end))


def test_what_was_not_said_and_what_is_not_in_the_text_are_left_out():
    alien = "совершенно посторонние слова которых никто никогда не произносил"
    heard, audio = say(f"{TEXT} {TEXT}")
    made = align_text(f"{TEXT} {alien} {TEXT}", heard, audio, rate=RATE, longest=30.0)
    assert "посторонние" not in " ".join(piece.text for piece in made.pieces)
    assert made.kept == 2 * len(WORDS) and made.words == made.kept + len(alien.split())
    heard, audio = say(f"{TEXT} {alien} {TEXT}")
    made = align_text(f"{TEXT} {TEXT}", heard, audio, rate=RATE, longest=30.0)
    first, last = heard[len(WORDS)].start, heard[len(WORDS) + 7].end
    assert made.pieces and not any(
        p.start < first + 0.1 and p.end > last - 0.1 for p in made.pieces
    )


def test_small_errors_of_the_model_are_no_reason_to_leave_a_clip_out():
    heard, audio = say(TEXT.replace("рыбак", "рыбаг").replace("большую", "большуя"))
    made = align_text(TEXT.replace("рыбак", "Рыбак,"), heard, audio, rate=RATE, longest=30.0)
    assert made.kept == len(WORDS) and "Рыбак," in made.pieces[0].text
    assert 0 < made.pieces[0].error < 0.1


def test_a_dash_between_two_clips_belongs_to_neither():
    heard, audio = say(f"{TEXT} {TEXT}")
    made = align_text(f"— {TEXT} — {TEXT}", heard, audio, rate=RATE, longest=13.0)
    assert [piece.text for piece in made.pieces] == [TEXT, TEXT]


def test_numbers_in_digits_cannot_be_heard_and_are_left_out():
    heard, audio = say(f"{TEXT} тысяча девятьсот {TEXT}")
    made = align_text(f"{TEXT} 1900 {TEXT}", heard, audio, rate=RATE, longest=30.0)
    assert made.kept == 2 * len(WORDS) and "1900" not in " ".join(p.text for p in made.pieces)


@pytest.mark.parametrize("text", ["совсем другой текст про погоду", "1 2 3", "— ...", "i"])
def test_another_text_gives_nothing(text):
    heard, audio = say(TEXT)
    assert align_text(text, heard, audio, rate=RATE, longest=30.0).pieces == []
    assert align_text(text, [], audio, rate=RATE, longest=30.0).pieces == []


def test_speech_without_pauses_cannot_be_cut():
    heard, audio = say(" ".join([TEXT] * 6), pause=0.0)
    made = align_text(" ".join([TEXT] * 6), heard, audio, rate=RATE, longest=10.0)
    assert made.kept == 0


@pytest.mark.slow
def test_a_real_recording_is_cut_by_ear(tmp_path, clips, joined, run):
    place = tmp_path / "mine"
    place.mkdir()
    soundfile.write(place / "long.wav", joined, RATE)
    said = [clip.text.rstrip(".") + "." for clip in clips]
    said.insert(3, "Этого предложения на записи нет вовсе.")
    (place / "long.txt").write_text("\n".join(said), encoding="utf-8")
    done = run(place)
    words = " ".join(done.texts)
    assert "предложения" not in words
    assert "no times; aligned by ear" in done.out and "couldn't be aligned" in done.out
    kept = len(words.split()) / len(" ".join(clip.text for clip in clips).split())
    assert kept > 0.6
    assert all(1 <= item.duration <= 30 for item in done.items)
