"""An index of parquet files: what their rows say, and where each recording is, without copying it.

The cheap columns of a row group are read, and of its recordings only how long they last: from a
column that says so, or else by fetching and decoding them once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from borealis.data.opening import DatasetError, labels_of, recordings_of
from borealis.data.row_groups import (
    Group,
    address,
    digest_of,
    group_of,
    kept_groups,
    patiently,
    read_columns,
    shape_of,
)
from borealis.errors import AudioError

NO_AUDIO = "no audio"  # why a row without a recording isn't used
# How far a column of lengths may be from a recording: seconds, and a share of it.
_TOLERANCE = (0.5, 0.05)


@dataclass
class ParquetRows:
    """The rows of parquet files, with an address in place of each recording.

    Args:
        name: of the dataset, for messages.
        files: as `borealis.data.opening.parquet_files` gives them.
        audio: the column with recordings, once it is known.
        groups: row groups that were read by now.
        bytes: size of their recordings, as they are fetched.
    """

    name: str
    files: list[str]
    audio: str | None = None
    groups: int = 0
    bytes: int = 0
    features: Mapping[str, Any] = field(init=False)
    columns: list[str] = field(init=False)
    recordings: list[str] = field(init=False)

    def __post_init__(self) -> None:
        from datasets import Features

        if not self.files:
            raise DatasetError(f"'{self.name}' has no files of that split.")
        schema = patiently(f"'{self.files[0]}'", lambda: shape_of(self.files[0])).schema
        try:
            self.features = Features.from_arrow_schema(schema)
        except Exception as error:  # of the library, which knows not every type of arrow
            raise DatasetError(
                f"The columns of '{self.files[0]}' can't be read: {error or type(error).__name__}."
            ) from None
        self.columns = list(schema.names)
        self.recordings = recordings_of(self.features)

    def labels(self, column: str) -> dict[int, str] | None:
        """What the numbers of a column of classes stand for; None if it holds none."""
        return labels_of(self.features, column)

    def rows(self, columns: list[str]) -> Iterator[dict[str, Any]]:
        """Rows with these columns.

        Raises:
            DatasetError: a file can't be read, or has other columns than the first.
        """
        for file in self.files:
            shape = patiently(f"'{file}'", lambda file=file: shape_of(file))
            if missing := [c for c in columns if c not in shape.schema.names]:
                raise DatasetError(f"'{file}' has no column '{missing[0]}', and others have.")
            leaf = shape.leaf(self.audio) if self.audio else None
            if self.audio and leaf is None:
                raise DatasetError(
                    f"'{self.name}' can't be streamed: its column '{self.audio}' doesn't hold the "
                    "recordings themselves. Leave streaming out, and they are fetched."
                )
            cheap = [column for column in columns if column != self.audio]
            for number in range(shape.metadata.num_row_groups):
                group = Group(file, self.audio or "", number)
                self.groups += 1
                self.bytes += shape.bytes_of(number, leaf) if leaf else 0
                for row, values in enumerate(self._cheap(group, cheap, shape)):
                    yield values | ({self.audio: address(group, row)} if self.audio else {})

    def _cheap(self, group: Group, columns: list[str], shape: Any) -> list[dict[str, Any]]:
        if not columns:
            return [{}] * shape.metadata.row_group(group.number).num_rows
        read = patiently(group.place, lambda: read_columns(group.file, group.number, columns))
        return read.to_pylist()


class Lengths:
    """How long recordings of parquet files last; what is known by now is kept in a file.

    An index that broke off goes on: the file has a line for each row group that was measured.

    Args:
        file: of what is known; deleted by `done`.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._known: dict[str, list[float | str]] = {}
        self._checked = False
        if file.is_file():
            for line in file.read_text(encoding="utf-8").splitlines():
                try:
                    self._known |= json.loads(line)
                except json.JSONDecodeError:  # a process was killed while it wrote
                    continue

    def seconds(self, audio: str, said: Any = None) -> float | str:
        """How long a recording lasts, or why it can't be read.

        Args:
            audio: its address.
            said: by a column of lengths; the first is compared with its recording.

        Raises:
            DatasetError: the row group can't be read, or a column of lengths isn't in seconds.
        """
        found = group_of(audio)
        assert found is not None
        group, row = found
        if said is not None and not isinstance(said, int | float):
            raise DatasetError(f"The column of lengths holds {said!r}; it has to be seconds.")
        if said is None or not 0 < said < math.inf:
            return self._measured(group)[row]
        if not self._checked:
            heard = _length(kept_groups().recordings(group)[row])
            near, share = _TOLERANCE
            if isinstance(heard, float) and abs(heard - said) > max(near, share * heard):
                raise DatasetError(
                    f"The column of lengths says {said:g} of a recording that lasts {heard:.2f} "
                    "seconds. Leave it out of the columns, and recordings are measured."
                )
            self._checked = isinstance(heard, float)
        return round(float(said), 2)

    def done(self) -> None:
        """The index is written: nothing has to be gone on with."""
        self.file.unlink(missing_ok=True)

    def _measured(self, group: Group) -> list[float | str]:
        key = digest_of(group)
        if key not in self._known:
            found = [_length(data) for data in kept_groups().recordings(group)]
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({key: found}, ensure_ascii=False) + "\n")
            self._known[key] = found
        return self._known[key]


def _length(data: bytes | None) -> float | str:
    """Seconds of an encoded recording, by decoding it; or why that can't be done."""
    from borealis.audio import SAMPLING_RATE, load_audio

    if not data:
        return NO_AUDIO
    try:
        return round(len(load_audio(data)) / SAMPLING_RATE, 2)
    except AudioError as error:
        return str(error)
