"""Encoded recordings -> blocks of samples: what may be opened, by which decoder, and for how long.

Uploads are hostile, and FFmpeg (inside PyAV) by itself is too helpful: it takes a text that names
other files, addresses or ports for a "recording" and opens those. So what it may do is listed here:

* It reads through a window on the one recording: no name, no path, no way to another file.
* Only the demuxers in `DEMUXERS`. FFmpeg 8.1 lists 371 names of demuxers. Those allowed are the
  files people keep speech in (recorders, telephones, browsers, cameras, archives, corpora), each
  has a signature to be known by, and each holds its sound itself: their sources open nothing
  besides the given file. (QuickTime can refer to other files: that is switched off.)
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

libsndfile (inside soundfile) reads FLAC, CAF and plain WAV, chosen by their first bytes: it is
quick there. It isn't asked about anything else, as it knows formats without a signature, too.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

from borealis.errors import AudioError, AudioFormatError, AudioTimeoutError

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
_TOLERATED_SECONDS = 0.1  # what a header may promise too much before a file counts as cut off
_TOLERATED_PACKETS_SECONDS = 0.5  # the same where sound comes in packets, with padding
_TOLERATED_LOSS = 0.25  # share of packets that can't be decoded before a file counts as broken
_TELLS_LENGTH = ("wav", "w64", "aiff", "au", "flac", "nistsphere", "mov")
_UNKNOWN_LENGTH = 0x7FFF0000  # lengths from here on are what programs write to a pipe


class Block(NamedTuple):
    """A piece of sound: float32 `[num_samples, channels]`, and its rate in Hz."""

    samples: np.ndarray
    rate: int


class Deadline:
    """The moment until which a recording must have been read.

    Args:
        seconds: from now.
        name: the recording, for the message.
    """

    def __init__(self, seconds: float, name: str) -> None:
        self._end, self._seconds, self._name = time.monotonic() + seconds, seconds, name

    @property
    def passed(self) -> bool:
        return time.monotonic() > self._end

    def check(self) -> None:
        """Raise `AudioTimeoutError` if it has passed."""
        if self.passed:
            raise AudioTimeoutError(
                f"{capitalised(self._name)} takes longer to read than the limit of "
                f"{self._seconds:.0f} s; convert it to WAV or FLAC, or cut it into parts."
            )


def read_blocks(
    stream: BinaryIO,
    size: int,
    name: str,
    deadline: Deadline,
    consume: Callable[[Iterator[Block]], T],
) -> T:
    """Decode a recording.

    Args:
        stream: the encoded file, seekable.
        size: its bytes.
        name: what to call it in messages.
        deadline: when to give up.
        consume: takes the blocks; called again with the blocks of another decoder if the first
            one fails on the way.

    Returns:
        What `consume` returned.

    Raises:
        AudioFormatError: not audio that may be read, or broken.
        AudioTimeoutError: the deadline has passed.
    """
    import soundfile

    whole = _Window(stream, 0, size, deadline)
    if _suits_libsndfile(whole, name):
        try:
            return consume(_soundfile_blocks(whole, name, deadline))
        except soundfile.LibsndfileError:
            deadline.check()
    return consume(_pyav_blocks(whole, name, deadline))


class _Window:
    """What a decoder gets: some bytes of a stream, to be read only, without a name.

    Without a name nothing is guessed from a suffix, and a relative path leads nowhere. After the
    deadline it is at its end.
    """

    def __init__(self, stream: BinaryIO, start: int, end: int, deadline: Deadline) -> None:
        self._stream, self._start, self._size = stream, start, end - start
        self._deadline, self._place = deadline, 0

    def read(self, size: int = -1) -> bytes:
        left = self._size - self._place
        size = left if size < 0 else min(size, left)
        if size <= 0 or self._deadline.passed:
            return b""
        self._stream.seek(self._start + self._place)
        data = self._stream.read(size)
        self._place += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("before the start")
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        return self._place

    @property
    def size(self) -> int:
        return self._size


def capitalised(name: str) -> str:
    """The name of a recording at the start of a sentence."""
    return name[0].upper() + name[1:]


# ---- libsndfile ----


def _suits_libsndfile(window: _Window, name: str) -> bool:
    """Whether libsndfile is the one to read it: FLAC, CAF, or WAV.

    Raises:
        AudioFormatError: a WAV that ends before its data does.
    """
    window.seek(0)
    head = window.read(12)
    window.seek(0)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        _check_wav_is_whole(window, name)
        return True
    return head[:4] in (b"fLaC", b"caff")


def _check_wav_is_whole(window: _Window, name: str) -> None:
    """Refuse a WAV that ends before its data does: libsndfile would read what is left of it."""
    place = 12
    while place + 8 <= window.size:
        window.seek(place)
        chunk = window.read(8)
        length = int.from_bytes(chunk[4:], "little")
        place += 8
        if chunk[:4] == b"data":
            if window.size - place < length < _UNKNOWN_LENGTH:
                raise AudioFormatError(
                    f"{capitalised(name)} is cut off: its header promises {length} bytes of sound "
                    f"and it has {window.size - place}. Copy or record it again."
                )
            break
        place += length + length % 2
    window.seek(0)


def _soundfile_blocks(window: _Window, name: str, deadline: Deadline) -> Iterator[Block]:
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
        if read and _TOLERATED_SECONDS * file.samplerate < file.frames - read < 2**40:
            raise _cut_off(name, file.frames / file.samplerate, read / file.samplerate)


def _cut_off(name: str, promised: float, there: float) -> AudioFormatError:
    return AudioFormatError(
        f"{capitalised(name)} is cut off or broken: its header promises {promised:.1f} s of sound "
        f"and it has {there:.1f} s. Copy or record it again."
    )


# ---- FFmpeg ----


def _pyav_blocks(window: _Window, name: str, deadline: Deadline) -> Iterator[Block]:
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
            if not container.streams.audio:
                raise AudioFormatError(f"There is no sound track in {name}.")
            track = container.streams.audio[0]
            promised = _promised_seconds(container, track)
            read, skipped, end = 0, 0, 0.0
            decode = _decoder(track, name)
            for packet in container.demux():
                deadline.check()
                if packet.pts is not None and packet.time_base is not None:
                    ends_at = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                    end = (
                        max(end, ends_at) if packet.stream is track or _is_film(container) else end
                    )
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
            if promised > end + _TOLERATED_PACKETS_SECONDS:
                raise _cut_off(name, promised, end)
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
        raise AudioFormatError(
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


def _promised_seconds(container: Any, track: Any) -> float:
    """How long the header says that it lasts; 0 if it doesn't say."""
    kind = container.format.name
    if _is_film(container):  # one length for all tracks
        return (container.duration or 0) / 1e6
    if track.duration is None or not kind.startswith(_TELLS_LENGTH):
        return 0.0
    seconds = float(track.duration * track.time_base)
    unknown = not kind.startswith("mov") and seconds * (track.rate or 0) > _UNKNOWN_LENGTH / 8
    return 0.0 if unknown else seconds


def _samples(frame: Any) -> np.ndarray:
    """A frame of PyAV -> float32 `[num_samples, channels]`."""
    import numpy as np

    array = frame.to_ndarray()  # [channels, n] if planar, else [1, n * channels]
    array = array.T if frame.format.is_planar else array.reshape(frame.samples, -1)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - 128) / 128
    return array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max + 1)
