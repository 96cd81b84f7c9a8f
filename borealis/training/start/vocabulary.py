"""Tokens of a codec in the vocabulary of a language model, for models that learn to speak.

They stand in one block behind all others, and take the spare rows of a padded vocabulary first.
A new row begins as the mean of the old ones with a little of their spread, so that a model that
was trained on text gives the new tokens hardly any probability before it has learned them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from borealis.codec import CodecVocabulary, load_codec
from borealis.errors import CodecError, RecipeError
from borealis.training.start.sizes import rows_for, speech_settings

if TYPE_CHECKING:
    from borealis.codec import Codec
    from borealis.model import BorealisForConditionalGeneration, BorealisProcessor
    from borealis.training.recipe import SpeechSection

logger = logging.getLogger(__name__)


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
) -> CodecVocabulary:
    """Extend the vocabulary by the tokens of a codec; old tokens keep ids and rows bit for bit.

    A model that has the tokens already is left as it is.

    Args:
        model: changed in place: embeddings, output layer, config.
        processor: its tokenizer gets the tokens.
        section: which codec, how many of its codebooks, in which order.
        codec: the same, where it is loaded already.

    Returns:
        Where the tokens are.

    Raises:
        RecipeError: see `codec_of`; or the model has tokens of another size, or some of the names
            in another place.
    """
    codec = codec or codec_of(section)
    sizes = {"num_codebooks": section.num_codebooks, "codebook_size": codec.codebook_size}
    if model.config.speech is not None:
        vocabulary = CodecVocabulary(**sizes, first_id=model.config.speech["first_id"])
        settings = speech_settings(section, vocabulary)
        _check_same(model.config.speech, settings)
        model.config.speech = settings
        return vocabulary
    tokenizer = processor.tokenizer
    tokenizer.add_tokens(CodecVocabulary(**sizes).tokens(), special_tokens=True)
    try:
        vocabulary = CodecVocabulary.of_tokenizer(tokenizer, **sizes)
    except CodecError as error:
        raise RecipeError(
            f"model.speech: the language model has tokens of such names already. {error}"
        ) from None
    rows = rows_for(model.config.text_config.vocab_size, len(tokenizer))
    extend_rows(model, vocabulary.first_id, rows)
    model.config.speech = speech_settings(section, vocabulary)
    logger.info(
        "vocabulary: %d tokens of the codec %s from id %d on; %d rows of embeddings",
        *(len(vocabulary), section.codec, vocabulary.first_id, rows),
    )
    return vocabulary


def _check_same(there: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Whether a model's tokens are those of a recipe; another codec or order is only told.

    Raises:
        RecipeError: another number of codebooks or codes.
    """
    names = ("num_codebooks", "codebook_size")
    if any(there[name] != wanted[name] for name in names):
        raise RecipeError(
            f"model.speech wants {wanted['num_codebooks']} codebooks of {wanted['codebook_size']} "
            f"codes, and the checkpoint has tokens of {there['num_codebooks']} of "
            f"{there['codebook_size']}. Give what it has, or leave model.speech out: the tokens "
            "stay."
        )
    for name in ("codec", "layout"):
        if there[name] != wanted[name]:
            logger.warning(
                "model.speech.%s is %s; the checkpoint has learned its tokens with %s",
                *(name, wanted[name], there[name]),
            )


@torch.no_grad()
def extend_rows(model: BorealisForConditionalGeneration, first: int, rows: int) -> None:
    """Give embeddings and output layer so many rows, new ones from `first` on.

    Args:
        model: changed in place.
        first: how many rows stay as they are, bit for bit.
        rows: of both matrices; as many as there are, or more.
    """
    embeddings: Any = model.get_input_embeddings()
    output: Any = model.get_output_embeddings()
    tied = output.weight is embeddings.weight
    for layer in (embeddings,) if tied else (embeddings, output):
        old = layer.weight.data[:first]
        layer.weight = nn.Parameter(torch.cat([old, new_rows(old, rows - first)]))
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


def new_rows(old: torch.Tensor, count: int) -> torch.Tensor:
    """Rows of tokens that nothing has been learned of: the mean of the old ones.

    Args:
        old: rows of the tokens of text `[tokens, hidden_size]`.
        count: how many are wanted.

    Returns:
        `[count, hidden_size]`, in the format of `old`.
    """
    return old.mean(0, dtype=torch.float32).to(old.dtype).expand(count, -1)
