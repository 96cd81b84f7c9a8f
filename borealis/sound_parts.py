"""A recording as bytes: the window through which decoders see it, and what its headers are worth.

Recordings are joined by `cat`, recorders are switched off before they write how long they were, and
downloads break off. Decoders take such a file for the first recording, for an empty one, or for
what is left of it, each in its own way; so the headers are looked at here first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO

from borealis.errors import AudioFormatError, AudioTimeoutError

TOLERATED_SECONDS = 0.1  # what a header may promise too much before a file counts as cut off
UNKNOWN_LENGTH = 0x7FFF0000  # lengths from here on are what programs write to a pipe
_TOLERATED_BYTES = 512  # as the seconds, where the header doesn't say how many bytes one has
_MOST_PARTS, _MOST_CHUNKS = 1_000, 10_000
# Codings of WAV that libsndfile reads: integers, floats, A-law, mu-law, G.721.
_WAV_TAGS = (1, 3, 6, 7, 0x40)


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


class Window:
    """What a decoder gets: some bytes of a stream, to be read only, without a name.

    Without a name nothing is guessed from a suffix, and a relative path leads nowhere. After the
    deadline it is at its end.
    """

    def __init__(self, stream: BinaryIO, start: int, end: int, deadline: Deadline) -> None:
        self._stream, self._start, self._length = stream, start, end - start
        self._deadline, self._place = deadline, 0

    def part(self, start: int, end: int) -> Window:
        """The same stream, from one place to another."""
        return Window(self._stream, self._start + start, self._start + end, self._deadline)

    def read(self, size: int = -1) -> bytes:
        left = self._length - self._place
        size = left if size < 0 else min(size, left)
        if size <= 0 or self._deadline.passed:
            return b""
        self._stream.seek(self._start + self._place)
        data = self._stream.read(size)
        self._place += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._length}[whence]
        if base + offset < 0:
            raise OSError("before the start")
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        return self._place

    @property
    def size(self) -> int:
        return self._length


def capitalised(name: str) -> str:
    """The name of a recording at the start of a sentence."""
    return name[0].upper() + name[1:]


def cut_off(name: str, promised: str, there: str) -> AudioFormatError:
    return AudioFormatError(
        f"{capitalised(name)} is cut off or broken: its header promises {promised} of sound and "
        f"it has {there}. Copy or record it again."
    )


def split(whole: Window, name: str) -> tuple[list[Window], bool]:
    """The recordings that were joined end to end (mostly there is one), and whether libsndfile
    is the one to read them: FLAC and plain WAV.

    Decoders stop after the first WAV or FLAC, FFmpeg after the first Ogg that has another rate or
    number of channels, and it hears the pictures in the tags of joined MP3s as broken sound.

    Raises:
        AudioFormatError: a WAV that ends before its data does, or far too many parts.
    """
    whole = _without_tag(whole)
    whole.seek(0)
    head = whole.read(12)
    starts, suited = [0], False
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        starts, suited = _wavs(whole, name)
    elif head[:4] == b"fLaC":
        starts, suited = _flacs(whole), True
    elif head[:4] == b"OggS":
        starts = _oggs(whole)
    elif _tag_length(head) or (head[:1] == b"\xff" and head[1] >= 0xE0):
        starts = _tagged(whole)
    elif head[:4] == b"caff":
        _check_caf_is_whole(whole, name)
    if len(starts) > _MOST_PARTS:
        raise AudioFormatError(
            f"{capitalised(name)} is joined from more than {_MOST_PARTS} files; cut it into parts."
        )
    return [whole.part(start, end) for start, end in pairwise([*starts, whole.size])], suited


def _wavs(window: Window, name: str) -> tuple[list[int], bool]:
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
            if length >= UNKNOWN_LENGTH and length > there:
                break
            if length == 0 and there and not _is_chunk(window, place):
                return starts, False  # FFmpeg reads until the end then
            if length - there > TOLERATED_SECONDS * (byte_rate or 16_000):
                raise cut_off(name, f"{length} bytes", f"{there}")
        place += length
        # Chunks begin at even places; not all programs know.
        if length % 2 and not _is_chunk(window, place):
            place += 1
    return starts, plain


def _check_caf_is_whole(window: Window, name: str) -> None:
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
            raise cut_off(name, f"{length} bytes", f"{window.size - place}")
        place += length


def _is_chunk(window: Window, place: int) -> bool:
    """Whether a chunk with a name of letters, that fits into the file, begins here."""
    window.seek(place)
    head = window.read(8)
    fits = place + 8 + int.from_bytes(head[4:], "little") <= window.size
    return len(head) == 8 and fits and all(32 <= letter < 127 for letter in head[:4])


def _places(window: Window, mark: bytes) -> Iterator[int]:
    """Where `mark` stands in it."""
    start, kept = 0, b""
    while True:
        window.seek(start + len(kept))
        new = window.read(1 << 20)
        if not new:
            return
        data = kept + new
        found = data.find(mark)
        while found >= 0:
            yield start + found
            found = data.find(mark, found + 1)
        kept = data[1 - len(mark) :]
        start += len(data) - len(kept)


def _flacs(window: Window) -> list[int]:
    """Where each FLAC begins: its mark, and the head of the block that must come first."""
    starts = [0]
    for place in _places(window, b"fLaC"):
        window.seek(place + 4)
        if place and window.read(4) in (b"\0\0\0\x22", b"\x80\0\0\x22"):
            starts.append(place)
    return starts


def _tag_length(head: bytes) -> int:
    """Bytes of the ID3 tag that begins with `head`, with its own ten; 0 if it is none."""
    if len(head) < 10 or head[:3] != b"ID3" or not 2 <= head[3] <= 4 or max(head[6:10]) > 127:
        return 0
    return 10 + sum(part << 7 * (3 - place) for place, part in enumerate(head[6:10]))


def _without_tag(window: Window) -> Window:
    """Without the ID3 tag of a FLAC, or one so large that FFmpeg wouldn't look behind it."""
    window.seek(0)
    length = _tag_length(window.read(10))
    window.seek(length)
    behind = window.read(4)
    skipped = length and behind and (behind == b"fLaC" or length > 1 << 20)
    return window.part(length, window.size) if skipped else window


def _tagged(window: Window) -> list[int]:
    """Where the tag of each MP3 begins; those without one FFmpeg finds by itself."""
    starts, end = [0], 0
    for place in _places(window, b"ID3"):
        window.seek(place)
        length = _tag_length(window.read(10))
        if length and end <= place and place + length < window.size:
            if place > end:  # several tags may stand in front of one recording
                starts.append(place)
            end = place + length
    return starts


def _oggs(window: Window) -> list[int]:
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
