"""Numbering words: while a transcript is read, a layer learns which word it is at.

"How many words?" is one answer a conversation, and a small model learns from it to be about right.
Here every letter of a transcript in view is a lesson: a hidden state has to tell how many words
have begun so far, and the answer can be read off the last one. The classes are fixed random
directions, so nothing is added to the model. It is deep supervision (Lee et al., 2015,
arXiv:1409.5185) of a quantity that the answer needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from borealis.errors import RecipeError
from borealis.prompts import encode_with_offsets
from borealis.training.data.batch import Batch, Example, Vocabulary
from borealis.training.data.talks import Turn
from borealis.training.losses.auxiliary import Lesson, Passed
from borealis.training.losses.guides import answer_spans, attention_loss, find_tokens, word_frames

MOST = 63  # words that are told apart; more count as so many
_SEED = 12


@dataclass(frozen=True)
class CountingLoss:
    """See `AuxiliaryLoss`.

    Args:
        weight: of the loss, and of looking at the last number.
        layer: after which words are numbered, from 1.
    """

    weight: float
    layer: int
    names: ClassVar[tuple[str, ...]] = ("counting", "read_off")
    looks_inside: ClassVar[bool] = True

    def check(self, stage: str, layers: int) -> None:
        """See `AuxiliaryLoss`."""
        if self.layer >= layers:
            raise RecipeError(
                f"Stage {stage}: losses.counting.layer is {self.layer}; the language model has "
                f"{layers} layers, and one after it has to read the numbers."
            )

    def targets(
        self, lesson: Lesson, batch: Batch, examples: Sequence[Example], vocabulary: Vocabulary
    ) -> Batch:
        """`counted` `[N, 3]`: row, position, number; and guides to the last one."""
        if lesson == "transcription":
            return {}
        tokenizer, audio = vocabulary.tokenizer, vocabulary.audio_token_id
        counted: list[tuple[int, ...]] = []
        read_off: list[tuple[int, ...]] = []
        for row, example in enumerate(examples):
            ids, labels = batch["input_ids"][row], batch["labels"][row]
            found = word_numbers(example.talk, ids, tokenizer=tokenizer, audio_token_id=audio)
            counted += [(row, *numbered) for numbered in found]
            read_off += [(row, *guide) for guide in count_guides(example.talk, labels, found)]
        return {
            "counted": torch.tensor(counted, dtype=torch.long).reshape(-1, 3),
            "count_guide": torch.tensor(read_off, dtype=torch.long).reshape(-1, 4),
        }

    def wants(self, batch: Batch) -> dict[str, bool]:
        """The layer's states, and attention where a count is answered."""
        counting = len(batch.get("counted", ())) > 0
        read_off = counting and len(batch["count_guide"]) > 0
        return {"output_hidden_states": counting, "output_attentions": read_off}

    def values(self, batch: Batch, passed: Passed) -> dict[str, torch.Tensor]:
        """`counting`, and `read_off` where a count is answered."""
        wanted, outputs = self.wants(batch), passed.outputs
        parts = {}
        if wanted["output_hidden_states"]:
            states = outputs.hidden_states[self.layer]
            parts["counting"] = numbering_loss(states, batch["counted"])
        if wanted["output_attentions"]:
            # The first layer that sees the numbers.
            parts["read_off"] = attention_loss(
                outputs.attentions, batch["count_guide"], [self.layer]
            )
        return parts


def word_numbers(
    talk: Sequence[Turn], ids: torch.Tensor, *, tokenizer: Any, audio_token_id: int
) -> list[tuple[int, int]]:
    """Positions of a given transcript's tokens, and how many words have begun there.

    Args:
        talk: the turns; only one that begins with a given transcript has any.
        ids: the conversation `[sequence]`.
        tokenizer: the language model's.
        audio_token_id: id of the placeholder.
    """
    if not talk or not talk[0].given or not talk[0].answer:
        return []
    text = talk[0].answer
    tokens, offsets = encode_with_offsets(tokenizer, text)
    begin = int((ids == audio_token_id).nonzero().max()) + 1
    place = find_tokens(ids, tokens, begin, len(ids))
    if place is None:
        return []
    words = word_frames(text, np.arange(len(text)))
    numbers = np.zeros(len(text), np.int64)
    for number, (_, at) in enumerate(words, 1):
        numbers[at] = number
    spans = enumerate(offsets, place)
    found = [(at, int(numbers[a:b].max())) for at, (a, b) in spans if numbers[a:b].any()]
    end = place + len(tokens)  # the token that ends the transcript
    return [*found, (end, len(words))]


def count_guides(
    talk: Sequence[Turn], labels: torch.Tensor, counted: Sequence[tuple[int, int]]
) -> list[tuple[int, int, int]]:
    """Where the answer to "how many words?" is read off: the transcript's last letter and end.

    Args:
        talk: the turns.
        labels: -100 outside the answers `[sequence]`.
        counted: `word_numbers` of the talk.

    Returns:
        Guides for each token of such an answer, as of `borealis.training.losses.guides.guides`.
    """
    if len(counted) < 2:
        return []
    first, last = counted[-2][0], counted[-1][0]
    answers = zip([turn for turn in talk if not turn.given], answer_spans(labels), strict=True)
    return [
        (place - 1, first, last)
        for turn, (start, end) in answers
        if turn.task == "word_count"
        for place in range(start, end - 1)  # the end mark needs no number
    ]


def numbering_loss(hidden: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the word numbers.

    Args:
        hidden: states of one layer `[batch, sequence, hidden_size]`.
        counted: `[N, 3]`: row, position, number of words.
    """
    row, place, number = counted.unbind(1)
    states = hidden[row, place].float()
    states = F.rms_norm(states, states.shape[-1:])
    logits = states @ directions(hidden.shape[-1]).to(states) / states.shape[-1] ** 0.5
    return F.cross_entropy(logits, number.clamp(max=MOST))


def directions(hidden_size: int) -> torch.Tensor:
    """A direction of ones and minus ones for each number `[hidden_size, MOST + 1]`."""
    drawn = torch.Generator().manual_seed(_SEED)
    return torch.randint(2, (hidden_size, MOST + 1), generator=drawn) * 2.0 - 1
