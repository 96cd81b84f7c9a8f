"""Audio in: every format, rate and kind of source; limits; cutting at pauses."""

import io
import tracemalloc
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
    open_audio,
    split_at_silence,
)
from borealis.downmix import Downmix
from borealis.errors import (
    AudioError,
    AudioFormatError,
    AudioTooLargeError,
    AudioTooLongError,
    AudioValueError,
)
from borealis.long_audio import LongAudio
from tests.conftest import AUDIO
from tests.encoding import with_ffmpeg, with_soundfile

TONE = 440.0


def tone(seconds: float = 1.0, rate: int = SAMPLING_RATE, channels: int = 1) -> np.ndarray:
    """A sine: `[num_samples]`, or `[num_samples, channels]`."""
    wave = 0.5 * np.sin(2 * np.pi * TONE * np.arange(int(seconds * rate)) / rate)
    return wave if channels == 1 else np.repeat(wave[:, None], channels, axis=1)


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
    assert_is_tone(load_audio(with_soundfile(tone(), SAMPLING_RATE, format, subtype)))


@pytest.mark.parametrize(
    ("container", "codec"), [("mp4", "aac"), ("ipod", "aac"), ("webm", "libopus")]
)
def test_reads_a_format_of_pyav(container: str, codec: str) -> None:
    data = with_ffmpeg(tone(rate=48_000), 48_000, container, codec)
    assert_is_tone(load_audio(data), slack=0.15)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_resamples_any_rate_to_16_khz(rate: int) -> None:
    audio = load_audio(with_soundfile(tone(rate=rate), rate, "WAV"))
    assert_is_tone(audio, slack=0.001)


def test_rate_of_16_khz_is_left_alone() -> None:
    wave = tone().astype(np.float32)
    np.testing.assert_array_equal(
        load_audio(with_soundfile(wave, SAMPLING_RATE, "WAV", "FLOAT")), wave
    )


def test_channels_are_averaged() -> None:
    left, right = tone(), np.zeros(SAMPLING_RATE)
    audio = load_audio(with_soundfile(np.stack([left, right], 1), SAMPLING_RATE, "WAV", "FLOAT"))
    np.testing.assert_allclose(audio, left / 2, atol=1e-6)


def test_hours_are_in_memory_once(tmp_path: Path) -> None:
    """Pieces put together at the end were there twice, and the look at their level four times."""
    path = tmp_path / "long.wav"
    soundfile.write(path, np.full(600 * 16_000, 3000, np.int16), 16_000)
    tracemalloc.start()
    try:
        audio = load_audio(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(audio) == 600 * 16_000
    assert peak < 1.4 * audio.nbytes


IN_A_FILE = AudioLimits(max_memory_seconds=1.0)


def test_long_audio_in_a_file_is_the_same_sound(tmp_path: Path) -> None:
    """Three channels are mixed beyond full scale, so it is made quieter at the end."""
    path = tmp_path / "three.wav"
    channels = np.stack([tone(3.0)] * 3, axis=1) * 0.9
    soundfile.write(path, channels, SAMPLING_RATE, "FLOAT")
    whole, kept = load_audio(path), open_audio(path, limits=IN_A_FILE)
    assert isinstance(kept, LongAudio)
    assert len(kept) == len(whole)
    for part in (slice(None), slice(0, 1), slice(16_000, 40_001), slice(-5, None), slice(9, 3)):
        np.testing.assert_array_equal(kept[part], whole[part])
    assert level_db(kept) == level_db(whole)
    assert split_at_silence(kept, max_seconds=1) == split_at_silence(whole, max_seconds=1)
    assert open_audio(kept) is kept
    assert isinstance(open_audio(path), np.ndarray)


def test_a_silent_track_in_a_file_is_silent() -> None:
    kept = open_audio(np.zeros(40_000, np.float32), limits=IN_A_FILE)
    assert isinstance(kept, LongAudio)
    assert level_db(kept) == -np.inf


def test_samples_are_checked_wherever_they_are_kept() -> None:
    broken = np.zeros(40_000, np.float32)
    broken[100] = np.nan
    with pytest.raises(AudioValueError, match="finite"):
        open_audio(with_soundfile(broken, SAMPLING_RATE, "WAV", "FLOAT"), limits=IN_A_FILE)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs another machine: /dev/full")
def test_a_full_disk_is_told(monkeypatch) -> None:
    with open("/dev/full", "r+b", buffering=0) as full:
        monkeypatch.setattr("tempfile.TemporaryFile", lambda: full)
        with pytest.raises(AudioError, match="no room"):
            open_audio(tone(2.0), limits=IN_A_FILE)


def test_path_bytes_and_file_object_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "запись с пробелом.flac"
    path.write_bytes(with_soundfile(tone(), SAMPLING_RATE, "FLAC"))
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

    assert_is_tone(load_audio(Pipe(with_soundfile(tone(), SAMPLING_RATE, "OGG"))))


def test_name_without_a_suffix_or_with_a_wrong_one_is_read(tmp_path: Path) -> None:
    for name in ("recording", "recording.mp3", "recording.txt"):
        (tmp_path / name).write_bytes(with_soundfile(tone(), SAMPLING_RATE, "WAV"))
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
        (wave, SAMPLING_RATE),
        (float(SAMPLING_RATE), wave),
        (np.int64(SAMPLING_RATE), wave.tolist()),
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


@pytest.mark.parametrize(
    "source",
    [
        tone() * 32_767,
        (tone() * 32_767).astype(np.float32),
        tone() * 127,
        tone(channels=2) * 8_388_607,
        tone() * 1e300,
    ],
    ids=["16 bits", "float32", "8 bits", "24 bits", "beyond float32"],
)
def test_float_array_that_is_not_scaled_is_refused(source: np.ndarray) -> None:
    with pytest.raises(AudioValueError, match=r"floats must lie in -1\.\.1"):
        load_audio(source)


def test_float_file_that_is_not_scaled_is_refused() -> None:
    # What scipy.io.wavfile writes when samples were made floats and never divided.
    data = with_soundfile(tone() * 32_767, SAMPLING_RATE, "WAV", "FLOAT")
    with pytest.raises(AudioValueError, match="the given file go up to"):
        load_audio(data)


def test_float_array_that_is_a_little_too_loud_is_read() -> None:
    np.testing.assert_allclose(load_audio(tone() * 6), tone() * 6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32"])
def test_wide_integers_with_16_bit_values_are_refused(dtype: str) -> None:
    narrow = np.abs(np.round(tone() * 32_767)).astype(dtype)
    with pytest.raises(AudioValueError, match=r"astype\('int16'\)"):
        load_audio(narrow)
    if dtype == "int64":
        with pytest.raises(AudioValueError, match="16 bits"):
            load_audio(narrow.tolist())
    np.testing.assert_allclose(load_audio(narrow.astype(np.int16)), np.abs(tone()), atol=1e-3)
    assert not load_audio(np.zeros(100, dtype="int32")).any()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (("a.wav", "b.wav"), "tuple of 2 recordings"),
        ([AUDIO / "speech.flac"], "list of 1 recordings"),
        ((b"RIFF", b"RIFF", b"RIFF"), "tuple of 3"),
        ((SAMPLING_RATE, "a.wav"), "from str"),
        ((True, tone()), "whole number of Hz"),
        ((SAMPLING_RATE, np.array(["1", "2"])), "array of numbers"),
        (np.zeros(4, "timedelta64[s]"), "array of numbers"),
        ({"path": 5}, "'path'"),
        ({"array": tone(), "sampling_rate": None}, "no 'sampling_rate'"),
    ],
    ids=str,
)
def test_what_is_no_recording_is_refused(source: object, says: str) -> None:
    with pytest.raises(AudioValueError, match=says):
        load_audio(source)


def test_rate_given_twice_must_be_the_same() -> None:
    wave = tone(rate=48_000)
    for source in ((48_000, wave), {"array": wave, "sampling_rate": 48_000}):
        assert len(load_audio(source, sampling_rate=48_000)) == SAMPLING_RATE
        with pytest.raises(AudioValueError, match="48000 Hz, and sampling_rate is 16000"):
            load_audio(source, sampling_rate=16_000)
    assert len(load_audio({"array": wave}, sampling_rate=48_000)) == SAMPLING_RATE
    with pytest.raises(AudioValueError, match="0 Hz"):
        load_audio(wave, sampling_rate=0)


def test_pipe_is_read_by_its_path_and_in_small_pieces(tmp_path: Path) -> None:
    import os
    import threading

    data = with_soundfile(tone(), SAMPLING_RATE, "WAV")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("wb", buffering=0) as out:
            for start in range(0, len(data), 1_000):
                out.write(data[start : start + 1_000])

    for read in (lambda: load_audio(pipe), lambda: load_audio(pipe.open("rb", buffering=0))):
        writer = threading.Thread(target=write)
        writer.start()
        assert_is_tone(read())
        writer.join()


# ---- channels ----


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return load_audio(AUDIO / "speech.flac")


def rms(audio: np.ndarray) -> float:
    return float(np.sqrt((audio.astype(np.float64) ** 2).mean()))


def in_channels(*channels: np.ndarray) -> np.ndarray:
    return np.stack(channels, axis=1).astype(np.float32)


@pytest.mark.parametrize("rate", [16_000, 48_000])
@pytest.mark.parametrize("kind", ["array", "WAV", "FLAC", "OGG"])
def test_opposite_phase_does_not_cancel(kind: str, rate: int, speech: np.ndarray) -> None:
    import soxr

    source = soxr.resample(speech, SAMPLING_RATE, rate)
    stereo = in_channels(source, -source)
    if kind == "array":
        audio = load_audio(stereo, sampling_rate=rate)
    else:
        audio = load_audio(with_soundfile(stereo, rate, kind))
    assert abs(np.corrcoef(audio, speech)[0, 1]) > 0.98  # either side may be the one turned over
    assert rms(audio) == pytest.approx(rms(speech), rel=0.02)


def test_part_in_opposite_phase_does_not_cancel(speech: np.ndarray) -> None:
    turned = speech.copy()
    turned[2 * SAMPLING_RATE : 4 * SAMPLING_RATE] *= -1
    audio = load_audio(in_channels(speech, turned))
    for start in range(0, len(speech) - 1_600, 1_600):
        part = slice(start, start + 1_600)
        assert rms(audio[part]) > 0.7 * rms(speech[part])
    # Where the polarity changes there is no click.
    steps = np.abs(np.diff(audio)).max()
    assert steps < 1.5 * np.abs(np.diff(speech)).max()


def test_opposite_phase_with_noise_and_other_loudness_does_not_cancel(speech: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(0, 0.002, (2, len(speech)))
    audio = load_audio(in_channels(speech + noise[0], -0.7 * speech + noise[1]))
    assert rms(audio) > 0.8 * rms(speech)
    assert np.corrcoef(audio, speech)[0, 1] > 0.95


def test_ordinary_stereo_is_exactly_the_mean(speech: np.ndarray) -> None:
    random = np.random.default_rng(0)
    size = len(speech)
    other = load_audio(AUDIO / "night.flac")[:size]
    call = in_channels(speech, np.pad(other, (0, size - len(other))))
    for stereo in (
        in_channels(speech, speech),
        in_channels(speech, np.zeros(size)),
        in_channels(np.zeros(size), speech),
        in_channels(speech, 0.3 * speech),
        in_channels(speech, np.roll(speech, 8)),
        random.normal(0, 0.1, (size, 2)).astype(np.float32),
        call,
    ):
        np.testing.assert_array_equal(load_audio(stereo), stereo.mean(axis=1))


@settings(deadline=None, max_examples=20)
@given(sizes=st.lists(st.integers(1, 9_000), min_size=1, max_size=12), turned=st.booleans())
def test_mix_does_not_depend_on_the_size_of_blocks(sizes: list[int], turned: bool) -> None:
    random = np.random.default_rng(len(sizes))
    one = random.normal(0, 0.1, sum(sizes)).astype(np.float32)
    stereo = in_channels(one, -one if turned else one)
    stereo[: len(one) // 2, 1] *= -1
    whole, cut = Downmix(SAMPLING_RATE, 2), Downmix(SAMPLING_RATE, 2)
    ends = np.cumsum(sizes)[:-1]
    parts = [*(cut.mix(block) for block in np.split(stereo, ends)), cut.flush()]
    expected = np.concatenate([whole.mix(stereo), whole.flush()])
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    assert len(expected) == len(one)


def test_voice_in_the_centre_of_surround_sound_stays_loud(speech: np.ndarray) -> None:
    nothing = np.zeros(len(speech))
    surround = in_channels(nothing, nothing, speech, nothing, nothing, nothing)
    for source in (surround, with_soundfile(surround, SAMPLING_RATE, "WAV")):
        audio = load_audio(source)
        assert rms(audio) == pytest.approx(0.5 * rms(speech), rel=0.01)
    film = with_ffmpeg(surround, SAMPLING_RATE, "matroska", "pcm_s16le", layout="5.1")
    assert rms(load_audio(film)) == pytest.approx(0.5 * rms(speech), rel=0.01)


def test_many_loud_channels_stay_within_full_scale() -> None:
    audio = load_audio(np.repeat(tone()[:, None] * 1.9, 8, axis=1))
    assert np.abs(audio).max() == pytest.approx(1.0)
    assert peak_frequency(audio) == pytest.approx(TONE, abs=3)


def test_source_array_is_not_changed() -> None:
    wave = tone().astype(np.float32)
    before = wave.copy()
    load_audio(wave)
    np.testing.assert_array_equal(wave, before)


@pytest.mark.parametrize(("format", "rate"), [("FLAC", 16_000), ("WAV", 8_000), ("OGG", 48_000)])
def test_length_limit_holds_for_files(format: str, rate: int) -> None:
    data = with_soundfile(np.zeros(20 * rate), rate, format)
    assert len(load_audio(data, limits=AudioLimits(max_seconds=21))) == pytest.approx(
        20 * SAMPLING_RATE, abs=10
    )
    with pytest.raises(AudioTooLongError, match="10 s"):
        load_audio(data, limits=AudioLimits(max_seconds=10))


def test_length_limit_holds_for_pyav_and_arrays() -> None:
    limits = AudioLimits(max_seconds=2)
    data = with_ffmpeg(tone(5, 48_000), 48_000, "webm", "libopus")
    with pytest.raises(AudioTooLongError):
        load_audio(data, limits=limits)
    with pytest.raises(AudioTooLongError):
        load_audio(tone(5), limits=limits)
    with pytest.raises(AudioTooLongError):
        load_audio((8_000, tone(5, 8_000)), limits=limits)


def test_length_limit_stops_decoding_early(monkeypatch: pytest.MonkeyPatch) -> None:
    # A small file that unpacks into an hour must not be unpacked whole.
    data = with_soundfile(np.zeros(3600 * 8_000, np.int16), 8_000, "FLAC")
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
    data = with_soundfile(tone(), SAMPLING_RATE, "WAV")
    limits = AudioLimits(max_bytes=len(data) - 1)
    (tmp_path / "a.wav").write_bytes(data)
    for source in (data, io.BytesIO(data), tmp_path / "a.wav"):
        with pytest.raises(AudioTooLargeError):
            load_audio(source, limits=limits)
    assert_is_tone(load_audio(data, limits=AudioLimits(max_bytes=len(data))))


@pytest.mark.parametrize(("format", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16")])
def test_file_cut_off_in_the_middle_is_an_error(format: str, subtype: str) -> None:
    data = with_soundfile(
        np.random.default_rng(0).normal(0, 0.1, 32_000), SAMPLING_RATE, format, subtype
    )
    with pytest.raises(AudioFormatError):
        load_audio(data[: len(data) // 2])


def test_wav_written_to_a_pipe_is_read() -> None:
    # ffmpeg and arecord can't go back to write the length, so the header promises the maximum.
    data = bytearray(with_soundfile(tone(), SAMPLING_RATE, "WAV"))
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
    shortest = min(3.0, max_seconds / 4) * SAMPLING_RATE
    assert len(spans) == 1 or num_samples - spans[-1][0] >= int(shortest)


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
