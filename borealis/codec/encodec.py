"""EnCodec and Mimi, the two codecs made of SEANet layers, by the classes of transformers."""

from __future__ import annotations

import math
from typing import Any

import torch

from borealis.codec.layered import LayeredCodec
from borealis.codec.layers import Attention, Chain, Layer, seanet
from borealis.errors import CodecError


class EncodecCodec(LayeredCodec):
    """EnCodec for mono sound: `facebook/encodec_24khz`, `facebook/encodec_32khz` and their like.

    Args:
        model: an `EncodecModel` of transformers.
        name: as `load_codec` takes it.

    Raises:
        CodecError: one for stereo, or one that looks at the whole sound to set its level; the
            model of 48 kHz is both.
    """

    def __init__(self, model: Any, name: str) -> None:
        config = model.config
        if config.audio_channels != 1 or config.normalize or config.norm_type != "weight_norm":
            raise CodecError(
                f"'{name}' is an EnCodec for stereo, or sets the level of the whole sound; give "
                "one like encodec_24khz or encodec_32khz."
            )
        if len(model.quantizer.layers) < 1:
            raise CodecError(f"'{name}' has no codebooks: its target_bandwidths are too low.")
        super().__init__(
            model,
            name=name,
            sampling_rate=config.sampling_rate,
            hop_length=config.hop_length,
            num_codebooks=len(model.quantizer.layers),
            codebook_size=config.codebook_size,
        )

    def encoder(self) -> Layer:
        """See `LayeredCodec.encoder`."""
        return seanet(self.model.encoder.layers)

    def decoder(self) -> Layer:
        """See `LayeredCodec.decoder`."""
        return seanet(self.model.decoder.layers)

    def quantize(self, frames: torch.Tensor, num_codebooks: int) -> torch.Tensor:
        """See `LayeredCodec.quantize`."""
        quantizer = self.model.quantizer
        # The number of codebooks is asked for as a bandwidth, which is rounded down to it.
        one = math.log2(quantizer.codebook_size) * quantizer.frame_rate / 1000
        return quantizer.encode(frames, (num_codebooks + 0.5) * one)[:, 0]

    def dequantize(self, codes: torch.Tensor) -> torch.Tensor:
        """See `LayeredCodec.dequantize`."""
        return self.model.quantizer.decode(codes[:, None])


class MimiCodec(LayeredCodec):
    """Mimi: `kyutai/mimi`.

    Args:
        model: a `MimiModel` of transformers.
        name: as `load_codec` takes it.

    Raises:
        CodecError: one for stereo, or one that looks ahead.
    """

    def __init__(self, model: Any, name: str) -> None:
        config = model.config
        if config.audio_channels != 1 or not config.use_causal_conv or model.downsample is None:
            raise CodecError(f"'{name}' isn't like 'mimi': mono, causal, at half the frame rate.")
        super().__init__(
            model,
            name=name,
            sampling_rate=config.sampling_rate,
            hop_length=math.prod(config.upsampling_ratios) * int(model.downsample.stride),
            num_codebooks=config.num_quantizers,
            codebook_size=config.codebook_size,
        )

    def encoder(self) -> Layer:
        """See `LayeredCodec.encoder`."""
        model = self.model
        return Chain(
            [
                seanet(model.encoder.layers),
                Attention(model.encoder_transformer),
                seanet([model.downsample]),
            ]
        )

    def decoder(self) -> Layer:
        """See `LayeredCodec.decoder`."""
        model = self.model
        return Chain(
            [
                seanet([model.upsample]),
                Attention(model.decoder_transformer),
                seanet(model.decoder.layers),
            ]
        )

    def quantize(self, frames: torch.Tensor, num_codebooks: int) -> torch.Tensor:
        """See `LayeredCodec.quantize`."""
        semantic = self.model.config.num_semantic_quantizers
        codes = self.model.quantizer.encode(frames, max(num_codebooks, semantic))
        return codes[:num_codebooks, 0]

    def dequantize(self, codes: torch.Tensor) -> torch.Tensor:
        """See `LayeredCodec.dequantize`."""
        return self.model.quantizer.decode(codes[None])
