"""Punctuation and capitals for a draft: the language model reads it and may change no letter.

A draft is what CTC and counts of letters wrote: right letters, no marks. The language model, which
has the sound in view too, says at the end of each word whether a mark comes, and of each letter
whether it is a capital (or ё, which the alphabet of CTC has not). That is greedy decoding in which
all letters are given, so it needn't go letter by letter: a guess of the whole text is read at once,
every choice is made again with what was read before it, and that is repeated until nothing changes
(Jacobi decoding: Santilli et al., 2023, "Accelerating Transformer Inference for Translation via
Parallel Decoding"). Most texts need three readings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

if TYPE_CHECKING:
    from borealis.model import BorealisForConditionalGeneration

# After a word; a dash is a word of its own.
MARKS = ",.!?:;"
DASH = "—"
_READINGS = 6
_PAIRS = {"е": "ё"}  # what a letter of a draft may stand for


@dataclass(frozen=True)
class WrittenForms:
    """Which tokens may stand for a letter of a draft; for tokenizers with one letter a token.

    Args:
        ids: the token of each character.
        marks: tokens of the marks `[marks]`.
        end: the token that ends a text.
    """

    ids: dict[str, int]
    marks: np.ndarray
    end: int

    @classmethod
    def of(cls, tokenizer: Any, alphabet: str) -> WrittenForms | None:
        """Those of a tokenizer; None if it has letters of `alphabet` that aren't tokens."""
        special = set(tokenizer.all_special_ids)
        ids: dict[str, int] = {}
        for token in range(len(tokenizer)):
            text = "" if token in special else tokenizer.decode([token])
            if len(text) == 1 and text != "\N{REPLACEMENT CHARACTER}":
                ids.setdefault(text, token)
        if any(c not in ids for c in alphabet) or any(c not in ids for c in MARKS + DASH):
            return None
        marks = np.array([ids[c] for c in MARKS])
        return cls(ids, marks, tokenizer.eos_token_id)

    def of_letter(self, letter: str) -> list[int]:
        """Tokens that a letter of a draft may be written as."""
        letters = [letter, letter.upper()]
        if other := _PAIRS.get(letter):
            letters += [other, other.upper()]
        return [self.ids[c] for c in dict.fromkeys(letters) if c in self.ids]


class _Plan:
    """A draft and where its letters stand in a text with marks.

    Args:
        draft: letters and single spaces.
        forms: see `WrittenForms`.
    """

    def __init__(self, draft: str, forms: WrittenForms) -> None:
        self.draft, self.forms = draft, forms
        options = [forms.of_letter(c) for c in draft]
        # Each letter's tokens, the first repeated where there are fewer: [letters, 4]
        self.options = np.array([(o * 4)[:4] if len(o) < 4 else o[:4] for o in options])
        spaces = np.array([c == " " for c in draft])
        self.ends = np.append(np.flatnonzero(spaces), len(draft))  # a word ends before these
        self.begins = np.flatnonzero(spaces) + 1  # letters that a dash may come before
        # The first guess: a sentence.
        self.tokens = [int(row[1 if at == 0 else 0]) for at, row in enumerate(self.options)]
        self.places = np.arange(len(draft))  # of the letters among the tokens
        self.tokens.append(forms.ids["."])

    def read(self, scores: np.ndarray, cost: float) -> bool:
        """Choose again; True where anything changed.

        Args:
            scores: log probabilities of what follows each beginning of the tokens
                `[tokens + 1, vocab_size]`.
            cost: nats by which a mark must be likelier than none.
        """
        forms = self.forms
        rows = scores[self.places[:, None], self.options]  # [letters, 4]
        letters = np.take_along_axis(self.options, rows.argmax(1)[:, None], 1)[:, 0]
        after = self.places[self.ends - 1] + 1  # what follows the last letter of each word
        marks = scores[after][:, forms.marks]  # [words, marks]
        goes_on = scores[after, forms.ids[" "]]
        goes_on[-1] = scores[after[-1], forms.end]
        chosen = np.where(marks.max(1) - cost > goes_on, forms.marks[marks.argmax(1)], -1)
        mark_of = dict(zip(self.ends.tolist(), chosen.tolist(), strict=True))
        dashes = set()
        if len(self.begins):
            place = self.places[self.begins - 1] + 1
            is_dash = scores[place, forms.ids[DASH]]
            is_letter = scores[place[:, None], self.options[self.begins]].max(1)
            dashes = set(self.begins[is_dash - cost > is_letter].tolist())
        tokens: list[int] = []
        places = []
        for at, letter in enumerate(letters.tolist()):
            if mark_of.get(at, -1) >= 0:
                tokens.append(mark_of[at])
            if at in dashes:
                tokens += [forms.ids[DASH], forms.ids[" "]]
            places.append(len(tokens))
            tokens.append(letter)
        if mark_of[len(self.draft)] >= 0:
            tokens.append(mark_of[len(self.draft)])
        changed = tokens != self.tokens
        self.tokens, self.places = tokens, np.array(places)
        return changed


@torch.inference_mode()
def punctuate(
    model: BorealisForConditionalGeneration,
    prompts: torch.Tensor,
    attention_mask: torch.Tensor,
    drafts: Sequence[str],
    forms: WrittenForms,
    mark_cost: float = 0.0,
) -> list[list[int]]:
    """Write drafts with marks and capitals.

    Args:
        model: the whole model; its language model is what reads.
        prompts: embedded prompts, the sound among them, padded on the left
            `[batch, length, hidden_size]`.
        attention_mask: `[batch, length]`, 0 at padding.
        drafts: what was said in each; single spaces, none at the ends; not empty.
        forms: see `WrittenForms`.
        mark_cost: nats by which a mark must be likelier than none.

    Returns:
        Tokens of each text.
    """
    reader, embed = model.model.language_model, model.get_input_embeddings()
    plans = [_Plan(draft, forms) for draft in drafts]
    length, device = prompts.shape[1], prompts.device
    before = (attention_mask.cumsum(1) - 1).clamp(min=0)
    out = reader(
        inputs_embeds=prompts, attention_mask=attention_mask, position_ids=before, use_cache=True
    )
    cache = out.past_key_values
    first = model.lm_head(out.last_hidden_state[:, -1:])  # [batch, 1, vocab_size]
    for _ in range(_READINGS):
        rows = [torch.tensor(plan.tokens, device=device) for plan in plans]
        ids = pad_sequence(rows, batch_first=True)  # what lies behind a text changes nothing in it
        mask = torch.cat([attention_mask, torch.ones_like(ids)], 1)
        places = before[:, -1:] + 1 + torch.arange(ids.shape[1], device=device)
        cache.crop(length - cache.get_seq_length())
        out = reader(
            inputs_embeds=embed(ids),
            attention_mask=mask,
            position_ids=places,
            past_key_values=cache,
            use_cache=True,
        )
        logits = torch.cat([first, model.lm_head(out.last_hidden_state)], 1)
        scores = logits.float().log_softmax(-1).cpu().numpy()
        changed = [
            plan.read(row[: len(plan.tokens) + 1], mark_cost)
            for plan, row in zip(plans, scores, strict=True)
        ]
        if not any(changed):
            break
    return [plan.tokens for plan in plans]
