"""Files that want other files, addresses or ports opened, and two ways to see whether they were.

`watch` tells which files of a folder were opened, by anybody. `seal` ends this process when it
opens a socket (or, if asked, any file at all): the kernel sees what Python's own hooks don't.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import platform
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# ---- what is uploaded ----

_UDP = "m=audio {port} RTP/AVP 0\r\n"
_TEXTS = {
    "ffconcat": "ffconcat version 1.0\nfile {near}\n",
    "ffconcat with a path": "ffconcat version 1.0\nfile '{far}'\n",
    "ffconcat with an address": "ffconcat version 1.0\nfile http://127.0.0.1:{port}/a.wav\n",
    "ffconcat with options": "ffconcat version 1.0\nfile {near}\noption safe 0\nduration 3\n",
    "concat protocol": "concat:{far}|{far}\n",
    "subfile protocol": "subfile,,start,0,end,0,,:{far}\n",
    "pipe protocol": "pipe:0\n",
    "file address": "file://{far}\n",
    "data address": "data:audio/wav;base64,UklGRg==\n",
    "sdp": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=a\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n" + _UDP,
    "sdp for everybody": "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=a\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
    + _UDP,
    "rtsp": "RTSP/1.0 302 Found\r\nLocation: rtsp://127.0.0.1:{port}/a\r\n\r\n",
    "rtsp address": "rtsp://127.0.0.1:{port}/a\n",
    "rtp address": "rtp://127.0.0.1:{port}\n",
    "asf redirector": "[Reference]\r\nRef1=http://127.0.0.1:{port}/a.asf\r\nRef2=file://{far}\r\n",
    "rtsptext": "RTSPtext\r\nrtsp://127.0.0.1:{port}/a\r\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{near}\n#EXT-X-ENDLIST\n",
    "hls with an address": (
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:{port}/a.ts\n"
    ),
    "hls with a key": (
        '#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXT-X-KEY:METHOD=AES-128,URI="{far}"\n'
        "#EXTINF:9,\n{near}\n#EXT-X-ENDLIST\n"
    ),
    "hls of variants": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{far}\n",
    "dash": (
        '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
        '<AdaptationSet mimeType="audio/mp4"><Representation id="1" bandwidth="1">'
        "<BaseURL>{far}</BaseURL></Representation></AdaptationSet></Period></MPD>\n"
    ),
    "imf": (
        '<?xml version="1.0"?>\n<CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/'
        '2016"><Id>urn:uuid:1</Id></CompositionPlaylist>\n'
    ),
    "smooth streaming": '<SmoothStreamingMedia><StreamIndex Url="{far}"/></SmoothStreamingMedia>\n',
    "m3u": "#EXTM3U\n#EXTINF:9,Speech\n{far}\n",
    "plain m3u": "{near}\nhttp://127.0.0.1:{port}/a.mp3\n",
    "pls": "[playlist]\nFile1={far}\nNumberOfEntries=1\nVersion=2\n",
    "xspf": (
        '<?xml version="1.0"?>\n<playlist version="1" xmlns="http://xspf.org/ns/0/"><trackList>'
        "<track><location>file://{far}</location></track></trackList></playlist>\n"
    ),
    "asx": '<asx version="3.0"><entry><ref href="http://127.0.0.1:{port}/a"/></entry></asx>\n',
    "smil": '<smil><body><audio src="{far}"/></body></smil>\n',
    "cue sheet": 'FILE "{far}" WAVE\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n',
    "html": '<html><body><audio src="http://127.0.0.1:{port}/a.wav"></audio></body></html>\n',
    "svg": '<svg xmlns="http://www.w3.org/2000/svg"><image href="file://{far}"/></svg>\n',
    "filter graph": "amovie={far}[out0]\n",
    "script of tones": "-SE\n{near}\n1: 200+10/50\nNOW 1\n",
    "ffmetadata": ";FFMETADATA1\ntitle={far}\n",
    "vobsub": "# VobSub index file, v7\nid: en, index: 0\ntimestamp: 00:00:01:000, filepos: 0\n",
    "subtitles": "1\n00:00:01,000 --> 00:00:02,000\n{far}\n",
    "multipart pictures": "--frame\r\nContent-type: image/jpeg\r\n\r\n{far}\r\n",
    "ansi art": "\x1b[2J\x1b[31m{far}\x1b[0m\n",
    "letter": "Dear sir,\nplease play {far}.\n" * 30,
}


def _box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def _words(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def film_that_refers_to(path: str, samples: int = 32_000) -> bytes:
    """A QuickTime film whose sound lies in another file, named by an alias record."""
    target = path.encode()
    alias = bytes(10) + b"\x01v" + bytes(26) + bytes(12) + b"\x01f" + bytes(62) + bytes(16)
    alias += struct.pack(">HH", 0, 0) + bytes(16)
    alias += struct.pack(">HH", 2, len(target)) + target + b"\0" * (len(target) % 2)
    alias += b"\xff\xff\0\0"
    entry = _box(
        b"sowt",
        bytes(6)
        + struct.pack(">H", 1)
        + bytes(8)
        + struct.pack(">HHHHI", 1, 16, 0, 0, 16_000 << 16),
    )
    table = _box(
        b"stbl",
        _box(b"stsd", _words(0, 1), entry),
        _box(b"stts", _words(0, 1, samples, 1)),
        _box(b"stsc", _words(0, 1, 1, samples, 1)),
        _box(b"stsz", _words(0, 2, samples)),
        _box(b"stco", _words(0, 1, 44)),
    )
    references = _box(b"dinf", _box(b"dref", _words(0, 1), _box(b"alis", _words(0), alias)))
    media = _box(
        b"mdia",
        _box(b"mdhd", _words(0, 0, 0, 16_000, samples, 0)),
        _box(b"hdlr", _words(0, 0), b"soun", bytes(13)),
        _box(b"minf", _box(b"smhd", bytes(8)), references, table),
    )
    track = _box(b"trak", _box(b"tkhd", _words(0, 0, 0, 1, 0, samples), bytes(60)), media)
    film = _box(b"moov", _box(b"mvhd", _words(0, 0, 0, 16_000, samples), bytes(80)), track)
    return _box(b"ftyp", b"qt  ", bytes(4), b"qt  ") + film


def hostile_files(canary: Path, port: int, *, near: str | None = None) -> dict[str, bytes]:
    """Files by name; they name `canary`, or `port` of this machine.

    Args:
        canary: what they want to be read.
        port: where they want to listen or to connect.
        near: the relative path to it; by default from the folder above its own.
    """
    near = near or f"{canary.parent.name}/{canary.name}"
    values = {"near": near, "far": str(canary), "port": port}
    files = {name: text.format(**values).encode() for name, text in _TEXTS.items()}
    far = values["far"].encode()
    files["film with its sound elsewhere"] = film_that_refers_to(str(canary))
    files["film of references"] = _box(b"ftyp", b"qt  ", bytes(4), b"qt  ") + _box(
        b"moov",
        _box(
            b"rmra",
            _box(b"rmda", _box(b"rdrf", _words(0), b"url ", _words(len(far) + 1), far, b"\0")),
        ),
    )
    files["sap announcement"] = (
        b"\x20\0\0\0\x7f\0\0\x01application/sdp\0" + files["sdp for everybody"]
    )
    files["raw video of a camera"] = b"MLVI" + struct.pack("<I", 52) + b"v2.0\0\0\0\0" + bytes(36)
    files["picture"] = b"\x89PNG\r\n\x1a\n" + bytes(500)
    files["raw samples"] = struct.pack("<4000h", *(index * 37 % 2000 for index in range(4000)))
    return files


# ---- what was opened ----


class Opened:
    """Files of the watched folders that somebody opened since the last look."""

    _OPEN = 0x20

    def __init__(self, *folders: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._handle = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._handle < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        for folder in folders:
            path = os.fsencode(folder)
            if self._libc.inotify_add_watch(self._handle, path, self._OPEN) < 0:
                raise OSError(ctypes.get_errno(), "inotify_add_watch", str(folder))

    def names(self) -> list[str]:
        """Their names; a folder that was listed has none."""
        names = []
        while True:
            try:
                data = os.read(self._handle, 1 << 16)
            except BlockingIOError:
                return names
            place = 0
            while place < len(data):
                *_, length = struct.unpack_from("iIII", data, place)
                names.append(data[place + 16 : place + 16 + length].rstrip(b"\0").decode())
                place += 16 + length

    def close(self) -> None:
        os.close(self._handle)


@contextmanager
def watch(*folders: Path) -> Iterator[Opened]:
    opened = Opened(*folders)
    try:
        yield opened
    finally:
        opened.close()


# Numbers of system calls: (socket, connect, bind), (open, openat, openat2, creat, ...).
_CALLS = {
    "x86_64": (0xC000003E, 317, (41, 42, 49), (2, 85, 257, 437, 304, 59, 425)),
    "aarch64": (0xC00000B7, 277, (198, 203, 200), (56, 437, 265, 221, 425)),
}
CAN_SEAL = sys.platform == "linux" and platform.machine() in _CALLS


def seal(*, files: bool = False) -> None:
    """From now on this process is killed (SIGSYS) when any of its threads opens a socket.

    Args:
        files: also when it opens a file or starts a program.
    """
    machine, seccomp, sockets, opens = _CALLS[platform.machine()]
    forbidden = sockets + (opens if files else ())
    load, equal, give = 0x20, 0x15, 0x06
    kill, allow = 0x80000000, 0x7FFF0000
    program = [(load, 0, 0, 4), (equal, 1, 0, machine), (give, 0, 0, kill), (load, 0, 0, 0)]
    for number in forbidden:
        program += [(equal, 0, 1, number), (give, 0, 0, kill)]
    program.append((give, 0, 0, allow))
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    buffer = ctypes.create_string_buffer(code)
    pointer = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0):  # no new privileges: without it only root may
        raise OSError(ctypes.get_errno(), "prctl")
    every_thread = 1
    if libc.syscall(seccomp, 1, every_thread, ctypes.create_string_buffer(pointer)):
        raise OSError(ctypes.get_errno(), "seccomp")
