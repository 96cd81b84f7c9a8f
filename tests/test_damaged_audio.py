"""Files with forged, broken or unusual bytes: sound or an error of ours, never a crash."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from borealis.audio import SAMPLING_RATE, AudioLimits, load_audio
from borealis.errors import AudioFormatError, AudioTimeoutError, BorealisError
from tests.conftest import AUDIO
from tests.encoding import aligned, likeness, wav, with_ffmpeg, with_soundfile
from tests.hostile import film_that_refers_to

RATE = SAMPLING_RATE


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """5.8 s of a real voice at 16 kHz."""
    return load_audio(AUDIO / "speech.flac")


@pytest.mark.parametrize(
    ("container", "codec", "layout", "channels"),
    [("mp4", "aac", "7.1", 8), ("wv", "wavpack", "hexadecagonal", 16)],
)
def test_many_channels_are_read_from_their_own_memory(
    container: str, codec: str, layout: str, channels: int, speech: np.ndarray, tmp_path: Path
) -> None:
    # PyAV's own conversion reads beyond the frame from eight planes on, and crashes.
    many = np.repeat(0.5 * speech[:, None], channels, axis=1)
    data = with_ffmpeg(many, RATE, container, codec, layout=layout, path=tmp_path / "a")
    audio = load_audio(data)
    assert likeness(aligned(audio, speech), speech) > 0.9
    assert 0.5 < np.abs(audio).max() <= 1.0


def test_short_file_that_promises_days_is_refused() -> None:
    for data in (
        film_that_refers_to("/a", samples=2**30),
        wav(bytes(100), length=0x7FFE0000),
        wav(bytes(100), 768_000, bits=8, length=0x7FFE0000),
    ):
        with pytest.raises(AudioFormatError):
            load_audio(data)


SEEDS: dict[str, Callable[[np.ndarray], bytes]] = {
    "wav": lambda x: with_soundfile(x, RATE, "WAV"),
    "adpcm": lambda x: with_soundfile(x, RATE, "WAV", "IMA_ADPCM"),
    "aiff": lambda x: with_soundfile(x, RATE, "AIFF"),
    "flac": lambda x: with_soundfile(x, RATE, "FLAC"),
    "vorbis": lambda x: with_soundfile(x, RATE, "OGG"),
    "opus": lambda x: with_ffmpeg(x, RATE, "ogg", "libopus"),
    "mp3": lambda x: with_ffmpeg(x, RATE, "mp3", "libmp3lame"),
    "mp4": lambda x: with_ffmpeg(x, RATE, "mp4", "aac", video="mpeg4"),
    "webm": lambda x: with_ffmpeg(x, RATE, "webm", "libopus"),
    "amr": lambda x: with_ffmpeg(x[::2], 8_000, "amr", "libopencore_amrnb"),
    "avi": lambda x: with_ffmpeg(x, RATE, "avi", "mp3"),
    "joined": lambda x: 2 * with_soundfile(x, RATE, "OGG"),
}
LIMITS = AudioLimits(max_seconds=600, max_decode_seconds=30)


@pytest.fixture(scope="module")
def seeds(speech: np.ndarray) -> dict[str, bytes]:
    return {kind: make(speech[:RATE]) for kind, make in SEEDS.items()}


def damaged(data: bytes, seed: int) -> bytes:
    """A file with bits turned, bytes lost or doubled, or its end missing."""
    random = np.random.default_rng(seed)
    broken = bytearray(data)
    if random.random() < 0.3:
        del broken[int(random.integers(len(broken))) :]
    zone = len(broken) if random.random() < 0.4 else min(len(broken), 400)
    for _ in range(int(random.choice([1, 2, 5, 20, 100]))):
        if not broken:
            break
        place, what = int(random.integers(min(zone, len(broken)))), random.random()
        if what < 0.6:
            broken[place] ^= 1 << int(random.integers(8))
        elif what < 0.8:
            broken[place : place + 4] = bytes([[0, 255, 127][int(random.integers(3))]]) * 4
        elif what < 0.9:
            broken[place:place] = broken[place : place + 30]
        else:
            del broken[place : place + 30]
    return bytes(broken)


@pytest.mark.parametrize("kind", SEEDS)
def test_damaged_file_is_sound_or_an_error_of_ours(kind: str, seeds: dict[str, bytes]) -> None:
    assert len(load_audio(seeds[kind])) >= RATE
    logging.getLogger("borealis.sound_files").addFilter(_silent)
    try:
        for seed in range(60):
            try:
                audio = load_audio(damaged(seeds[kind], seed), limits=LIMITS)
            except BorealisError as error:
                assert str(error).endswith((".", ")"))
                assert not isinstance(error, AudioTimeoutError), seed
            else:
                assert audio.dtype == np.float32
                assert np.isfinite(audio).all()
    finally:
        logging.getLogger("borealis.sound_files").removeFilter(_silent)


def _silent(record: logging.LogRecord) -> bool:
    return False
