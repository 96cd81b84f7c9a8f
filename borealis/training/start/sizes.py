"""How large a vocabulary gets by the tokens of a codec: the run and the planner count alike."""

from __future__ import annotations

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


def speech_settings(section: SpeechSection, vocabulary: CodecVocabulary) -> dict[str, Any]:
    """What `BorealisConfig.speech` says of these tokens."""
    return {
        "codec": section.codec,
        "num_codebooks": vocabulary.num_codebooks,
        "codebook_size": vocabulary.codebook_size,
        "layout": section.layout,
        "first_id": vocabulary.first_id,
    }
