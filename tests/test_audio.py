"""Audio in: every format, rate and kind of source; limits; cutting at pauses."""

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from borealis.audio import (
    SAMPLING_RATE,
    AudioLimits,
    level_db,
    load_audio,
    split_at_silence,
)
from borealis.errors import AudioFormatError, AudioTooLargeError, AudioTooLongError

TONE = 440.0


def tone(seconds: float = 1.0, rate: int = SAMPLING_RATE, channels: int = 1) -> np.ndarray:
    """A sine: `[num_samples]`, or `[num_samples, channels]`."""
    wave = 0.5 * np.sin(2 * np.pi * TONE * np.arange(int(seconds * rate)) / rate)
    return wave if channels == 1 else np.repeat(wave[:, None], channels, axis=1)


def encoded(audio: np.ndarray, rate: int, format: str, subtype: str | None = None) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, audio, rate, format=format, subtype=subtype)
    return out.getvalue()


def encoded_with_pyav(audio: np.ndarray, rate: int, container: str, codec: str) -> bytes:
    av = pytest.importorskip("av")
    out = io.BytesIO()
    with av.open(out, mode="w", format=container) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(
            audio.astype(np.float32)[None], format="fltp", layout="mono"
        )
        frame.sample_rate = rate
        resampler = av.AudioResampler(
            format=stream.format, layout="mono", rate=rate, frame_size=stream.frame_size or 960
        )
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    return out.getvalue()


def peak_frequency(audio: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    return float(np.argmax(spectrum) * SAMPLING_RATE / len(audio))


def assert_is_tone(audio: np.ndarray, seconds: float = 1.0, slack: float = 0.1) -> None:
    assert audio.dtype == np.float32
    assert audio.ndim == 1
    assert abs(len(audio) / SAMPLING_RATE - seconds) <= slack
    assert abs(peak_frequency(audio) - TONE) < 3
    assert 0.3 < np.sqrt((audio**2).mean()) < 0.4  # 0.354, whatever a codec does at the edges


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "PCM_32"),
        ("WAV", "PCM_U8"),
        ("WAV", "FLOAT"),
        ("WAV", "DOUBLE"),
        ("AIFF", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("FLAC", "PCM_24"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
def test_reads_a_format_of_soundfile(format: str, subtype: str) -> None:
    assert_is_tone(load_audio(encoded(tone(), SAMPLING_RATE, format, subtype)))


@pytest.mark.parametrize(
    ("container", "codec"), [("mp4", "aac"), ("ipod", "aac"), ("webm", "libopus")]
)
def test_reads_a_format_of_pyav(container: str, codec: str) -> None:
    data = encoded_with_pyav(tone(rate=48_000), 48_000, container, codec)
    assert_is_tone(load_audio(data), slack=0.15)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_resamples_any_rate_to_16_khz(rate: int) -> None:
    audio = load_audio(encoded(tone(rate=rate), rate, "WAV"))
    assert_is_tone(audio, slack=0.001)


def test_rate_of_16_khz_is_left_alone() -> None:
    wave = tone().astype(np.float32)
    np.testing.assert_array_equal(load_audio(encoded(wave, SAMPLING_RATE, "WAV", "FLOAT")), wave)


def test_channels_are_averaged() -> None:
    left, right = tone(), np.zeros(SAMPLING_RATE)
    audio = load_audio(encoded(np.stack([left, right], 1), SAMPLING_RATE, "WAV", "FLOAT"))
    np.testing.assert_allclose(audio, left / 2, atol=1e-6)


def test_path_bytes_and_file_object_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "запись с пробелом.flac"
    path.write_bytes(encoded(tone(), SAMPLING_RATE, "FLAC"))
    whole = load_audio(path)
    np.testing.assert_array_equal(load_audio(str(path)), whole)
    np.testing.assert_array_equal(load_audio(path.read_bytes()), whole)
    np.testing.assert_array_equal(load_audio(memoryview(path.read_bytes())), whole)
    with path.open("rb") as file:
        np.testing.assert_array_equal(load_audio(file), whole)
    np.testing.assert_array_equal(load_audio({"path": str(path)}), whole)
    np.testing.assert_array_equal(load_audio({"bytes": path.read_bytes(), "path": None}), whole)


def test_stream_that_cannot_seek_is_read() -> None:
    class Pipe(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self.inner = io.BytesIO(data)

        def readable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return False

        def read(self, size: int = -1) -> bytes:
            return self.inner.read(size)

    assert_is_tone(load_audio(Pipe(encoded(tone(), SAMPLING_RATE, "OGG"))))


def test_name_without_a_suffix_or_with_a_wrong_one_is_read(tmp_path: Path) -> None:
    for name in ("recording", "recording.mp3", "recording.txt"):
        (tmp_path / name).write_bytes(encoded(tone(), SAMPLING_RATE, "WAV"))
        assert_is_tone(load_audio(tmp_path / name))


def test_arrays_of_every_layout_give_the_same() -> None:
    import torch

    wave = tone()
    stereo = tone(channels=2)
    for source in (
        wave,
        wave.astype(np.float32),
        wave.tolist(),
        stereo,
        stereo.T,
        torch.tensor(wave),
        torch.tensor(wave)[None],
        (SAMPLING_RATE, wave),
        {"array": wave, "sampling_rate": SAMPLING_RATE},
        {"array": wave, "sampling_rate": SAMPLING_RATE, "path": "a.wav"},
    ):
        np.testing.assert_allclose(load_audio(source), wave, atol=1e-6)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "float16", "float64"])
def test_integer_arrays_are_scaled(dtype: str) -> None:
    wave = tone()
    if dtype.startswith("float"):
        source = wave.astype(dtype)
    else:
        info = np.iinfo(dtype)
        middle = 0 if info.min else 2 ** (info.bits - 1)
        source = np.round(wave * (2 ** (info.bits - 1) - 1) + middle).astype(dtype)
    np.testing.assert_allclose(load_audio(source), wave, atol=0.02)


def test_array_with_a_rate_is_resampled() -> None:
    wave = tone(rate=48_000)
    assert_is_tone(load_audio(wave, sampling_rate=48_000), slack=0.001)
    assert_is_tone(load_audio((48_000, (wave * 32_767).astype(np.int16))), slack=0.001)


def test_source_array_is_not_changed() -> None:
    wave = tone().astype(np.float32)
    before = wave.copy()
    load_audio(wave)
    np.testing.assert_array_equal(wave, before)


@pytest.mark.parametrize(("format", "rate"), [("FLAC", 16_000), ("WAV", 8_000), ("OGG", 48_000)])
def test_length_limit_holds_for_files(format: str, rate: int) -> None:
    data = encoded(np.zeros(20 * rate), rate, format)
    assert len(load_audio(data, limits=AudioLimits(max_seconds=21))) == pytest.approx(
        20 * SAMPLING_RATE, abs=10
    )
    with pytest.raises(AudioTooLongError, match="10 s"):
        load_audio(data, limits=AudioLimits(max_seconds=10))


def test_length_limit_holds_for_pyav_and_arrays() -> None:
    limits = AudioLimits(max_seconds=2)
    data = encoded_with_pyav(tone(5, 48_000), 48_000, "webm", "libopus")
    with pytest.raises(AudioTooLongError):
        load_audio(data, limits=limits)
    with pytest.raises(AudioTooLongError):
        load_audio(tone(5), limits=limits)
    with pytest.raises(AudioTooLongError):
        load_audio((8_000, tone(5, 8_000)), limits=limits)


def test_length_limit_stops_decoding_early(monkeypatch: pytest.MonkeyPatch) -> None:
    # A small file that unpacks into an hour must not be unpacked whole.
    data = encoded(np.zeros(3600 * 8_000, np.int16), 8_000, "FLAC")
    read = 0
    original = soundfile.SoundFile.read

    def counting(self, *args, **kwargs):
        nonlocal read
        block = original(self, *args, **kwargs)
        read += len(block)
        return block

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    with pytest.raises(AudioTooLongError):
        load_audio(data, limits=AudioLimits(max_seconds=5))
    assert read < 60 * 8_000


def test_size_limit_holds_for_every_encoded_source(tmp_path: Path) -> None:
    data = encoded(tone(), SAMPLING_RATE, "WAV")
    limits = AudioLimits(max_bytes=len(data) - 1)
    (tmp_path / "a.wav").write_bytes(data)
    for source in (data, io.BytesIO(data), tmp_path / "a.wav"):
        with pytest.raises(AudioTooLargeError):
            load_audio(source, limits=limits)
    assert_is_tone(load_audio(data, limits=AudioLimits(max_bytes=len(data))))


@pytest.mark.parametrize(("format", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16")])
def test_file_cut_off_in_the_middle_is_an_error(format: str, subtype: str) -> None:
    data = encoded(np.random.default_rng(0).normal(0, 0.1, 32_000), SAMPLING_RATE, format, subtype)
    with pytest.raises(AudioFormatError):
        load_audio(data[: len(data) // 2])


def test_wav_written_to_a_pipe_is_read() -> None:
    # ffmpeg and arecord can't go back to write the length, so the header promises the maximum.
    data = bytearray(encoded(tone(), SAMPLING_RATE, "WAV"))
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    assert data[36:40] == b"data"
    assert_is_tone(load_audio(bytes(data)))


def test_level_of_silence_and_of_a_full_scale_square() -> None:
    assert level_db(np.zeros(SAMPLING_RATE, np.float32)) == float("-inf")
    assert level_db(np.ones(SAMPLING_RATE, np.float32)) == pytest.approx(0.0)
    quiet = np.zeros(SAMPLING_RATE, np.float32)
    quiet[:1600] = 0.1
    assert level_db(quiet) == pytest.approx(-20.0)


@settings(deadline=None, max_examples=40)
@given(
    num_samples=st.integers(1, 20 * SAMPLING_RATE),
    max_seconds=st.floats(0.25, 12),
    search_seconds=st.floats(0.01, 8),
    seed=st.integers(0, 5),
)
def test_spans_cover_the_clip_and_none_is_too_long(
    num_samples: int, max_seconds: float, search_seconds: float, seed: int
) -> None:
    audio = np.random.default_rng(seed).normal(0, 0.1, num_samples).astype(np.float32)
    spans = split_at_silence(audio, max_seconds=max_seconds, search_seconds=search_seconds)
    assert spans[0][0] == 0
    assert spans[-1][1] == num_samples
    assert all(a[1] == b[0] for a, b in pairwise(spans))
    assert all(0 < end - start <= int(max_seconds * SAMPLING_RATE) for start, end in spans)


def test_clip_within_the_limit_is_one_span() -> None:
    assert split_at_silence(np.ones(16_000, np.float32), max_seconds=1.0) == [(0, 16_000)]


def test_cut_falls_into_the_pause() -> None:
    audio = np.random.default_rng(0).normal(0, 0.3, 20 * SAMPLING_RATE).astype(np.float32)
    audio[int(8.0 * SAMPLING_RATE) : int(8.4 * SAMPLING_RATE)] = 0
    spans = split_at_silence(audio, max_seconds=10)
    assert 8.0 <= spans[0][1] / SAMPLING_RATE <= 8.4


@pytest.mark.parametrize("max_seconds", [0.0, 0.2, -1.0])
def test_limit_too_short_to_cut_at_is_refused(max_seconds: float) -> None:
    with pytest.raises(ValueError, match="max_seconds"):
        split_at_silence(np.zeros(16_000, np.float32), max_seconds=max_seconds)
