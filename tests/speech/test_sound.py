"""Made sound as files and at other speeds; long texts in pieces."""

from __future__ import annotations

import io
import itertools

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from borealis.audio import load_audio
from borealis.errors import SpeechError
from borealis.speech.pieces import pieces
from borealis.speech.sound import CONTENT_TYPES, FORMATS, MARK, Encoder, Tempo, encoded
from tests.conftest import AUDIO


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return load_audio(AUDIO / "speech.flac")


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_sounds_the_same_and_says_that_nobody_spoke_it(sound: np.ndarray, form: str) -> None:
    data = encoded(sound, 16_000, form, voice="anna")
    again = load_audio(data)
    assert abs(len(again) - len(sound)) < 16_000 * 0.05
    shared = min(len(again), len(sound))
    assert np.corrcoef(again[:shared], sound[:shared])[0, 1] > 0.9
    with av.open(io.BytesIO(data)) as file:
        told = file.metadata | file.streams[0].metadata
    assert told["comment"] == f"{MARK}, voice anna"


def test_pcm_is_bare_samples(sound: np.ndarray) -> None:
    data = encoded(sound, 16_000, "pcm")
    assert np.abs(np.frombuffer(data, "<i2") / 32767 - sound).max() < 1e-4
    with pytest.raises(SpeechError, match="'aac'"):
        encoded(sound, 16_000, "aac")


def test_louder_than_full_scale_is_cut_not_wrapped() -> None:
    assert np.frombuffer(
        encoded(np.array([2.0, -2.0], np.float32), 8000, "pcm"), "<i2"
    ).tolist() == [
        32767,
        -32767,
    ]


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.0, 1.3, 2.0])
def test_speed_changes_the_length_and_parts_make_the_whole(sound: np.ndarray, speed: float) -> None:
    whole = Tempo(speed, 16_000)
    expected = np.concatenate([whole.push(sound), whole.finish()])
    assert abs(len(expected) * speed / len(sound) - 1) < 0.01
    tempo = Tempo(speed, 16_000)
    parts = [tempo.push(sound[at : at + 1777]) for at in range(0, len(sound), 1777)]
    assert np.array_equal(np.concatenate([*parts, tempo.finish()]), expected)


def test_nothing_at_another_speed_is_nothing() -> None:
    assert len(Tempo(1.5, 16_000).finish()) == 0


@settings(deadline=None)
@given(st.text(alphabet="аб .,!;", max_size=120), st.integers(5, 30))
def test_pieces_are_all_of_the_text(text: str, longest: int) -> None:
    found = pieces(text, longest)
    told = "".join(text[a:b] for a, b in found)
    assert told.replace(" ", "") == text.replace(" ", "")
    for begin, end in found:
        piece = text[begin:end]
        assert len(piece) <= longest or " " not in piece.strip()
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(found))


def test_a_piece_is_a_sentence() -> None:
    text = "первая. вторая, подлиннее! " + "слово " * 50 + "конец."
    found = [text[a:b] for a, b in pieces(text)]
    assert found[:2] == ["первая. ", "вторая, подлиннее! "]
    assert all(len(piece) <= 200 for piece in found) and found[-1].endswith("конец.")


@pytest.mark.parametrize("form", CONTENT_TYPES)
def test_a_file_that_is_sent_as_it_is_made_sounds_like_the_whole(
    sound: np.ndarray, form: str
) -> None:
    encoder = Encoder(16_000, form, voice="anna")
    parts = [encoder.push(sound[at : at + 1777]) for at in range(0, len(sound), 1777)]
    sent, whole = b"".join([*parts, encoder.finish()]), encoded(sound, 16_000, form, voice="anna")
    if form == "pcm":
        assert sent == whole
        return
    again, expected = load_audio(sent), load_audio(whole)
    late = len(again) - len(expected)  # the length of an mp3's silence stands in its header alone
    assert 0 <= late < (1600 if form == "mp3" else 1)
    assert max(np.corrcoef(again[k:][:16_000], sound[:16_000])[0, 1] for k in range(late + 1)) > 0.9
    with av.open(io.BytesIO(sent)) as file:
        assert (file.metadata | file.streams[0].metadata)["comment"] == f"{MARK}, voice anna"


@pytest.mark.parametrize("form", CONTENT_TYPES)
def test_what_is_sent_lags_behind_by_less_than_half_a_second(sound: np.ndarray, form: str) -> None:
    encoder = Encoder(16_000, form)
    sent = b"".join(encoder.push(sound[at : at + 800]) for at in range(0, 32_000, 800))
    heard = len(sent) / 2 if form == "pcm" else len(decoded(sent))
    assert heard / 16_000 > 1.5


def decoded(data: bytes) -> np.ndarray:
    """A torn file as far as it goes, at 16 kHz."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=16_000)
    parts = [np.zeros(0, np.float32)]
    with av.open(io.BytesIO(data)) as file:
        try:
            for frame in file.decode(audio=0):
                parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
        except av.error.EOFError:
            pass
    return np.concatenate(parts)


@pytest.mark.parametrize("form", CONTENT_TYPES)
def test_no_sound_is_an_empty_file(form: str) -> None:
    encoder = Encoder(16_000, form)
    sent = encoder.push(np.zeros(0, np.float32)) + encoder.finish()
    assert bool(sent) == (form != "pcm")
