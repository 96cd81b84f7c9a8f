"""Joined, crashed and cut-off files: all of the sound, or an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from borealis.audio import SAMPLING_RATE, load_audio
from borealis.errors import AudioEmptyError, AudioFormatError
from tests.conftest import AUDIO
from tests.encoding import aligned, likeness, pcm, seconds, wav, with_ffmpeg, with_soundfile

RATE = SAMPLING_RATE


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """5.8 s of a real voice at 16 kHz."""
    return load_audio(AUDIO / "speech.flac")


@pytest.fixture(scope="module")
def other() -> np.ndarray:
    return load_audio(AUDIO / "post.flac")


# ---- joined files ----


def joined(kind: str, *clips: tuple[np.ndarray, int]) -> bytes:
    """Recordings as `cat` joins them; each with its rate, and stereo if it has two channels."""
    parts = []
    for audio, rate in clips:
        if kind in ("WAV", "FLAC", "OGG"):
            parts.append(with_soundfile(audio, rate, kind))
        else:
            container, codec = {"mp3": ("mp3", "libmp3lame"), "opus": ("ogg", "libopus")}[kind]
            layout = "mono" if audio.ndim == 1 else "stereo"
            parts.append(with_ffmpeg(audio, rate, container, codec, layout=layout))
    return b"".join(parts)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "opus", "mp3"])
def test_joined_files_are_read_to_the_end(kind: str, speech: np.ndarray, other: np.ndarray) -> None:
    audio = load_audio(joined(kind, (speech, RATE), (other, RATE), (speech, RATE)))
    whole = 2 * len(speech) + len(other)
    # Between MP3s the padding of the encoder stays.
    assert 0 <= len(audio) - whole < (0.4 * RATE if kind == "mp3" else 1)
    assert likeness(audio, speech) > 0.95
    if kind != "mp3":
        assert likeness(audio[len(speech) :], other) > 0.9
        assert likeness(audio[-len(speech) :], speech) > 0.9


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "opus", "mp3"])
def test_joined_files_of_different_rates_and_channels_are_read(
    kind: str, speech: np.ndarray
) -> None:
    fast = np.repeat(speech, 3)
    stereo = np.repeat(speech[:, None], 2, axis=1)
    for second, rate in ((fast, 48_000), (stereo, RATE)):
        audio = load_audio(joined(kind, (speech, RATE), (second, rate)))
        assert 2 * seconds(speech) - 0.01 < seconds(audio) < 2 * seconds(speech) + 0.4
        assert likeness(audio, speech) > 0.95
        if kind != "mp3":
            assert likeness(audio[len(speech) :], speech) > 0.9


def tagged(data: bytes, size: int) -> bytes:
    """With an ID3 tag of `size` bytes in front, as a picture of the cover makes it."""
    picture = np.random.default_rng(0).bytes(size)
    length = bytes(size >> 7 * place & 127 for place in (3, 2, 1, 0))
    return b"ID3\x03\0\0" + length + picture + data


@pytest.mark.parametrize("size", [100, 100_000, 6 << 20])
@pytest.mark.parametrize("kind", ["mp3", "FLAC"])
def test_cover_of_any_size_is_passed_over(kind: str, size: int, speech: np.ndarray) -> None:
    audio = load_audio(tagged(joined(kind, (speech, RATE)), size))
    assert len(audio) == len(speech)
    assert likeness(audio, speech) > 0.95


def test_joined_mp3s_with_covers_are_read_without_a_sound_of_the_covers(
    speech: np.ndarray, other: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    parts = [tagged(joined("mp3", (clip, RATE)), 50_000) for clip in (speech, other, speech)]
    audio = load_audio(b"".join(parts))
    assert len(audio) == 2 * len(speech) + len(other)
    assert likeness(audio[len(speech) :], other) > 0.95
    assert not caplog.records


def test_file_joined_from_thousands_is_refused() -> None:
    with pytest.raises(AudioFormatError, match="joined from more than"):
        load_audio(wav(bytes(2)) * 2_000)


# ---- WAV headers ----


@pytest.mark.parametrize(
    ("length", "riff"),
    [
        (0, 0),
        (0, None),
        (None, 0),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x7FFFFFFF, 0x7FFFFFFF),
        (0x7FFFF000, 0x7FFFF024),
    ],
    ids=str,
)
def test_wav_of_a_recorder_that_never_wrote_the_length(
    length: int | None, riff: int | None, speech: np.ndarray
) -> None:
    audio = load_audio(wav(pcm(speech), length=length, riff=riff))
    np.testing.assert_allclose(audio, speech, atol=1e-4)


def test_wav_without_sound_but_with_a_title_is_empty() -> None:
    title = b"LIST" + (26).to_bytes(4, "little") + b"INFOINAM" + bytes(18)
    with pytest.raises(AudioEmptyError, match="no samples"):
        load_audio(wav(title, length=0))


def test_what_follows_the_sound_of_a_wav_is_not_heard(speech: np.ndarray) -> None:
    title = b"LIST" + (26).to_bytes(4, "little") + b"INFOINAM" + b"\x7f" * 18
    odd = pcm(speech)[:-1]
    for sound, pad in ((pcm(speech), b""), (odd, b"\0"), (odd, b"")):
        data = wav(sound + pad + title, length=len(sound))
        assert abs(len(load_audio(data)) - len(speech)) <= 1


def test_wav_that_is_a_sample_short_is_read_and_one_that_is_a_second_short_is_not(
    speech: np.ndarray,
) -> None:
    whole = pcm(speech)
    assert len(load_audio(wav(whole[:-2], length=len(whole)))) == len(speech) - 1
    with pytest.raises(AudioFormatError, match="cut off"):
        load_audio(wav(whole[: -2 * RATE], length=len(whole)))


@pytest.mark.parametrize("made", ["by hand", "by ffmpeg"])
def test_mp3_in_wav_is_read(made: str, speech: np.ndarray) -> None:
    bare = {"write_xing": "0", "id3v2_version": "0"}
    if made == "by hand":
        mp3 = with_ffmpeg(speech, RATE, "mp3", "libmp3lame", container_options=bare)
        data = wav(mp3, tag=0x55, bits=0, block=1)
    else:
        data = with_ffmpeg(speech, RATE, "wav", "libmp3lame")
    assert data[:4] == b"RIFF"
    assert 5.81 < seconds(load_audio(data)) < 5.95


@pytest.mark.parametrize(
    "header",
    [
        {"bits": 0},
        {"bits": 0, "block": 2},
        {"bits": 7, "block": 1},
        {"bits": 65_535, "block": 2},
        {"channels": 0, "block": 2},
        {"channels": 65_535, "block": 2},
        {"rate": 0},
        {"rate": 1},
        {"rate": 0xFFFFFFFF, "block": 1},
        {"tag": 0},
        {"tag": 0xFFFF},
        {"tag": 0xFFFE},
        {"block": 0},
        {"tag": 2, "block": 1},
        {"tag": 0x11, "bits": 4, "block": 0},
    ],
    ids=str,
)
def test_impossible_wav_header_is_an_audio_error_or_sound(
    header: dict[str, int], speech: np.ndarray
) -> None:
    try:
        audio = load_audio(wav(pcm(speech[:RATE]), **header))
    except AudioFormatError as error:
        assert str(error).endswith(".")
    else:
        assert len(audio) <= 20 * RATE
        assert header not in ({"bits": 0}, {"rate": 0}, {"channels": 0, "block": 2})


# ---- cut-off files ----


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "FLOAT"),
        ("WAV", "IMA_ADPCM"),
        ("RF64", "PCM_16"),
        ("AIFF", "PCM_16"),
        ("AU", "PCM_16"),
        ("CAF", "PCM_16"),
        ("NIST", "PCM_16"),
        ("FLAC", "PCM_16"),
    ],
)
def test_half_of_a_file_is_refused(format: str, subtype: str, speech: np.ndarray) -> None:
    data = with_soundfile(speech, RATE, format, subtype)
    assert abs(len(load_audio(data)) - len(speech)) < 1_000
    with pytest.raises(AudioFormatError, match="cut off"):
        load_audio(data[: len(data) // 2])


@pytest.mark.parametrize("video", [None, "mpeg4"])
@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [
        ("mp4", "aac", {"movflags": "faststart"}),
        ("matroska", "aac", {}),
        ("webm", "libopus", {}),
    ],
)
def test_half_of_a_download_is_refused(
    container: str,
    codec: str,
    options: dict[str, str],
    video: str | None,
    speech: np.ndarray,
    tmp_path: Path,
) -> None:
    if video and container == "webm":
        video = "libvpx"
    data = with_ffmpeg(
        speech,
        RATE,
        container,
        codec,
        container_options=options,
        video=video,
        video_seconds=8,
        path=tmp_path / "a",
    )
    audio = load_audio(data)
    assert 0 <= len(audio) - len(speech) < 0.2 * RATE
    assert likeness(aligned(audio, speech), speech) > 0.9
    with pytest.raises(AudioFormatError, match="cut off"):
        load_audio(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("container", "options"),
    [
        ("mp4", {"movflags": "frag_keyframe+empty_moov"}),
        ("matroska", {"live": "1"}),
        ("mpegts", {}),
        ("adts", {}),
    ],
)
def test_stream_whose_header_knows_no_length_is_read(
    container: str, options: dict[str, str], speech: np.ndarray
) -> None:
    data = with_ffmpeg(speech, RATE, container, "aac", container_options=options)
    assert 5.7 < seconds(load_audio(data)) < 6.1
