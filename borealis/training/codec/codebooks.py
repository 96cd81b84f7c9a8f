"""Codebooks that learn by moving averages: k-means to begin with, new places for dead entries."""

from __future__ import annotations

import torch
from torch import nn

from borealis.codec.nano.modeling import ResidualQuantizer, nearest_entries

_ROUNDS = 10  # of k-means
_HELD = 30_000  # vectors that k-means looks at


class CodebookLearner(nn.Module):
    """Moves the codebooks of a quantizer; its state is part of a checkpoint.

    Args:
        quantizer: whose codebooks move.
        decay: of the averages, a step.
        revive_below: entries that fewer vectors a step choose, on average, begin anew.
    """

    counts: torch.Tensor
    sums: torch.Tensor

    def __init__(self, quantizer: ResidualQuantizer, decay: float, revive_below: float) -> None:
        super().__init__()
        self.decay, self.revive_below = decay, revive_below
        books = quantizer.codebooks
        self.register_buffer("counts", torch.ones(books.shape[:2], device=books.device))
        self.register_buffer("sums", books.detach().clone())
        self._quantizer = [quantizer]  # in a list: no part of this module's state

    @torch.no_grad()
    def begin(self, latents: torch.Tensor, *, per_step: int) -> None:
        """Set all codebooks by k-means, each on what those before it left over.

        Args:
            latents: `[vectors, latent_size]`.
            per_step: vectors that a step will bring.
        """
        rest = latents[torch.randperm(len(latents))[:_HELD]]
        for number, book in enumerate(self._quantizer[0].codebooks):
            book.copy_(_k_means(rest, len(book)))
            nearest = nearest_entries(rest, book)
            counts = torch.bincount(nearest, minlength=len(book)) * (per_step / len(rest))
            self.counts[number] = counts + 0.3  # nobody is dead before the first step
            self.sums[number] = book * self.counts[number][:, None]
            rest = rest - book[nearest]

    @torch.no_grad()
    def update(self, latents: torch.Tensor, codes: torch.Tensor, parts: torch.Tensor) -> None:
        """Move the codebooks that a step used.

        Args:
            latents: `[batch, frames, latent_size]`.
            codes: `[batch, books, frames]`, of `ResidualQuantizer`, as are `parts`
                `[books, batch, frames, latent_size]`.
        """
        rest = latents.flatten(0, 1)
        for number, part in enumerate(parts):
            chosen = codes[:, number].flatten()
            self._move(number, rest, chosen)
            rest = rest - part.flatten(0, 1)

    def _move(self, number: int, vectors: torch.Tensor, chosen: torch.Tensor) -> None:
        book = self._quantizer[0].codebooks[number]
        counts, sums = self.counts[number], self.sums[number]
        fresh = torch.bincount(chosen, minlength=len(book)).to(counts.dtype)
        counts.lerp_(fresh, 1 - self.decay)
        sums.lerp_(torch.zeros_like(sums).index_add_(0, chosen, vectors), 1 - self.decay)
        dead = (counts < self.revive_below).nonzero()[:, 0]
        if len(dead):
            places = vectors[torch.randint(len(vectors), (len(dead),))]
            counts[dead] = 0.3
            sums[dead] = 0.3 * places
        book.copy_(sums / counts[:, None])


def _k_means(vectors: torch.Tensor, size: int) -> torch.Tensor:
    """`size` centres of `vectors` `[n, d]` (Lloyd's algorithm); empty ones move to a vector."""
    spread = len(vectors) >= size
    first = torch.randperm(len(vectors))[:size] if spread else torch.randint(len(vectors), (size,))
    centres = vectors[first].clone()
    for _ in range(_ROUNDS):
        nearest = nearest_entries(vectors, centres)
        counts = torch.bincount(nearest, minlength=size)
        sums = torch.zeros_like(centres).index_add_(0, nearest, vectors)
        elsewhere = vectors[torch.randint(len(vectors), (size,))]
        means = sums / counts.clamp(min=1)[:, None]
        centres = torch.where(counts[:, None] > 0, means, elsewhere)
    return centres
