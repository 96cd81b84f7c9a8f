"""Whisper's encoder, able to read a window shorter than 30 s."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.modeling_whisper import WhisperEncoder


class BorealisAudioTower(WhisperEncoder):
    """`WhisperEncoder` without its demand for exactly 3,000 log-mel frames.

    The positions are sinusoids fixed at training, so a shorter window uses the first of them.
    A full window gives what `WhisperEncoder` gives, bit for bit.
    """

    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """Encode windows of equal length.

        Args:
            input_features: log-mel features `[windows, num_mel_bins, mel_frames]`, `mel_frames`
                even and at most `2 * max_source_positions`.
            attention_mask: unused, kept for the library's signature.

        Returns:
            `last_hidden_state` of shape `[windows, mel_frames / 2, d_model]` (50 Hz).
        """
        limit = 2 * self.config.max_source_positions
        if input_features.shape[-1] > limit:
            raise ValueError(
                f"A window has {input_features.shape[-1]} log-mel frames and the encoder reads at "
                f"most {limit}; cut the audio with config.window_spans first."
            )
        hidden_states = nn.functional.gelu(self.conv1(input_features))
        hidden_states = nn.functional.gelu(self.conv2(hidden_states)).transpose(1, 2)
        hidden_states = hidden_states + self.embed_positions.weight[: hidden_states.shape[1]]
        hidden_states = nn.functional.dropout(hidden_states, self.dropout, self.training)
        for layer in self.layers:
            hidden_states = layer(hidden_states, None, **kwargs)
        return BaseModelOutput(last_hidden_state=self.layer_norm(hidden_states))
