"""How large a vocabulary gets by the tokens of a codec: the run and the planner count alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from borealis.codec import CodecVocabulary
    from borealis.training.recipe import SpeechSection

# A vocabulary whose size is a multiple of this gets a size that is one too: matrix products of a
# GPU are faster so.
_ROUND = 64


def rows_for(rows: int, tokens: int) -> int:
    """How many rows of embeddings there will be; spare ones of a padded vocabulary are used first.

    Args:
        rows: that there are.
        tokens: of the tokenizer, the new ones included.
    """
    if tokens <= rows:
        return rows
    return tokens if rows % _ROUND else -(-tokens // _ROUND) * _ROUND


def speech_settings(
    section: SpeechSection, vocabulary: CodecVocabulary, symbol_ids: Sequence[int] = ()
) -> dict[str, Any]:
    """What `BorealisConfig.speech` says of these tokens.

    Args:
        section: of the recipe.
        vocabulary: tokens of the codec.
        symbol_ids: the token of each symbol, where there are voices.
    """
    settings = {
        "codec": section.codec,
        "num_codebooks": vocabulary.num_codebooks,
        "codebook_size": vocabulary.codebook_size,
        "layout": section.layout,
        "first_id": vocabulary.first_id,
    }
    if not section.voices:
        return settings
    voices = [voice.model_dump(mode="json") for voice in section.voices]
    return settings | {
        "voices": voices,
        "symbols": section.symbols,
        "symbol_ids": list(symbol_ids),
    }


def num_speech_tokens(speech: Mapping[str, Any]) -> int:
    """Tokens from `first_id` on: those of the codec, and behind them those of voices.

    Args:
        speech: see `BorealisConfig.speech`.
    """
    from borealis.codec import CodecVocabulary
    from borealis.speech.vocabulary import SpeechVocabulary

    names = [voice["name"] for voice in speech.get("voices", ())]
    more = len(SpeechVocabulary.extra_tokens(names)) if names else 0
    return len(CodecVocabulary.of_settings(speech)) + more
