"""What a codec learns by: spectra, samples, commitment, letters."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from borealis.codec.nano.modeling import MelMagnitudes
from borealis.training.codec.clips import UNKNOWN

# Windows, hops (samples) and mel bands: short windows see onsets, long ones pitch.
_RESOLUTIONS = ((256, 64, 24), (512, 128, 40), (1024, 256, 80), (2048, 512, 120))
_FLOOR = 3e-3  # of magnitudes before the logarithm: softer than that nobody hears


class MelDistance(nn.Module):
    """Mean difference of mel spectra at several resolutions, of logarithms and of magnitudes.

    Args:
        sampling_rate: Hz.
    """

    def __init__(self, sampling_rate: int) -> None:
        super().__init__()
        self.mels = nn.ModuleList(
            MelMagnitudes(sampling_rate, size, hop, bins) for size, hop, bins in _RESOLUTIONS
        )

    def forward(self, made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Of waveforms `[batch, samples]`; a number."""
        total = torch.zeros((), device=made.device)
        for mel in self.mels:
            own, wanted = mel(made), mel(real)
            logs = ((own + _FLOOR).log() - (wanted + _FLOOR).log()).abs().mean()
            total = total + logs + 0.5 * (own - wanted).abs().mean()
        return total / len(self.mels)


def commitment(latents: torch.Tensor, parts: torch.Tensor) -> torch.Tensor:
    """Mean square of what is left of latents `[batch, frames, d]` after each of the books' parts.

    Args:
        latents: of the encoder.
        parts: `[books, batch, frames, d]`, see `ResidualQuantizer`.
    """
    left = latents - parts.detach().cumsum(0)
    return left.square().mean()


def straight_through(latents: torch.Tensor, quantized: torch.Tensor) -> torch.Tensor:
    """`quantized` going forward, and the gradient of `latents` going back."""
    return latents + (quantized - latents).detach()


class LetterHead(nn.Module):
    """Tells the letters of every 20 ms from what the first codebook says of a frame.

    Args:
        latent_size: width of an entry.
        classes: letters and the blank.
        per_frame: letters of a frame.
    """

    def __init__(self, latent_size: int, classes: int, per_frame: int) -> None:
        super().__init__()
        self.per_frame = per_frame
        self.project = nn.Linear(latent_size, classes * per_frame)

    def forward(self, first: torch.Tensor, letters: torch.Tensor) -> tuple[torch.Tensor, float]:
        """Cross-entropy and share of letters that are told right.

        Args:
            first: entries of the first codebook `[batch, frames, latent_size]`.
            letters: `[batch, frames * per_frame]`; `UNKNOWN` ones don't count.
        """
        batch, frames, _ = first.shape
        logits = self.project(first).float().reshape(batch * frames * self.per_frame, -1)
        wanted = letters.flatten()
        known = wanted != UNKNOWN
        if not bool(known.any()):
            return logits.sum() * 0, 0.0
        right = (logits[known].argmax(-1) == wanted[known]).float().mean()
        return F.cross_entropy(logits[known], wanted[known]), float(right)
