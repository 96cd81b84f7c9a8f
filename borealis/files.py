"""Writing files: never over an input, aside first, and readable by whom the umask lets."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, TypeAlias

from borealis.errors import OutputError

AnyPath: TypeAlias = "str | os.PathLike[str]"

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def refuse_inputs(output: AnyPath | int, inputs: Iterable[AnyPath | int]) -> None:
    """Stop before an input is written over, by whatever name: a link, or another way to the file.

    Args:
        output: what will be written: a file, a folder that files will be put into, or the number
            of an open file.
        inputs: what is read, files or folders; those that aren't there don't matter.

    Raises:
        OutputError: `output` is one of `inputs`, or a folder in which one of these files lies.
    """
    target = _status(output)
    if target is None or not (stat.S_ISREG(target.st_mode) or stat.S_ISDIR(target.st_mode)):
        return  # nothing is there, or what is has no content to lose
    shown = "Standard output" if isinstance(output, int) else f"'{os.fspath(output)}'"
    for source in inputs:
        found = _status(source)
        if found is None:
            continue
        if os.path.samestat(found, target):
            raise OutputError(f"{shown} is also an input: it would be lost. Write somewhere else.")
        if isinstance(source, int) or not stat.S_ISREG(found.st_mode):
            continue
        folder = _status(Path(source).resolve().parent)
        if folder is not None and os.path.samestat(folder, target):
            raise OutputError(
                f"The input '{os.fspath(source)}' lies in {shown}: it could be lost. Write into "
                "another folder."
            )


def free_bytes(folder: AnyPath) -> int:
    """Free bytes of the disk where a folder is or will be."""
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _status(place: AnyPath | int) -> os.stat_result | None:
    try:
        return os.stat(place)
    except (OSError, ValueError):  # not there, or not a name that a file can have
        return None


@contextmanager
def aside(target: AnyPath) -> Iterator[Path]:
    """A file to write beside `target`; it takes that name when the block ends without an error.

    Its name ends as the target's does. A file that is there keeps its permissions and a link goes
    on pointing; a device or a pipe is written as it is.

    Raises:
        OutputError: `target` can't be written, or the disk is full.
    """
    real = Path(os.path.realpath(target))
    before = _status(real)
    if before is not None and not stat.S_ISREG(before.st_mode):
        if stat.S_ISDIR(before.st_mode):
            raise OutputError(f"'{os.fspath(target)}' can't be written: it is a folder.")
        try:
            yield real
        except OSError as error:
            if error.errno in _FULL:
                raise _cannot(target, error) from None
            raise
        return
    partial = real.with_name(f".{real.stem[:32]}-{secrets.token_hex(4)}.partial{real.suffix}")
    try:
        if before is not None and not os.access(real, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        mode = _new_file(partial)
        if before is not None:
            mode = stat.S_IMODE(before.st_mode)
            partial.chmod(mode)
    except OSError as error:
        raise _cannot(target, error) from None
    try:
        yield partial
        # A library may have put there a file of its own, which only its owner can read.
        partial.chmod(mode)
        partial.replace(real)
    except OSError as error:
        if error.errno in _FULL or error.filename == os.fspath(partial):
            raise _cannot(target, error) from None
        raise
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def open_aside(target: AnyPath) -> Iterator[TextIO]:
    """`aside` for text in UTF-8; what a file name brings that isn't Unicode is escaped."""
    with (
        aside(target) as partial,
        partial.open("w", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        yield stream


def write_text(target: AnyPath, text: str) -> None:
    """`Path.write_text` in UTF-8, aside."""
    with aside(target) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def folder_aside(target: AnyPath) -> Iterator[Path]:
    """A new folder beside `target`; its files move there when the block ends without an error.

    Files that `target` has and the new folder hasn't stay.

    Raises:
        OutputError: `target` can't be written, or the disk is full.
    """
    real = Path(os.path.realpath(target))
    partial = real.with_name(f".{real.name[:32]}-{secrets.token_hex(4)}.partial")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise _cannot(target, error) from None
    try:
        yield partial
        usual_permissions(partial)
        real.mkdir(exist_ok=True)
        for file in partial.iterdir():
            file.replace(real / file.name)
    except OSError as error:
        if error.errno in _FULL or str(error.filename).startswith((str(partial), str(real))):
            raise _cannot(target, error) from None
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def usual_permissions(folder: Path) -> None:
    """Give the files of a folder the permissions of any new file.

    Safetensors leaves its files to their owner alone, whatever the umask says.
    """
    probe = folder / f".{secrets.token_hex(4)}.partial"
    mode = _new_file(probe)
    probe.unlink()
    for root, _, names in os.walk(folder):
        for name in names:
            os.chmod(os.path.join(root, name), mode)


def _new_file(path: Path) -> int:
    """Make an empty file; the permissions that the umask and its folder gave it."""
    with path.open("xb") as file:
        return stat.S_IMODE(os.fstat(file.fileno()).st_mode)


def _cannot(target: AnyPath, error: OSError) -> OutputError:
    return OutputError(f"'{os.fspath(target)}' can't be written: {error.strerror}.")
