"""How a transcript is found: settings of the CTC search, or of the language model's generation."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from borealis.arguments import number, whole
from borealis.ctc.search import SearchSettings
from borealis.errors import CheckpointError, PromptError


@dataclass(frozen=True)
class CTCDecoding(SearchSettings):
    """For a `ctc` adapter: the search for letters, and the marks that are put to them.

    The fields that aren't named here are those of `borealis.ctc.search.SearchSettings`.

    Args:
        mark_cost: nats by which a punctuation mark must be likelier than none.
        letter_delay: seconds by which a letter is heard after it begins; words begin so much
            earlier than their first letter was heard.
        confidence_slope: of the curve that makes confidences, see `borealis.inference.confidence`.
        confidence_bias: likewise.

    Raises:
        PromptError: a value is no number or out of range.
    """

    mark_cost: float = 2.0
    letter_delay: float = 0.0
    confidence_slope: float = 1.0
    confidence_bias: float = 0.0

    def __post_init__(self) -> None:
        whole("num_beams", self.num_beams)
        whole("num_letters", self.num_letters)
        for name in ("min_log_prob", "sure_blank"):
            number(name, getattr(self, name), -1e9, 0)
        costs = ("ngram_weight", "letter_bonus", "unknown_word_cost", "hot_word_bonus")
        for name in (*costs, "beam_margin", "mark_cost", "confidence_slope"):
            number(name, getattr(self, name), 0, 1e9)
        number("letter_delay", self.letter_delay, 0, 1)
        number("confidence_bias", self.confidence_bias, -1e9, 1e9)


@dataclass(frozen=True)
class LLMDecoding:
    """For other adapters: the language model writes, by `generate` of transformers.

    Args:
        num_beams: texts followed at once; 1 is greedy.

    Raises:
        PromptError: no whole number.
    """

    num_beams: int = 1

    def __post_init__(self) -> None:
        whole("num_beams", self.num_beams)


Decoding = CTCDecoding | LLMDecoding


def choose(config: Any, asked: Decoding | None = None) -> Decoding:
    """What was asked for; else what the checkpoint's configuration says under `search`.

    Raises:
        PromptError: the settings are for another kind of adapter.
        CheckpointError: the configuration has a setting that there isn't.
    """
    kind = CTCDecoding if config.adapter_type == "ctc" else LLMDecoding
    if asked is not None:
        if not isinstance(asked, kind):
            raise PromptError(
                f"decoding is of type {type(asked).__name__}; a model with adapter_type "
                f"'{config.adapter_type}' takes {kind.__name__}."
            )
        return asked
    own = getattr(config, "search", None) or {}
    if unknown := set(own) - {field.name for field in fields(kind)}:
        raise CheckpointError(
            f"The configuration's 'search' has {', '.join(sorted(unknown))}, which {kind.__name__} "
            "hasn't."
        )
    return kind(**own)


def describe(decoding: Decoding) -> dict[str, Any]:
    """The settings as plain values, with the name of the strategy."""
    if isinstance(decoding, CTCDecoding):
        return {"strategy": "ctc prefix beam search", **asdict(decoding)}
    strategy = "beam search" if decoding.num_beams > 1 else "greedy"
    return {"strategy": strategy, **asdict(decoding)}
