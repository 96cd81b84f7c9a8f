"""What a batch holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

import numpy as np
import torch

from borealis.training.data.talks import Turn

Mode = Literal["text", "speech", "pseudo", "audio"]


class Batch(TypedDict, total=False):
    """One batch of a stage; which keys it has depends on what is learned.

    `mode` tells what is heard: nothing (`text`; `speech` with codec tokens), made-up posteriors
    (`pseudo`) or sound (`audio`).
    """

    mode: Mode
    # Conversations [rows, sequence]; labels are -100 outside the answers.
    input_ids: torch.Tensor
    labels: torch.Tensor
    position_ids: torch.Tensor  # where examples are packed into one row
    # What is heard: encoder frames [clips, T, d_model] or posteriors [clips, T, classes], and where
    # they are [clips, T] ...
    frames: torch.Tensor
    posteriors: torch.Tensor
    frame_mask: torch.Tensor
    # ... or log-mel features [windows, num_mel_bins, mel_frames], samples of each window, files.
    input_features: torch.Tensor
    num_samples: torch.Tensor
    clips: list[str]
    # Targets of auxiliary losses; see `borealis.training.losses`.
    ctc_targets: torch.Tensor
    ctc_lengths: torch.Tensor
    guide: torch.Tensor
    counted: torch.Tensor
    count_guide: torch.Tensor


@dataclass
class Example:
    """What a row of a batch was made from, for the targets of losses.

    Args:
        talk: its questions and answers.
        text: what is said.
        char_frames: frame of each character of `text`, where that is known (int `[chars]`).
    """

    talk: list[Turn]
    text: str = ""
    char_frames: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True)
class Vocabulary:
    """How conversations were spelled.

    Args:
        tokenizer: the language model's.
        audio_token_id: id of the placeholder.
        factor: encoder frames in an audio token.
        ctc_labels: letters of the CTC adapter; empty where there is none.
    """

    tokenizer: Any
    audio_token_id: int
    factor: int
    ctc_labels: str = ""

    @classmethod
    def of(cls, tokenizer: Any, config: Any) -> Vocabulary:
        """Of a model with this `BorealisConfig`."""
        labels = config.ctc_labels or ""
        return cls(tokenizer, config.audio_token_id, config.downsample_factor, labels)
