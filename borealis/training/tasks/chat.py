"""Chat without a recording: what the model is, and what it says where the sound is missing."""

from __future__ import annotations

import numpy as np

from borealis.training.data.batch import Batch
from borealis.training.recipe.tasks import ChatSection
from borealis.training.tasks.task import Task
from borealis.training.tasks.turns import chat_turn

_TALK = 120  # tokens, about


class ChatTask(Task):
    """Conversations of one turn."""

    settings: ChatSection

    def batch(self, step: int, progress: float, rng: np.random.Generator) -> Batch:
        """See `Task`."""
        count = max(1, self.stage.batch.tokens // _TALK)
        phrasings, about = self.context.phrasings, self.settings.about
        talks = [[chat_turn(phrasings, rng, about)] for _ in range(count)]
        return Batch(mode="text") | self.context.prompts(talks, [0] * len(talks))
