"""Sizes of our own codec."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from borealis.errors import CheckpointError


class BorealisCodecConfig(PreTrainedConfig):
    """Everything that fixes the architecture of `BorealisCodec`.

    Args:
        sampling_rate: Hz.
        hop_length: samples a frame of codes stands for (640: 25 frames a second).
        num_codebooks: stages of the residual quantizer.
        codebook_size: entries of each.
        latent_size: width of what is quantized.
        hidden_size: width of encoder and decoder.
        intermediate_size: width inside their blocks.
        kernel_size: frames that a block looks at.
        encoder_layers: blocks before the quantizer, at the frame rate of the codes.
        decoder_layers: blocks after it, at the frame rate of the synthesis.
        mel_hop: samples between log-mel frames of the input; divides `hop_length`.
        mel_window: samples of their window.
        num_mel_bins: channels of them.
        synthesis_hop: samples between spectra of the output; divides `hop_length`.
        synthesis_window: samples of each of these spectra.

    Raises:
        CheckpointError: the sizes don't go together.
    """

    model_type = "borealis_codec"

    def __init__(
        self,
        sampling_rate: int = 16_000,
        hop_length: int = 640,
        num_codebooks: int = 8,
        codebook_size: int = 1024,
        latent_size: int = 64,
        hidden_size: int = 256,
        intermediate_size: int = 768,
        kernel_size: int = 7,
        encoder_layers: int = 4,
        decoder_layers: int = 6,
        mel_hop: int = 160,
        mel_window: int = 512,
        num_mel_bins: int = 80,
        synthesis_hop: int = 320,
        synthesis_window: int = 1024,
        **kwargs: Any,
    ) -> None:
        for name, part in (("mel_hop", mel_hop), ("synthesis_hop", synthesis_hop)):
            if hop_length % part:
                raise CheckpointError(f"{name} is {part}; it must divide hop_length {hop_length}.")
        for name, hop, window in (
            ("mel_window", mel_hop, mel_window),
            ("synthesis_window", synthesis_hop, synthesis_window),
        ):
            if window < hop or (window - hop) % 2:
                raise CheckpointError(
                    f"{name} is {window}; it must be longer than its hop {hop} by an even number."
                )
        if not kernel_size % 2:
            raise CheckpointError(f"kernel_size is {kernel_size}; it must be odd.")
        self.sampling_rate = sampling_rate
        self.hop_length = hop_length
        self.num_codebooks = num_codebooks
        self.codebook_size = codebook_size
        self.latent_size = latent_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.kernel_size = kernel_size
        self.encoder_layers = encoder_layers
        self.decoder_layers = decoder_layers
        self.mel_hop = mel_hop
        self.mel_window = mel_window
        self.num_mel_bins = num_mel_bins
        self.synthesis_hop = synthesis_hop
        self.synthesis_window = synthesis_window
        super().__init__(**kwargs)

    @property
    def frame_rate(self) -> float:
        """Frames of codes a second."""
        return self.sampling_rate / self.hop_length

    @property
    def encoder_context(self) -> int:
        """Frames of codes on either side that a frame's codes depend on, rounded up."""
        reach = self.encoder_layers * (self.kernel_size // 2)
        return reach + -(-(self.mel_window - self.mel_hop) // (2 * self.hop_length))

    @property
    def decoder_context(self) -> int:
        """Frames of codes on either side that a frame of sound depends on, rounded up."""
        reach = (self.decoder_layers + 1) * (self.kernel_size // 2) * self.synthesis_hop
        reach += (self.synthesis_window - self.synthesis_hop) // 2
        return -(-reach // self.hop_length)
