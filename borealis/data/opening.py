"""Opens a dataset by the library datasets: no code of others, no decoding, mistakes with a list.

Recordings come as files: the library decodes by torchcodec, which isn't needed here, as `audio.py`
reads them. Parquet, archives of tar (WebDataset) and folders of recordings are all read so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from borealis.data.entries import CONVERTED
from borealis.errors import BorealisError

# A file of a dataset at a commit, which can't change under a run.
_PINNED = re.compile(r"hf://datasets/[^@]+@[0-9a-f]{40}/")


class DatasetError(BorealisError):
    """A dataset can't be read, or its columns aren't those that were named."""


@dataclass(frozen=True)
class Opened:
    """A split of a dataset.

    Args:
        name: as the user said it.
        dataset: of the library, whole or read by row.
        columns: their names.
        recordings: those of them that hold recordings, as far as the dataset says so.
    """

    name: str
    dataset: Any
    columns: list[str]
    recordings: list[str]

    def rows(self, columns: list[str]) -> Iterator[dict[str, Any]]:
        """Rows with these columns; recordings as `{"bytes": ..., "path": ...}`.

        Raises:
            DatasetError: reading broke off.
        """
        from datasets import Audio, IterableDataset

        dataset = self.dataset
        # Before a choice of columns: a stream decodes in choosing.
        if isinstance(dataset, IterableDataset) and dataset.features:
            dataset = dataset.decode(False)
        else:
            for column in self.recordings:
                dataset = dataset.cast_column(column, Audio(decode=False))
        dataset = dataset.select_columns(columns)
        try:
            yield from dataset
        except Exception as error:  # the library raises of many kinds; the first line says which
            raise DatasetError(
                f"Reading '{self.name}' broke off: {_first_line(error)}. Run it again."
            ) from None

    def labels(self, column: str) -> dict[int, str] | None:
        """What the numbers of a column of classes stand for; None if it holds none."""
        return labels_of(self.dataset.features, column)


def labels_of(features: Mapping[str, Any] | None, column: str) -> dict[int, str] | None:
    """What the numbers of a column of classes stand for; None if it holds none."""
    names = getattr((features or {}).get(column), "names", None)
    return dict(enumerate(names)) if names else None


@contextmanager
def opened(
    name: str,
    place: str,
    *,
    config: str | None,
    split: str,
    revision: str | None,
    by_row: bool,
) -> Iterator[Opened]:
    """A split of a dataset; its rows are read within.

    Args:
        name: for messages.
        place: hub id, or a folder: of data files, or written by `save_to_disk`.
        config: configuration.
        split: split, `train[:1000]` if not read by row.
        revision: commit, tag or branch.
        by_row: read it row by row without downloading it whole.

    Raises:
        DatasetError: there is no such dataset, configuration or split, or it can't be read.
    """
    with _kept_as_files():
        with _told(name, place, revision):
            dataset = _open(name, place, config, split, revision, by_row)
            columns = list(dataset.column_names or next(iter(dataset)))
        yield Opened(name, dataset, columns, recordings_of(dataset.features or {}))


@contextmanager
def _told(name: str, place: str, revision: str | None) -> Iterator[None]:
    """Turn whatever the library raises into one sentence.

    Raises:
        DatasetError: something went wrong within.
    """
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:  # of many kinds; the first line says which
        raise DatasetError(
            f"The dataset '{name}' can't be read: {_explained(error, place, revision)}."
        ) from None


def parquet_files(
    name: str, place: str, *, config: str | None, split: str, revision: str | None
) -> list[str]:
    """The parquet files of a split: of this machine, or `hf://datasets/OWNER/NAME@COMMIT/PATH`.

    Args:
        name: for messages.
        place: hub id, or a folder of data files.
        config: configuration.
        split: whole split, or `train+test`.
        revision: commit, tag or branch.

    Raises:
        DatasetError: there is no such dataset, configuration or split, or it isn't parquet.
    """
    if _saved(place):
        files = [place]
    elif "[" in split:
        raise DatasetError(f"A part of a split, {split}, can't be streamed; give a limit instead.")
    else:
        with _told(name, place, revision):
            builder = _builder(name, place, config, split, revision)
        found = builder.config.data_files or {}
        files = [str(file) for part in split.split("+") for file in found.get(part.strip(), [])]
    if other := next((file for file in files if not file.endswith(".parquet")), None):
        raise DatasetError(
            f"'{name}' can't be streamed: '{Path(other).name}' isn't parquet. Leave streaming out, "
            "and it is kept in the data folder."
        )
    if other := next((file for file in files if "://" in file and not _PINNED.match(file)), None):
        raise DatasetError(f"'{name}' can't be streamed: '{other}' isn't a file of its commit.")
    return [file if "://" in file else os.path.abspath(file) for file in files]


def _saved(place: str) -> bool:
    """Whether a folder was written by `save_to_disk`."""
    return any((Path(place) / f).is_file() for f in ("dataset_info.json", "dataset_dict.json"))


def _open(
    name: str, place: str, config: str | None, split: str, revision: str | None, by_row: bool
) -> Any:
    from datasets import load_from_disk

    if _saved(place):
        dataset = load_from_disk(place)
        if not isinstance(dataset, dict):
            return dataset
        _known("split", split, list(dataset), name)
        return dataset[split]
    builder = _builder(name, place, config, split, revision)
    if by_row:
        return builder.as_streaming_dataset(split=split)
    builder.download_and_prepare()
    return builder.as_dataset(split=split)


def _builder(name: str, place: str, config: str | None, split: str, revision: str | None) -> Any:
    """The library's builder of a dataset that has such a configuration and split."""
    from datasets import load_dataset_builder

    # The hub's conversion has a folder for each configuration and says nothing else of them.
    folder = config if revision == CONVERTED else None
    if folder is not None:
        _known("configuration", folder, _folders(place, CONVERTED), name)
    elif (there := _configurations(place, revision)) != ["default"]:
        _known("configuration", config, there, name)
    builder = load_dataset_builder(
        place, None if folder else config, data_dir=folder, revision=revision
    )
    splits = [str(s) for s in builder.config.data_files or builder.info.splits or ()]
    for part in split.split("+"):
        _known("split", re.split(r"[\[(]", part)[0].strip(), splits, name)
    return builder


def _configurations(place: str, revision: str | None) -> list[str]:
    from datasets import get_dataset_config_names

    return get_dataset_config_names(place, revision=revision)


def _folders(repository: str, revision: str) -> list[str]:
    """Folders at the root of a repository."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFolder

    found = HfApi().list_repo_tree(repository, revision=revision, repo_type="dataset")
    return [item.path for item in found if isinstance(item, RepoFolder)]


def _known(kind: str, wanted: str | None, there: list[str], name: str) -> None:
    listed = ", ".join(there[:40]) + (" and others" if len(there) > 40 else "")
    if wanted is not None and there and wanted not in there:
        raise DatasetError(f"'{name}' has no {kind} '{wanted}'; it has {listed}.")
    if wanted is None and kind == "configuration" and len(there) > 1 and "default" not in there:
        raise DatasetError(f"'{name}' has several configurations; give one of {listed}.")


def _explained(error: Exception, place: str, revision: str | None) -> str:
    first = _first_line(error)
    if "scripts are no longer supported" in first and revision != CONVERTED:
        return (
            "it is a loading script, and code of others isn't run; the hub may have its parquet: "
            f"--revision {CONVERTED}"
        )
    return first


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def recordings_of(features: Mapping[str, Any]) -> list[str]:
    """Columns that hold recordings, as far as the features say so."""
    from datasets import Audio

    return [name for name, feature in features.items() if isinstance(feature, Audio)]


@contextmanager
def _kept_as_files() -> Iterator[None]:
    """Within, recordings of folders and archives pass through the library as they are.

    It asks for torchcodec there even if nothing is to be decoded.
    """
    from datasets import Audio

    ours = Audio.encode_example

    def keep(self: Any, value: Any) -> dict[str, Any]:
        if isinstance(value, str | Path):
            return {"bytes": None, "path": str(value)}
        if isinstance(value, bytes | bytearray):
            return {"bytes": bytes(value), "path": None}
        if isinstance(value, dict) and (value.get("bytes") is not None or value.get("path")):
            return {"bytes": value.get("bytes"), "path": value.get("path")}
        return ours(self, value)

    Audio.encode_example = keep  # type: ignore[method-assign]
    try:
        yield
    finally:
        Audio.encode_example = ours  # type: ignore[method-assign]
