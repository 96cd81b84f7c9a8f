"""Judges of spectrograms: they learn to tell recordings from what a codec makes of them.

As in EnCodec (Defossez et al., 2022): convolutions over the complex spectrogram at several
resolutions, hinge losses, and the layers of both compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

_WINDOWS = (1024, 512, 256)


class Discriminators(nn.Module):
    """One judge for each resolution.

    Args:
        width: channels of their layers.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.judges = nn.ModuleList(SpectrogramJudge(size, width) for size in _WINDOWS)

    def forward(self, waveforms: torch.Tensor) -> list[list[torch.Tensor]]:
        """Layers of every judge for waveforms `[batch, samples]`; the last one is its verdict."""
        return [judge(waveforms) for judge in self.judges]


class SpectrogramJudge(nn.Module):
    """Convolutions over time and frequency, the frequencies getting fewer."""

    window: torch.Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        first = nn.Conv2d(2, width, (3, 9), stride=(1, 2), padding=(1, 4))
        self.layers = nn.ModuleList([weight_norm(first)])
        for spread in (1, 2, 4):
            self.layers.append(
                weight_norm(
                    nn.Conv2d(
                        width,
                        width,
                        (3, 9),
                        stride=(1, 2),
                        dilation=(spread, 1),
                        padding=(spread, 4),
                    )
                )
            )
        self.layers.append(weight_norm(nn.Conv2d(width, width, 3, padding=1)))
        self.verdict = weight_norm(nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, waveforms: torch.Tensor) -> list[torch.Tensor]:
        spectra = torch.stft(
            waveforms.float(),
            self.size,
            self.size // 4,
            window=self.window,
            normalized=True,
            return_complex=True,
        )
        hidden = torch.view_as_real(spectra).permute(0, 3, 2, 1)  # [batch, 2, time, frequency]
        layers = []
        for layer in self.layers:
            hidden = F.leaky_relu(layer(hidden), 0.2)
            layers.append(hidden)
        return [*layers, self.verdict(hidden)]


Layers = Sequence[Sequence[torch.Tensor]]


def judges_loss(real: Layers, made: Layers) -> torch.Tensor:
    """Hinge: verdicts above 1 for recordings, below -1 for the rest."""
    losses = [
        F.relu(1 - r[-1].float()).mean() + F.relu(1 + m[-1].float()).mean()
        for r, m in zip(real, made, strict=True)
    ]
    return torch.stack(losses).mean()


def deception_loss(made: Layers) -> torch.Tensor:
    """The verdicts on what was made, turned round."""
    return torch.stack([-m[-1].float().mean() for m in made]).mean()


def layers_loss(real: Layers, made: Layers) -> torch.Tensor:
    """Mean difference of the layers, relative to their size."""
    losses = [
        (a.detach().float() - b.float()).abs().mean() / a.detach().float().abs().mean().clamp(1e-3)
        for r, m in zip(real, made, strict=True)
        for a, b in zip(r[:-1], m[:-1], strict=True)
    ]
    return torch.stack(losses).mean()
