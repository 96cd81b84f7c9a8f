"""Encoded recordings -> blocks of samples: what may be opened, by which decoder, and for how long.

Uploads are hostile, and FFmpeg (inside PyAV) by itself is too helpful: it takes a text that names
other files, addresses or ports for a "recording" and opens those. So what it may do is listed here:

* It reads through a window on the one recording: no name, no path, no way to another file.
* Only the demuxers in `DEMUXERS`. FFmpeg 8.1 lists 371 names of demuxers. Those allowed are the
  files people keep speech in (recorders, telephones, browsers, cameras, archives, corpora), each
  is known by its own bytes, and each holds its sound itself: their sources open nothing besides
  the given file. (QuickTime can refer to other files: that is switched off.)
* Refused by kind: lists and references (concat, hls, dash, imf, sdp, sap, rtp, rtsp, mpjpeg,
  webm_dash_manifest, vobsub, mlv, image2 open what they name); devices and screens (alsa, oss,
  fbdev, kmsgrab, video4linux2, x11grab, lavfi); pictures, subtitles and texts (the *_pipe family,
  srt, ass, tty, sbg, ffmetadata); raw samples and raw telephone codes without a signature (s16le,
  mulaw, g722, data: any file would be "sound"); video without sound (h264, ivf, y4m); sound of
  games and consoles (adx, bink, vag, xwma: about a hundred seldom-tried parsers); and formats
  nobody keeps speech in (mxf, nut, swf, wtv, rm).
* Only the decoders in `CODECS`, also while FFmpeg looks at the tracks: a film's picture is never
  decoded.
* No protocol at all, and a hook that refuses whatever a demuxer might still want to open.
* A deadline: when it has passed, the window ends, and so does every demuxer.

libsndfile (inside soundfile) reads FLAC and plain WAV, chosen by their first bytes: it is much
quicker there. It isn't asked about anything else: some of its formats have no signature, and its
older codecs are seldom tried.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

from borealis.errors import AudioEmptyError, AudioError, AudioFormatError
from borealis.sound_parts import (
    TOLERATED_SECONDS,
    UNKNOWN_LENGTH,
    Deadline,
    Window,
    capitalised,
    cut_off,
    split,
)

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
log = logging.getLogger(__name__)

# As FFmpeg names them; one name of each family is enough.
DEMUXERS = (
    # What recorders, telephones and messengers write.
    *("wav", "w64", "aiff", "au", "caf", "mp3", "aac", "ogg", "flac", "amr", "gsm", "dss"),
    # Films, screen and browser recordings, broadcasts. "mov" is also mp4, m4a and 3gp.
    *("mov", "matroska", "webm", "avi", "asf", "flv", "mpeg", "mpegts"),
    # Archives, and the format of speech corpora.
    *("ac3", "eac3", "ape", "wv", "tta", "nistsphere"),
)

# What is found in those files. All decode sound to samples and open nothing.
CODECS = (
    *(f"pcm_{kind}" for kind in ("alaw", "mulaw", "s8", "u8", "bluray", "dvd", "f32be", "f32le")),
    *(f"pcm_{kind}{end}" for kind in ("f64", "s16", "s24", "s32", "u16") for end in ("be", "le")),
    *("aac", "aac_latm", "alac", "ape", "flac", "opus", "libopus", "shorten", "speex", "tta"),
    *("mp1", "mp1float", "mp2", "mp2float", "mp3", "mp3float", "vorbis", "wavpack"),
    *("ac3", "eac3", "dca", "wmav1", "wmav2", "wmapro", "wmalossless", "wmavoice", "nellymoser"),
    *("amrnb", "amrwb", "libopencore_amrnb", "libopencore_amrwb", "gsm", "gsm_ms", "ilbc"),
    *("g722", "g723_1", "g726", "g726le", "g729", "dss_sp", "truespeech", "qcelp", "evrc"),
    *("adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms", "adpcm_swf", "adpcm_yamaha", "mace3", "mace6"),
)

# FFmpeg's own decoders of AMR give up at the pauses of a call (DTX); these fill them with quiet.
_BETTER = {"amrnb": "libopencore_amrnb", "amrwb": "libopencore_amrwb"}

_OPTIONS = {
    "format_whitelist": ",".join(DEMUXERS),
    "codec_whitelist": ",".join(CODECS),
    "protocol_whitelist": "none",  # an empty list would mean the default one
    "enable_drefs": "0",
    "use_absolute_path": "0",
    "max_streams": "100",
}

_BLOCK = 1 << 16
_MOST_TRACKS = 8
_TOLERATED_LOSS = 0.25  # share of packets that can't be decoded before a file counts as broken
_SAMPLE_KINDS = {"u8": "u1", "s16": "i2", "s32": "i4", "flt": "f4", "dbl": "f8"}
_TELLS_SAMPLES = ("wav", "w64", "aiff", "au", "nistsphere")


class Block(NamedTuple):
    """A piece of sound: float32 `[num_samples, channels]`, and its rate in Hz."""

    samples: np.ndarray
    rate: int


def read_blocks(
    stream: BinaryIO,
    size: int,
    name: str,
    deadline: Deadline,
    consume: Callable[[Iterator[Block]], T],
    audible: Callable[[T], bool],
) -> T:
    """Decode a recording; one that was joined from several files is read to its end.

    Args:
        stream: the encoded file, seekable.
        size: its bytes.
        name: what to call it in messages.
        deadline: when to give up.
        consume: takes the blocks; called again with the blocks of another decoder if the first
            one fails on the way, and of another track if this one is silent.
        audible: whether that is sound and not silence.

    Returns:
        What `consume` returned: of the first track that is audible, else of the first one.

    Raises:
        AudioFormatError: not audio that may be read, or broken.
        AudioTimeoutError: the deadline has passed.
    """
    import soundfile

    whole = Window(stream, 0, size, deadline)
    parts, suited = split(whole, name)
    if suited:
        try:
            return consume(chain.from_iterable(_soundfile_blocks(p, name, deadline) for p in parts))
        except soundfile.LibsndfileError:
            deadline.check()
    first: list[T] = []
    problem: AudioError | None = None
    for number in range(_MOST_TRACKS):
        try:
            result = consume(
                chain.from_iterable(_pyav_blocks(p, name, deadline, number) for p in parts)
            )
        except _NoTrackError:
            break
        except (_TrackError, AudioEmptyError) as error:
            problem = problem or error
            continue
        if audible(result):
            return result
        first = first or [result]
    if first:
        return first[0]
    raise problem or AudioFormatError(f"There is no sound track in {name}.")


class _NoTrackError(AudioFormatError):
    """There are fewer tracks."""


class _TrackError(AudioFormatError):
    """This track can't be decoded, others perhaps can."""


# ---- libsndfile ----


def _soundfile_blocks(window: Window, name: str, deadline: Deadline) -> Iterator[Block]:
    import soundfile

    with soundfile.SoundFile(window) as file:
        read = 0
        while True:
            block = file.read(_BLOCK, dtype="float32", always_2d=True)
            deadline.check()
            if not len(block):
                break
            read += len(block)
            yield Block(block, file.samplerate)
        # A header that promises a known length and a body that ends before it.
        if read and TOLERATED_SECONDS * file.samplerate < file.frames - read < 2**40:
            promised, there = file.frames / file.samplerate, read / file.samplerate
            raise cut_off(name, f"{promised:.1f} s", f"{there:.1f} s")


# ---- FFmpeg ----


def _pyav_blocks(window: Window, name: str, deadline: Deadline, number: int) -> Iterator[Block]:
    """The blocks of one track, counted from 0."""
    import av

    def refuse(*_: Any) -> None:
        raise AudioFormatError(
            f"{capitalised(name)} refers to other files, which aren't opened; give the recording "
            "itself."
        )

    unreadable = AudioFormatError(
        f"{capitalised(name)} isn't audio that can be read, or is broken. "
        "WAV, FLAC, MP3, Ogg, Opus, M4A, MP4 and WebM work."
    )
    window.seek(0)
    try:
        with av.open(
            window, mode="r", options=_OPTIONS, io_open=refuse, metadata_errors="ignore"
        ) as container:
            if number >= len(container.streams.audio):
                raise _NoTrackError
            track = container.streams.audio[number]
            decode = _decoder(track, name)
            promised, slack = _promised_seconds(container, track)
            read, skipped, end = 0, 0, 0.0
            # The length of a film is that of all tracks, so all are looked at.
            for packet in container.demux(*([] if _is_film(container) else [track])):
                deadline.check()
                if packet.pts is not None and packet.time_base is not None:
                    ends_at = (packet.pts + (packet.duration or 0)) * packet.time_base
                    end = max(end, float(ends_at))
                if packet.stream is not track:
                    continue
                try:
                    frames = decode(packet)
                except av.FFmpegError as error:
                    log.debug("FFmpeg: %s", error)
                    skipped += 1
                    continue
                read += 1
                for frame in frames:
                    yield Block(_samples(frame), frame.sample_rate)
            deadline.check()
            if promised > end + (slack if end else 0.0):
                raise cut_off(name, f"{promised:.1f} s", f"{end:.1f} s")
            if skipped > (read + skipped) * _TOLERATED_LOSS:
                raise unreadable
            if skipped:
                log.warning("%d of %d packets of %s can't be read.", skipped, read + skipped, name)
    except AudioError:
        raise
    except (av.FFmpegError, ValueError, IndexError, OSError) as error:
        deadline.check()
        log.debug("FFmpeg: %s", error)
        raise unreadable from None


def _decoder(track: Any, name: str) -> Callable[[Any], list[Any]]:
    """What turns packets of a track into frames, if that may be decoded."""
    import av

    coding = None if track.codec_context is None else track.codec_context.name
    if coding not in CODECS:
        raise _TrackError(
            f"The sound in {name} is coded in a way that isn't read; convert it to WAV or FLAC."
        )
    better = _BETTER.get(coding)
    if better not in av.codecs_available:
        return track.decode
    context: Any = av.CodecContext.create(better, "r")
    context.extradata = track.codec_context.extradata
    context.sample_rate, context.layout = track.codec_context.sample_rate, "mono"
    return context.decode


def _is_film(container: Any) -> bool:
    return container.format.name.startswith("matroska")


def _promised_seconds(container: Any, track: Any) -> tuple[float, float]:
    """How long the header says that it lasts, and how much of that may be missing; 0 if it doesn't
    say or would only be a guess by a bit rate."""
    kind = container.format.name
    if _is_film(container):  # one length for all tracks, and programs don't count it alike
        seconds = (container.duration or 0) / 1e6
        return seconds, min(1.0, seconds / 4)
    if track.duration is None:
        return 0.0, 0.0
    seconds = float(track.duration * track.time_base)
    if kind.startswith("mov"):
        return seconds, 0.25  # padding of the encoder
    samples = track.codec_context.name.startswith("pcm_") and kind in _TELLS_SAMPLES
    unknown = seconds * (track.rate or 0) >= UNKNOWN_LENGTH / 8  # bytes of a sample, at most
    told = kind == "flac" or (samples and not unknown)
    return seconds if told else 0.0, TOLERATED_SECONDS


def _samples(frame: Any) -> np.ndarray:
    """A frame of PyAV -> float32 `[num_samples, channels]`."""
    import numpy as np
    from av.audio.plane import AudioPlane

    kind = np.dtype(_SAMPLE_KINDS[frame.format.name.rstrip("p")])
    channels = frame.layout.nb_channels

    def plane(number: int, size: int) -> np.ndarray:
        memory: Any = AudioPlane(frame, number)
        return np.frombuffer(memory, kind, size)

    # Not `frame.to_ndarray()`: with 8 planes or more it reads memory that isn't the frame's.
    if frame.format.is_planar:
        array = np.stack([plane(number, frame.samples) for number in range(channels)], axis=1)
    else:
        array = plane(0, frame.samples * channels).reshape(frame.samples, channels)
    if kind.kind == "f":
        return array.astype(np.float32)
    if kind == np.uint8:
        return (array.astype(np.float32) - 128) / 128
    return array.astype(np.float32) / np.float32(np.iinfo(kind).max + 1)
