"""Made sound on its way out: faster or slower, and as a file that says it is synthetic."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from borealis.errors import SpeechError

if TYPE_CHECKING:
    import numpy as np

SLOWEST, FASTEST = 0.5, 2.0
_BLOCK = 1024  # samples that the filter gets at once: what it gives doesn't depend on the parts
# Container and codec of FFmpeg by the suffix of a file.
FORMATS = {
    "wav": ("wav", "pcm_s16le"),
    "flac": ("flac", "flac"),
    "mp3": ("mp3", "libmp3lame"),
    "opus": ("ogg", "libopus"),
}
SAME = {"ogg": "opus"}  # other names of a format
CONTENT_TYPES = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "pcm": "audio/pcm",
}
_BIT_RATES = {"mp3": 64_000}  # FFmpeg's own for these sampling rates is heard
# A page of Ogg holds a second by default: whoever listens would wait for it.
_OPTIONS = {"opus": {"page_duration": "200000"}}
MARK = "Synthetic speech made by Borealis"


def check_suffix(path: str | os.PathLike[str]) -> str:
    """The form of a sound file by its suffix.

    Raises:
        SpeechError: speech isn't written so.
    """
    form = Path(path).suffix.lower().removeprefix(".")
    form = SAME.get(form, form)
    if form not in FORMATS:
        raise SpeechError(
            f"'{os.fspath(path)}': speech is written as "
            f"{', '.join('.' + name for name in (*FORMATS, *SAME))}."
        )
    return form


def sixteen_bits(waveform: np.ndarray) -> np.ndarray:
    """float32 in -1..1 -> int16; louder is cut."""
    import numpy as np

    return (np.clip(waveform, -1.0, 1.0) * 32767).round().astype(np.int16)


def encoded(waveform: np.ndarray, sampling_rate: int, form: str, *, voice: str = "") -> bytes:
    """Sound as a file.

    Every file but `pcm` says in its metadata (comment) that nobody has spoken it.

    Args:
        waveform: float32 `[num_samples]` in -1..1; louder is cut.
        sampling_rate: Hz.
        form: `wav`, `flac`, `mp3`, `opus` (in Ogg; `ogg` is the same), or `pcm`: 16 bits,
            little-endian, no header.
        voice: put down beside the mark.

    Raises:
        SpeechError: another form.
    """
    form = check_form(form)
    if form == "pcm":
        return _pcm(sixteen_bits(waveform))
    file = io.BytesIO()
    writer = _Writer(file, sampling_rate, form, voice)
    writer.write(sixteen_bits(waveform))
    writer.close()
    return file.getvalue()


def check_form(form: str) -> str:
    """The form by its first name.

    Raises:
        SpeechError: sound isn't written so.
    """
    form = SAME.get(form, form)
    if form not in CONTENT_TYPES:
        raise SpeechError(f"Sound can't be written as '{form}'; give {', '.join(CONTENT_TYPES)}.")
    return form


def mark(voice: str = "") -> str:
    """What says that nobody has spoken it."""
    return f"{MARK}, voice {voice}" if voice else MARK


class Encoder:
    """Sound as a file that is sent while the sound is still being made.

    Its bytes joined are a file like that of `encoded`, but for what only the end tells: the headers
    of `wav` and `flac` don't know the length.

    Args:
        sampling_rate: Hz.
        form: see `encoded`.
        voice: put down beside the mark.

    Raises:
        SpeechError: another form.
    """

    def __init__(self, sampling_rate: int, form: str, *, voice: str = "") -> None:
        self._pipe = _Pipe()
        form = check_form(form)
        bare = form == "pcm"
        self._writer = None if bare else _Writer(self._pipe, sampling_rate, form, voice)

    def push(self, waveform: np.ndarray) -> bytes:
        """Bytes that are certain after these samples, float32 `[n]`; often none."""
        samples = sixteen_bits(waveform)
        if self._writer is None:
            return _pcm(samples)
        self._writer.write(samples)
        return self._pipe.taken()

    def finish(self) -> bytes:
        """The bytes that are left; nothing can be pushed afterwards."""
        if self._writer is None:
            return b""
        self._writer.close()
        return self._pipe.taken()


class _Pipe:
    """A file that can only be written to, from its beginning to its end."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        """What was written since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


class _Writer:
    """Samples into a file, part by part.

    Args:
        file: to write to; where it can't be sought in, nothing is put down afterwards.
        sampling_rate: Hz.
        form: a key of `FORMATS`.
        voice: put down beside the mark.
    """

    def __init__(self, file: Any, sampling_rate: int, form: str, voice: str) -> None:
        import av

        kind, codec = FORMATS[form]
        self.sampling_rate, self._given = sampling_rate, 0
        options = {"flush_packets": "1"} | _OPTIONS.get(form, {})
        self._container = av.open(file, "w", format=kind, options=options)
        self._container.metadata["comment"] = mark(voice)
        stream: Any = self._container.add_stream(codec, rate=_rate(form, sampling_rate))
        stream.layout = "mono"
        if form in _BIT_RATES:
            stream.bit_rate = _BIT_RATES[form]
        self._stream = stream
        self._resampler = av.AudioResampler(format=stream.format, layout="mono", rate=stream.rate)
        self._container.start_encoding()

    def write(self, samples: np.ndarray) -> None:
        """int16 `[n]`, the next ones."""
        for frame in self._frames(samples):
            self._encode(frame)

    def close(self) -> None:
        """Write what is left, and the end of the file."""
        if self._given:  # a filter that got nothing has nothing to give
            self._encode(None)
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def _encode(self, frame: Any) -> None:
        for ready in self._resampler.resample(frame):
            self._container.mux(self._stream.encode(ready))

    def _frames(self, samples: np.ndarray) -> Iterator[Any]:
        import av

        for at in range(0, len(samples), self.sampling_rate):
            part = samples[None, at : at + self.sampling_rate]
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            frame.sample_rate, frame.pts = self.sampling_rate, self._given
            frame.time_base = Fraction(1, self.sampling_rate)
            self._given += part.shape[1]
            yield frame


def _pcm(samples: np.ndarray) -> bytes:
    return samples.astype("<i2").tobytes()


def _rate(form: str, sampling_rate: int) -> int:
    """Opus knows five rates; each of them holds all that the sound has."""
    if form != "opus":
        return sampling_rate
    return next((r for r in (8000, 12000, 16000, 24000) if r >= sampling_rate), 48000)


class Tempo:
    """Speaks faster or slower at the same pitch, part by part (FFmpeg's filter `atempo`).

    Args:
        speed: 2 is twice as fast.
        sampling_rate: Hz.
    """

    def __init__(self, speed: float, sampling_rate: int) -> None:
        import numpy as np

        self.sampling_rate, self._given = sampling_rate, 0
        self._held = np.zeros(0, np.float32)
        self._graph: Any = None
        if speed == 1.0:
            return
        import av.filter

        graph = av.filter.Graph()
        source = graph.add_abuffer(
            format="flt",
            sample_rate=sampling_rate,
            layout="mono",
            time_base=Fraction(1, sampling_rate),
        )
        tempo, sink = graph.add("atempo", f"{speed:.4f}"), graph.add("abuffersink")
        source.link_to(tempo)
        tempo.link_to(sink)
        graph.configure()
        self._graph = graph

    def push(self, waveform: np.ndarray) -> np.ndarray:
        """Samples that are certain after these, float32."""
        import numpy as np

        if self._graph is None:
            return waveform
        held = np.concatenate([self._held, waveform.astype(np.float32, copy=False)])
        whole = len(held) // _BLOCK * _BLOCK
        self._held = held[whole:]
        return self._through(held[:whole])

    def finish(self) -> np.ndarray:
        """The samples that are left."""
        import numpy as np

        if self._graph is None or not self._given + len(self._held):
            return np.zeros(0, np.float32)
        rest = self._through(self._held)
        self._graph.push(None)
        return np.concatenate([rest, self._pulled()])

    def _through(self, samples: np.ndarray) -> np.ndarray:
        """Give samples to the filter, block by block, and take what it gives."""
        import av
        import numpy as np

        parts = [np.zeros(0, np.float32)]
        for at in range(0, len(samples), _BLOCK):
            block = np.ascontiguousarray(samples[None, at : at + _BLOCK])
            frame = av.AudioFrame.from_ndarray(block, format="flt", layout="mono")
            frame.sample_rate, frame.pts = self.sampling_rate, self._given
            frame.time_base = Fraction(1, self.sampling_rate)
            self._given += block.shape[1]
            self._graph.push(frame)
            parts.append(self._pulled())
        return np.concatenate(parts)

    def _pulled(self) -> np.ndarray:
        import av
        import numpy as np

        parts = [np.zeros(0, np.float32)]
        while True:
            try:
                parts.append(self._graph.pull().to_ndarray()[0])
            except (av.error.BlockingIOError, av.error.EOFError):
                return np.concatenate(parts)
