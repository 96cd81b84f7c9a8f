"""Layers of a codec that work through a signal in parts and give what they give for the whole.

A layer remembers what its next outputs still need: a convolution the samples under its kernel, an
LSTM its state, attention its keys and values. Padding is done where the signal begins and where it
ends, as the whole network does it, so the parts join without a seam; only the rounding of float32
may differ. A layer that looks ahead answers later. Each object serves one signal.

Shapes are `[1, channels, T]` everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional as F


class Layer(Protocol):
    """A layer that is fed a signal in parts."""

    def feed(self, x: torch.Tensor, last: bool) -> torch.Tensor:
        """Outputs that are certain after `x`, which may be empty; all of them if it is the end."""
        ...


class Convolution:
    """A padded convolution.

    Args:
        conv: the convolution; its own padding is not used.
        whole: the padded layer as a function, for signals that are too short to be taken apart.
        left: outputs' worth of padding before the signal, in inputs.
        right: the same behind it.
        mode: of the padding, as `torch.nn.functional.pad` names it.
        fill: pad the end further, up to a whole stride.
    """

    def __init__(
        self,
        conv: nn.Conv1d,
        whole: Callable[[torch.Tensor], torch.Tensor],
        *,
        left: int,
        right: int,
        mode: str,
        fill: bool,
    ) -> None:
        self.conv, self.whole = conv, whole
        self.left, self.right, self.mode, self.fill = left, right, mode, fill
        self.stride = int(conv.stride[0])
        self.kernel = (int(conv.kernel_size[0]) - 1) * int(conv.dilation[0]) + 1
        self.most = max(left, right + (self.stride - 1 if fill else 0))  # padding on one side
        self.held: torch.Tensor | None = None  # inputs that are still needed, [1, C, n]
        self.at = 0  # where in them the next output begins
        self.count = 0
        self.begun = False

    def feed(self, x: torch.Tensor, last: bool) -> torch.Tensor:
        """See `Layer.feed`."""
        held = x if self.held is None else torch.cat([self.held, x], -1)
        self.count += x.shape[-1]
        self.held = held
        if not self.begun:
            if last and self.count:
                return self.whole(held)
            if self.count <= (self.most if self.mode == "reflect" else 0):
                return self._nothing(x)
            held = F.pad(held, (self.left, 0), self.mode)
            self.begun = True
        if last:
            right = self.right + (-self.count % self.stride if self.fill else 0)
            # On the right, padding repeats what is next to it: `held` keeps enough of that.
            held = F.pad(held, (0, right), self.mode)
        outputs = max(0, (held.shape[-1] - self.at - self.kernel) // self.stride + 1)
        y = self._nothing(x)
        if outputs:
            end = self.at + (outputs - 1) * self.stride + self.kernel
            y = self._convolve(held[..., self.at : end])
            self.at += outputs * self.stride
        drop = max(0, min(self.at, held.shape[-1] - self.most - 1))
        self.held, self.at = held[..., drop:], self.at - drop
        return y

    def _convolve(self, x: torch.Tensor) -> torch.Tensor:
        conv = self.conv
        weight, bias = conv.weight, conv.bias
        return F.conv1d(x, weight, bias, conv.stride, 0, conv.dilation, conv.groups)

    def _nothing(self, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(x.shape[0], self.conv.out_channels, 0)


class Upsampling:
    """A transposed convolution whose ends are cut.

    Args:
        conv: the convolution; its own padding is not used.
        left: outputs that are cut off at the beginning.
        right: at the end; at most kernel minus stride.
    """

    def __init__(self, conv: nn.ConvTranspose1d, *, left: int, right: int) -> None:
        self.conv, self.right = conv, right
        self.kernel, self.stride = int(conv.kernel_size[0]), int(conv.stride[0])
        self.reach = math.ceil(self.kernel / self.stride) - 1  # earlier inputs that an output needs
        self.held: torch.Tensor | None = None
        self.count = 0
        self.at = left  # the next output, counted from the first uncut one

    def feed(self, x: torch.Tensor, last: bool) -> torch.Tensor:
        """See `Layer.feed`."""
        frames = x if self.held is None else torch.cat([self.held, x], -1)
        first = self.count - (frames.shape[-1] - x.shape[-1])
        self.count += x.shape[-1]
        end = self.count * self.stride
        if last:
            end += self.kernel - self.stride - self.right
        self.held = frames[..., max(0, frames.shape[-1] - self.reach) :]
        if end <= self.at or not frames.shape[-1]:
            return x.new_zeros(x.shape[0], self.conv.out_channels, 0)
        conv = self.conv
        y = F.conv_transpose1d(
            frames, conv.weight, conv.bias, conv.stride, groups=conv.groups, dilation=conv.dilation
        )
        base = first * self.stride
        y = y[..., self.at - base : end - base]
        self.at = end
        return y


class Recurrence:
    """An LSTM with a way around it."""

    def __init__(self, lstm: nn.LSTM) -> None:
        self.lstm = lstm
        self.state: Any = None

    def feed(self, x: torch.Tensor, last: bool) -> torch.Tensor:
        """See `Layer.feed`."""
        if not x.shape[-1]:
            return x
        steps = x.permute(2, 0, 1)  # [T, 1, C]
        y, self.state = self.lstm(steps, self.state)
        return (y + steps).permute(1, 2, 0)


class Attention:
    """A causal transformer of transformers that takes and gives a cache, `[1, T, C]` inside."""

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer
        self.cache: Any = None

    def feed(self, x: torch.Tensor, last: bool) -> torch.Tensor:
        """See `Layer.feed`."""
        if not x.shape[-1]:
            return x
        if self.cache is None:
            from transformers import DynamicCache

            self.cache = DynamicCache(config=self.transformer.config)
        y = self.transformer(
            x.transpose(1, 2), past_key_values=self.cache, use_cache=True, return_dict=True
        )
        return y[0].transpose(1, 2)


class Pointwise:
    """What looks at each step alone."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.function = function

    def feed(self, x: torch.Tensor, last: bool) -> torch.Tensor:
        """See `Layer.feed`."""
        return self.function(x) if x.shape[-1] else x


class Chain:
    """Layers one after another."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers

    def feed(self, x: torch.Tensor, last: bool) -> torch.Tensor:
        """See `Layer.feed`."""
        for layer in self.layers:
            x = layer.feed(x, last)
        return x


class Residual:
    """A branch and a way around it, which waits for the branch."""

    def __init__(self, branch: Layer, around: Layer) -> None:
        self.branch, self.around = branch, around
        self.waiting: torch.Tensor | None = None

    def feed(self, x: torch.Tensor, last: bool) -> torch.Tensor:
        """See `Layer.feed`."""
        y = self.branch.feed(x, last)
        beside = self.around.feed(x, last)
        if self.waiting is not None:
            beside = torch.cat([self.waiting, beside], -1)
        self.waiting = beside[..., y.shape[-1] :]
        return beside[..., : y.shape[-1]] + y


def seanet(layers: Sequence[nn.Module]) -> Chain:
    """Layers of the network that EnCodec and Mimi share."""
    return Chain([_seanet_layer(layer) for layer in layers])


def _seanet_layer(layer: Any) -> Layer:
    conv = getattr(layer, "conv", None)
    if isinstance(conv, nn.Conv1d):
        total = int(layer.padding_total)
        right = 0 if layer.causal else total // 2
        return Convolution(
            conv, layer, left=total - right, right=right, mode=layer.pad_mode, fill=True
        )
    if isinstance(conv, nn.ConvTranspose1d):
        total = int(conv.kernel_size[0]) - int(conv.stride[0])
        right = math.ceil(total * layer.trim_right_ratio) if layer.causal else total // 2
        return Upsampling(conv, left=total - right, right=right)
    if isinstance(getattr(layer, "lstm", None), nn.LSTM):
        return Recurrence(layer.lstm)
    if hasattr(layer, "block"):
        around = _seanet_layer(layer.shortcut)
        return Residual(seanet(layer.block), around)
    return Pointwise(layer)


def plain(conv: nn.Conv1d) -> Convolution:
    """A convolution that pads with zeros by itself, on both sides alike."""
    padding = int(conv.padding[0])  # type: ignore[arg-type]
    return Convolution(conv, conv, left=padding, right=padding, mode="constant", fill=False)


def plain_transposed(conv: nn.ConvTranspose1d) -> Upsampling:
    """A transposed convolution that cuts by itself, on both sides alike."""
    padding = int(conv.padding[0])
    return Upsampling(conv, left=padding, right=padding)
