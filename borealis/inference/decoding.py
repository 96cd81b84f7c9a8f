"""How a transcript is searched for: weights, number of beams, and what all beams agree on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from borealis.arguments import number, whole
from borealis.errors import PromptError

_GUESS_EVERY = 8  # tokens


@dataclass(frozen=True)
class Decoding:
    """Settings of one search.

    Args:
        ctc_weight: share of the CTC prefix score, 0 to 1 (`borealis.inference.joint`).
        ngram_weight: weight of the letter n-gram on top, 0 to 1 (`borealis.ctc.ngram`).
        num_beams: spellings followed at once.
    """

    ctc_weight: float = 0.0
    ngram_weight: float = 0.0
    num_beams: int = 1

    @classmethod
    def choose(
        cls,
        config: Any,
        ctc_weight: float | None = None,
        ngram_weight: float | None = None,
        num_beams: int | None = None,
    ) -> Decoding:
        """What was asked for; where nothing was, what the checkpoint's `config` says.

        Raises:
            PromptError: a value is no number or out of range, or an n-gram is to work without CTC.
        """
        if ctc_weight is None:
            ctc_weight = getattr(config, "ctc_decoding_weight", 0.0)
        ctc_weight = number("ctc_weight", ctc_weight, 0, 1)
        asked = ngram_weight
        if ngram_weight is None:
            ngram_weight = getattr(config, "ngram_decoding_weight", 0.0) if ctc_weight else 0.0
        ngram_weight = number("ngram_weight", ngram_weight, 0, 1)
        if asked and not ctc_weight:
            raise PromptError("ngram_weight needs ctc_weight above 0: the n-gram follows CTC.")
        if num_beams is None:
            num_beams = int(getattr(config, "decoding_num_beams", 1))
        return cls(ctc_weight, ngram_weight, whole("num_beams", num_beams))


class Agreement:
    """Tells what all beams of one search have in common, as soon as they do.

    Whatever the search chooses in the end begins with it: a spelling can only end where the end is
    among a beam's best tokens, and every such spelling is counted in.

    Args:
        tell: called with each run of new tokens `[length]` that is settled.
        eos_token_id: the token that ends an answer.
        guess: called with all of the best beam, now and then and when something is settled.
    """

    def __init__(
        self,
        tell: Callable[[torch.Tensor], None],
        eos_token_id: int,
        guess: Callable[[list[int]], None] | None = None,
    ) -> None:
        self.tell, self.eos_token_id, self.guess = tell, eos_token_id, guess
        self.told: list[int] = []
        self._ended: list[int] | None = None  # what all that may have ended begin with

    def step(self, input_ids: torch.Tensor, scores: torch.Tensor) -> None:
        """Look at the beams `[beams, length]` and at their next-token scores `[beams, vocab]`.

        The best beam comes first.
        """
        beams = input_ids.tolist()
        told = len(self.told)
        best = scores.topk(min(len(beams), scores.shape[-1])).indices
        for beam, tokens in zip(beams, best.tolist(), strict=True):
            if self.eos_token_id in tokens:
                self._ended = beam if self._ended is None else _common(self._ended, beam)
        settled = self._ended
        for beam in beams:
            settled = beam if settled is None else _common(settled, beam)
        if settled is not None:
            self.finish(settled)
        news = len(self.told) > told or len(beams[0]) % _GUESS_EVERY == 0
        if self.guess is not None and news and beams[0]:
            self.guess(beams[0])

    def finish(self, tokens: list[int]) -> None:
        """Tell what is new in `tokens`, which begin with what was told."""
        fresh = tokens[len(self.told) :]
        if fresh:
            self.told = self.told + fresh
            self.tell(torch.tensor(fresh))


def _common(one: list[int], other: list[int]) -> list[int]:
    """The longest beginning that two spellings share."""
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return one[:place]
    return one[: min(len(one), len(other))]
