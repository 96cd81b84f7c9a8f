"""Real encoded recordings for the tests, made on the spot, and how like two of them are."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile

from borealis.audio import SAMPLING_RATE


def with_soundfile(audio: np.ndarray, rate: int, format: str, subtype: str | None = None) -> bytes:
    """`[num_samples]` or `[num_samples, channels]` as a file that libsndfile writes."""
    out = io.BytesIO()
    soundfile.write(out, audio, rate, format=format, subtype=subtype)
    return out.getvalue()


def with_ffmpeg(
    audio: np.ndarray | None,
    rate: int,
    container: str,
    codec: str = "",
    *,
    layout: str = "mono",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    tracks: int = 1,
    silent: tuple[int, ...] = (),
    video: str | None = None,
    video_seconds: float = 1.0,
    path: Path | None = None,
) -> bytes:
    """A file that FFmpeg writes.

    Args:
        audio: `[num_samples]` or `[num_samples, channels]`; None for a film without sound.
        rate: of the sound, in Hz.
        container, codec: as FFmpeg names them.
        layout: of the channels, as FFmpeg names it.
        options, container_options: of the encoder and of the muxer.
        tracks: how many sound tracks.
        silent: which of them hold zeros instead.
        video: codec of a picture track that comes first, if any.
        video_seconds: how long it is.
        path: written there first, for muxers that must go back over what they wrote.
    """
    out: Any = str(path) if path else io.BytesIO()
    with av.open(out, "w", format=container, options=container_options or {}) as file:
        jobs: list[tuple[Any, list[Any]]] = []
        if video:
            picture: Any = file.add_stream(video, rate=25)
            picture.width = picture.height = 64
            picture.pix_fmt = "yuv420p"
            grey = av.VideoFrame.from_ndarray(np.full((96, 64), 128, np.uint8), format="yuv420p")
            frames = []
            for number in range(int(video_seconds * 25)):
                grey.pts = number
                frames += picture.encode(grey)
            jobs.append((picture, [*frames, *picture.encode(None)]))
        for number in range(tracks if audio is not None else 0):
            sound: Any = file.add_stream(codec, rate=rate, options=options or {})
            sound.layout = layout
            assert audio is not None
            samples = audio * (0 if number in silent else 1)
            # Packed, as PyAV makes frames of eight planes or more wrongly.
            packed = np.ascontiguousarray(samples, np.float32).reshape(1, -1)
            whole = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
            whole.sample_rate = rate
            cut = av.AudioResampler(sound.format, layout, rate, sound.frame_size or 960)
            pieces = [*cut.resample(whole), *cut.resample(None)]
            packets = [packet for piece in pieces for packet in sound.encode(piece)]
            jobs.append((sound, [*packets, *sound.encode(None)]))
        for _, packets in jobs:
            file.mux(packets)
    return path.read_bytes() if path else out.getvalue()


def wav(
    samples: bytes,
    rate: int = 16_000,
    *,
    tag: int = 1,
    bits: int = 16,
    channels: int = 1,
    block: int | None = None,
    length: int | None = None,
    riff: int | None = None,
) -> bytes:
    """A WAV with any header, true or not.

    Args:
        samples: what comes after it.
        rate, tag, bits, channels: as it says.
        block: bytes of one sample of all channels, as it says; by default right.
        length, riff: bytes of the sound and of the file, as it says; by default right.
    """
    block = channels * bits // 8 if block is None else block
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, bits)
    length = len(samples) if length is None else length
    riff = 36 + len(samples) if riff is None else riff
    head = b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return head + b"data" + struct.pack("<I", length) + samples


def pcm(audio: np.ndarray) -> bytes:
    """Floats in -1..1 as 16-bit samples."""
    return np.round(audio * 32_767).astype("<i2").tobytes()


# ---- comparing ----


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two recordings over what both have; 1 is the same up to loudness."""
    size = min(len(a), len(b))
    return float(np.corrcoef(a[:size], b[:size])[0, 1])


def aligned(audio: np.ndarray, speech: np.ndarray) -> np.ndarray:
    """Without the delay of an encoder that some containers keep, 0.15 s at most."""
    head = 3 * SAMPLING_RATE
    shift = int(np.correlate(audio[:head], speech[:head], "full").argmax()) - head + 1
    assert abs(shift) < 0.15 * SAMPLING_RATE
    return audio[shift:] if shift >= 0 else np.pad(audio, (-shift, 0))


def seconds(audio: np.ndarray) -> float:
    return len(audio) / SAMPLING_RATE
