"""Descript's audio codec (DAC), by the classes of transformers."""

from __future__ import annotations

from typing import Any

import torch

from borealis.codec.layered import LayeredCodec
from borealis.codec.layers import Chain, Layer, Pointwise, Residual, plain, plain_transposed


class DacCodec(LayeredCodec):
    """DAC: `descript/dac_16khz`, `descript/dac_24khz`, `descript/dac_44khz`.

    Its convolutions look ahead as far as they look back. Where an odd ratio is among its strides,
    the network gives a few samples less than its frames have (8 of `dac_16khz`); silence fills
    them.

    Args:
        model: a `DacModel` of transformers.
        name: as `load_codec` takes it.
    """

    whole_frames = True

    def __init__(self, model: Any, name: str) -> None:
        config = model.config
        super().__init__(
            model,
            name=name,
            sampling_rate=config.sampling_rate,
            hop_length=config.hop_length,
            num_codebooks=config.n_codebooks,
            codebook_size=config.codebook_size,
        )

    def encoder(self) -> Layer:
        """See `LayeredCodec.encoder`."""
        net = self.model.encoder
        layers: list[Layer] = [plain(net.conv1)]
        for block in net.block:
            layers += [*_units(block), Pointwise(block.snake1), plain(block.conv1)]
        return Chain([*layers, Pointwise(net.snake1), plain(net.conv2)])

    def decoder(self) -> Layer:
        """See `LayeredCodec.decoder`."""
        net = self.model.decoder
        layers: list[Layer] = [plain(net.conv1)]
        for block in net.block:
            layers += [Pointwise(block.snake1), plain_transposed(block.conv_t1), *_units(block)]
        return Chain([*layers, Pointwise(net.snake1), plain(net.conv2), Pointwise(net.tanh)])

    def quantize(self, frames: torch.Tensor, num_codebooks: int) -> torch.Tensor:
        """See `LayeredCodec.quantize`."""
        return self.model.quantizer(frames, num_codebooks)[1][0]

    def dequantize(self, codes: torch.Tensor) -> torch.Tensor:
        """See `LayeredCodec.dequantize`."""
        return self.model.quantizer.from_codes(codes[None])[0]


def _units(block: Any) -> list[Layer]:
    """The three residual units of a block."""
    layers: list[Layer] = []
    for unit in (block.res_unit1, block.res_unit2, block.res_unit3):
        branch = Chain(
            [Pointwise(unit.snake1), plain(unit.conv1), Pointwise(unit.snake2), plain(unit.conv2)]
        )
        layers.append(Residual(branch, Pointwise(lambda x: x)))
    return layers
