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
import os
import time
from collections.abc import Callable, Iterator
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

from borealis.errors import AudioEmptyError, AudioError, AudioFormatError, AudioTimeoutError

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
_MOST_TRACKS, _MOST_PARTS, _MOST_CHUNKS = 8, 1_000, 10_000
_TOLERATED_SECONDS = 0.1  # what a header may promise too much before a file counts as cut off
_TOLERATED_BYTES = 512  # the same where the header doesn't say how many bytes a second has
_TOLERATED_PACKETS_SECONDS = 1.0  # the same where sound comes in packets, with padding
_TOLERATED_LOSS = 0.25  # share of packets that can't be decoded before a file counts as broken
# Codings of WAV that libsndfile reads: integers, floats, A-law, mu-law, G.721.
_WAV_TAGS = (1, 3, 6, 7, 0x40)
_SAMPLE_KINDS = {"u8": "u1", "s16": "i2", "s32": "i4", "flt": "f4", "dbl": "f8"}
_TELLS_SAMPLES = ("wav", "w64", "aiff", "au", "nistsphere")
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

    whole = _Window(stream, 0, size, deadline)
    parts, suited = _parts(whole, name)
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


class _Window:
    """What a decoder gets: some bytes of a stream, to be read only, without a name.

    Without a name nothing is guessed from a suffix, and a relative path leads nowhere. After the
    deadline it is at its end.
    """

    def __init__(self, stream: BinaryIO, start: int, end: int, deadline: Deadline) -> None:
        self._stream, self._start, self._size = stream, start, end - start
        self._deadline, self._place = deadline, 0

    def part(self, start: int, end: int) -> _Window:
        """The same stream, from one place to another."""
        return _Window(self._stream, self._start + start, self._start + end, self._deadline)

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


# ---- joined files, and headers that can't be trusted ----


def _parts(whole: _Window, name: str) -> tuple[list[_Window], bool]:
    """The recordings that were joined end to end (mostly there is one), and whether libsndfile
    is the one to read them: FLAC and plain WAV.

    Decoders stop after the first WAV or FLAC, and FFmpeg after the first Ogg that has another rate
    or number of channels; joined MP3s they read by themselves.

    Raises:
        AudioFormatError: a WAV that ends before its data does, or far too many parts.
    """
    whole.seek(0)
    head = whole.read(12)
    starts, suited = [0], False
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        starts, suited = _wavs(whole, name)
    elif head[:4] == b"fLaC":
        starts, suited = _flacs(whole), True
    elif head[:4] == b"OggS":
        starts = _oggs(whole)
    elif head[:4] == b"caff":
        _check_caf_is_whole(whole, name)
    if len(starts) > _MOST_PARTS:
        raise AudioFormatError(
            f"{capitalised(name)} is joined from more than {_MOST_PARTS} files; cut it into parts."
        )
    return [whole.part(start, end) for start, end in pairwise([*starts, whole.size])], suited


def _wavs(window: _Window, name: str) -> tuple[list[int], bool]:
    """Where each WAV begins, and whether all are plain samples with a length that is known.

    A length of 0 is what a recorder leaves that was switched off; one near the 31- or 32-bit
    maximum is what programs write to a pipe. Both mean: until the end of the file.
    """
    starts, plain, place, byte_rate = [0], True, 12, 0
    for _ in range(_MOST_CHUNKS):
        window.seek(place)
        chunk = window.read(40)
        if len(chunk) < 8 or len(starts) > _MOST_PARTS:
            break
        kind, length = chunk[:4], int.from_bytes(chunk[4:8], "little")
        place += 8
        if kind == b"RIFF" and chunk[8:12] == b"WAVE":
            starts.append(place - 8)
            place += 4
            continue
        if kind == b"fmt ":
            tag = int.from_bytes(chunk[8:10], "little")
            if tag == 0xFFFE:  # "extensible": the tag begins the identifier of the coding
                tag = int.from_bytes(chunk[32:34], "little")
            plain &= tag in _WAV_TAGS
            byte_rate = int.from_bytes(chunk[16:20], "little")
        if kind == b"data":
            there = window.size - place
            if length >= _UNKNOWN_LENGTH and length > there:
                break
            if length == 0 and there and not _is_chunk(window, place):
                return starts, False  # FFmpeg reads until the end then
            if length - there > _TOLERATED_SECONDS * (byte_rate or 16_000):
                raise _cut_off(name, f"{length} bytes", f"{there}")
        place += length
        # Chunks begin at even places; not all programs know.
        if length % 2 and not _is_chunk(window, place):
            place += 1
    return starts, plain


def _check_caf_is_whole(window: _Window, name: str) -> None:
    """Refuse a CAF that ends before its data does: FFmpeg would read what is left of it."""
    place = 8
    for _ in range(_MOST_CHUNKS):
        window.seek(place)
        head = window.read(12)
        length = int.from_bytes(head[4:], "big", signed=True)
        place += 12
        if len(head) < 12 or length < 0:  # -1: until the end
            return
        if head[:4] == b"data" and length - _TOLERATED_BYTES > window.size - place:
            raise _cut_off(name, f"{length} bytes", f"{window.size - place}")
        place += length


def _is_chunk(window: _Window, place: int) -> bool:
    """Whether a chunk with a name of letters, that fits into the file, begins here."""
    window.seek(place)
    head = window.read(8)
    fits = place + 8 + int.from_bytes(head[4:], "little") <= window.size
    return len(head) == 8 and fits and all(32 <= letter < 127 for letter in head[:4])


def _flacs(window: _Window) -> list[int]:
    """Where each FLAC begins: its mark, and the head of the block that must come first."""
    starts, place, kept = [], 0, b""
    window.seek(0)
    while data := window.read(1 << 20):
        data = kept + data
        found = -1
        while (found := data.find(b"fLaC", found + 1)) >= 0:
            if data[found + 4 : found + 8] in (b"\0\0\0\x22", b"\x80\0\0\x22"):
                starts.append(place + found)
        kept = data[-7:]
        place += len(data) - len(kept)
    return starts or [0]


def _oggs(window: _Window) -> list[int]:
    """Where each link of the chain begins: first pages of streams after other pages."""
    starts, place, before_was_first = [0], 0, True
    while len(starts) <= _MOST_PARTS:
        window.seek(place)
        page = window.read(27 + 255)
        if page[:4] != b"OggS" or len(page) < 27:
            return starts
        is_first = bool(page[5] & 2)
        if is_first and not before_was_first:
            starts.append(place)
        before_was_first = is_first
        segments = page[27 : 27 + page[26]]
        place += 27 + page[26] + sum(segments)
    return starts


# ---- libsndfile ----


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
            promised, there = file.frames / file.samplerate, read / file.samplerate
            raise _cut_off(name, f"{promised:.1f} s", f"{there:.1f} s")


def _cut_off(name: str, promised: str, there: str) -> AudioFormatError:
    return AudioFormatError(
        f"{capitalised(name)} is cut off or broken: its header promises {promised} of sound and "
        f"it has {there}. Copy or record it again."
    )


# ---- FFmpeg ----


def _pyav_blocks(window: _Window, name: str, deadline: Deadline, number: int) -> Iterator[Block]:
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
            promised = _promised_seconds(container, track)
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
            if promised > end + _TOLERATED_PACKETS_SECONDS:
                raise _cut_off(name, f"{promised:.1f} s", f"{end:.1f} s")
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


def _promised_seconds(container: Any, track: Any) -> float:
    """How long the header says that it lasts; 0 if it doesn't say or would only be a guess."""
    kind = container.format.name
    if _is_film(container):  # one length for all tracks
        return (container.duration or 0) / 1e6
    if track.duration is None:
        return 0.0
    seconds = float(track.duration * track.time_base)
    if kind.startswith(("mov", "flac")):
        return seconds
    samples = track.codec_context.name.startswith("pcm_") and kind in _TELLS_SAMPLES
    unknown = seconds * (track.rate or 0) >= _UNKNOWN_LENGTH / 8  # bytes of a sample, at most
    return seconds if samples and not unknown else 0.0


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
