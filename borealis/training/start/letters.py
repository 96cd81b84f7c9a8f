"""How a language model made from scratch and a `ctc` adapter begin: as two ends of one alphabet."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from borealis.model import BorealisForConditionalGeneration


@torch.no_grad()
def start_from_letters(
    model: BorealisForConditionalGeneration, tokenizer: Any, *, seed: int = 0, std: float = 0.06
) -> int:
    """Let every CTC letter begin as the embedding of the same letter in the text.

    Audio tokens then look like spelled text to a language model that has not learned anything yet,
    and attention finds the letter that comes next within a few hundred steps. With unrelated
    embeddings it took many times longer.

    Args:
        model: with adapter `ctc`; token embeddings and label embeddings are drawn anew.
        tokenizer: its letters are looked up in the vocabulary.
        seed: of the draw.
        std: standard deviation of the token embeddings; labels differ from them by 0.6 of it, so
            that the four places of a frame within an audio token can be told apart.

    Returns:
        How many labels have a token of their own.
    """
    generator = torch.Generator().manual_seed(seed)
    embeddings = cast(nn.Embedding, model.get_input_embeddings()).weight
    embeddings.normal_(0.0, std, generator=generator)
    labels = cast(
        torch.Tensor, model.model.adapter.label_embeddings
    )  # [places, classes, hidden_size]
    labels.normal_(0.0, 0.6 * std, generator=generator)
    found = 0
    for i, letter in enumerate(model.config.ctc_labels or "", 1):
        ids = tokenizer(letter, add_special_tokens=False).input_ids
        if len(ids) == 1:
            labels[:, i] += embeddings[ids[0]]
            found += 1
    return found
