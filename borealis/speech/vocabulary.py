"""Tokens of a model that speaks: those of a codec, its voices, and letters it has anyway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from borealis.codec import CodecVocabulary
from borealis.errors import CodecError
from borealis.speech.symbols import SYMBOLS

NEXT_SYMBOL = "<|next_symbol|>"


def voice_token(name: str) -> str:
    """The name of a voice's token."""
    return f"<|voice:{name}|>"


@dataclass(frozen=True)
class SpeechVocabulary:
    """Where the tokens of speech are.

    Behind the block of the codec stand `<|next_symbol|>` and the voices. Symbols are the tokens
    that the tokenizer has for single characters.

    Args:
        codec: tokens of the codec.
        voices: names, in the order of their ids.
        symbols: the characters that can be spoken.
        symbol_ids: the token of each.
    """

    codec: CodecVocabulary
    voices: tuple[str, ...]
    symbols: str
    symbol_ids: tuple[int, ...]

    @classmethod
    def of_settings(cls, speech: Mapping[str, Any]) -> SpeechVocabulary:
        """The vocabulary of a model, by what its `config.speech` says.

        Raises:
            CodecError: it has codec tokens, but no voices: it wasn't taught to speak.
        """
        if not speech.get("voices"):
            raise CodecError(
                "The model has codec tokens and no voices: it wasn't taught to speak. Train it "
                "with model.speech.voices and the task speech."
            )
        return cls(
            CodecVocabulary.of_settings(speech),
            tuple(voice["name"] for voice in speech["voices"]),
            speech["symbols"],
            tuple(speech["symbol_ids"]),
        )

    @classmethod
    def extra_tokens(cls, voices: Sequence[str]) -> list[str]:
        """Names of the tokens behind the codec's, in the order of their ids."""
        return [NEXT_SYMBOL, *map(voice_token, voices)]

    @property
    def next_id(self) -> int:
        """Id of `<|next_symbol|>`."""
        return self.codec.first_id + len(self.codec)

    def voice_id(self, name: str) -> int:
        """Id of a voice.

        Raises:
            CodecError: there is no such voice.
        """
        if name not in self.voices:
            raise CodecError(f"There is no voice '{name}'; the model has {', '.join(self.voices)}.")
        return self.next_id + 1 + self.voices.index(name)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return dict(zip(self.symbols, self.symbol_ids, strict=True))

    def ids_of(self, symbols: str) -> list[int]:
        """Tokens of symbols."""
        return [self._ids[symbol] for symbol in symbols]


def symbol_tokens(tokenizer: Any, symbols: str = SYMBOLS) -> list[int]:
    """The token of each symbol in a tokenizer.

    Raises:
        CodecError: a symbol isn't one token.
    """
    ids = []
    for symbol in symbols:
        spelled = tokenizer.encode(symbol, add_special_tokens=False)
        if len(spelled) != 1:
            raise CodecError(
                f"The tokenizer spells {symbol!r} in {len(spelled)} tokens; speech needs one for "
                "each letter. Give model.speech.symbols without it."
            )
        ids.append(spelled[0])
    return ids
