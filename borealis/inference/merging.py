"""Beams that spell the same letters are merged: the better one goes on, the other is given up.

Beams that differ in commas and capitals alone fill a search that is to find letters. What CTC and
the n-gram say of such beams is the same from there on, so the one that is behind can hardly win.
Recombination of hypotheses is as old as the Viterbi search of speech recognition (Ney and Ortmanns,
1999, "Dynamic Programming Search for Continuous Speech Recognition"); here beams that arrive later,
because a comma took them a step, are merged too.
"""

from __future__ import annotations

import torch


class MergedSpellings:
    """Keeps, clip by clip, the best score with which each spelling was reached.

    Args:
        clips: how many are searched at once.
    """

    def __init__(self, clips: int) -> None:
        self.reached: list[dict[str, float]] = [{} for _ in range(clips)]
        # Of the rows of the last step: letters, score of all tokens, scores of the next one.
        self.spellings = [""] * clips
        self.totals = [0.0] * clips
        self.scores: torch.Tensor | None = None

    def step(
        self,
        come_from: list[int],
        input_ids: torch.Tensor,
        heard: torch.Tensor | None,
        scores: torch.Tensor,
    ) -> torch.Tensor:
        """Which rows go on `[rows]`; the best of each clip always does.

        Args:
            come_from: row of the step before that each row continues.
            input_ids: tokens so far `[rows, length]`, rows of a clip next to each other.
            heard: class that the last token adds, 0 for nothing `[rows]`; None at the start.
            scores: of the next token `[rows, vocab_size]`.
        """
        spellings = [self.spellings[row] for row in come_from]
        totals = [self.totals[row] for row in come_from]
        alive = [True] * len(totals)
        if heard is not None and self.scores is not None:
            added = self.scores[come_from, input_ids[:, -1]].tolist()
            totals = [total + one for total, one in zip(totals, added, strict=True)]
            classes = heard.tolist()
            beams = len(totals) // len(self.reached)
            for clip, reached in enumerate(self.reached):
                rows = range(clip * beams, (clip + 1) * beams)
                best_first = sorted(rows, key=totals.__getitem__, reverse=True)
                for row in best_first:
                    if not classes[row]:  # a mark: it says what its own beam has said before
                        continue
                    spellings[row] += chr(classes[row])
                    before = reached.get(spellings[row])
                    if before is None or totals[row] > before:
                        reached[spellings[row]] = totals[row]
                    else:
                        alive[row] = row == best_first[0]
        self.spellings, self.totals, self.scores = spellings, totals, scores
        return torch.tensor(alive, device=input_ids.device)
