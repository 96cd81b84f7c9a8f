"""Files as recorders, telephones, cameras and archives write them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from borealis.audio import SAMPLING_RATE, load_audio
from borealis.errors import AudioFormatError
from tests.conftest import AUDIO
from tests.encoding import aligned, likeness, seconds, with_ffmpeg, with_soundfile

RATE = SAMPLING_RATE


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """5.8 s of a real voice at 16 kHz."""
    return load_audio(AUDIO / "speech.flac")


# ---- lengths ----


@pytest.mark.parametrize(
    ("container", "codec"), [("mp3", "libmp3lame"), ("ogg", "libopus"), ("webm", "libopus")]
)
def test_well_formed_file_has_every_sample_in_its_place(
    container: str, codec: str, speech: np.ndarray
) -> None:
    audio = load_audio(with_ffmpeg(speech, RATE, container, codec))
    assert len(audio) == len(speech)
    assert likeness(audio, speech) > 0.95


def test_vorbis_has_every_sample(speech: np.ndarray) -> None:
    audio = load_audio(with_soundfile(speech, RATE, "OGG", "VORBIS"))
    assert len(audio) == len(speech)
    assert likeness(audio, speech) > 0.95


def test_mp3_of_varying_bit_rate_without_a_header_is_read_whole(speech: np.ndarray) -> None:
    # Its length can't be told by its size and its first frame.
    data = with_ffmpeg(
        speech,
        RATE,
        "mp3",
        "libmp3lame",
        options={"q": "4"},
        container_options={"write_xing": "0", "id3v2_version": "0"},
    )
    assert b"Xing" not in data
    assert b"Info" not in data
    assert 5.81 < seconds(load_audio(data)) < 5.95


# ---- telephones ----


def amr_without_pauses(speech: np.ndarray) -> bytes:
    """AMR-NB that sends the pauses of speech as "nothing" (DTX)."""
    quiet = speech.copy()
    quiet[2 * RATE : 4 * RATE] *= 0.001
    return with_ffmpeg(quiet[::2], 8_000, "amr", "libopencore_amrnb", options={"dtx": "1"})


def test_amr_with_pauses_left_out_keeps_its_length(speech: np.ndarray) -> None:
    data = amr_without_pauses(speech)
    every = with_ffmpeg(speech[::2], 8_000, "amr", "libopencore_amrnb")
    assert len(data) < 0.8 * len(every)
    assert seconds(load_audio(data)) == pytest.approx(seconds(speech), abs=0.05)


def test_amr_is_read_where_ffmpeg_has_only_its_own_decoder(
    speech: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("borealis.sound_files._BETTER", {})
    every = with_ffmpeg(speech[::2], 8_000, "amr", "libopencore_amrnb")
    assert seconds(load_audio(every)) == pytest.approx(seconds(speech), abs=0.05)
    with caplog.at_level(logging.WARNING, "borealis"):
        pauses = with_ffmpeg(speech[::2], 8_000, "amr", "libopencore_amrnb", options={"dtx": "1"})
        assert 5.0 < seconds(load_audio(pauses)) < 5.8
    assert "can't be read" in caplog.text


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("WAV", "GSM610"),
        ("WAV", "ALAW"),
        ("WAV", "ULAW"),
        ("WAV", "IMA_ADPCM"),
        ("WAV", "MS_ADPCM"),
        ("WAV", "G721_32"),
        ("WAVEX", "PCM_24"),
        ("RF64", "PCM_24"),
        ("W64", "PCM_16"),
        ("AIFF", "ALAW"),
        ("AIFF", "PCM_24"),
        ("AU", "ULAW"),
        ("CAF", "PCM_24"),
        ("NIST", "PCM_16"),
    ],
)
def test_older_format_is_read(format: str, subtype: str, speech: np.ndarray) -> None:
    audio = load_audio(with_soundfile(speech, RATE, format, subtype))
    assert 0 <= len(audio) - len(speech) < 1_000
    assert likeness(audio, speech) > 0.9


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [
        ("avi", "mp3", 16_000),
        ("asf", "wmav2", 44_100),
        ("flv", "mp3", 22_050),
        ("mpeg", "mp2", 16_000),
        ("3gp", "libopencore_amrnb", 8_000),
        ("mov", "pcm_s16le", 16_000),
        ("mov", "alac", 16_000),
        ("caf", "alac", 16_000),
        ("ac3", "ac3", 48_000),
        ("wv", "wavpack", 16_000),
        ("tta", "tta", 16_000),
        ("w64", "pcm_s16le", 16_000),
    ],
)
def test_format_of_a_camera_or_an_archive_is_read(
    container: str, codec: str, rate: int, speech: np.ndarray, tmp_path: Path
) -> None:
    import soxr

    source = soxr.resample(speech, RATE, rate)
    options = {"b": "64k"} if codec == "wmav2" else {}
    data = with_ffmpeg(source, rate, container, codec, options=options, path=tmp_path / "a")
    audio = load_audio(data)
    assert abs(len(audio) - len(speech)) < 0.15 * RATE
    assert likeness(aligned(audio, speech), speech) > 0.65  # AMR is no exact copy


# ---- damage and tracks ----


def test_a_little_damage_costs_a_little_sound_and_a_warning(
    speech: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    data = bytearray(with_ffmpeg(speech, RATE, "mp3", "libmp3lame"))
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    with caplog.at_level(logging.WARNING, "borealis"):
        audio = load_audio(bytes(data))
    assert 5.3 < seconds(audio) < 5.95
    assert likeness(audio, speech) > 0.5


def test_file_that_is_damaged_all_over_is_refused(speech: np.ndarray) -> None:
    data = bytearray(with_ffmpeg(speech, RATE, "matroska", "aac"))
    random = np.random.default_rng(0)
    for place in random.integers(2_000, len(data), len(data) // 20):
        data[place] ^= int(random.integers(1, 255))
    with pytest.raises(AudioFormatError):
        load_audio(bytes(data))


@pytest.mark.parametrize(("container", "codec"), [("matroska", "libopus"), ("mp4", "aac")])
def test_silent_first_track_is_passed_over(
    container: str, codec: str, speech: np.ndarray, tmp_path: Path
) -> None:
    def film(*silent: int) -> bytes:
        return with_ffmpeg(
            speech, RATE, container, codec, tracks=3, silent=silent, path=tmp_path / "a"
        )

    for data in (film(), film(0), film(0, 1), film(1, 2)):
        assert likeness(aligned(load_audio(data), speech), speech) > 0.9
    silence = load_audio(film(0, 1, 2))
    assert seconds(silence) == pytest.approx(seconds(speech), abs=0.1)
    assert np.abs(silence).max() < 1e-3


def test_track_that_cannot_be_read_is_passed_over(speech: np.ndarray) -> None:
    # The coding of the first track isn't listed; the second one is.
    first = with_ffmpeg(speech[::2], 8_000, "matroska", "real_144")
    with pytest.raises(AudioFormatError, match="coded in a way"):
        load_audio(first)
    data = two_codings(speech)
    assert likeness(aligned(load_audio(data), speech), speech) > 0.9


def two_codings(speech: np.ndarray) -> bytes:
    """A film with RealAudio in its first track and AAC in its second."""
    import io

    import av

    out = io.BytesIO()
    with av.open(out, "w", format="matroska") as film:
        jobs = []
        for codec, rate, samples in (
            ("real_144", 8_000, speech[::2].copy()),
            ("aac", RATE, speech),
        ):
            track = film.add_stream(codec, rate=rate)
            track.layout = "mono"
            whole = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            whole.sample_rate = rate
            cut = av.AudioResampler(track.format, "mono", rate, track.frame_size)
            packets = [
                p for f in [*cut.resample(whole), *cut.resample(None)] for p in track.encode(f)
            ]
            jobs.append([*packets, *track.encode(None)])
        for packets in jobs:
            film.mux(packets)
    return out.getvalue()
