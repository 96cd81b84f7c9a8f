"""Audio in: file, bytes, stream or array -> float32 mono at 16 kHz, checked; and cutting at pauses.

`sound_files` decodes, and says what may be opened; soxr resamples. Limits are applied while
decoding, so a small file that unpacks into days of sound is stopped early.
"""

from __future__ import annotations

import io
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from borealis.downmix import Downmix
from borealis.errors import (
    AudioEmptyError,
    AudioError,
    AudioFormatError,
    AudioNotFoundError,
    AudioTooLargeError,
    AudioTooLongError,
    AudioValueError,
)
from borealis.long_audio import LongAudio
from borealis.sound_files import Block, read_blocks
from borealis.sound_parts import Deadline, capitalised

if TYPE_CHECKING:
    import numpy as np

SAMPLING_RATE = 16_000
_MIN_RATE, _MAX_RATE = 1_000, 768_000
_SILENCE_DB = -80.0  # of a sound track that is passed over for the next one
_LOUDEST = 10.0  # 20 dB over full scale; a float sample beyond it isn't scaled to -1..1

AudioSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | BinaryIO | np.ndarray | tuple | dict | Any"
)


@dataclass(frozen=True)
class AudioLimits:
    """What `load_audio` accepts at most.

    Args:
        max_bytes: size of the encoded file.
        max_seconds: duration, counted while decoding and not taken from the header.
        max_decode_seconds: time that decoding may take. The default is for any file on any
            machine; a server wants less.
        max_memory_seconds: what `open_audio` keeps in memory; longer sound waits in a file.
    """

    max_bytes: int = 512 * 2**20
    max_seconds: float = 4 * 3600.0
    max_decode_seconds: float = 600.0
    max_memory_seconds: float = 1800.0


DEFAULT_LIMITS = AudioLimits()


def load_audio(
    source: AudioSource,
    *,
    sampling_rate: int | None = None,
    limits: AudioLimits = DEFAULT_LIMITS,
    output_rate: int = SAMPLING_RATE,
) -> np.ndarray:
    """Read audio from anywhere.

    Args:
        source: a path; bytes or a binary stream of an encoded file; an array or torch tensor
            `[n]`, `[n, channels]` or `[channels, n]`; the pair `(rate, array)` that Gradio gives,
            or `(array, rate)` as soundfile does; or a dict with `array` and `sampling_rate`, as
            datasets gives. Floats lie in -1..1; integers use the whole range of their type.
        sampling_rate: rate of an array in Hz. An array without one is taken as 16 kHz, and nothing
            in it tells whether that is true: say so if it isn't. Encoded audio carries its own.
        limits: largest file, longest clip, longest time of decoding.
        output_rate: rate of the result in Hz. The model hears 16 kHz; codecs have rates of their
            own.

    Of a file with several sound tracks it is the first that isn't silent; files that were joined
    end to end are read to the end; channels are mixed as `borealis.downmix` says. Packets that no
    decoder understands are left out, with a warning in the log, up to a quarter of a file.

    Returns:
        float32 `[num_samples]`, mono, at `output_rate`.

    Raises:
        AudioNotFoundError: no such file, or the path is a folder or a URL.
        AudioFormatError: not audio, or broken.
        AudioEmptyError: no samples.
        AudioTooLongError, AudioTooLargeError, AudioTimeoutError: over `limits`.
        AudioValueError: an array of the wrong shape, type or scale, or samples that are NaN or
            infinity.
    """
    _check_rate(output_rate)
    in_memory = replace(limits, max_memory_seconds=math.inf)
    audio = _read(source, sampling_rate, in_memory, output_rate)
    assert not isinstance(audio, LongAudio)
    return audio


def open_audio(
    source: AudioSource | LongAudio,
    *,
    sampling_rate: int | None = None,
    limits: AudioLimits = DEFAULT_LIMITS,
) -> np.ndarray | LongAudio:
    """`load_audio` for those who read in parts: hours of sound aren't kept in memory.

    Args:
        source: see `load_audio`; what was opened before is given back.
        sampling_rate: rate of an array in Hz.
        limits: largest file, longest clip, longest time of decoding, most in memory.
    """
    if isinstance(source, LongAudio):
        return source
    return _read(source, sampling_rate, limits)


def _read(
    source: AudioSource,
    sampling_rate: int | None,
    limits: AudioLimits,
    to: int = SAMPLING_RATE,  # rate of the result
) -> np.ndarray | LongAudio:
    if isinstance(source, (str, os.PathLike)):
        return _from_path(os.fspath(source), limits, to)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_stream(io.BytesIO(source), "the given file", limits, to)
    if hasattr(source, "read") and not isinstance(source, dict):
        return _from_stream(_whole_stream(source, limits), _stream_name(source), limits, to)
    if isinstance(source, dict):
        return _from_dict(source, sampling_rate, limits, to)
    if source is None:
        raise AudioEmptyError("There is no audio: nothing was recorded or chosen.")
    if isinstance(source, tuple) and len(source) == 2:
        first, second = (isinstance(item, Real) for item in source)
        if first != second:
            rate, array = source if first else source[::-1]
            return _from_array(array, _one_rate(rate, sampling_rate), limits, to)
    if isinstance(source, (list, tuple)) and any(
        isinstance(item, (str, os.PathLike, bytes)) for item in source
    ):
        raise AudioValueError(
            f"A {type(source).__name__} of {len(source)} recordings was given where one is wanted; "
            "load them one by one."
        )
    return _from_array(source, _one_rate(SAMPLING_RATE, sampling_rate, given=False), limits, to)


def _one_rate(own: Any, argument: Any, *, given: bool = True) -> Any:
    """The rate of an array: its own or the argument; both may be given if they agree."""
    if argument is None or (given and own == argument):
        return own
    if given:
        raise AudioValueError(
            f"The array comes with a rate of {own} Hz, and sampling_rate is {argument}; "
            "give one of them."
        )
    return argument


def _from_path(path: str, limits: AudioLimits, to: int) -> np.ndarray | LongAudio:
    if "://" in path[:12]:
        raise AudioNotFoundError(
            "Audio by URL is switched off. Download the file and give its path."
        )
    name = Path(path).name or path
    if os.path.isdir(path):
        raise AudioNotFoundError(f"'{name}' is a folder; give the path of an audio file.")
    if not os.path.exists(path):
        raise AudioNotFoundError(f"There is no file '{path}'. Check the path.")
    try:
        with open(path, "rb") as file:
            # A pipe or a terminal can't be read twice.
            is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            return _from_stream(
                file if is_file else _whole_stream(file, limits), f"'{name}'", limits, to
            )
    except PermissionError:
        raise AudioNotFoundError(f"'{name}' can't be read: permission denied.") from None
    except OSError:
        raise AudioNotFoundError(f"'{name}' can't be opened or read.") from None


def _from_dict(
    source: dict, sampling_rate: int | None, limits: AudioLimits, to: int
) -> np.ndarray | LongAudio:
    if source.get("array") is not None:
        rate = source.get("sampling_rate")
        if rate is None and sampling_rate is None:
            raise AudioValueError("The audio dict has an 'array' but no 'sampling_rate' (Hz).")
        return _from_array(
            source["array"], _one_rate(rate, sampling_rate, given=rate is not None), limits, to
        )
    for key in ("bytes", "path"):
        if isinstance(source.get(key), (str, os.PathLike, bytes, bytearray, memoryview)):
            return _read(source[key], None, limits, to)
    raise AudioValueError("An audio dict needs 'array' and 'sampling_rate', or 'path', or 'bytes'.")


def _stream_name(stream: Any) -> str:
    name = getattr(stream, "name", None)
    return f"'{Path(name).name}'" if isinstance(name, str) else "the stream"


def _whole_stream(stream: Any, limits: AudioLimits) -> BinaryIO:
    """A seekable copy in memory, read no further than the limit."""
    whole = io.BytesIO()
    while whole.tell() <= limits.max_bytes:  # a pipe may give less than is asked for
        try:
            data = stream.read(limits.max_bytes + 1 - whole.tell())
        except (OSError, ValueError):
            raise AudioFormatError(
                "The stream can't be read: it is closed, only for writing, or broke off."
            ) from None
        if isinstance(data, str):
            raise AudioValueError("The stream gives text; open the file in binary mode ('rb').")
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise AudioValueError("The stream doesn't give bytes; give a binary one that waits.")
        if not data:
            break
        whole.write(data)
    return whole


def _from_stream(
    stream: BinaryIO, name: str, limits: AudioLimits, to: int
) -> np.ndarray | LongAudio:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if size == 0:
        raise AudioEmptyError(f"{capitalised(name)} is empty: it has no bytes.")
    if size > limits.max_bytes:
        raise AudioTooLargeError(
            f"{capitalised(name)} is larger than the limit of "
            f"{limits.max_bytes / 2**20:.0f} MB; cut it or compress it."
        )
    return read_blocks(
        stream,
        size,
        name,
        Deadline(limits.max_decode_seconds, name),
        consume=lambda blocks: _collect(blocks, name, limits, to),
        audible=lambda audio: level_db(audio) > _SILENCE_DB,
    )


def _collect(
    blocks: Iterator[Block], name: str, limits: AudioLimits, to: int
) -> np.ndarray | LongAudio:
    """Mix blocks to mono and resample them as they come; stop at the limit."""

    heard = _Samples(limits.max_memory_seconds * to)
    stage, kind, seconds, most_channels = None, (0, 0), 0.0, 0
    for samples, rate in blocks:
        if (rate, samples.shape[1]) != kind:  # at the start, and where unlike files were joined
            _check_rate(rate, AudioFormatError)
            if stage is not None:
                heard.append(stage.flush())
            kind = (rate, samples.shape[1])
            stage, most_channels = _Stage(*kind, to), max(most_channels, samples.shape[1])
        assert stage is not None
        heard.append(stage.feed(samples))
        seconds += len(samples) / rate
        if seconds > limits.max_seconds + 1e-6:
            raise AudioTooLongError(
                f"{capitalised(name)} lasts longer than the limit of "
                f"{_duration(limits.max_seconds)}; cut it into parts."
            )
    if stage is not None:
        heard.append(stage.flush())
    # The sum of many channels may go beyond full scale.
    audio = heard.all(max(1.0, heard.peak) if most_channels > 2 else 1.0)
    if not len(audio):
        raise AudioEmptyError(f"{capitalised(name)} has no samples: it is empty.")
    _check_peak(heard.peak, name)
    return audio


class _Samples:
    """Pieces laid end to end as they come: put together at the end, hours would be there twice.

    Args:
        most: samples in memory; if there are more, all go into a file.
    """

    def __init__(self, most: float) -> None:
        import numpy as np

        self._most = most
        self._file: LongAudio | None = None
        self._buffer, self._length = np.empty(0, np.float32), 0
        self.peak = 0.0  # largest magnitude; NaN if there is one

    def append(self, piece: np.ndarray) -> None:
        import numpy as np

        if not len(piece):
            return
        self.peak = float(np.maximum(self.peak, _peak(piece)))
        end = self._length + len(piece)
        if self._file is None and end > self._most:
            self._file = LongAudio()
            self._file.append(self._buffer[: self._length])
            self._buffer = np.empty(0, np.float32)
        if self._file is not None:
            self._file.append(piece)
            return
        if end > len(self._buffer):
            self._buffer.resize(end + end // 16, refcheck=False)  # in place where the system can
        self._buffer[self._length : end] = piece
        self._length = end

    def all(self, divisor: float) -> np.ndarray | LongAudio:
        """Everything, made quieter."""
        if self._file is not None:
            self._file.divisor = divisor
            return self._file
        self._buffer.resize(self._length, refcheck=False)
        if divisor != 1.0:
            self._buffer /= divisor
        return self._buffer


class _Stage:
    """`[num_samples, channels]` of one rate -> mono at another."""

    def __init__(self, rate: int, channels: int, to: int) -> None:
        import soxr

        self._downmix = Downmix(rate, channels)
        self._resampler = None if rate == to else soxr.ResampleStream(rate, to, 1)

    def feed(self, samples: np.ndarray) -> np.ndarray:
        return self._resample(self._downmix.mix(samples))

    def flush(self) -> np.ndarray:
        return self._resample(self._downmix.flush(), last=True)

    def _resample(self, mono: np.ndarray, *, last: bool = False) -> np.ndarray:
        import numpy as np

        mono = np.ascontiguousarray(mono, np.float32)
        return mono if self._resampler is None else self._resampler.resample_chunk(mono, last=last)


def _from_array(source: Any, rate: Any, limits: AudioLimits, to: int) -> np.ndarray | LongAudio:
    import numpy as np

    if hasattr(source, "detach"):  # a torch tensor, without importing torch
        source = source.detach().cpu()
        source = (source if source.dtype.is_floating_point is False else source.float()).numpy()
    if isinstance(rate, bool) or not isinstance(rate, Real) or not float(rate).is_integer():
        raise AudioValueError(f"sampling_rate is {rate!r}; a whole number of Hz is wanted.")
    hertz = int(float(rate))
    _check_rate(hertz)
    try:
        array = np.asarray(source)
    except ValueError:
        raise AudioValueError("The array is ragged: its rows have different lengths.") from None
    if array.dtype.kind not in "iuf":
        raise AudioValueError(
            f"Audio can't be made from {type(source).__name__} of {array.dtype}; give a path, "
            "bytes, or an array of numbers."
        )
    if array.size == 0:
        raise AudioEmptyError("The array has no samples: it is empty.")
    if array.ndim == 2:
        # The shorter side is the channels, as in every audio library.
        array = array if array.shape[0] >= array.shape[1] else array.T
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] > 32):
        raise AudioValueError(
            f"The array has shape {array.shape}; [samples], [samples, channels] or "
            "[channels, samples] is wanted."
        )
    if len(array) > limits.max_seconds * hertz:
        raise AudioTooLongError(
            f"The array lasts longer than the limit of {_duration(limits.max_seconds)}."
        )
    if array.dtype.kind in "iu":
        array = _scaled(array)
    else:
        _check_peak(_peak(array), "the array")
    samples = array.astype(np.float32, copy=False).reshape(len(array), -1)
    return _collect(iter([Block(samples, hertz)]), "the array", limits, to)


def _scaled(array: np.ndarray) -> np.ndarray:
    """Integers that use the whole range of their type -> floats in -1..1.

    Samples that fill less than the 16 lowest bits of each 32 are not so: they would be silence
    (below -96 dB), and mean that somebody keeps narrow samples in a wide type.
    """
    import numpy as np

    info = np.iinfo(array.dtype)
    scale = (int(info.max) - int(info.min) + 1) / 2
    middle = scale if info.min == 0 else 0.0
    peak = max(abs(float(array.min())), abs(float(array.max())))
    if info.bits > 16 and 0 < peak < 2 ** (info.bits // 2):
        raise AudioValueError(
            f"The array is {array.dtype} and its samples go up to {peak:.0f} only, which is "
            "silence for that type. If they are of 16 bits, give array.astype('int16'); else "
            "scale them to floats in -1..1."
        )
    exact = array.astype(np.float32 if info.bits <= 16 else np.float64)
    exact -= middle
    exact /= scale
    return exact


def _check_peak(peak: float, name: str) -> None:
    """Refuse what isn't a number, and floats that are integers of some width in truth."""
    if not math.isfinite(peak):
        raise AudioValueError("The audio has values that aren't finite numbers (NaN or infinity).")
    if peak > _LOUDEST:
        raise AudioValueError(
            f"The samples of {name} go up to {peak:.0f}, and floats must lie in -1..1; divide "
            "samples of 16 bits by 32768."
        )


def _peak(audio: np.ndarray) -> float:
    """Largest magnitude; NaN if there is one."""
    return max(-float(audio.min()), float(audio.max()))


def _check_rate(rate: int, error: type[AudioError] = AudioValueError) -> None:
    if not _MIN_RATE <= rate <= _MAX_RATE:
        raise error(
            f"The sampling rate is {rate} Hz; it must lie between {_MIN_RATE} and {_MAX_RATE}."
        )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def level_db(audio: np.ndarray | LongAudio) -> float:
    """Loudest 100 ms of a clip as RMS in dB of full scale; -inf for digital silence."""
    import numpy as np

    width = min(len(audio), SAMPLING_RATE // 10)
    power, stretch = 0.0, width * 1000
    for at in range(0, len(audio) // width * width, stretch):
        piece = audio[at : at + stretch]
        frames = piece[: len(piece) // width * width].reshape(-1, width)
        loudest = np.einsum("ij,ij->i", frames, frames, dtype=np.float64).max() / width
        power = max(power, float(loudest))
    return float(10 * np.log10(power)) if power > 0 else float("-inf")


_SHORTEST_REST = 3.0  # seconds


def split_at_silence(
    audio: np.ndarray | LongAudio, *, max_seconds: float, search_seconds: float = 5.0
) -> list[tuple[int, int]]:
    """Cut a long clip at its pauses.

    Each span ends at the quietest 100 ms within the last `search_seconds` it may have; without a
    pause there it still ends, so no span is longer than `max_seconds` and nothing is lost. The last
    cut comes so early that the rest isn't too short to be understood.

    Args:
        audio: float32 mono at 16 kHz, `[num_samples]`.
        max_seconds: longest span.
        search_seconds: how far before the limit a pause is looked for.

    Returns:
        `(start, end)` in samples; together the spans are the whole clip.
    """
    import numpy as np

    if max_seconds <= 0.2:
        raise ValueError(f"max_seconds is {max_seconds}; more than 0.2 is wanted.")
    limit, hop, width = int(max_seconds * SAMPLING_RATE), 160, SAMPLING_RATE // 10
    search = max(width, min(int(search_seconds * SAMPLING_RATE), limit // 2))
    rest = min(int(_SHORTEST_REST * SAMPLING_RATE), limit // 4)
    spans, start = [], 0
    while len(audio) - start > limit:
        high = min(start + limit, len(audio) - rest)
        low = high - search
        energy = np.concatenate([[0.0], np.cumsum(audio[low:high].astype(np.float64) ** 2)])
        places = np.arange(0, max(1, search - width), hop)
        quietest = places[
            int(np.argmin(energy[np.minimum(places + width, search)] - energy[places]))
        ]
        end = int(low + quietest + width // 2)
        spans.append((start, end))
        start = end
    spans.append((start, len(audio)))
    return spans
