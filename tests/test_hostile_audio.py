"""Uploads that want other files, addresses or ports opened: refused at once, and nothing opened."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from borealis.audio import AudioLimits, load_audio
from borealis.errors import AudioFormatError, AudioTimeoutError
from borealis.sound_files import CODECS, DEMUXERS
from tests.conftest import AUDIO, ROOT
from tests.encoding import with_ffmpeg
from tests.hostile import CAN_SEAL, film_that_refers_to, hostile_files, watch

watched = pytest.mark.skipif(
    not CAN_SEAL, reason="seccomp and inotify are Linux's, tried on x86-64 and ARM"
)
PORT = 9


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A recording that the hostile files name, in a folder of its own below `tmp_path`."""
    (tmp_path / "canary").mkdir()
    return Path(shutil.copy(AUDIO / "speech.flac", tmp_path / "canary" / "secret.flac"))


@pytest.fixture
def uploads(tmp_path: Path, canary: Path) -> dict[str, Path]:
    """The hostile files on disk, with and without the suffix that players know them by."""
    paths = {}
    (tmp_path / "uploads").mkdir()
    suffixes = {"hls": ".m3u8", "pls": ".pls", "sdp": ".sdp", "filter graph": ".lavfi"}
    for number, (name, data) in enumerate(hostile_files(canary, PORT).items()):
        paths[name] = tmp_path / "uploads" / f"{number}{suffixes.get(name, '')}"
        paths[name].write_bytes(data)
    sequence = tmp_path / "uploads" / "frame%03d.png"
    sequence.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))
    paths["pattern of pictures"] = sequence
    return paths


def python(program: str, folder: Path, **options) -> subprocess.CompletedProcess[str]:
    """Run a program in `folder`, where the relative paths of the hostile files lead somewhere."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )


def assert_refused(rows: list[dict], names: set[str], canary: Path) -> None:
    assert {row["name"] for row in rows} == names
    for row in rows:
        assert row["error"] == "AudioFormatError", row
        assert_tells_nothing(row["says"], canary)


def assert_tells_nothing(text: str, canary: Path) -> None:
    """No name of another file, no error of the system or of FFmpeg."""
    for word in (canary.name, str(canary.parent), "Errno", "such file", "Invalid", "ffmpeg", "av."):
        assert word not in text, text


_TRY = """
import json, sys
from pathlib import Path
from borealis.audio import load_audio
from borealis.errors import BorealisError
from tests.hostile import hostile_files, seal

def attempt(name, source):
    try:
        length = len(load_audio(source))
        row = {"error": None, "says": f"{length} samples"}
    except BorealisError as error:
        row = {"error": type(error).__name__, "says": str(error)}
    print(json.dumps(row | {"name": name}), flush=True)
"""


@watched
def test_bytes_and_streams_open_nothing_at_all(canary: Path, tmp_path: Path) -> None:
    # Once all is imported and every decoder has been used, no file may be opened any more.
    (tmp_path / "film").write_bytes(with_ffmpeg(TONE, 48_000, "mp4", "aac", video="mpeg4"))
    program = f"""{_TRY}
import contextlib, io
canary = Path({str(canary)!r})
files = hostile_files(canary, {PORT})
good = canary.read_bytes()
film = Path("film").read_bytes()
load_audio(good), load_audio(film)
with contextlib.suppress(BorealisError):
    load_audio(b"no sound" * 100)
seal(files=True)
assert len(load_audio(good)) > 16_000 < 1 + len(load_audio(film))
for name, data in files.items():
    attempt(name, data)
for name, data in files.items():
    attempt(name + " as a stream", io.BytesIO(data))
"""
    done = python(program, tmp_path)
    assert done.returncode == 0, (done.stdout[-500:], done.stderr)
    names = set(hostile_files(canary, PORT))
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert_refused(rows, names | {f"{name} as a stream" for name in names}, canary)


@watched
def test_paths_open_that_file_and_no_socket(
    canary: Path, uploads: dict[str, Path], tmp_path: Path
) -> None:
    program = f"""{_TRY}
seal()
for name, path in json.loads({json.dumps(json.dumps({n: str(p) for n, p in uploads.items()}))}).items():
    attempt(name, path)
"""
    with watch(canary.parent, tmp_path / "uploads") as opened:
        done = python(program, tmp_path)
        names = opened.names()
    assert done.returncode == 0, (done.stdout[-500:], done.stderr)
    assert names == [path.name for path in uploads.values()]
    assert_refused([json.loads(line) for line in done.stdout.splitlines()], set(uploads), canary)


@watched
@pytest.mark.parametrize(
    "name",
    ["ffconcat", "sdp", "hls", "rtsp", "film with its sound elsewhere", "pattern of pictures"],
)
def test_command_line_opens_nothing_else(
    name: str, canary: Path, uploads: dict[str, Path], tmp_path: Path
) -> None:
    program = """
import sys
from borealis import cli
from tests.hostile import seal
seal()
sys.exit(cli.main(["transcribe", *sys.argv[1:]]))
"""
    for words, stdin in ((["-"], uploads[name].read_text("latin-1")), ([str(uploads[name])], "")):
        with watch(canary.parent) as opened:
            done = python(f"import sys; sys.argv[1:] = {words!r}\n{program}", tmp_path, input=stdin)
            assert opened.names() == []
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert done.stderr.startswith("borealis: ")
        assert len(done.stderr.splitlines()) == 1
        assert_tells_nothing(done.stderr, canary)


@pytest.mark.slow
@watched
def test_demo_opens_nothing_else(canary: Path, uploads: dict[str, Path], tmp_path: Path) -> None:
    program = f"""
import asyncio, json, sys
import borealis
from borealis.demo.desk import Desk, Failure
from borealis.demo.turnstile import Turnstile
from tests.hostile import seal

async def visit(desk, path):
    return [step async for step in desk.transcribe(path)]

async def main():
    seal()
    for path in {[str(path) for path in uploads.values()]!r}:
        step = (await visit(desk, path))[-1]
        assert isinstance(step, Failure), step
        print(step.text, flush=True)

desk = Desk(borealis.load(), "en", Turnstile())
asyncio.run(main())
"""
    with watch(canary.parent) as opened:
        done = python(program, tmp_path)
        assert opened.names() == []
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(uploads)
    for line in lines:
        assert "isn't audio or is damaged" in line
        assert_tells_nothing(line, canary)


# ---- the watchmen are watched: without our lists the same files do what they want ----


@watched
def test_watch_sees_what_ffmpeg_opens_by_itself(
    canary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_bytes(hostile_files(canary, PORT)["ffconcat"])
    (tmp_path / "b").write_bytes(film_that_refers_to(str(canary)))
    free = {"enable_drefs": "1", "use_absolute_path": "1"}
    for name in ("a", "b"):
        with watch(canary.parent) as opened:
            with (tmp_path / name).open("rb") as file, av.open(file, options=free):
                pass
            assert canary.name in opened.names()


@watched
@pytest.mark.parametrize("name", ["sdp", "ffconcat with an address"])
def test_seal_sees_the_socket_that_ffmpeg_opens_by_itself(
    name: str, canary: Path, tmp_path: Path
) -> None:
    program = f"""
import av, io
from pathlib import Path
from tests.hostile import hostile_files, seal
data = hostile_files(Path({str(canary)!r}), {PORT})[{name!r}]
seal()
av.open(io.BytesIO(data), options={{"safe": "0", "protocol_whitelist": "file,http,tcp,udp,rtp"}})
"""
    assert python(program, tmp_path).returncode == -signal.SIGSYS


# ---- what is listed is there, and what isn't there isn't reached ----


def test_every_demuxer_and_codec_of_the_lists_is_known_to_ffmpeg() -> None:
    known = {part for name in av.formats_available for part in name.split(",")}
    assert set(DEMUXERS) <= known
    assert set(CODECS) - av.codecs_available <= {"libopencore_amrnb", "libopencore_amrwb"}
    for name in set(CODECS) & av.codecs_available:
        assert av.Codec(name, "r").type == "audio"


TONE = 0.5 * np.sin(np.arange(48_000) * 2 * np.pi * 440 / 48_000)


@pytest.mark.parametrize(("kind", "video"), [("mp4", "mpeg4"), ("matroska", "mpeg4")])
def test_sound_of_a_film_is_read_and_its_picture_left_alone(kind: str, video: str) -> None:
    assert video not in CODECS
    assert len(load_audio(with_ffmpeg(TONE, 48_000, kind, "aac", video=video))) == pytest.approx(
        16_000, abs=2_000
    )
    with pytest.raises(AudioFormatError, match="no sound track"):
        load_audio(with_ffmpeg(None, 48_000, kind, video=video))


def test_sound_of_a_codec_that_is_not_listed_is_refused() -> None:
    data = with_ffmpeg(TONE[::6], 8_000, "matroska", "real_144")
    with pytest.raises(AudioFormatError, match="coded in a way"):
        load_audio(data)


@pytest.fixture
def slow() -> Iterator[AudioLimits]:
    return AudioLimits(max_decode_seconds=0.0)


def test_deadline_ends_every_decoder(slow: AudioLimits) -> None:
    for data in (
        (AUDIO / "speech.flac").read_bytes(),
        with_ffmpeg(TONE, 48_000, "mp4", "aac"),
        with_ffmpeg(TONE, 48_000, "ogg", "libopus"),
        b"no sound" * 1000,
    ):
        with pytest.raises(AudioTimeoutError, match="longer to read than the limit"):
            load_audio(data, limits=slow)
