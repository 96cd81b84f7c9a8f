"""The transcript of a model with a `ctc` adapter: letters are searched for, then the text is read.

CTC and a letter n-gram write the draft (`borealis.ctc.search`), because no search with a small
language model in it wrote better, and all were slower. The language model then puts marks and
capitals (`borealis.inference.punctuation`). A recording is encoded once for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from borealis.ctc.alphabet import Alphabet
from borealis.ctc.hot import HotWords
from borealis.ctc.ngram import Ngram
from borealis.ctc.search import PrefixBeamSearch, SearchSettings
from borealis.errors import PromptError
from borealis.inference.confidence import calibrated, shares
from borealis.inference.hearing import Hearing
from borealis.inference.punctuation import WrittenForms, punctuate

if TYPE_CHECKING:
    from borealis.inference.decoding import CTCDecoding
    from borealis.model import BorealisForConditionalGeneration, BorealisProcessor

_KEPT = 8  # searches


@dataclass
class Draft:
    """What was said in a clip.

    Args:
        letters: as CTC spells it.
        text: with marks and capitals.
        log_probs: what was heard, natural log `[frames, classes]`.
        log_prob: of the letters, all paths together; natural log.
        confidences: of the words of `letters`, 0 to 1; empty if they weren't asked for.
    """

    letters: str
    text: str
    log_probs: np.ndarray
    log_prob: float
    confidences: list[float]


class DraftWriter:
    """Writes drafts with one model.

    Args:
        model: with a `ctc` adapter.
        processor: of the same checkpoint.
        hear: listens for it; what others have heard with it is known.
        ngram: of the checkpoint, if it is being read already.
    """

    def __init__(
        self,
        model: BorealisForConditionalGeneration,
        processor: BorealisProcessor,
        hear: Hearing | None = None,
        ngram: Future[Ngram | None] | None = None,
    ) -> None:
        self.model, self.processor = model, processor
        self.hear = hear or Hearing(model.model)
        self._ahead = ngram
        self.alphabet = Alphabet(model.config.ctc_labels or "")
        self._searches: dict[tuple[SearchSettings, tuple[str, ...]], PrefixBeamSearch] = {}

    @cached_property
    def ngram(self) -> Ngram | None:
        """The letters and words of the checkpoint's texts, if it has them."""
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            return ahead.result()
        return Ngram.of_checkpoint(self.model.name_or_path or "")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_ahead": None}  # a copy reads its own

    @cached_property
    def forms(self) -> WrittenForms | None:
        """How letters may be written; None if the tokenizer has no tokens of one letter."""
        return WrittenForms.of(self.processor.tokenizer, self.alphabet.labels)

    def search(self, decoding: CTCDecoding, hot_words: tuple[str, ...] = ()) -> PrefixBeamSearch:
        """The search with these settings; those used last are kept.

        Raises:
            PromptError: a hot word has no letter that CTC may emit.
        """
        names = [field.name for field in fields(SearchSettings)]
        settings = SearchSettings(**{name: getattr(decoding, name) for name in names})
        key = settings, hot_words
        if (known := self._searches.get(key)) is not None:
            return known
        try:
            expected = HotWords(hot_words, self.alphabet) if hot_words else None
        except ValueError as error:
            raise PromptError(f"hot_words: {error}") from None
        if len(self._searches) >= _KEPT:  # lists of words may be long
            self._searches.clear()
        search = PrefixBeamSearch(self.alphabet, settings, ngram=self.ngram, hot_words=expected)
        self._searches[key] = search
        return search

    @torch.inference_mode()
    def write(
        self,
        inputs: dict[str, torch.Tensor],
        decoding: CTCDecoding,
        *,
        language: str | None = None,
        hot_words: Sequence[str] = (),
        confidences: bool = False,
    ) -> list[Draft]:
        """Write a batch of clips, each of one encoder window.

        Args:
            inputs: what the processor makes of the prompts and clips.
            decoding: settings of the search.
            language: binds the letters; without one a clip is of the language that it sounds like.
            hot_words: words and names that are expected.
            confidences: tell how sure each word is.
        """
        inner = self.model.model
        heard = self.hear(inputs["input_features"], inputs["num_samples"])
        log_probs = [rows.cpu().numpy() for rows in heard.log_probs()]
        found = self.search(decoding, tuple(hot_words)).decode(log_probs, language=language)
        best = [hypotheses[0] for hypotheses in found]
        texts = [hypothesis.text for hypothesis in best]
        spoken = [row for row, text in enumerate(texts) if text]
        if spoken and self.forms is not None:
            prompts = inner.embed_prompt(inputs["input_ids"], heard.flat_tokens)
            tokens = punctuate(
                self.model,
                prompts[spoken],
                inputs["attention_mask"][spoken],
                [texts[row] for row in spoken],
                self.forms,
                decoding.mark_cost,
            )
            written = self.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
            for row, text in zip(spoken, written, strict=True):
                texts[row] = text
        drafts = []
        for hypotheses, text, rows in zip(found, texts, log_probs, strict=True):
            sure: list[float] = []
            if confidences:
                slope, bias = decoding.confidence_slope, decoding.confidence_bias
                sure = calibrated(shares(hypotheses), slope, bias).tolist()
            drafts.append(Draft(hypotheses[0].text, text, rows, hypotheses[0].heard, sure))
        return drafts
