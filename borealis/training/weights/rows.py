"""Embeddings of a codec's tokens that learn by themselves, put apart for a stage.

The rest of the matrices may be frozen, in any number format, below LoRA, or learn at another rate:
gradients, moments of the optimizer and checkpoints are those of the new rows, not of the whole
vocabulary. When a stage ends the rows are written back, and files look as before.

Our own and not peft's `trainable_token_indices`: that copies the whole matrix in every forward
pass, and LoRA is put on the language model here, which doesn't have the tied output layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from borealis.errors import RecipeError
from borealis.training.start.sizes import num_speech_tokens

if TYPE_CHECKING:
    from borealis.model import BorealisForConditionalGeneration

# Name of the module in a model, and so the beginning of its parameters' names.
NAME = "speech"


class SpeechRows(nn.Module):
    """Rows of a codec's tokens and of voices: `input [tokens, hidden_size]`, and `output` alike.

    If the output layer shares the embedding matrix, `input` is read for both and there is no
    `output`. While they are in a model, the matrices' own rows of these tokens aren't used.

    Args:
        model: has the tokens.
    """

    def __init__(self, model: BorealisForConditionalGeneration) -> None:
        super().__init__()
        assert model.config.speech is not None
        self.first = model.config.speech["first_id"]
        self.end = self.first + num_speech_tokens(model.config.speech)
        embeddings: Any = model.get_input_embeddings()
        output: Any = model.get_output_embeddings()
        self.input = self._of(embeddings)
        self.output = None if model.config.tie_word_embeddings else self._of(output)
        # In a tuple, where a module doesn't look for parameters.
        self._layers = (embeddings, output)
        self._hooks = (
            embeddings.register_forward_hook(self._read),
            output.register_forward_hook(self._write),
        )

    def _of(self, layer: Any) -> nn.Parameter:
        return nn.Parameter(layer.weight.data[self.first : self.end].float().clone())

    def _read(self, layer: Any, args: tuple[Any, ...], embeds: torch.Tensor) -> torch.Tensor:
        """Embeddings `[..., hidden_size]` of ids `[...]`, with these rows where ids are theirs."""
        ids = args[0]
        here = (ids >= self.first) & (ids < self.end)
        rows = F.embedding((ids - self.first).where(here, 0), self.input)
        scale = getattr(layer, "embed_scale", None)  # Gemma's embeddings multiply what they read
        rows = rows if scale is None else rows * scale
        return torch.where(here[..., None], rows.to(embeds.dtype), embeds)

    def _write(self, layer: Any, args: tuple[Any, ...], logits: torch.Tensor) -> torch.Tensor:
        """Logits `[..., vocab_size]`, those of these tokens by these rows; no copy is made."""
        rows = self.input if self.output is None else self.output
        bias = None if layer.bias is None else layer.bias[self.first : self.end]
        logits[..., self.first : self.end] = F.linear(args[0], rows.to(args[0].dtype), bias)
        return logits

    @torch.no_grad()
    def take_out(self) -> None:
        """Write the rows into the matrices, and leave the layers as they were found."""
        for hook in self._hooks:
            hook.remove()
        embeddings, output = self._layers
        pairs = [(embeddings, self.input)]
        if self.output is not None:
            pairs.append((output, self.output))
        for layer, rows in pairs:
            # What has been learned would be lost between the steps of bfloat16.
            layer.weight.data = layer.weight.data.float()
            layer.weight.data[self.first : self.end] = rows


def check_rows(model: BorealisForConditionalGeneration, stage: str) -> None:
    """Whether a model has tokens of a codec.

    Args:
        model: of the run.
        stage: name of the stage that is to train them.

    Raises:
        RecipeError: it hasn't.
    """
    if model.config.speech is None:
        raise RecipeError(
            f"Stage '{stage}': trainable names {NAME}, and the model has no tokens of a codec: "
            "say which by model.speech."
        )


def row_names(model: BorealisForConditionalGeneration) -> list[str]:
    """Names of the parameters that `add_rows` adds, without the `model.` before them."""
    names = ["input"] if model.config.tie_word_embeddings else ["input", "output"]
    return [f"{NAME}.{name}" for name in names]


def add_rows(model: BorealisForConditionalGeneration) -> None:
    """Put the embeddings of the codec's tokens apart; before LoRA, which may wrap the layers."""
    model.model.add_module(NAME, SpeechRows(model))


def merge_rows(model: BorealisForConditionalGeneration) -> None:
    """Undo `add_rows`, before LoRA is merged: the rows stay as they have become."""
    rows: Any = getattr(model.model, NAME)
    rows.take_out()
    delattr(model.model, NAME)
