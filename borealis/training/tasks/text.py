"""Plain text, for spelling."""

from __future__ import annotations

import numpy as np
import torch

from borealis.prompts import encode, plain
from borealis.training.data.batch import Batch
from borealis.training.tasks.task import Task

_ROW = 160  # tokens


class TextTask(Task):
    """Rows of sentences packed to equal length, every token learned."""

    def batch(self, step: int, progress: float, rng: np.random.Generator) -> Batch:
        """See `Task`."""
        sentences, tokenizer = self.context.sentences, self.context.tokenizer
        block = []
        for _ in range(max(1, self.stage.batch.tokens // _ROW)):
            row: list[int] = []
            while len(row) < _ROW:
                pick = sentences[int(rng.integers(len(sentences)))]
                row += [*encode(tokenizer, plain(tokenizer, pick)), tokenizer.eos_token_id]
            block.append(row[:_ROW])
        ids = torch.tensor(block)
        return Batch(mode="text", input_ids=ids, labels=ids.clone())
