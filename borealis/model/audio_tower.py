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
        return BaseModelOutput(
            last_hidden_state=self.finish(self.begin(input_features, 0, **kwargs), 0, **kwargs)
        )

    def begin(self, input_features: torch.Tensor, layers: int, **kwargs: Any) -> torch.Tensor:
        """The convolutions and the first `layers` layers; `finish` does the rest.

        Args:
            input_features: as for `forward`.
            layers: how many layers, from 0.

        Returns:
            `[windows, mel_frames / 2, d_model]`.
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
        for layer in self.layers[:layers]:
            hidden_states = layer(hidden_states, None, **kwargs)
        return hidden_states

    def finish(
        self,
        hidden_states: torch.Tensor,
        layers: int,
        mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """The layers after the first `layers`, and the last normalisation.

        Args:
            hidden_states: what `begin` gave, `[windows, T, d_model]`.
            layers: how many layers it went through.
            mask: `[windows, T]`, true where the window is; the rest fills a batch up and isn't
                listened to.

        Returns:
            Encoder frames `[windows, T, d_model]`.
        """
        added = None
        if mask is not None:
            # Far below any score and yet inside float16.
            added = hidden_states.new_zeros(mask.shape).masked_fill(~mask, -1e4)[:, None, None]
        for layer in self.layers[layers:]:
            hidden_states = layer(hidden_states, added, **kwargs)
        return self.layer_norm(hidden_states)
