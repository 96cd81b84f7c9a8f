"""Joint decoding: the language model's next-token scores with those of CTC and a letter n-gram.

A `ctc` adapter knows which letters were heard and when; the language model knows how words are
spelled but may skip or repeat. Adding both at each step is the hybrid decoding of Watanabe et al.,
2017 ("Hybrid CTC/Attention Architecture for End-to-End Speech Recognition"); the prefix score is
that of Graves, 2008, computed here for all next letters at once with cumulative log-sums. Where a
checkpoint has a letter n-gram (`borealis.ctc.ngram`), its log probability is added too, and a
word that it doesn't know costs something where it ends.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad
from transformers import LogitsProcessor

from borealis.ctc.ngram import Ngram
from borealis.ctc.words import NO_WORD, grown
from borealis.data.text import ctc_text
from borealis.inference.decoding import Agreement
from borealis.inference.merging import MergedSpellings

_LOW = -30.0  # floor of a log probability: sums over a clip stay finite in float32
_NEVER = -1e9
SPACE = 1  # the class of the space: the first letter of all
_SILENT, _FOREIGN = -1, -2
# What the n-gram gives, in nats before its weight. A letter costs about 1.5 on average: without
# that given back, a spelling that says less, or puts a comma off and on, would win over a full one.
_LETTER_BONUS = 1.5
_SILENT_SCORE = -2.0
_FOREIGN_SCORE = -10.0
_UNKNOWN_WORD_SCORE = -2.8


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


# What `PrefixScores` keeps of each row.
_OF_ROWS = ("letter", "blank", "score", "last", "context", "word")


class PrefixScores:
    """CTC prefix scores of several spellings at once, a spelling a row; it begins as nothing.

    Args:
        log_probs: CTC log probabilities `[rows, T, num_classes]`, class 0 is the blank.
        lengths: frames of each row `[rows]`.
        ngram: follows what the rows spell, if given.
    """

    def __init__(
        self, log_probs: torch.Tensor, lengths: torch.Tensor, ngram: Ngram | None = None
    ) -> None:
        probs = log_probs.float().clamp(min=_LOW)
        # Beyond its end a clip goes on with sure blanks, which change nothing.
        over = torch.arange(probs.shape[1], device=probs.device)[None] >= lengths[:, None]
        probs = probs.masked_fill(over[..., None], _LOW)
        probs[..., 0] = probs[..., 0].masked_fill(over, 0.0)
        # [clips, num_classes, T]: all frames of a class lie together, as they are read.
        self.log_probs = probs.transpose(1, 2).contiguous()
        self.probs = self.log_probs.exp()
        # Which clip a row listens to: beams share one.
        self.clip = torch.arange(len(probs), device=probs.device)
        # Up to each frame, all paths that spell the row: those whose frame is the last letter, and
        # those whose frame is a blank, [rows, T].
        self.blank = probs[..., 0].cumsum(1)
        self.letter = torch.full_like(self.blank, _NEVER)
        # Log probability that what is said begins with the row, and the row's last class.
        self.score = self.blank.new_zeros(len(probs))
        self.last = torch.zeros_like(self.clip)
        self.ngram = ngram
        # The n-gram's states: a text begins as after a space, the first class.
        self.context = self.clip.new_full((len(probs),), ngram.step(0, 1) if ngram else 0)
        # The word that each row is at, as its hash; none again once its end was scored.
        self.word = torch.full_like(self.clip, NO_WORD)

    def __len__(self) -> int:
        return len(self.clip)

    @property
    def either(self) -> torch.Tensor:
        """Log probability of the spelling up to each frame `[rows, T]`."""
        return torch.logaddexp(self.letter, self.blank)

    def select(self, rows: torch.Tensor) -> None:
        """Keep these rows, in this order; a row may come several times."""
        for name in ("clip", *_OF_ROWS):
            setattr(self, name, getattr(self, name)[rows])

    def own_clips(self) -> None:
        """Give each row a clip of its own, and forget those that no row listens to."""
        self.log_probs, self.probs = self.log_probs[self.clip], self.probs[self.clip]
        self.clip = torch.arange(len(self), device=self.clip.device)

    def join(self, other: PrefixScores) -> None:
        """Put the rows of `other` behind these."""
        self.clip = torch.cat([self.clip, other.clip + len(self.log_probs)])
        frames = max(self.log_probs.shape[2], other.log_probs.shape[2])
        for mine in (self, other):
            mine._lengthen(frames)
        for name in ("log_probs", "probs", *_OF_ROWS):
            setattr(self, name, torch.cat([getattr(self, name), getattr(other, name)]))

    def _lengthen(self, frames: int) -> None:
        """Go on with sure blanks up to `frames`."""
        missing = frames - self.log_probs.shape[2]
        if missing <= 0:
            return
        ends = self.either[:, -1:].expand(-1, missing)
        self.log_probs = pad(self.log_probs, (0, missing), value=_LOW)
        self.log_probs[:, 0, -missing:] = 0.0
        self.probs = self.log_probs.exp()
        self.letter = pad(self.letter, (0, missing), value=_NEVER)
        self.blank = torch.cat([self.blank, ends], 1)

    def extend(self, labels: torch.Tensor, marks: torch.Tensor | None = None) -> None:
        """Add a letter to each row; 0 leaves a row as it is.

        Args:
            labels: classes `[rows]`.
            marks: rows that got a punctuation mark, which ends a word `[rows]`, bool.
        """
        probs, blanks = self.log_probs[self.clip, labels], self.log_probs[self.clip, 0]
        again = (labels == self.last)[:, None]  # the same letter needs a blank between
        before = self._before(torch.where(again, self.blank, self.either))
        entering = before + probs
        letter = _scan(entering, probs)
        never = letter.new_full((len(letter), 1), _NEVER)
        blank = _scan(torch.cat([never, letter[:, :-1]], 1) + blanks, blanks)
        grown_rows = labels > 0
        self.letter = torch.where(grown_rows[:, None], letter, self.letter)
        self.blank = torch.where(grown_rows[:, None], blank, self.blank)
        self.score = torch.where(grown_rows, entering.logsumexp(1), self.score)
        self.last = torch.where(grown_rows, labels, self.last)
        if self.ngram is not None:
            self.context = _advanced(self.ngram, self.context, labels)
        if self.ngram is not None and self.ngram.words is not None:
            longer = grown(self.word.cpu().numpy(), labels.cpu().numpy())
            word = torch.where(grown_rows, torch.from_numpy(longer).to(labels.device), self.word)
            over = labels == SPACE if marks is None else (labels == SPACE) | marks
            self.word = word.masked_fill(over, NO_WORD)

    def misspelled(self) -> torch.Tensor:
        """Rows that are at the end of a word which the n-gram doesn't know `[rows]`, if it ends."""
        if self.ngram is None or self.ngram.words is None:
            return torch.zeros_like(self.word, dtype=torch.bool)
        known = self.ngram.words.has(self.word.cpu().numpy())
        return (self.word != NO_WORD) & ~torch.from_numpy(known).to(self.word.device)

    def _before(self, arrived: torch.Tensor) -> torch.Tensor:
        """`arrived` up to the frame before; a row of no letters begins before all frames."""
        first = torch.where(self.last == 0, 0.0, _NEVER).to(arrived.dtype)
        return torch.cat([first[:, None], arrived[:, :-1]], 1)

    def gains(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Log probability that each class comes next `[rows, num_classes]`, and that none does.

        Rows lie clip after clip, as many for each: beams do, and so do rows after `own_clips`.
        """
        either = self.either
        before = self._before(either)
        # log-sum-exp over frames of before + log_probs as a product of matrices. What the shift by
        # the largest term loses lies far below the floor of a gain.
        largest = before.amax(1, keepdim=True)
        arrived = (before - largest).exp()
        beams = arrived.view(len(self.probs), -1, arrived.shape[1]).transpose(1, 2)
        reached = (self.probs @ beams).transpose(1, 2).reshape(len(self), -1)
        psi = reached.log() + largest
        # The same letter again needs a blank between.
        row = torch.arange(len(self), device=psi.device)
        own = self.log_probs[self.clip, self.last]
        psi[row, self.last] = torch.logsumexp(self._before(self.blank) + own, 1)
        gains = (psi - self.score[:, None]).clamp(min=_LOW, max=0.0)
        ends = (either[:, -1] - self.score).clamp(min=_LOW, max=0.0)
        return gains, ends


def _scan(enter: torch.Tensor, stay: torch.Tensor) -> torch.Tensor:
    """`r[t] = logaddexp(r[t - 1] + stay[t], enter[t])` for all t at once, `[rows, T]`."""
    # Double: the running sum of `stay` reaches thousands on a long clip.
    total = stay.double().cumsum(1)
    return (torch.logcumsumexp(enter.double() - total, 1) + total).to(enter.dtype)


def _advanced(ngram: Ngram, states: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The n-gram's states after one more class; class 0 leaves a row where it is."""
    before, letters = states.cpu().numpy(), labels.cpu().numpy()
    after = np.where(letters > 0, ngram.follow(before, np.maximum(letters, 1))[0], before)
    return torch.from_numpy(after).to(states.device, states.dtype)


def _ngram_scores(ngram: Ngram, states: torch.Tensor) -> torch.Tensor:
    """Log probability of each class after each state `[rows, num_classes]`, the blank's 0."""
    letters = np.arange(1, ngram.num_classes)
    contexts = np.repeat(states.cpu().numpy(), len(letters))
    scores = ngram.follow(contexts, np.tile(letters, len(states)))[1].reshape(len(states), -1)
    return torch.from_numpy(np.pad(scores, ((0, 0), (1, 0)))).to(states.device)


class JointScores:
    """How tokens are scored by the language model and CTC together.

    Args:
        labels: see `token_labels`.
        eos_token_id: the token that ends an answer.
    """

    def __init__(self, labels: torch.Tensor, eos_token_id: int) -> None:
        self.labels, self.eos_token_id = labels, eos_token_id

    def heard(self, tokens: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """The class that each token adds to a spelling `[rows]`, 0 for nothing."""
        labels = self.labels[tokens].clamp(min=0)
        return labels.masked_fill((labels == SPACE) & (last == SPACE), 0)

    def is_mark(self, tokens: torch.Tensor) -> torch.Tensor:
        """Which tokens are punctuation marks `[rows]`, bool."""
        return self.labels[tokens] == _SILENT

    def mix(
        self,
        scores: torch.Tensor,
        spelled: PrefixScores,
        weight: float | torch.Tensor,
        ngram_weight: float | torch.Tensor = 0.0,
    ) -> torch.Tensor:
        """Next-token scores of all.

        Args:
            scores: the language model's `[rows, vocab_size]`.
            spelled: what the rows have said so far.
            weight: share of CTC in the sum, 0 to 1; a number or `[rows, 1]`.
            ngram_weight: of the n-gram's scores, which come on top; a number or `[rows, 1]`.
        """
        gains, ends = spelled.gains()
        # Punctuation says nothing: it comes where a word ends, before the space or the end, or,
        # like the dash of "word — word", after a space.
        after_space = spelled.last == SPACE
        boundary = torch.maximum(gains[:, SPACE], ends)
        silent = torch.where(after_space, gains[:, 1:].amax(1), boundary)
        gains[:, 0] = silent
        # Such a dash has two spaces around it where CTC hears one.
        gains[:, SPACE] = torch.where(after_space, silent, gains[:, SPACE])
        ctc = self._by_token(gains, ends, _LOW)
        mixed = (1 - weight) * scores.float().log_softmax(-1) + weight * ctc
        if spelled.ngram is not None:
            mixed = mixed + ngram_weight * self._spelling(spelled)
        return mixed.to(scores.dtype)

    def _spelling(self, spelled: PrefixScores) -> torch.Tensor:
        """What the n-gram gives to each next token `[rows, vocab_size]`."""
        assert spelled.ngram is not None
        letters = _ngram_scores(spelled.ngram, spelled.context) + _LETTER_BONUS
        letters[:, 0] = _SILENT_SCORE
        # A text that ends ends a word, unless it has a space there already, or no word at all.
        no_word = (spelled.last == SPACE) | (spelled.last == 0)
        ends = torch.where(no_word, 0.0, letters[:, SPACE])
        letters[:, SPACE] = letters[:, SPACE].masked_fill(no_word, _SILENT_SCORE)
        # A word is judged by what ends it: a mark, a space or the end of the text.
        cost = spelled.misspelled() * _UNKNOWN_WORD_SCORE
        letters[:, 0] += cost
        letters[:, SPACE] += cost
        ends = ends + cost
        return self._by_token(letters, ends, _FOREIGN_SCORE)

    def _by_token(self, classes: torch.Tensor, ends: torch.Tensor, foreign: float) -> torch.Tensor:
        """Scores of tokens `[rows, vocab_size]` by what they say.

        Args:
            classes: of the classes `[rows, num_classes]`; class 0 stands for saying nothing.
            ends: of the end of the answer `[rows]`.
            foreign: of what CTC can't say.
        """
        out = classes[:, self.labels.clamp(min=0)].masked_fill(self.labels == _FOREIGN, foreign)
        out[:, self.eos_token_id] = ends
        return out


class CTCPrefixScore(LogitsProcessor):
    """Adds CTC prefix scores to next-token scores in `generate(inputs_embeds=...)`.

    Args:
        log_probs: CTC log probabilities `[clips, T, num_classes]`, class 0 is the blank.
        lengths: frames of each clip `[clips]`.
        labels: see `token_labels`.
        eos_token_id: the token that ends an answer.
        weight: share of CTC in the sum, 0 to 1.
        ngram: spelling knowledge that is added, if any.
        ngram_weight: its weight.
        agreement: told of all beams at every step, if given.
    """

    def __init__(
        self,
        log_probs: torch.Tensor,
        lengths: torch.Tensor,
        labels: torch.Tensor,
        eos_token_id: int,
        weight: float,
        ngram: Ngram | None = None,
        ngram_weight: float = 0.0,
        agreement: Agreement | None = None,
    ) -> None:
        self.joint = JointScores(labels.to(log_probs.device), eos_token_id)
        self.spelled = PrefixScores(log_probs, lengths, ngram if ngram_weight else None)
        self.weight, self.ngram_weight, self.agreement = weight, ngram_weight, agreement
        self.clips = len(self.spelled)
        # Rows of the last step by clip and tokens: beams go on from one another.
        self.known: dict[tuple[int, ...], int] = {(clip,): clip for clip in range(self.clips)}
        self.merged = MergedSpellings(self.clips)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores `[rows, vocab_size]`, rows of one clip next to each other (beams)."""
        beams = scores.shape[0] // self.clips
        names = [(row // beams, *ids) for row, ids in enumerate(input_ids.tolist())]
        # At the first step nothing is said yet, later each row has one token more.
        come_from = [self.known[name if len(name) == 1 else name[:-1]] for name in names]
        heard = None
        if come_from != list(range(len(self.spelled))):
            self.spelled.select(torch.tensor(come_from, device=scores.device))
        if input_ids.shape[1]:
            heard = self.joint.heard(input_ids[:, -1], self.spelled.last)
            self.spelled.extend(heard, self.joint.is_mark(input_ids[:, -1]))
        self.known = {name: row for row, name in enumerate(names)}
        mixed = self.joint.mix(scores, self.spelled, self.weight, self.ngram_weight)
        alive = self.merged.step(come_from, input_ids, heard, mixed)
        mixed = mixed.masked_fill(~alive[:, None], _NEVER)
        if self.agreement is not None:
            self.agreement.step(input_ids[alive], mixed[alive])
        return mixed
