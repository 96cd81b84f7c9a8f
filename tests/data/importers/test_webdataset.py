"""Shards of WebDataset, as they should be and as somebody hostile would make them."""

from __future__ import annotations

import io
import json
import struct
import tarfile

import pytest


def shard(path, files, kind=None):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if kind is not None:
                member.type, member.linkname, member.size = kind, "/etc/passwd", 0
            tar.addfile(member, io.BytesIO(data))


@pytest.fixture
def sounds(folder):
    return (folder / "a.flac").read_bytes(), (folder / "b.wav").read_bytes()


def test_shards_give_recordings_as_they_came(folder, run, sounds, tmp_path):
    shard(folder / "train-000.tar", [("x/1.flac", sounds[0]), ("x/1.txt", "Раз".encode()), ("x/2.WAV", sounds[1]), ("x/2.json", json.dumps({"text": "Два", "speaker": "v", "duration": 5, "rms": 1}).encode())])  # fmt: skip
    shard(
        folder / "test-000.tar",
        [("1.flac", sounds[0]), ("1.json", b'{"sentence": "Three", "language": "en"}')],
    )
    done = run(folder)
    assert {
        n: [(i.text, i.voice, i.language) for i in items] for n, items in done.manifests.items()
    } == {
        "train": [("Раз", "", "ru"), ("Два", "v", "ru")],
        "test": [("Three", "", "en")],
    }
    kept = [p.read_bytes() for p in sorted((tmp_path / "out" / "clips" / "train").iterdir())]
    assert sorted(kept) == sorted([sounds[0], sounds[0], sounds[1]])
    assert "not used: rms" in done.out


NAMES = ["/1.flac", "../1.flac", "a/../../1.flac", "C:/1.flac", "..\\1.flac", "\\1.flac"]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_out_are_not_taken(folder, run, sounds, name, tmp_path):
    shard(folder / "s.tar", [(name, sounds[0]), (name.replace("flac", "txt"), b"no"), ("2.wav", sounds[1]), ("2.txt", b"yes")])  # fmt: skip
    done = run(folder / "s.tar")
    assert done.texts == ["yes"] and "leads out of the shard" in done.out
    assert {p.name for p in tmp_path.iterdir()} == {"mine", "out"}


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_not_followed(folder, run, kind):
    shard(folder / "s.tar", [("1.flac", b""), ("1.txt", b"")], kind)
    done = run(folder / "s.tar")
    assert done.code == 2 and "is a link or no plain file" in done.error


def header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    block = bytearray(name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + size.ljust(12, b"\0") + b"00000000000\0" + b" " * 8 + kind)  # fmt: skip
    block += b"\0" * (512 - len(block))
    block[257:265] = b"ustar\00000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


BEYOND = b"\x80" + struct.pack(">3xq", 1 << 60)
BELOW = b"\xff" + struct.pack(">3sq", b"\xff" * 3, -1024)


@pytest.mark.parametrize(
    "data",
    [
        header(b"1.flac", BEYOND),
        header(b"1.flac", BELOW),
        header(b"x", BEYOND, b"x") + bytes(2048),
        header(b"x", BELOW, b"x") + bytes(2048),
        header(b"x", BELOW, b"L") + bytes(2048),
        header(b"x", b"00000000040", b"x") + b"32 size=-2048\n".ljust(512, b"\0") + header(b"1.flac", b"00000000001"),
        header(b"x", b"77777777777", b"g"),
        b"\x00" * 10_240,
        b"nothing at all",
        bytes(range(256)) * 40,
        b"",
        header(b"x", b"00000000000", b"x") * 5_000,
    ],
)  # fmt: skip
def test_headers_that_lie_end_in_a_sentence(folder, run, data):
    (folder / "s.tar").write_bytes(data)
    done = run(folder / "s.tar")
    assert done.code == 2 and len(done.error.splitlines()) == 1 and len(done.error) < 500


def test_what_comes_before_a_break_is_of_use(folder, run, sounds):
    shard(folder / "s.tar", [("1.flac", sounds[0]), ("1.txt", b"yes"), ("2.wav", sounds[1])])
    data = (folder / "s.tar").read_bytes()
    (folder / "s.tar").write_bytes(data[:-60_000])
    done = run(folder / "s.tar")
    assert done.texts == ["yes"] and " skipped (" in done.out


def test_samples_that_are_of_no_use_are_counted(folder, run, sounds):
    shard(folder / "s.tar", [("1.flac", sounds[0]), ("1.txt", b"yes"), ("2.flac", b"junk"), ("2.txt", b"a"), ("3.txt", b"a"), ("4.flac", sounds[0]), ("5.flac", sounds[0]), ("5.json", b"[1]"), ("6.flac", sounds[0]), ("6.txt", b"a" * 2_000_000), ("7.flac", sounds[0]), ("7.txt", b"\0\1")])  # fmt: skip
    done = run(folder / "s.tar")
    assert done.texts == ["yes"] and "6 skipped" in done.out


def test_compressed_shards_are_told(folder, run):
    (folder / "s.tar.gz").write_bytes(b"\x1f\x8b" + bytes(100))
    done = run(folder / "s.tar.gz")
    assert done.code == 2 and "unpack it" in done.error
