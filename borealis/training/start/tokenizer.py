"""A small byte-level BPE tokenizer with the chat template, for models made from scratch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from borealis.model.processing import (
    AUDIO_TOKEN,
    CHAT_TEMPLATE,
    END_OF_AUDIO,
    START_OF_AUDIO,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_ROLE_WORDS = ("system", "user", "assistant")


def train_tokenizer(
    lines: Iterable[str], vocab_size: int, *, single_characters: bool = False
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer in the style of Qwen's.

    Args:
        lines: training text.
        vocab_size: size of the vocabulary with the special tokens.
        single_characters: no piece is longer than one character, and none joins a space with half
            of the letter after it. A tiny model learns to align letters with sound many times
            sooner than pieces. Characters that are too rare for the vocabulary are spelled in
            bytes.

    Returns:
        A `PreTrainedTokenizerFast` with `<|im_start|>`, `<|im_end|>` and the audio tokens.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    special += [START_OF_AUDIO, END_OF_AUDIO, AUDIO_TOKEN]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    # Words with their leading space, single digits, runs of punctuation.
    pattern = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    if single_characters:
        pattern = r"[\s\S]"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    # The words of the chat format stand in every prompt, so each should be one token.
    tokenizer.add_tokens(list(_ROLE_WORDS))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=[START_OF_AUDIO, END_OF_AUDIO, AUDIO_TOKEN, "<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
