"""A codec whose layers work in parts: whole, long and streamed sound go the same way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
import torch

from borealis.codec.codes import Codes, checked
from borealis.codec.network import NetworkCodec, check_fit, heard, open_still, same_books
from borealis.codec.protocol import check_codebooks, check_codes, waveform_of

if TYPE_CHECKING:
    from borealis.codec.layers import Layer

_CHUNK_SECONDS = 10.0  # that are in the network at once, however long a recording is


class LayeredCodec(NetworkCodec, ABC):
    """Base of codecs that are made of `borealis.codec.layers`."""

    @abstractmethod
    def encoder(self) -> Layer:
        """New layers: waveform `[1, 1, n]` -> `[1, width, frames]`."""

    @abstractmethod
    def decoder(self) -> Layer:
        """New layers: `[1, width, frames]` -> waveform `[1, 1, n]`."""

    @abstractmethod
    def quantize(self, frames: torch.Tensor, num_codebooks: int) -> torch.Tensor:
        """`[1, width, frames]` -> codes `[num_codebooks, frames]`."""

    @abstractmethod
    def dequantize(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes `[num_codebooks, frames]` -> `[1, width, frames]`."""

    whole_frames = False
    """Whether the encoder wants silence behind the sound, up to a whole frame."""

    def encode(self, waveform: np.ndarray, *, num_codebooks: int | None = None) -> Codes:
        """See `Codec.encode`."""
        samples = heard(waveform)
        stream = self.stream_encoder(num_codebooks=num_codebooks)
        step = self._chunk_frames() * self.hop_length
        pieces = [
            stream.push(samples[at : at + step]) for at in range(0, len(samples) - step, step)
        ]
        rest = samples[len(pieces) * step :]
        pieces.append(stream.push_last(rest))
        return Codes(np.concatenate(pieces, 1), len(samples), self.sampling_rate, codec=self.name)

    def decode(self, codes: Codes) -> np.ndarray:
        """See `Codec.decode`."""
        check_fit(self, codes)
        stream = self.stream_decoder(num_samples=codes.num_samples)
        step = self._chunk_frames()
        pieces = [
            stream.push(codes.codes[:, at : at + step])
            for at in range(0, codes.num_frames - step, step)
        ]
        pieces.append(stream.push_last(codes.codes[:, len(pieces) * step :]))
        return np.concatenate(pieces)

    @torch.inference_mode()
    def look_up(self, codes: np.ndarray) -> np.ndarray:
        """See `Codec.look_up`."""
        check_codes(self, codes)
        frames = self.dequantize(torch.tensor(codes, dtype=torch.long, device=self.device))
        return frames[0].T.float().cpu().numpy()

    def stream_encoder(self, *, num_codebooks: int | None = None) -> LayeredEncoder:
        """See `Codec.stream_encoder`."""
        return LayeredEncoder(self, check_codebooks(self, num_codebooks))

    def stream_decoder(
        self, *, num_codebooks: int | None = None, num_samples: int | None = None
    ) -> LayeredDecoder:
        """See `Codec.stream_decoder`."""
        if num_codebooks is not None:
            check_codebooks(self, num_codebooks)
        return LayeredDecoder(self, num_codebooks, num_samples)

    def _chunk_frames(self) -> int:
        return max(1, int(_CHUNK_SECONDS * self.sampling_rate / self.hop_length))


class LayeredEncoder:
    """`StreamEncoder` of a `LayeredCodec`."""

    def __init__(self, codec: LayeredCodec, num_codebooks: int) -> None:
        self.codec, self.num_codebooks = codec, num_codebooks
        self.num_samples = 0
        self._layers: Layer | None = codec.encoder()

    def push(self, waveform: np.ndarray) -> np.ndarray:
        """See `StreamEncoder.push`."""
        return self._feed(waveform_of(waveform), last=False)

    def finish(self) -> np.ndarray:
        """See `StreamEncoder.finish`."""
        return self.push_last(np.zeros(0, np.float32))

    def push_last(self, waveform: np.ndarray) -> np.ndarray:
        """`push` and `finish` in one."""
        return self._feed(waveform_of(waveform), last=True)

    @torch.inference_mode()
    def _feed(self, samples: np.ndarray, last: bool) -> np.ndarray:
        layers = open_still(self._layers)
        self.num_samples += len(samples)
        nothing = np.zeros((self.num_codebooks, 0), np.int32)
        if last:
            self._layers = None
            if not self.num_samples:
                return nothing
            if self.codec.whole_frames:
                fill = -self.num_samples % self.codec.hop_length
                samples = np.concatenate([samples, np.zeros(fill, np.float32)])
        # A copy: the caller may fill the same array again, and layers keep what they were given.
        x = torch.tensor(samples, device=self.codec.device)[None, None]
        frames = layers.feed(x, last)
        if not frames.shape[-1]:
            return nothing
        return self.codec.quantize(frames, self.num_codebooks).cpu().numpy().astype(np.int32)


class LayeredDecoder:
    """`StreamDecoder` of a `LayeredCodec`."""

    def __init__(
        self, codec: LayeredCodec, num_codebooks: int | None, num_samples: int | None
    ) -> None:
        self.codec, self.num_codebooks = codec, num_codebooks
        self._wanted = num_samples
        self._frames = self._given = 0
        self._layers: Layer | None = codec.decoder()

    def push(self, codes: np.ndarray) -> np.ndarray:
        """See `StreamDecoder.push`."""
        return self._feed(codes, last=False)

    def finish(self) -> np.ndarray:
        """See `StreamDecoder.finish`."""
        return self.push_last(np.zeros((self.num_codebooks or 1, 0), np.int32))

    def push_last(self, codes: np.ndarray) -> np.ndarray:
        """`push` and `finish` in one."""
        return self._feed(codes, last=True)

    @torch.inference_mode()
    def _feed(self, codes: np.ndarray, last: bool) -> np.ndarray:
        layers = open_still(self._layers)
        codes = checked(codes)
        self.num_codebooks = same_books(self.codec, codes, self.num_codebooks)
        self._frames += codes.shape[1]
        if last:
            self._layers = None
        if not self._frames:
            return np.zeros(0, np.float32)
        here = codes.shape[1]
        # Not every network takes no frames at all.
        x = torch.tensor(codes if here else np.zeros((1, 1)), dtype=torch.long)
        frames = self.codec.dequantize(x.to(self.codec.device))[..., :here]
        samples = layers.feed(frames, last)[0, 0].float().cpu().numpy()
        # Some networks give a few samples less than the frames have, others a few more.
        end = self._frames * self.codec.hop_length
        if self._wanted is not None:
            end = min(end, self._wanted)
        samples = samples[: end - self._given]
        if last:
            samples = np.pad(samples, (0, end - self._given - len(samples)))
        self._given += len(samples)
        return samples
