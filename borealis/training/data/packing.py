"""Packing: the examples of a batch one after another in one row, each attending only to itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from borealis.errors import RecipeError
from borealis.training.data.batch import Batch
from borealis.training.data.talks import IGNORE

if TYPE_CHECKING:
    from borealis.model import BorealisForConditionalGeneration

Row = tuple[list[int], list[int]]

# Lengths of the two made-up examples of `check_packing`.
_FIRST, _SECOND = 6, 5
# How far an example may be from itself alone, relative to its size: room for bfloat16 and 4 bits.
_ROUNDING = 0.05


def padded(rows: Sequence[Row], pad: int) -> Batch:
    """Ids and labels of examples `[examples, longest]`, padded on the right.

    Args:
        rows: ids and labels of each example.
        pad: id of padding.
    """
    width = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), width), pad)
    labels = torch.full((len(rows), width), IGNORE)
    for row, (row_ids, row_labels) in enumerate(rows):
        ids[row, : len(row_ids)] = torch.tensor(row_ids)
        labels[row, : len(row_labels)] = torch.tensor(row_labels)
    return Batch(input_ids=ids, labels=labels)


def packed(rows: Sequence[Row]) -> Batch:
    """The same examples in one row without padding: `[1, tokens of all]`.

    Positions begin anew with each example; from that the attention masks of transformers see where
    one ends (and variable-length kernels of FlashAttention skip what lies between). The first token
    of an example is never learned: the last one before it belongs to another.

    Args:
        rows: ids and labels of each example.

    Returns:
        `input_ids`, `labels` and `position_ids`.
    """
    ids: list[int] = []
    labels: list[int] = []
    positions: list[int] = []
    for row_ids, row_labels in rows:
        ids += row_ids
        labels += [IGNORE, *row_labels[1:]]
        positions += range(len(row_ids))
    return Batch(
        input_ids=torch.tensor([ids]),
        labels=torch.tensor([labels]),
        position_ids=torch.tensor([positions]),
    )


@torch.no_grad()
def check_packing(model: BorealisForConditionalGeneration, stage_name: str) -> None:
    """Try on the language model itself whether packed examples are kept apart.

    Two short examples in one row: the second mustn't change with the first, and must be what it is
    alone. Models with a recurrent state that runs through the whole row fail it.

    Args:
        model: on the device it will train on.
        stage_name: for the error.

    Raises:
        RecipeError: this language model can't be packed.
    """
    decoder = model.model.language_model
    embeddings = model.get_input_embeddings()
    ids = torch.arange(_FIRST + _SECOND, device=embeddings.weight.device)
    other = ids.clone()
    other[:_FIRST] += _FIRST + _SECOND
    starts = torch.cat([ids[:_FIRST], ids[:_SECOND]])

    def second(tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        embeds = embeddings(tokens[None])
        out = decoder(inputs_embeds=embeds, position_ids=positions[None], use_cache=False)
        return out.last_hidden_state[0, -_SECOND:].float()

    training = model.training
    model.eval()
    try:
        alone = second(ids[_FIRST:], ids[:_SECOND])
        among, changed = second(ids, starts), second(other, starts)
    finally:
        model.train(training)
    size = alone.abs().mean()
    leak = (among - changed).abs().mean() / size
    shift = (among - alone).abs().mean() / size
    # Not "more than": a comparison with NaN mustn't pass.
    if not (leak < 1e-3 and shift < _ROUNDING):
        kind = model.config.text_config.model_type
        raise RecipeError(
            f"Stage '{stage_name}': packing: true doesn't work with a {kind} language model: "
            "examples in one row aren't kept apart. Leave packing out."
        )
