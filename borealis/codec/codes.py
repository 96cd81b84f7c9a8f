"""Codes of one recording, and the file they are kept in.

The file is safetensors: one tensor `codes` `[num_codebooks, frames]` of int32, and metadata that
says which codec they are of. Nothing in it is ever run, unlike a pickle.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from borealis.errors import CodecError
from borealis.files import aside

if TYPE_CHECKING:
    import numpy as np

FORMAT = "borealis-codes"
VERSION = 1
SUFFIX = ".safetensors"
_MOST_CODES = 1 << 20  # size of a codebook: far above any codec's
_MOST_RATE = 768_000


def num_frames(num_samples: int, hop_length: int) -> int:
    """Frames that so many samples become: a frame begun counts."""
    return -(-num_samples // hop_length)


@dataclass(frozen=True, eq=False)
class Codes:
    """Codes of a mono recording.

    Args:
        codes: integers from 0 up, `[num_codebooks, frames]`, coarsest codebook first; kept as
            int32.
        num_samples: samples of the recording at `sampling_rate`; the last frame may reach beyond.
        sampling_rate: of the codec, in Hz.
        codec: its name, as `load_codec` takes it; empty if it isn't known.

    Raises:
        CodecError: a shape, type or number that codes can't have.
    """

    codes: np.ndarray
    num_samples: int
    sampling_rate: int
    codec: str = ""

    def __post_init__(self) -> None:
        codes = checked(self.codes)
        if codes.shape[1] == 0:
            raise CodecError("The codes have no frames; a recording has at least one sample.")
        for name, most in (("num_samples", None), ("sampling_rate", _MOST_RATE)):
            value = getattr(self, name)
            if isinstance(value, bool) or not hasattr(value, "__index__"):
                raise CodecError(f"{name} is {value!r}; a whole number is wanted.")
            if value < 1 or (most is not None and value > most):
                raise CodecError(f"{name} is {value}; it must be 1 or more.")
            object.__setattr__(self, name, int(value))
        if self.num_samples < codes.shape[1]:
            raise CodecError(
                f"{codes.shape[1]} frames can't be of {self.num_samples} samples: a frame is one "
                "sample at least."
            )
        object.__setattr__(self, "codes", codes)

    @property
    def num_codebooks(self) -> int:
        """How many codebooks there are."""
        return int(self.codes.shape[0])

    @property
    def num_frames(self) -> int:
        """How many frames there are."""
        return int(self.codes.shape[1])

    @property
    def seconds(self) -> float:
        """Duration of the recording."""
        return self.num_samples / self.sampling_rate

    def take(self, num_codebooks: int) -> Codes:
        """The first, coarsest codebooks alone.

        Raises:
            CodecError: there are fewer.
        """
        if not 1 <= num_codebooks <= self.num_codebooks:
            raise CodecError(
                f"{num_codebooks} codebooks were asked for; there are 1 to {self.num_codebooks}."
            )
        return Codes(
            self.codes[:num_codebooks], self.num_samples, self.sampling_rate, codec=self.codec
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file for `load_codes`; it appears when it is whole.

        Args:
            path: of the file, ending in `.safetensors`.

        Raises:
            CodecError: the name ends otherwise.
            OutputError: the file can't be written.
        """
        import numpy as np
        from safetensors.numpy import save

        check_suffix(path)
        data = save(
            {"codes": np.ascontiguousarray(self.codes)},
            metadata={
                "format": FORMAT,
                "version": str(VERSION),
                "codec": self.codec,
                "sampling_rate": str(self.sampling_rate),
                "num_samples": str(self.num_samples),
            },
        )
        with aside(path) as partial:
            partial.write_bytes(data)


def load_codes(path: str | os.PathLike[str]) -> Codes:
    """Read what `Codes.save` wrote.

    Args:
        path: of the file.

    Raises:
        CodecError: there is no such file, it is damaged or of something else, or of a later
            version.
    """
    name = os.fspath(path)
    metadata, codes = _read(name)
    if metadata.get("format") != FORMAT:
        raise CodecError(
            f"'{name}' is a safetensors file without codes; 'borealis codec encode' makes one."
        )
    version = _number(metadata, "version", name)
    if version > VERSION:
        raise CodecError(
            f"'{name}' is of version {version}, and this Borealis reads {VERSION}; install a newer "
            "one."
        )
    if codes is None:
        raise CodecError(f"'{name}' has no tensor 'codes', or others beside it: it is damaged.")
    try:
        return Codes(
            codes,
            num_samples=_number(metadata, "num_samples", name),
            sampling_rate=_number(metadata, "sampling_rate", name),
            codec=metadata.get("codec", ""),
        )
    except CodecError as error:
        raise CodecError(f"'{name}': {error}") from None


def check_suffix(path: str | os.PathLike[str]) -> None:
    """See that a file of codes is called so.

    Raises:
        CodecError: its name doesn't end in `.safetensors`.
    """
    if Path(path).suffix != SUFFIX:
        raise CodecError(f"'{os.fspath(path)}': a file of codes ends in {SUFFIX}.")


def checked(codes: Any) -> np.ndarray:
    """An array or tensor as codes `[num_codebooks, frames]` of int32.

    Raises:
        CodecError: another shape, no whole numbers, or ones that no codebook has.
    """
    import numpy as np

    array = as_array(codes, "The codebooks have different numbers of frames.")
    if array.ndim != 2 or array.shape[0] == 0:
        raise CodecError(
            f"Codes have the shape {list(array.shape)}; [num_codebooks, frames] is wanted."
        )
    if array.dtype.kind not in "iu":
        raise CodecError(f"Codes are of type {array.dtype}; whole numbers are wanted.")
    if array.size and not (array.min() >= 0 and array.max() < _MOST_CODES):
        worst = array.min() if array.min() < 0 else array.max()
        raise CodecError(f"{worst} isn't a code: they go from 0 up to the size of a codebook.")
    return array.astype(np.int32)


def as_array(values: Any, unlike: str) -> np.ndarray:
    """Anything with numbers as an array.

    Args:
        values: an array, a tensor or lists.
        unlike: what to say of rows of different lengths.

    Raises:
        CodecError: of such rows.
    """
    import numpy as np

    if hasattr(values, "detach"):  # a torch tensor, without importing torch
        values = values.detach().cpu().numpy()
    try:
        return np.asarray(values)
    except ValueError:
        raise CodecError(unlike) from None


def _read(name: str) -> tuple[Mapping[str, str], np.ndarray | None]:
    """Metadata of a safetensors file and its one tensor, if that is called `codes`."""
    from safetensors import SafetensorError, safe_open

    if not os.path.isfile(name):
        raise CodecError(f"There is no file '{name}'.")
    try:
        with safe_open(name, framework="numpy") as file:
            metadata = file.metadata() or {}
            keys = list(file.keys())
            return metadata, file.get_tensor("codes") if keys == ["codes"] else None
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise CodecError(f"'{name}' isn't a safetensors file, or is damaged: {error}.") from None
    except OSError as error:
        raise CodecError(f"'{name}' can't be read: {error.strerror or error}.") from None


def _number(metadata: Mapping[str, str], key: str, name: str) -> int:
    text = metadata.get(key, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 13):
        raise CodecError(f"'{name}' says {key} '{text[:40]}', which is no number: it is damaged.")
    return int(text)
