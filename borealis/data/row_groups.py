"""Recordings that stay in parquet files: their addresses, and the row groups that are kept a while.

A manifest names such a recording by file, column, row group and row:

    hf://datasets/owner/name@commit/data/train-00000.parquet#audio/3/17

A row group is the least of a parquet file that can be read. It is fetched with one request, of the
column with recordings alone, and kept in a folder that all processes of a machine share and that
stays under a bound: the groups that nobody has asked for the longest are deleted.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from borealis.data.manifest import HUB
from borealis.data.opening import DatasetError
from borealis.files import aside

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Bytes of row groups that are kept on the disk at once.
MOST_BYTES = 4 << 30
# Seconds for which a hub that doesn't answer is asked again.
PATIENCE = 300.0

_ADDRESS = re.compile(r"(?P<file>.+\.parquet)#(?P<column>[^#/]+)/(?P<group>\d+)/(?P<row>\d+)", re.S)
_WAITS = (1.0, 30.0)  # seconds between tries: the first and the longest
_LEFT_AFTER = 3600.0  # seconds after which nobody goes on writing a file
_BUSY = (408, 429)  # answers of a hub that will do better later, besides those from 500 on


@dataclass(frozen=True)
class Group:
    """A column of a row group.

    Args:
        file: a parquet file of this machine, or `hf://datasets/OWNER/NAME@COMMIT/PATH`.
        column: name of the column.
        number: of the row group in the file, from 0.
    """

    file: str
    column: str
    number: int

    def __str__(self) -> str:
        """As a manifest has it, without the row."""
        return f"{self.file}#{quote(self.column, safe='')}/{self.number}"

    @property
    def place(self) -> str:
        """For messages."""
        return f"row group {self.number} of '{self.file}'"


def address(group: Group, row: int) -> str:
    """What a manifest says of a recording in a row group."""
    return f"{group}/{row}"


def group_of(audio: str) -> tuple[Group, int] | None:
    """The row group and the row that an entry of a manifest names; None where it names a file."""
    found = _ADDRESS.fullmatch(audio) if "#" in audio else None
    if found is None:
        return None
    return Group(found["file"], unquote(found["column"]), int(found["group"])), int(found["row"])


def streamed_note(manifest: Path) -> Path:
    """What is known of the parquet files of an index.

    Keys: `files`, row `groups`, their `bytes`, and the `hours` of their recordings.
    """
    return manifest.with_suffix(".streamed.json")


def size_text(count: float) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def is_there(audio: str) -> bool:
    """Whether the file of a recording is there; one of the hub is taken to be."""
    found = group_of(audio)
    file = audio if found is None else found[0].file
    return (found is not None and file.startswith(HUB)) or Path(file).is_file()


def recording(audio: str) -> str | bytes:
    """What `load_audio` takes: the path of a file as it is, or the bytes of a row.

    Raises:
        DatasetError: the row can't be read.
    """
    found = group_of(audio)
    return audio if found is None else kept_groups().recording(*found)


def kept_groups() -> RowGroups:
    """The row groups of this machine, in the cache folder."""
    from borealis.checkpoints import cache_folder

    return RowGroups(cache_folder() / "row-groups")


class RowGroups:
    """Row groups in a folder that many processes share.

    Args:
        folder: made when something is put there.
        most_bytes: bound on the files there; the newest is kept even if it is larger.
        patience: seconds for which a hub that doesn't answer is asked again.
    """

    def __init__(
        self, folder: Path, most_bytes: int | None = None, patience: float | None = None
    ) -> None:
        self.folder = folder
        self.most_bytes = MOST_BYTES if most_bytes is None else most_bytes
        self.patience = PATIENCE if patience is None else patience

    def recording(self, group: Group, row: int) -> bytes:
        """The encoded recording of one row.

        Raises:
            DatasetError: the file can't be read, or doesn't have it any more.
        """
        found = self._looked_up(group, lambda column: _cell(column, row))
        if not found:
            raise DatasetError(
                f"Row {row} of {group.place} has no recording: the file has changed since its "
                "index was made. Remove the index, and it is made anew."
            )
        return found

    def recordings(self, group: Group) -> list[bytes | None]:
        """All rows; None where one has no recording.

        Raises:
            DatasetError: the file can't be read.
        """
        return self._looked_up(group, lambda column: column.to_pylist())

    def size(self) -> int:
        """Bytes that are kept by now."""
        return sum(size for _, size, _ in self._files())

    def _looked_up(self, group: Group, look: Callable[[Any], T]) -> T:
        """What is seen in the column of a row group, fetched first if it isn't here."""
        import pyarrow

        path = self.folder / f"{digest_of(group)}.arrow"
        damaged = False
        while True:
            try:
                # Closed at once: a deleted file takes up room for as long as it is open.
                with pyarrow.memory_map(str(path)) as source:
                    os.utime(path)
                    return look(pyarrow.ipc.open_file(source).read_all().column(0))
            except FileNotFoundError:
                self._fetch(group, path)
            except (pyarrow.ArrowInvalid, OSError) as error:  # a machine that went off, a bad disk
                if damaged:
                    raise DatasetError(f"'{path}' can't be read: {error}.") from None
                damaged = True
                path.unlink(missing_ok=True)

    def _fetch(self, group: Group, path: Path) -> None:
        """Put a row group into the folder, unless another process has just done it."""
        from filelock import FileLock

        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise DatasetError(
                f"The cache folder '{self.folder}' can't be written ({error.strerror}). Set "
                "BOREALIS_CACHE to a folder that can."
            ) from None
        # A few locks for all groups, so that they don't pile up.
        with FileLock(self.folder / f"{path.stem[0]}.lock"):
            if path.is_file():
                return
            column = patiently(group.place, lambda: _read(group), self.patience)
            self._keep(column, path)

    def _keep(self, column: Any, path: Path) -> None:
        import pyarrow

        table = pyarrow.table({"recording": column})
        with aside(path) as partial, pyarrow.ipc.new_file(str(partial), table.schema) as file:
            file.write_table(table)
        total = 0
        for asked, size, other in sorted(self._files(), reverse=True):  # the newest first
            if other.name.startswith(".") and time.time() - asked < _LEFT_AFTER:
                continue  # is being written
            total += size
            if other != path and (total > self.most_bytes or other.name.startswith(".")):
                other.unlink(missing_ok=True)

    def _files(self) -> Iterable[tuple[float, int, Path]]:
        """When each was last asked for, its size and its place."""
        for path in self.folder.glob("*.arrow"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # deleted by another process in the meantime
            yield status.st_mtime, status.st_size, path


def patiently(what: str, work: Callable[[], T], patience: float | None = None) -> T:
    """Try until it works, or it can't, or the patience is over.

    Args:
        what: is read, for messages.
        work: what to try.
        patience: seconds; `PATIENCE` by default.

    Raises:
        DatasetError: it can't be read.
    """
    until = time.monotonic() + (PATIENCE if patience is None else patience)
    wait, longest = _WAITS
    while True:
        try:
            return work()
        except DatasetError:
            raise
        except Exception as error:  # of the client, of its network layer, of pyarrow
            told = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            if not _passing(error) or time.monotonic() + wait > until:
                raise DatasetError(f"{what[0].upper()}{what[1:]} can't be read: {told}.") from None
            logger.warning("%s can't be read yet: %s; again in %.0f s", what, told, wait)
        time.sleep(wait)
        wait = min(2 * wait, longest)


def _passing(error: Exception) -> bool:
    """Whether another try may help: a network that fails, a hub that is busy."""
    import pyarrow
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return status in _BUSY or status >= 500
    lasting = (FileNotFoundError, PermissionError, OfflineModeIsEnabled, ValueError, KeyError)
    return not isinstance(error, (*lasting, pyarrow.ArrowInvalid))


def digest_of(group: Group) -> str:
    """A name for a row group and what is in it."""
    told = f"{group} {_version(group.file)}"
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _version(file: str) -> str:
    """Tells a file of this machine from what it was before; one of the hub has a commit."""
    if file.startswith(HUB):
        return ""
    try:
        status = os.stat(file)
    except OSError as error:
        raise DatasetError(f"'{file}' can't be read: {error.strerror}.") from None
    return f"{status.st_size} {status.st_mtime_ns}"


def _cell(column: Any, row: int) -> bytes | None:
    return column[row].as_py() if row < len(column) else None


# ---- parquet ----


@dataclass(frozen=True)
class Shape:
    """What the end of a parquet file says.

    Args:
        metadata: of pyarrow: its row groups.
        schema: of arrow: its columns.
    """

    metadata: Any
    schema: Any

    def leaf(self, column: str) -> str | None:
        """Where the bytes of a column's recordings are; None where it holds none."""
        import pyarrow

        if column not in self.schema.names:
            return None
        kind = self.schema.field(column).type
        if pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            return f"{column}.bytes"
        binary = pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)
        return column if binary else None

    def bytes_of(self, number: int, leaf: str) -> int:
        """Size of a column in a row group, as it is fetched."""
        group = self.metadata.row_group(number)
        columns = (group.column(i) for i in range(group.num_columns))
        return sum(c.total_compressed_size for c in columns if c.path_in_schema == leaf)


def shape_of(file: str) -> Shape:
    """The shape of a file; it is read once."""
    return _shape(file, _version(file))


@lru_cache(maxsize=512)
def _shape(file: str, version: str) -> Shape:
    from pyarrow import parquet

    with _opened(file) as source:
        opened = parquet.ParquetFile(source)
        return Shape(opened.metadata, opened.schema_arrow)


def read_columns(file: str, number: int, columns: list[str]) -> Any:
    """Some columns of a row group, as a table of pyarrow."""
    from pyarrow import parquet

    metadata = shape_of(file).metadata
    with _opened(file) as source:
        # pre_buffer: neighbouring columns come with one request.
        opened = parquet.ParquetFile(source, metadata=metadata, pre_buffer=True)
        return opened.read_row_group(number, columns=columns)


def _opened(file: str) -> Any:
    if not file.startswith(HUB):
        return open(file, "rb")  # whoever called closes it
    from huggingface_hub import HfFileSystem

    # Exactly what is asked for is fetched, nothing read ahead.
    return HfFileSystem().open(file, "rb", cache_type="none")


def _read(group: Group) -> Any:
    """The recordings of a row group as a column of bytes."""
    import pyarrow

    shape = shape_of(group.file)
    leaf = shape.leaf(group.column)
    if leaf is None or group.number >= shape.metadata.num_row_groups:
        raise DatasetError(
            f"'{group.file}' has no {'recordings' if leaf is None else 'row group'} "
            f"'{group.column if leaf is None else group.number}': the file has changed since its "
            "index was made. Remove the index, and it is made anew."
        )
    column = read_columns(group.file, group.number, [leaf]).flatten().column(0)
    return column.cast(pyarrow.large_binary())
