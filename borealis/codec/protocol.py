"""What every codec can do: a waveform into codes and back, whole or as it comes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from borealis.codec.codes import Codes
from borealis.errors import CodecError

if TYPE_CHECKING:
    import numpy as np


class StreamEncoder(Protocol):
    """Encodes sound as it comes; all that it gives, joined, is what `Codec.encode` gives."""

    num_samples: int
    """Samples pushed so far."""

    def push(self, waveform: np.ndarray) -> np.ndarray:
        """Codes `[num_codebooks, frames]` that are certain after these samples `[n]`."""
        ...

    def finish(self) -> np.ndarray:
        """The codes that are left; nothing can be pushed afterwards."""
        ...


class StreamDecoder(Protocol):
    """Decodes codes as they come; all that it gives, joined, is what `Codec.decode` gives."""

    def push(self, codes: np.ndarray) -> np.ndarray:
        """Samples `[n]` that are certain after these codes `[num_codebooks, frames]`."""
        ...

    def finish(self) -> np.ndarray:
        """The samples that are left; nothing can be pushed afterwards."""
        ...


@runtime_checkable
class Codec(Protocol):
    """A codec.

    The attributes are the same for all: `name` as `load_codec` takes it, `sampling_rate` in Hz,
    `hop_length` in samples a frame, `num_codebooks` that it has at most, `codebook_size`.
    """

    name: str
    sampling_rate: int
    hop_length: int
    num_codebooks: int
    codebook_size: int

    def encode(self, waveform: np.ndarray, *, num_codebooks: int | None = None) -> Codes:
        """Sound into codes, `ceil(num_samples / hop_length)` frames.

        Args:
            waveform: float32 mono at `sampling_rate`, `[num_samples]`, in -1..1.
            num_codebooks: the first, coarsest ones only; all if not given.

        Raises:
            CodecError: there are fewer codebooks.
            AudioError: not such a waveform.
        """
        ...

    def decode(self, codes: Codes) -> np.ndarray:
        """Codes into sound: float32 `[codes.num_samples]`.

        Raises:
            CodecError: the codes aren't of this codec.
        """
        ...

    def look_up(self, codes: np.ndarray) -> np.ndarray:
        """What the decoder reads: codes `[num_codebooks, frames]` -> float32 `[frames, width]`.

        Each codebook adds its entry to the sum of those before it.
        """
        ...

    def stream_encoder(self, *, num_codebooks: int | None = None) -> StreamEncoder:
        """A new encoder of sound that comes in parts of any length."""
        ...

    def stream_decoder(
        self, *, num_codebooks: int | None = None, num_samples: int | None = None
    ) -> StreamDecoder:
        """A new decoder of codes that come in parts.

        Args:
            num_codebooks: of the codes; by default told by the first part.
            num_samples: how long the sound is; all of the last frame if not given.
        """
        ...


def bits_per_second(codec: Codec, num_codebooks: int | None = None) -> float:
    """Bitrate of codes: frames a second, times codebooks, times the bits of a code."""
    books = check_codebooks(codec, num_codebooks)
    return codec.sampling_rate / codec.hop_length * books * math.log2(codec.codebook_size)


def waveform_of(value: Any) -> np.ndarray:
    """A waveform for a codec, checked: float32 `[num_samples]`, finite; it may be empty.

    Raises:
        AudioValueError: it isn't such an array.
    """
    import numpy as np

    from borealis.errors import AudioValueError

    if hasattr(value, "detach"):  # a torch tensor, without importing torch
        value = value.detach().cpu().numpy()
    array = np.asarray(value)
    if array.ndim != 1:
        raise AudioValueError(
            f"The waveform has the shape {list(array.shape)}; mono, [num_samples], is wanted."
        )
    if array.dtype.kind != "f":
        raise AudioValueError(
            f"The waveform is of type {array.dtype}; floats in -1..1 are wanted, as "
            "borealis.load_audio gives."
        )
    array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise AudioValueError("The waveform has values that aren't finite numbers (NaN, infinity).")
    return array


def check_codebooks(codec: Codec, num_codebooks: int | None) -> int:
    """How many codebooks are meant; all of the codec if None.

    Raises:
        CodecError: the codec has fewer.
    """
    if num_codebooks is None:
        return codec.num_codebooks
    if not 1 <= num_codebooks <= codec.num_codebooks:
        raise CodecError(
            f"{num_codebooks} codebooks were asked for; '{codec.name}' has 1 to "
            f"{codec.num_codebooks}."
        )
    return num_codebooks


def check_codes(codec: Codec, codes: np.ndarray) -> None:
    """See that codes `[num_codebooks, frames]` are in the codebooks of a codec.

    Raises:
        CodecError: too many codebooks, or a code that is too large.
    """
    check_codebooks(codec, codes.shape[0])
    if codes.size and int(codes.max()) >= codec.codebook_size:
        raise CodecError(
            f"The code {int(codes.max())} isn't in '{codec.name}': its codebooks have "
            f"{codec.codebook_size}."
        )
