"""What codecs that are networks have in common, however they work through a recording."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from borealis.codec.codes import Codes, num_frames
from borealis.codec.protocol import check_codes, waveform_of
from borealis.errors import AudioEmptyError, CodecError


class NetworkCodec:
    """A network and its numbers.

    Args:
        model: the network, of transformers; it is put into evaluation mode.
        name: as `load_codec` takes it.
        sampling_rate: in Hz.
        hop_length: samples a frame.
        num_codebooks: that it has.
        codebook_size: codes in each.
    """

    def __init__(
        self,
        model: Any,
        *,
        name: str,
        sampling_rate: int,
        hop_length: int,
        num_codebooks: int,
        codebook_size: int,
    ) -> None:
        self.model = model.eval()
        self.name = name
        self.sampling_rate = sampling_rate
        self.hop_length = hop_length
        self.num_codebooks = num_codebooks
        self.codebook_size = codebook_size

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device


def heard(waveform: Any) -> np.ndarray:
    """A waveform to encode, checked: float32 `[num_samples]`, one sample at least.

    Raises:
        AudioEmptyError, AudioValueError: it isn't such an array.
    """
    samples = waveform_of(waveform)
    if not len(samples):
        raise AudioEmptyError("The waveform has no samples: it is empty.")
    return samples


def check_fit(codec: Any, codes: Codes) -> None:
    """See that codes are of a codec, and of as many samples as they have frames for.

    Raises:
        CodecError: they aren't.
    """
    if codes.sampling_rate != codec.sampling_rate:
        raise CodecError(
            f"The codes are of '{codes.codec or 'a codec'}' at {codes.sampling_rate} Hz, and "
            f"'{codec.name}' has {codec.sampling_rate} Hz; decode them with the codec that made "
            "them."
        )
    check_codes(codec, codes.codes)
    frames = num_frames(codes.num_samples, codec.hop_length)
    if codes.num_frames != frames:
        raise CodecError(
            f"{codes.num_samples} samples are {frames} frames of '{codec.name}', and there are "
            f"{codes.num_frames}; decode them with the codec that made them."
        )


def open_still(layers: Any) -> Any:
    """What a stream works with; it has that until it is finished.

    Raises:
        CodecError: it is finished.
    """
    if layers is None:
        raise CodecError("The stream is finished; begin a new one.")
    return layers


def same_books(codec: Any, codes: np.ndarray, before: int | None) -> int:
    """How many codebooks a stream of codes has: as many in each part.

    Raises:
        CodecError: another number than before, or codes that the codec doesn't have.
    """
    check_codes(codec, codes)
    if not codes.shape[1] and before is not None:
        return before
    if before is not None and codes.shape[0] != before:
        raise CodecError(
            f"The stream of codes has {before} codebooks, and {codes.shape[0]} were pushed."
        )
    return codes.shape[0]
