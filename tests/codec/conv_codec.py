"""A small codec of convolutions that look ahead, with the face that our own codec has."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel


class ConvCodecConfig(PreTrainedConfig):
    """A frame depends on three frames on either side, of sound as of codes."""

    model_type = "conv_codec"

    sampling_rate: int = 8_000
    hop_length: int = 40
    num_codebooks: int = 3
    codebook_size: int = 32
    context_frames: int = 3


class ConvCodec(PreTrainedModel):
    """`encode` and `decode` on tensors `[batch, samples]` and `[batch, num_codebooks, frames]`."""

    config_class = ConvCodecConfig

    def __init__(self, config: ConvCodecConfig) -> None:
        super().__init__(config)
        hop = config.hop_length
        self.cut = nn.Conv1d(1, 8, 3 * hop, hop, padding=hop)
        self.hear = nn.Conv1d(8, 8, 5, padding=2)
        self.books = nn.Parameter(torch.zeros(config.num_codebooks, config.codebook_size, 8))
        self.speak = nn.Conv1d(8, hop, 7, padding=3)
        self.post_init()

    def encode(self, waveform: torch.Tensor) -> torch.Tensor:
        """`[batch, frames * hop_length]` -> `[batch, num_codebooks, frames]`."""
        rest = self.hear(torch.tanh(self.cut(waveform[:, None]))).transpose(1, 2)
        codes = []
        for book in self.books:
            codes.append(torch.cdist(rest, book[None]).argmin(-1))
            rest = rest - book[codes[-1]]
        return torch.stack(codes, 1)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """`[batch, n, frames]` -> `[batch, frames * hop_length]`, of any number of codebooks."""
        frames = sum(book[code] for book, code in zip(self.books, codes.unbind(1), strict=False))
        return self.speak(frames.transpose(1, 2)).transpose(1, 2).flatten(1)
