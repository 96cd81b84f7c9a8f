"""Files as recorders, telephones and programs really leave them: all of the sound, or an error."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from borealis.audio import SAMPLING_RATE, AudioLimits, load_audio
from borealis.errors import AudioEmptyError, AudioFormatError, AudioTimeoutError, BorealisError
from tests.conftest import AUDIO
from tests.encoding import pcm, wav, with_ffmpeg, with_soundfile
from tests.hostile import film_that_refers_to

RATE = SAMPLING_RATE


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """5.8 s of a real voice at 16 kHz."""
    return load_audio(AUDIO / "speech.flac")


@pytest.fixture(scope="module")
def other() -> np.ndarray:
    return load_audio(AUDIO / "post.flac")


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two recordings over what both have; 1 is the same up to loudness."""
    size = min(len(a), len(b))
    return float(np.corrcoef(a[:size], b[:size])[0, 1])


def aligned(audio: np.ndarray, speech: np.ndarray) -> np.ndarray:
    """Without the delay of an encoder that some containers keep, 0.15 s at most."""
    head = 3 * RATE
    shift = int(np.correlate(audio[:head], speech[:head], "full").argmax()) - head + 1
    assert abs(shift) < 0.15 * RATE
    return audio[shift:] if shift >= 0 else np.pad(audio, (-shift, 0))


def seconds(audio: np.ndarray) -> float:
    return len(audio) / RATE


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


# ---- hostile bytes ----


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
