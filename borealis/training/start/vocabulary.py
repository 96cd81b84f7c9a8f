"""Tokens of a codec and of voices in the vocabulary of a language model that learns to speak.

They stand in one block behind all others, and take the spare rows of a padded vocabulary first.

New rows begin around the mean of the old ones (Hewitt, 2021, "Initializing New Word Embeddings for
Pretrained Language Models"): a model that was trained on text then gives new tokens little
probability, and writes what it wrote. Rows of the output stay at the mean. Rows of the input go
from there as far as those of old tokens, where the codec's own codebooks say: codes that sound
alike begin alike. If both are one matrix, a part of that distance is a compromise. In a trial on
nano speech was learned in fewer steps so than from the mean alone, from draws from mean and
covariance, or from directions that know nothing of the codebooks.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from borealis.codec import CodecVocabulary, load_codec
from borealis.codec.tokens import MARKS
from borealis.errors import CodecError, RecipeError
from borealis.speech.vocabulary import SpeechVocabulary, symbol_tokens
from borealis.training.start.sizes import rows_for, speech_settings

if TYPE_CHECKING:
    from borealis.codec import Codec
    from borealis.model import BorealisForConditionalGeneration, BorealisProcessor
    from borealis.training.recipe import SpeechSection

logger = logging.getLogger(__name__)

# Distance of new rows from the mean, relative to that of old ones, in a matrix for both ends.
SPREAD_TIED = 0.3
# Distance between the middles of books, relative to that of codes.
_BETWEEN_BOOKS = 0.5


def codec_of(section: SpeechSection) -> Codec:
    """The codec that a recipe names.

    Raises:
        RecipeError: there is none, or it has fewer codebooks.
    """
    try:
        codec = load_codec(section.codec, device="cpu")
    except CodecError as error:
        raise RecipeError(f"model.speech.codec: {error}") from None
    if section.num_codebooks > codec.num_codebooks:
        raise RecipeError(
            f"model.speech.num_codebooks is {section.num_codebooks}, and the codec "
            f"'{section.codec}' has {codec.num_codebooks}."
        )
    return codec


def add_speech(
    model: BorealisForConditionalGeneration,
    processor: BorealisProcessor,
    section: SpeechSection,
    codec: Codec | None = None,
    *,
    seed: int = 0,
) -> CodecVocabulary:
    """Extend the vocabulary by the tokens of a codec; old tokens keep ids and rows bit for bit.

    A model that has the tokens already is left as it is; voices may be added to it as long as
    nothing stands behind the codec's tokens.

    Args:
        model: changed in place: embeddings, output layer, config.
        processor: its tokenizer gets the tokens.
        section: which codec, how many of its codebooks, in which order.
        codec: the same, where it is loaded already.
        seed: of the directions of the new rows.

    Returns:
        Where the tokens are.

    Raises:
        RecipeError: see `codec_of`; or the model has tokens of another size, other voices, or
            some of the names in another place; or its tokenizer has no token for a symbol.
    """
    codec = codec or codec_of(section)
    sizes = {"num_codebooks": section.num_codebooks, "codebook_size": codec.codebook_size}
    tokenizer = processor.tokenizer
    try:
        symbol_ids = symbol_tokens(tokenizer, section.symbols) if section.voices else []
    except CodecError as error:
        raise RecipeError(f"model.speech.symbols: {error}") from None
    names = [voice.name for voice in section.voices]
    more = SpeechVocabulary.extra_tokens(names) if names else []
    there = model.config.speech
    if there is not None:
        vocabulary = CodecVocabulary(**sizes, first_id=there["first_id"])
        settings = speech_settings(section, vocabulary, symbol_ids)
        _check_same(there, settings)
        if more and not there.get("voices"):
            _add_voices(model, tokenizer, vocabulary, more, seed)
        kept = {key: value for key, value in there.items() if key not in settings}
        model.config.speech = settings | kept
        return vocabulary
    tokenizer.add_tokens([*CodecVocabulary(**sizes).tokens(), *more], special_tokens=True)
    try:
        vocabulary = CodecVocabulary.of_tokenizer(tokenizer, **sizes)
    except CodecError as error:
        raise RecipeError(
            f"model.speech: the language model has tokens of such names already. {error}"
        ) from None
    _check_behind(tokenizer, vocabulary, more)
    rows = rows_for(model.config.text_config.vocab_size, len(tokenizer))
    width = model.config.text_config.hidden_size
    directions = code_directions(codec, section.num_codebooks, width, seed=seed)
    directions = torch.cat([directions, voice_directions(len(more), width, seed=seed)])
    extend_rows(model, vocabulary.first_id, rows, directions)
    model.config.speech = speech_settings(section, vocabulary, symbol_ids)
    logger.info(
        "vocabulary: %d tokens of the codec %s from id %d on, %d of voices; %d rows of embeddings",
        *(len(vocabulary), section.codec, vocabulary.first_id, len(more), rows),
    )
    return vocabulary


def _add_voices(
    model: BorealisForConditionalGeneration,
    tokenizer: Any,
    vocabulary: CodecVocabulary,
    names: Sequence[str],
    seed: int,
) -> None:
    """Give a model with the codec's tokens those of voices, right behind them."""
    begin = vocabulary.first_id + len(vocabulary)
    tokenizer.add_tokens(list(names), special_tokens=True)
    _check_behind(tokenizer, vocabulary, names)
    width = model.config.text_config.hidden_size
    rows = rows_for(model.config.text_config.vocab_size, len(tokenizer))
    extend_rows(model, begin, rows, voice_directions(len(names), width, seed=seed))
    logger.info("vocabulary: %d tokens of voices from id %d on", len(names), begin)


def _check_behind(tokenizer: Any, vocabulary: CodecVocabulary, names: Sequence[str]) -> None:
    """Whether tokens of voices stand right behind the codec's.

    Raises:
        RecipeError: they don't.
    """
    begin = vocabulary.first_id + len(vocabulary)
    ids = tokenizer.convert_tokens_to_ids(list(names))
    if ids != list(range(begin, begin + len(names))):
        raise RecipeError(
            "model.speech.voices: the tokens of voices can't stand behind the codec's, for the "
            "tokenizer has others there. Begin with a checkpoint without tokens of a codec."
        )


def _check_same(there: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Whether a model's tokens are those of a recipe; another codec or order is only told.

    Raises:
        RecipeError: another number of codebooks or codes, or other voices.
    """
    names = ("num_codebooks", "codebook_size")
    if any(there[name] != wanted[name] for name in names):
        raise RecipeError(
            f"model.speech wants {wanted['num_codebooks']} codebooks of {wanted['codebook_size']} "
            f"codes, and the checkpoint has tokens of {there['num_codebooks']} of "
            f"{there['codebook_size']}. Give what it has, or leave model.speech out: the tokens "
            "stay."
        )
    if there.get("voices") and wanted.get("voices"):
        have, want = (", ".join(v["name"] for v in s["voices"]) for s in (there, wanted))
        if have != want or there["symbols"] != wanted["symbols"]:
            raise RecipeError(
                f"model.speech wants the voices {want}, and the checkpoint has learned {have}, "
                "with its own symbols. Give the same in the same order, or leave voices out: they "
                "stay."
            )
    for name in ("codec", "layout"):
        if there[name] != wanted[name]:
            logger.warning(
                "model.speech.%s is %s; the checkpoint has learned its tokens with %s",
                *(name, wanted[name], there[name]),
            )


@torch.no_grad()
def extend_rows(
    model: BorealisForConditionalGeneration, first: int, rows: int, directions: torch.Tensor
) -> None:
    """Give embeddings and output layer so many rows, new ones from `first` on.

    Args:
        model: changed in place.
        first: how many rows stay as they are, bit for bit.
        rows: of both matrices; as many as there are, or more.
        directions: of the new tokens, see `code_directions`.
    """
    embeddings: Any = model.get_input_embeddings()
    output: Any = model.get_output_embeddings()
    tied = output.weight is embeddings.weight
    spread = ((embeddings, SPREAD_TIED),) if tied else ((embeddings, 1.0), (output, 0.0))
    for layer, width in spread:
        old = layer.weight.data[:first]
        layer.weight = nn.Parameter(
            torch.cat([old, new_rows(old, rows - first, directions, width)])
        )
    if tied:
        output.weight = embeddings.weight
    if output.bias is not None:
        bias = output.bias.data[:first]
        output.bias = nn.Parameter(torch.cat([bias, bias.mean().expand(rows - first)]))
    embeddings.num_embeddings = output.out_features = rows
    decoder = model.model.language_model
    for config in (model.config.text_config, decoder.config):
        config.vocab_size = rows
    if hasattr(decoder, "vocab_size"):
        decoder.vocab_size = rows


def new_rows(
    old: torch.Tensor, count: int, directions: torch.Tensor, spread: float
) -> torch.Tensor:
    """Rows of tokens that nothing has been learned of.

    Args:
        old: rows of the tokens of text `[tokens, hidden_size]`.
        count: how many are wanted; those beyond `directions` are the mean of the old ones.
        directions: `[new tokens, hidden_size]`, about as long as 1.
        spread: how far from the mean they go, as a share of how far the old ones are.

    Returns:
        `[count, hidden_size]`, in the format of `old`.
    """
    values = old.float()
    mean = values.mean(0)
    reach = (values - mean).norm(dim=1).square().mean().sqrt()
    rows = mean.repeat(count, 1)
    rows[: len(directions)] += spread * reach * directions.to(rows.device)
    return rows.to(old.dtype)


def code_directions(codec: Codec, num_codebooks: int, width: int, *, seed: int) -> torch.Tensor:
    """Where tokens lie about their mean: near codes near one another, each book elsewhere.

    Args:
        codec: its codebooks are turned into the space of embeddings by a random map that keeps
            angles.
        num_codebooks: how many of them.
        width: `hidden_size` of the language model.
        seed: of the map, and of the places of books and marks.

    Returns:
        `[tokens, width]` in the order of `CodecVocabulary.tokens`.
    """
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        values = torch.randn(*shape, generator=generator)
        return values / values.norm(dim=-1, keepdim=True)

    parts = [drawn(len(MARKS), width)]
    turn: torch.Tensor | None = None
    for book in range(num_codebooks):
        codes = np.zeros((book + 1, codec.codebook_size), np.int32)
        codes[book] = np.arange(codec.codebook_size)
        entries = torch.from_numpy(codec.look_up(codes))
        entries = entries - entries.mean(0)  # of the books before this takes the same entry away
        if turn is None:
            turn = _turn(entries.shape[1], width, generator)
        turned = entries @ turn
        turned = turned / turned.norm(dim=1).square().mean().sqrt().clamp(min=1e-12)
        parts.append(turned + _BETWEEN_BOOKS * drawn(1, width))
    return torch.cat(parts)


def voice_directions(count: int, width: int, *, seed: int) -> torch.Tensor:
    """Where tokens of voices lie about the mean: anywhere, `[count, width]`."""
    generator = torch.Generator().manual_seed(seed + 1)
    values = torch.randn(count, width, generator=generator)
    return values / values.norm(dim=-1, keepdim=True)


def _turn(inner: int, outer: int, generator: torch.Generator) -> torch.Tensor:
    """A random matrix `[inner, outer]` with orthonormal rows, or columns if it is taller."""
    values = torch.randn(max(inner, outer), min(inner, outer), generator=generator)
    orthogonal = torch.linalg.qr(values).Q
    return orthogonal.T if inner < outer else orthogonal
