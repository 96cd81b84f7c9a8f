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
    import av

    form = SAME.get(form, form)
    samples = sixteen_bits(waveform)
    if form == "pcm":
        return samples.astype("<i2").tobytes()
    if form not in FORMATS:
        raise SpeechError(
            f"Sound can't be written as '{form}'; give {', '.join([*FORMATS, 'pcm'])}."
        )
    kind, codec = FORMATS[form]
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        container.metadata["comment"] = f"{MARK}, voice {voice}" if voice else MARK
        stream: Any = container.add_stream(codec, rate=_rate(form, sampling_rate))
        stream.layout = "mono"
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=stream.rate)
        for frame in _frames(samples, sampling_rate):
            for ready in resampler.resample(frame):
                container.mux(stream.encode(ready))
        for ready in resampler.resample(None):
            container.mux(stream.encode(ready))
        container.mux(stream.encode(None))
    return file.getvalue()


def _rate(form: str, sampling_rate: int) -> int:
    """Opus knows five rates; each of them holds all that the sound has."""
    if form != "opus":
        return sampling_rate
    return next((r for r in (8000, 12000, 16000, 24000) if r >= sampling_rate), 48000)


def _frames(samples: np.ndarray, sampling_rate: int) -> Iterator[Any]:
    import av

    for at in range(0, len(samples), sampling_rate):
        frame = av.AudioFrame.from_ndarray(
            samples[None, at : at + sampling_rate], format="s16", layout="mono"
        )
        frame.sample_rate, frame.pts = sampling_rate, at
        frame.time_base = Fraction(1, sampling_rate)
        yield frame


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
