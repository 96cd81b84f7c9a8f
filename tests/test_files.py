"""Writing files: inputs are safe, what is half-written never shows, and others may read it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from borealis.errors import OutputError
from borealis.files import aside, folder_aside, open_aside, refuse_inputs, write_text


@pytest.fixture
def umask():
    """Files of this test can be read by the user's group and by no one else."""
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("way", ["same", "dots", "symlink", "hard link", "folder's link"])
def test_an_input_is_found_by_any_name(way: str, tmp_path: Path) -> None:
    source = tmp_path / "a" / "x.flac"
    source.parent.mkdir()
    source.write_bytes(b"sound")
    other = {
        "same": source,
        "dots": tmp_path / "a" / ".." / "a" / "x.flac",
        "symlink": tmp_path / "link.txt",
        "hard link": tmp_path / "hard.txt",
        "folder's link": tmp_path / "b" / "x.flac",
    }[way]
    if way == "symlink":
        other.symlink_to(source)
    if way == "hard link":
        other.hardlink_to(source)
    if way == "folder's link":
        other.parent.symlink_to(source.parent)
    for output, inputs in ((other, [source]), (source, [tmp_path / "none", other])):
        with pytest.raises(OutputError, match="also an input"):
            refuse_inputs(output, inputs)
    with source.open("rb") as opened, pytest.raises(OutputError, match="also an input"):
        refuse_inputs(other, [opened.fileno()])


def test_a_folder_with_an_input_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tower.safetensors").write_bytes(b"weights")
    with pytest.raises(OutputError, match="lies in"):
        refuse_inputs(tmp_path, [tmp_path / "tower.safetensors"])
    with pytest.raises(OutputError, match="also an input"):
        refuse_inputs(tmp_path, [tmp_path])


def test_what_destroys_nothing_is_let_through(tmp_path: Path) -> None:
    source = tmp_path / "x.flac"
    source.write_bytes(b"sound")
    (tmp_path / "sub").mkdir()
    for output in (tmp_path / "new.txt", tmp_path / "sub", tmp_path / "none" / "x.flac"):
        refuse_inputs(output, [source, "owner/model", "-", tmp_path / "missing"])
    with open(os.devnull, "rb") as null:
        refuse_inputs(os.devnull, [null.fileno(), os.devnull])


def test_a_file_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    with pytest.raises(ZeroDivisionError), open_aside(target) as out:
        out.write("half")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    write_text(target, "whole")
    with pytest.raises(ZeroDivisionError), open_aside(target) as out:
        out.write("half")
        raise ZeroDivisionError
    assert target.read_text(encoding="utf-8") == "whole"
    assert list(tmp_path.iterdir()) == [target]


def test_a_library_that_writes_by_suffix_sees_the_targets(tmp_path: Path) -> None:
    with aside(tmp_path / f"{'ы' * 120}.wav") as partial:
        assert partial.suffix == ".wav"
        partial.write_bytes(b"sound")
    assert [p.suffix for p in tmp_path.iterdir()] == [".wav"]


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path, umask) -> None:
    import numpy as np

    weights = {"a": np.zeros(3)}
    with aside(tmp_path / "a.safetensors") as partial:
        save_file(weights, partial)
    assert mode(tmp_path / "a.safetensors") == 0o640
    with folder_aside(tmp_path / "model") as folder:
        save_file(weights, folder / "model.safetensors")
    assert mode(tmp_path / "model" / "model.safetensors") == 0o640


def test_an_existing_file_keeps_its_permissions_and_links(tmp_path: Path, umask) -> None:
    target, link = tmp_path / "out.txt", tmp_path / "link.txt"
    target.write_text("before", encoding="utf-8")
    target.chmod(0o600)
    link.symlink_to(target)
    write_text(link, "after")
    assert link.is_symlink()
    assert (target.read_text(encoding="utf-8"), mode(target)) == ("after", 0o600)


def test_a_device_is_written_as_it_is(tmp_path: Path) -> None:
    write_text(os.devnull, "text")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_is_one_sentence() -> None:
    with pytest.raises(OutputError, match=r"'/dev/full' can't be written: No space left"):
        write_text("/dev/full", "text")


def test_a_target_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"none/out\.txt' can't be written"):
        write_text(tmp_path / "none" / "out.txt", "text")
    with pytest.raises(OutputError, match="is a folder"):
        write_text(tmp_path, "text")
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(OutputError, match="can't be written"), folder_aside(tmp_path / "file"):
        pass


def test_a_folder_is_filled_at_the_end_and_keeps_what_it_had(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ZeroDivisionError), folder_aside(target) as partial:
        write_text(partial / "config.json", "{}")
        raise ZeroDivisionError
    assert [p.name for p in target.iterdir()] == ["notes.txt"]
    with folder_aside(target) as partial:
        write_text(partial / "config.json", "{}")
    assert sorted(p.name for p in target.iterdir()) == ["config.json", "notes.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
