"""Adapters: encoder frames at 50 Hz -> audio tokens in the language model's space."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from transformers.activations import ACT2FN

from borealis.model.configuration import BorealisConfig


def concat_frames(frames: torch.Tensor, factor: int) -> torch.Tensor:
    """Join every `factor` neighbouring frames into one vector.

    Args:
        frames: `[windows, T, d]`; a tail shorter than `factor` is filled with zeros.
        factor: frames per token.

    Returns:
        `[windows, ceil(T / factor), factor * d]`.
    """
    windows, length, width = frames.shape
    if short := -length % factor:
        frames = F.pad(frames, (0, 0, 0, short))
    return frames.reshape(windows, (length + short) // factor, factor * width)


def _without_logits(
    adapter: nn.Module, frames: torch.Tensor, mask: torch.Tensor | None = None
) -> tuple[torch.Tensor, None]:
    """What `CTCAdapter.forward_with_logits` is to the adapters that read no letters."""
    return adapter(frames, mask), None


class MLPAdapter(nn.Module):
    """Two bias-free linear layers with GELU over four concatenated frames.

    The simplest projector that works at full size: SLAM-ASR (arXiv 2402.08846), Voxtral
    (arXiv 2507.13264) and the published Borealis use the same shape.
    """

    def __init__(self, config: BorealisConfig) -> None:
        super().__init__()
        self.factor = config.downsample_factor
        hidden_size = config.text_config.hidden_size
        middle = config.adapter_hidden_size or hidden_size
        self.w_in = nn.Linear(config.audio_config.d_model * self.factor, middle, bias=False)
        self.act = ACT2FN[config.adapter_hidden_act]
        self.w_out = nn.Linear(middle, hidden_size, bias=False)

    def forward(self, frames: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Map `[windows, T, d_model]` to `[windows, ceil(T / factor), hidden_size]`."""
        return self.w_out(self.act(self.w_in(concat_frames(frames, self.factor))))

    forward_with_logits = _without_logits


class ResidualMLP(nn.Module):
    """Pre-norm feed-forward layer with a residual connection."""

    def __init__(self, width: int, inner: int, act: str, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.w_in = nn.Linear(width, inner)
        self.act = ACT2FN[act]
        self.w_out = nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.dropout(self.w_out(self.act(self.w_in(self.norm(x)))))


class DeepAdapter(nn.Module):
    """Input projection and residual MLP layers over concatenated frames (no mixing in time)."""

    def __init__(self, config: BorealisConfig) -> None:
        super().__init__()
        self.factor = config.downsample_factor
        hidden_size = config.text_config.hidden_size
        width = config.adapter_hidden_size or hidden_size
        self.w_in = nn.Linear(config.audio_config.d_model * self.factor, width)
        self.layers = nn.ModuleList(
            ResidualMLP(
                width,
                int(width * config.adapter_expansion),
                config.adapter_hidden_act,
                config.adapter_dropout,
            )
            for _ in range(config.adapter_num_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.w_out = nn.Linear(width, hidden_size, bias=False)

    def forward(self, frames: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Map `[windows, T, d_model]` to `[windows, ceil(T / factor), hidden_size]`."""
        x = self.w_in(concat_frames(frames, self.factor))
        for layer in self.layers:
            x = layer(x)
        return self.w_out(self.norm(x))

    forward_with_logits = _without_logits


class CTCBlock(nn.Module):
    """Depthwise convolution, self-attention and feed-forward, each pre-norm and residual.

    A Conformer block (arXiv 2005.08100) without the second half feed-forward. The convolution
    gives the block its sense of order, so attention needs no positions of its own.
    """

    def __init__(self, config: BorealisConfig, width: int) -> None:
        super().__init__()
        kernel = config.adapter_conv_kernel_size
        self.num_heads = config.adapter_num_heads
        self.conv_norm = nn.LayerNorm(width)
        self.conv_in = nn.Linear(width, 2 * width)
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.conv_out = nn.Linear(width, width)
        self.attn_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attn_out = nn.Linear(width, width)
        self.mlp = ResidualMLP(
            width,
            int(width * config.adapter_expansion),
            config.adapter_hidden_act,
            config.adapter_dropout,
        )
        self.dropout = nn.Dropout(config.adapter_dropout)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`x` is `[windows, T, width]`, `mask` is `[windows, T]`, true where there is audio."""
        y = F.glu(self.conv_in(self.conv_norm(x)), dim=-1)
        # Zeros, as the convolution's own padding, so that a batch gives what a single clip gives.
        y = y.masked_fill(~mask[..., None], 0.0)
        y = F.silu(self.conv(y.transpose(1, 2)).transpose(1, 2))
        x = x + self.dropout(self.conv_out(y))
        windows, length, width = x.shape
        qkv = self.qkv(self.attn_norm(x)).view(windows, length, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [windows, heads, T, width / heads]
        keys = mask[:, None, None, :]
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=keys)
        x = x + self.dropout(self.attn_out(y.transpose(1, 2).reshape(windows, length, width)))
        return self.mlp(x)


class CTCAdapter(nn.Module):
    """Reads characters with CTC and hands the language model embedded characters plus sound.

    A small language model trained from scratch can't learn attention to raw speech features from
    a few hours of audio. Here every 20 ms frame is classified (CTC, Graves et al. 2006), the
    posterior picks a mixture of learned character embeddings, and the four frames of an audio
    token are summed; an ordinary `mlp` path beside it carries the rest: voice, language, noise.
    """

    def __init__(self, config: BorealisConfig) -> None:
        super().__init__()
        self.factor = config.downsample_factor
        self.stack = config.adapter_frame_stack
        hidden_size = config.text_config.hidden_size
        width = config.adapter_hidden_size or hidden_size
        self.num_classes = len(config.ctc_labels or "") + 1
        self.norm_in = nn.LayerNorm(config.audio_config.d_model)
        self.w_in = nn.Linear(config.audio_config.d_model * self.stack, width)
        self.blocks = nn.ModuleList(
            CTCBlock(config, width) for _ in range(config.adapter_num_layers)
        )
        self.norm_out = nn.LayerNorm(width)
        self.ctc_head = nn.Linear(width, self.stack * self.num_classes)
        # One embedding for each class and place of the frame within the audio token.
        self.label_embeddings = nn.Parameter(
            torch.zeros(self.factor, self.num_classes, hidden_size)
        )
        self.sound = nn.Sequential(
            nn.Linear(config.audio_config.d_model * self.factor, hidden_size),
            ACT2FN[config.adapter_hidden_act],
            nn.Linear(hidden_size, hidden_size, bias=False),
        )

    def encode(self, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """CTC logits of every 20 ms frame.

        Args:
            frames: encoder frames `[windows, T, d_model]`.
            mask: `[windows, T]`, true where there is audio.

        Returns:
            `[windows, T, num_classes]`; class 0 is the blank.
        """
        frames = self.norm_in(frames).masked_fill(~mask[..., None], 0.0)
        x = self.w_in(concat_frames(frames, self.stack))
        short_mask = mask[:, :: self.stack]
        for block in self.blocks:
            x = block(x, short_mask)
        logits = self.ctc_head(self.norm_out(x))  # [windows, ceil(T / stack), stack * num_classes]
        every = logits.reshape(frames.shape[0], -1, self.num_classes)
        return every[:, : frames.shape[1]]

    def embed_posteriors(self, posteriors: torch.Tensor) -> torch.Tensor:
        """Posteriors `[windows, T, num_classes]` -> `[windows, T / factor, hidden_size]`."""
        windows, length, classes = posteriors.shape
        grouped = posteriors.reshape(windows, length // self.factor, self.factor * classes)
        return grouped @ self.label_embeddings.flatten(0, 1).to(grouped.dtype)

    def forward(self, frames: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Map `[windows, T, d_model]` to `[windows, ceil(T / factor), hidden_size]`."""
        return self.forward_with_logits(frames, mask)[0]

    def forward_with_logits(
        self, frames: torch.Tensor, mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Audio tokens and the CTC logits `[windows, T, num_classes]` they came from."""
        if short := -frames.shape[1] % self.factor:
            frames = F.pad(frames, (0, 0, 0, short))
            mask = None if mask is None else F.pad(mask, (0, short))
        if mask is None:
            mask = frames.new_ones(frames.shape[:2], dtype=torch.bool)
        logits = self.encode(frames, mask)
        # Softmax in float32: half precision rounds small posteriors away.
        posteriors = logits.float().softmax(-1).to(frames.dtype) * mask[..., None]
        heard = self.embed_posteriors(posteriors)
        frames = frames.masked_fill(~mask[..., None], 0.0)
        return heard + self.sound(concat_frames(frames, self.factor)), logits


ADAPTERS = {"mlp": MLPAdapter, "deep": DeepAdapter, "ctc": CTCAdapter}
