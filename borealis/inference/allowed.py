"""Greedy decoding that can only end in one of a few answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList


def only_these(
    answers: Sequence[Sequence[str]], tokenizer: Any, inputs: Mapping[str, torch.Tensor]
) -> dict[str, Any]:
    """Arguments of `generate` that leave each row its answers; none where every row has any.

    Args:
        answers: of each row the texts it may have; none where it may have any.
        tokenizer: spells them.
        inputs: of the processor; `input_ids` are `[rows, prompt]`.
    """
    if not any(answers):
        return {}
    allowed = AllowedAnswers(answers, tokenizer, inputs["input_ids"].shape[1])
    return {"logits_processor": LogitsProcessorList([allowed])}


class AllowedAnswers(LogitsProcessor):
    """Leaves each row only the tokens that go on towards one of its answers.

    Args:
        answers: of each row the texts it may have; none where it may have any.
        tokenizer: spells them.
        prompt_length: tokens of `input_ids` before the answer.
    """

    def __init__(
        self, answers: Sequence[Sequence[str]], tokenizer: Any, prompt_length: int
    ) -> None:
        self.prompt_length = prompt_length
        self.spelled = [
            [
                [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
                for text in texts
            ]
            for texts in answers
        ]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores `[rows, vocab_size]`, minus infinity where no answer goes on."""
        scores = scores.clone()
        for row, (made, spelled) in enumerate(
            zip(input_ids[:, self.prompt_length :].tolist(), self.spelled, strict=True)
        ):
            done = len(made)
            following = {ids[done] for ids in spelled if len(ids) > done and ids[:done] == made}
            if following:  # none: any answer may be given here, or this one has ended
                kept = torch.tensor(sorted(following), device=scores.device)
                left = scores[row, kept]
                scores[row] = -torch.inf
                scores[row, kept] = left
        return scores
