"""Keys of `model`: what it is assembled from."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from borealis.speech.symbols import SYMBOLS
from borealis.training.recipe.section import Section


class NgramSection(Section):
    """The letter n-gram (see `borealis.training.start.ngram`)."""

    order: int = Field(8, ge=2, le=10, description="Longest n-gram in letters.")
    min_gain: float = Field(
        4.0,
        ge=0,
        description="N-grams that make the text likelier by less than so many nats are left out; "
        "more makes the file smaller.",
    )
    corpora: list[str] = Field(
        default_factory=list,
        description="Text files of the data folder to count, by default data.corpora. Only "
        "spelling is learned from them, so single words and torn sentences do.",
    )
    word_bits: float = Field(
        0.0,
        ge=0,
        le=32,
        description="Keep a set of words that occur twice, or once on a line of their own, with so "
        "many bits a word (8: one other word in 50 passes for known): other words then cost "
        "something in decoding. 0 keeps no words.",
    )
    word_corpora: list[str] = Field(
        default_factory=list, description="Further text files, for the set of words only."
    )

    @model_validator(mode="after")
    def _words_are_kept(self) -> NgramSection:
        if self.word_corpora and not self.word_bits:
            raise ValueError("word_corpora needs word_bits above 0: no words are kept")
        return self


class VoiceSection(Section):
    """A voice that the model gets a token for."""

    name: str = Field(
        pattern="^[a-z0-9-]{1,32}$",
        description="Name that users give: lower-case Latin letters, digits, hyphens.",
    )
    language: Literal["ru", "en"] = Field("ru", description="Language it speaks best.")
    gender: Literal["male", "female", ""] = Field("", description="Of the speaker.")
    description: dict[Literal["en", "ru"], str] = Field(
        default_factory=dict, description="A sentence about it for lists of voices, by language."
    )


class SpeechSection(Section):
    """Tokens of a codec in the vocabulary (see `borealis.training.start.vocabulary`)."""

    codec: str = Field(
        "nano",
        description="Codec whose codes are written: a name of `borealis codec` such as nano or "
        "encodec_24khz, a folder, or a hub id.",
    )
    num_codebooks: int = Field(
        ge=1,
        le=8,
        description="How many of its codebooks, the coarsest first: each adds its codes to the "
        "vocabulary and a token to every frame of speech.",
    )
    layout: Literal["flat", "delay"] = Field(
        "flat",
        description="Order in which the codes of a frame are written: flat, all of a frame one "
        "after another; delay, each codebook a frame later than the one before.",
    )
    voices: list[VoiceSection] = Field(
        default_factory=list,
        description="Voices that the model learns by the task speech. With them the vocabulary has "
        "a token for each, and one that ends a sound; layout must be flat.",
    )
    symbols: str = Field(
        SYMBOLS,
        min_length=1,
        description="Characters that can be spoken; the tokenizer must have a token for each. A "
        "space and the marks `.`, `!` and `?` are needed. Used with voices alone.",
    )

    @field_validator("symbols", mode="after")
    @classmethod
    def _ends_are_there(cls, symbols: str) -> str:
        if missing := [mark for mark in " .!?" if mark not in symbols]:
            raise ValueError(f"{missing[0]!r} is missing: texts begin and end with such symbols")
        if len(set(symbols)) < len(symbols):
            raise ValueError("a symbol stands in it twice")
        return symbols

    @model_validator(mode="after")
    def _voices_fit(self) -> SpeechSection:
        names = [voice.name for voice in self.voices]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"there are two voices called '{twice[0]}'")
        if names and self.layout != "flat":
            raise ValueError(
                "voices need the layout flat: the symbols of a text stand between whole frames"
            )
        return self


class ModelSection(Section):
    """What the model is assembled from."""

    checkpoint: str | None = Field(
        None,
        description="Borealis checkpoint to go on from: bundled name, folder or hub id. Keys that "
        "say what a model is put together from are then left out.",
    )
    audio_tower: str | None = Field(
        None,
        description="Whisper whose encoder is used: hub id, checkpoint folder, a safetensors file "
        "with a config beside it, or `nano` for the encoder of the bundled checkpoint.",
    )
    language_model: str | None = Field(
        None, description="Causal language model to start from: hub id or folder."
    )
    text_config: dict[str, Any] | None = Field(
        None,
        description="Config of a language model made from scratch (keys of the transformers "
        "config, with model_type). Give this or language_model.",
    )
    tokenizer_vocab_size: int = Field(
        512, description="Size of the tokenizer trained for a text_config model."
    )
    tokenizer_single_characters: bool = Field(
        False, description="No piece of that tokenizer is longer than one character."
    )
    config: dict[str, Any] = Field(
        default_factory=dict,
        description="Keys of BorealisConfig: adapter_type, downsample_factor, encoder_window, ...",
    )
    decoding: dict[str, bool | float | dict[str, int | float]] = Field(
        default_factory=dict,
        description="Defaults of use kept in the checkpoint: max_segment_seconds, "
        "transcribe_before_answer, and search: fields of CTCDecoding or LLMDecoding by their "
        "names.",
    )
    ngram: NgramSection | None = Field(
        None,
        description="Count a letter n-gram from data.corpora, which mends spelling in decoding "
        "(adapter ctc). Without it a checkpoint that has one keeps it.",
    )
    speech: SpeechSection | None = Field(
        None,
        description="Put the tokens of a codec into the vocabulary, for tasks that teach speech; "
        "`speech` in a stage's trainable lets their embeddings learn. A checkpoint that has them "
        "keeps them, with this key or without it.",
    )
    scope: bool = Field(
        False,
        description="Let the model refuse questions of other kinds than those of borealis-nano "
        "(see `borealis.training.tasks.scope`). Those of a checkpoint to go on from aren't kept: "
        "it may learn to answer more.",
    )

    @model_validator(mode="after")
    def _one_origin(self) -> ModelSection:
        made = [k for k in ("audio_tower", "language_model", "text_config") if getattr(self, k)]
        if self.checkpoint:
            if made:
                raise ValueError(f"checkpoint already has its {made[0]}; give one of the two")
        elif not self.audio_tower or bool(self.language_model) == bool(self.text_config):
            raise ValueError(
                "give checkpoint, or audio_tower with either language_model or text_config"
            )
        return self
