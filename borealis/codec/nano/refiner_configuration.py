"""Sizes of the network that completes codes, and the symbols and voices that it knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedConfig

from borealis.errors import CheckpointError


class CodeRefinerConfig(PreTrainedConfig):
    """Everything that fixes the architecture of `CodeRefiner`.

    Args:
        symbols: characters that can be spoken; see `borealis.speech.symbols`.
        voices: names, in the order of their embeddings. Before them stands the unknown voice.
        given_codebooks: how many of the codec's codebooks are given, the coarsest ones.
        num_codebooks: that the codec has.
        codebook_size: entries of each.
        latent_size: width of the sum of entries that the codec's decoder reads.
        hidden_size: width of the network.
        intermediate_size: width inside its blocks.
        kernel_size: frames that a block looks at.
        num_layers: blocks.
        neighbours: symbols to both sides of its own that a frame knows.
        counted_frames: a frame knows how far it is from the ends of its symbol up to so many
            frames.

    Raises:
        CheckpointError: the sizes don't go together.
    """

    model_type = "borealis_code_refiner"

    def __init__(
        self,
        symbols: str = " .",
        voices: Sequence[str] = (),
        given_codebooks: int = 1,
        num_codebooks: int = 8,
        codebook_size: int = 1024,
        latent_size: int = 64,
        hidden_size: int = 256,
        intermediate_size: int = 768,
        kernel_size: int = 7,
        num_layers: int = 6,
        neighbours: int = 2,
        counted_frames: int = 8,
        **kwargs: Any,
    ) -> None:
        if not 1 <= given_codebooks < num_codebooks:
            raise CheckpointError(
                f"given_codebooks is {given_codebooks}; it must be 1 or more and less than "
                f"num_codebooks {num_codebooks}."
            )
        if not kernel_size % 2:
            raise CheckpointError(f"kernel_size is {kernel_size}; it must be odd.")
        for name, listed in (("symbols", list(symbols)), ("voices", list(voices))):
            if len(set(listed)) < len(listed):
                raise CheckpointError(f"{name} names something twice; each may stand there once.")
        self.symbols = symbols
        self.voices = list(voices)
        self.given_codebooks = given_codebooks
        self.num_codebooks = num_codebooks
        self.codebook_size = codebook_size
        self.latent_size = latent_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.kernel_size = kernel_size
        self.num_layers = num_layers
        self.neighbours = neighbours
        self.counted_frames = counted_frames
        super().__init__(**kwargs)

    @property
    def context(self) -> int:
        """Frames on either side that a frame's codes depend on."""
        return self.num_layers * (self.kernel_size // 2)
