"""A codec that is a model with `encode` and `decode`: it works through a recording in windows.

A window is computed with some frames on either side, its context, which are then dropped. Where
the context covers all that a frame depends on, the result is that of the whole recording.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from borealis.codec.codes import Codes, checked, num_frames
from borealis.codec.network import NetworkCodec, check_fit, heard, open_still, same_books
from borealis.codec.protocol import check_codebooks, check_codes, waveform_of
from borealis.errors import CodecError

CONTEXT_FRAMES = 32  # on either side, where the model's configuration doesn't say it
_LONG_SECONDS = 30.0  # a recording up to here is one window
_STREAM_FRAMES = 16  # of a window of a stream


class WindowedCodec(NetworkCodec):
    """Any model that encodes `[batch, samples]` into `[batch, num_codebooks, frames]` and back.

    Args:
        model: the model. Its configuration has `sampling_rate`, `hop_length`, `num_codebooks` and
            `codebook_size`, and may have `encoder_context` and `decoder_context`: how many frames
            on either side a frame depends on. `encode` gets whole frames, `decode` any number of
            codebooks.
        name: as `load_codec` takes it.

    Raises:
        CodecError: the configuration lacks one of these.
    """

    def __init__(self, model: Any, name: str) -> None:
        config = model.config
        numbers: dict[str, int] = {}
        for key in ("sampling_rate", "hop_length", "num_codebooks", "codebook_size"):
            value = getattr(config, key, None)
            if not isinstance(value, int) or value < 1:
                raise CodecError(f"The configuration of '{name}' has no {key}.")
            numbers[key] = value
        super().__init__(model, name=name, **numbers)
        self.encoder_context = int(getattr(config, "encoder_context", CONTEXT_FRAMES))
        self.decoder_context = int(getattr(config, "decoder_context", CONTEXT_FRAMES))

    def encode(self, waveform: np.ndarray, *, num_codebooks: int | None = None) -> Codes:
        """See `Codec.encode`."""
        samples = heard(waveform)
        stream = WindowedEncoder(self, check_codebooks(self, num_codebooks), self._long())
        codes = np.concatenate([stream.push(samples), stream.finish()], 1)
        return Codes(codes, len(samples), self.sampling_rate, codec=self.name)

    def decode(self, codes: Codes) -> np.ndarray:
        """See `Codec.decode`."""
        check_fit(self, codes)
        stream = WindowedDecoder(self, codes.num_codebooks, codes.num_samples, self._long())
        return np.concatenate([stream.push(codes.codes), stream.finish()])

    @torch.inference_mode()
    def look_up(self, codes: np.ndarray) -> np.ndarray:
        """See `Codec.look_up`."""
        check_codes(self, codes)
        x = torch.tensor(codes, dtype=torch.long, device=self.device)[None]
        return self.model.quantizer.look_up(x)[0].float().cpu().numpy()

    def stream_encoder(self, *, num_codebooks: int | None = None) -> WindowedEncoder:
        """See `Codec.stream_encoder`."""
        return WindowedEncoder(self, check_codebooks(self, num_codebooks), _STREAM_FRAMES)

    def stream_decoder(
        self, *, num_codebooks: int | None = None, num_samples: int | None = None
    ) -> WindowedDecoder:
        """See `Codec.stream_decoder`."""
        if num_codebooks is not None:
            check_codebooks(self, num_codebooks)
        return WindowedDecoder(self, num_codebooks, num_samples, _STREAM_FRAMES)

    def _long(self) -> int:
        return max(1, int(_LONG_SECONDS * self.sampling_rate / self.hop_length))

    @torch.inference_mode()
    def encode_frames(self, samples: np.ndarray, num_codebooks: int) -> np.ndarray:
        """Whole frames of sound `[frames * hop_length]` -> codes `[num_codebooks, frames]`."""
        x = torch.tensor(samples, device=self.device)[None]
        codes = checked(self.model.encode(x)[0, :num_codebooks])
        wanted = (num_codebooks, len(samples) // self.hop_length)
        if codes.shape != wanted:
            raise CodecError(
                f"'{self.name}' gave codes {list(codes.shape)} where {list(wanted)} are due: its "
                "configuration doesn't fit its network."
            )
        return codes

    @torch.inference_mode()
    def decode_frames(self, codes: np.ndarray) -> np.ndarray:
        """Codes `[num_codebooks, frames]` -> sound `[frames * hop_length]`."""
        x = torch.tensor(codes, dtype=torch.long, device=self.device)[None]
        samples = self.model.decode(x)[0].float().cpu().numpy()
        wanted = codes.shape[1] * self.hop_length
        if samples.ndim != 1 or abs(len(samples) - wanted) > self.hop_length:
            raise CodecError(
                f"'{self.name}' gave {list(samples.shape)} samples where {wanted} are due: its "
                "configuration doesn't fit its network."
            )
        return np.pad(samples[:wanted], (0, max(0, wanted - len(samples))))


class _Windows:
    """Windows of a sequence that comes in parts; the last axis is time.

    Args:
        window: frames that are kept of each.
        context: frames on either side that are dropped.
        hop: items a frame.
    """

    def __init__(self, window: int, context: int, hop: int) -> None:
        self.window, self.context, self.hop = window, context, hop
        self.held: np.ndarray | None = None
        self.base = 0  # the frame that `held` begins with
        self.done = 0  # frames that were given

    def take(self, part: np.ndarray, last: bool) -> list[tuple[np.ndarray, int, int]]:
        """Windows that are ready, each with the frames of it to keep: from, and up to."""
        held = part if self.held is None else np.concatenate([self.held, part], -1)
        ready = []
        while True:
            end = self.base + num_frames(held.shape[-1], self.hop)  # of what is there
            there = self.base + held.shape[-1] // self.hop
            whole = self.done + self.window + self.context <= there
            if not whole and not (last and self.done < end):
                break
            stop = min(self.done + self.window + self.context, end)
            keep = min(self.done + self.window, end)
            if last and end - self.done <= self.window + self.context:
                keep = stop = end  # no short window behind this one
            first = max(0, self.done - self.context)
            piece = held[..., (first - self.base) * self.hop : (stop - self.base) * self.hop]
            ready.append((piece, self.done - first, keep - first))
            self.done = keep
            start = max(0, self.done - self.context)
            held = held[..., (start - self.base) * self.hop :]
            self.base = start
        self.held = np.array(held)
        return ready


class WindowedEncoder:
    """`StreamEncoder` of a `WindowedCodec`."""

    def __init__(self, codec: WindowedCodec, num_codebooks: int, window: int) -> None:
        self.codec, self.num_codebooks = codec, num_codebooks
        self.num_samples = 0
        self._windows: _Windows | None = _Windows(window, codec.encoder_context, codec.hop_length)

    def push(self, waveform: np.ndarray) -> np.ndarray:
        """See `StreamEncoder.push`."""
        return self._feed(waveform_of(waveform), last=False)

    def finish(self) -> np.ndarray:
        """See `StreamEncoder.finish`."""
        return self._feed(np.zeros(0, np.float32), last=True)

    def _feed(self, samples: np.ndarray, last: bool) -> np.ndarray:
        windows = open_still(self._windows)
        self.num_samples += len(samples)
        hop = self.codec.hop_length
        codes = [np.zeros((self.num_codebooks, 0), np.int32)]
        for piece, first, end in windows.take(samples, last):
            piece = np.pad(piece, (0, -len(piece) % hop))
            codes.append(self.codec.encode_frames(piece, self.num_codebooks)[:, first:end])
        if last:
            self._windows = None
        return np.concatenate(codes, 1)


class WindowedDecoder:
    """`StreamDecoder` of a `WindowedCodec`."""

    def __init__(
        self, codec: WindowedCodec, num_codebooks: int | None, num_samples: int | None, window: int
    ) -> None:
        self.codec, self.num_codebooks = codec, num_codebooks
        self._wanted, self._given = num_samples, 0
        self._windows: _Windows | None = _Windows(window, codec.decoder_context, 1)

    def push(self, codes: np.ndarray) -> np.ndarray:
        """See `StreamDecoder.push`."""
        return self._feed(codes, last=False)

    def finish(self) -> np.ndarray:
        """See `StreamDecoder.finish`."""
        return self._feed(np.zeros((self.num_codebooks or 1, 0), np.int32), last=True)

    def _feed(self, codes: np.ndarray, last: bool) -> np.ndarray:
        windows = open_still(self._windows)
        codes = checked(codes)
        self.num_codebooks = same_books(self.codec, codes, self.num_codebooks)
        hop = self.codec.hop_length
        samples = [np.zeros(0, np.float32)]
        for piece, first, end in windows.take(codes, last):
            samples.append(self.codec.decode_frames(piece)[first * hop : end * hop])
        if last:
            self._windows = None
        sound = np.concatenate(samples)
        if self._wanted is not None:
            sound = sound[: self._wanted - self._given]
        self._given += len(sound)
        return sound
