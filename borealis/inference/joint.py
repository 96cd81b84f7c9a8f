"""Joint decoding: the language model's next-token scores together with the CTC prefix score.

A `ctc` adapter knows which letters were heard and when; the language model knows how words are
spelled but may skip or repeat. Adding both at each step is the hybrid decoding of Watanabe et al.,
2017 ("Hybrid CTC/Attention Architecture for End-to-End Speech Recognition"); the prefix score is
that of Graves, 2008, computed here for all next letters at once with cumulative log-sums.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import LogitsProcessor

from borealis.data.text import ctc_text

_LOW = -30.0  # floor of a log probability: sums over a clip stay finite in float32
_SILENT, _FOREIGN = -1, -2


def token_labels(tokenizer: Any, labels: str, vocab_size: int) -> torch.Tensor:
    """For each token the CTC class it says: `[vocab_size]`.

    -1 for tokens that say nothing (punctuation), -2 for those CTC can't emit (special tokens,
    digits, parts of letters).
    """
    index = {c: i + 1 for i, c in enumerate(labels)}
    out = torch.full((vocab_size,), _FOREIGN)
    special = set(tokenizer.all_special_ids)
    for token in range(len(tokenizer)):
        text = "" if token in special else tokenizer.decode([token])
        if len(text) != 1 or "\N{REPLACEMENT CHARACTER}" in text:
            continue
        if text == "-":  # it would pass for the space that CTC hears, and push real spaces out
            continue
        spoken = " " if text.isspace() else ctc_text(text)
        if spoken in index:
            out[token] = index[spoken]
        elif not text.isalnum():
            out[token] = _SILENT
    return out


class CTCPrefixScore(LogitsProcessor):
    """Adds CTC prefix scores to next-token scores in `generate(inputs_embeds=...)`.

    Args:
        log_probs: CTC log probabilities `[clips, T, num_classes]`, class 0 is the blank.
        lengths: frames of each clip `[clips]`.
        labels: see `token_labels`.
        eos_token_id: the token that ends an answer.
        weight: share of CTC in the sum, 0 to 1.
    """

    def __init__(
        self,
        log_probs: torch.Tensor,
        lengths: torch.Tensor,
        labels: torch.Tensor,
        eos_token_id: int,
        weight: float,
    ) -> None:
        probs = log_probs.float().clamp(min=_LOW)
        # Beyond its end a clip goes on with sure blanks, which change nothing.
        over = torch.arange(probs.shape[1], device=probs.device)[None] >= lengths[:, None]
        probs = probs.masked_fill(over[..., None], _LOW)
        probs[..., 0] = probs[..., 0].masked_fill(over, 0.0)
        self.log_probs, self.labels = probs, labels.to(probs.device)
        self.probs = probs.exp()
        self.eos_token_id, self.weight = eos_token_id, weight
        self.space = int(self.labels[self.labels > 0].min())  # the space is the first class
        # States by prefix of tokens: (ends in a letter, ends in blank, score, last class).
        self.states: list[dict[tuple[int, ...], _State]] = [
            {(): _State.start(clip)} for clip in self.log_probs
        ]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores `[rows, vocab_size]`, rows of one clip next to each other (beams)."""
        beams = scores.shape[0] // len(self.states)
        rows, fresh = [], [dict() for _ in self.states]  # type: ignore[var-annotated]
        for row, prefix in enumerate(map(tuple, input_ids.tolist())):
            clip = row // beams
            known = self.states[clip]
            state = known.get(prefix)
            if state is None and prefix:
                state = self._advance(clip, known[prefix[:-1]], prefix[-1])
            assert state is not None
            fresh[clip][prefix] = state
            rows.append(state)
        self.states = fresh
        gains, ends = self._gains(rows, beams)  # [rows, classes], [rows]
        # Punctuation says nothing: it comes where a word ends, before the space or the end, or,
        # like the dash of "word — word", after a space.
        after_space = torch.tensor([s.last == self.space for s in rows], device=gains.device)
        boundary = torch.maximum(gains[:, self.space], ends)
        silent = torch.where(after_space, gains[:, 1:].amax(1), boundary)
        gains[:, 0] = silent
        # Such a dash has two spaces around it where CTC hears one.
        gains[:, self.space] = torch.where(after_space, silent, gains[:, self.space])
        ctc = gains[:, self.labels.clamp(min=0)]
        ctc = ctc.masked_fill(self.labels == _FOREIGN, _LOW)
        ctc[:, self.eos_token_id] = ends
        mixed = (1 - self.weight) * scores.float().log_softmax(-1) + self.weight * ctc
        return mixed.to(scores.dtype)

    def _advance(self, clip: int, state: _State, token: int) -> _State:
        label = int(self.labels[token])
        if label <= 0 or (label == self.space and state.last == self.space):
            return state
        return state.extend(self.log_probs[clip], label)

    def _gains(self, rows: list[_State], beams: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Log probability that each class comes next, and that nothing does."""
        probs = self.log_probs.repeat_interleave(beams, 0) if beams > 1 else self.log_probs
        clips, frames, classes = self.probs.shape
        letter = torch.stack([s.letter for s in rows])
        blank = torch.stack([s.blank for s in rows])
        start = torch.tensor([0.0 if s.last == 0 else _NEVER for s in rows], device=probs.device)
        either = torch.logaddexp(letter, blank)
        before = torch.cat([start[:, None], either[:, :-1]], 1)  # [rows, T]
        # log-sum-exp over frames of before + log_probs as a product of matrices. What the shift by
        # the largest term loses lies far below the floor of a gain.
        largest = before.amax(1, keepdim=True)
        arrived = (before - largest).exp().view(clips, beams, frames)
        psi = (arrived @ self.probs).view(clips * beams, classes).log() + largest
        # The same letter again needs a blank between.
        only_blank = torch.cat([start[:, None], blank[:, :-1]], 1)
        last = torch.tensor([s.last for s in rows], device=probs.device)
        row = torch.arange(len(rows), device=probs.device)
        psi[row, last] = torch.logsumexp(only_blank + probs[row, :, last], 1)
        score = torch.stack([s.score for s in rows])
        gains = (psi - score[:, None]).clamp(min=_LOW, max=0.0)
        ends = (either[:, -1] - score).clamp(min=_LOW, max=0.0)
        return gains, ends


_NEVER = -1e9


class _State:
    """Log probability, up to each frame, of all paths that spell a prefix.

    Args:
        letter: `[T]`, paths whose frame is the last letter.
        blank: `[T]`, paths whose frame is a blank.
        score: log probability that the spelling begins with this prefix.
        last: class of the last letter, 0 before the first.
    """

    def __init__(
        self, letter: torch.Tensor, blank: torch.Tensor, score: torch.Tensor, last: int
    ) -> None:
        self.letter, self.blank, self.score, self.last = letter, blank, score, last

    @classmethod
    def start(cls, probs: torch.Tensor) -> _State:
        blank = probs[:, 0].cumsum(0)
        return cls(torch.full_like(blank, _NEVER), blank, blank.new_zeros(()), 0)

    def extend(self, probs: torch.Tensor, label: int) -> _State:
        """The state after one more letter; `probs` is `[T, num_classes]`."""
        come_from = self.blank if label == self.last else torch.logaddexp(self.letter, self.blank)
        first = come_from.new_full((1,), 0.0 if self.last == 0 else _NEVER)
        before = torch.cat([first, come_from[:-1]])  # [T], up to the frame before
        letter = _scan(before + probs[:, label], probs[:, label])
        entering = torch.cat([letter.new_full((1,), _NEVER), letter[:-1]])
        blank = _scan(entering + probs[:, 0], probs[:, 0])
        score = torch.logsumexp(before + probs[:, label], 0)
        return _State(letter, blank, score, label)


def _scan(enter: torch.Tensor, stay: torch.Tensor) -> torch.Tensor:
    """`r[t] = logaddexp(r[t - 1] + stay[t], enter[t])` for all t at once."""
    # Double: the running sum of `stay` reaches thousands on a long clip.
    total = stay.double().cumsum(0)
    return (torch.logcumsumexp(enter.double() - total, 0) + total).to(enter.dtype)
