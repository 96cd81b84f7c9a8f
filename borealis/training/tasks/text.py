"""Plain text, for spelling, and chat without a recording."""

from __future__ import annotations

import numpy as np
import torch

from borealis.prompts import encode, plain
from borealis.training.data.batch import Batch
from borealis.training.recipe import StageSection
from borealis.training.tasks.task import BatchContext
from borealis.training.tasks.turns import chat_turn

_ROW = 160  # tokens
_TALK = 120  # tokens, about


class TextTask:
    """Rows of sentences packed to equal length, every token learned; or chat without audio.

    Args:
        stage: `batch_tokens`, `text`.
        context: what batches are made of.
    """

    def __init__(self, stage: StageSection, context: BatchContext) -> None:
        self.stage, self.context = stage, context

    def batch(self, step: int, progress: float, rng: np.random.Generator) -> Batch:
        """See `Task`."""
        context, tokens = self.context, self.stage.batch_tokens
        if self.stage.kind == "instruct" and rng.random() < self.stage.text.chat:
            talks = [[chat_turn(context.phrasings, rng)] for _ in range(max(1, tokens // _TALK))]
            return Batch(mode="text") | context.prompts(talks, [0] * len(talks))
        sentences, tokenizer = context.sentences, context.tokenizer
        block = []
        for _ in range(max(1, tokens // _ROW)):
            row: list[int] = []
            while len(row) < _ROW:
                pick = sentences[int(rng.integers(len(sentences)))]
                row += [*encode(tokenizer, plain(tokenizer, pick)), tokenizer.eos_token_id]
            block.append(row[:_ROW])
        ids = torch.tensor(block)
        return Batch(mode="text", input_ids=ids, labels=ids.clone())
