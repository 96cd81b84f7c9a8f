"""From a recipe to the planner's terms: its model's config, and its stages as work."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from borealis.checkpoints import bundled
from borealis.training.planner.costs import LETTERS_PER_SECOND, Options, Plan, Stage, plan_stages
from borealis.training.planner.shapes import (
    PlanError,
    codebook_size,
    encoder_config,
    qwen3_tokens,
    text_config,
)
from borealis.training.recipe import ModelSection, Recipe, SpeechSection, StageSection
from borealis.training.recipe.stage import EMBEDDINGS
from borealis.training.start.sizes import num_speech_tokens, rows_for, speech_settings

if TYPE_CHECKING:
    from borealis.model import BorealisConfig

# The tokenizer's training adds the three words of the chat format to the vocabulary asked for.
_CHAT_WORDS = 3


def plan_recipe(
    recipe: Recipe,
    options: Options,
    *,
    hours_of_audio: float | None = None,
    epochs: float | None = None,
) -> Plan:
    """Plan all stages of a recipe.

    Args:
        recipe: says what the model is and what each stage learns.
        options: clip, GPU, price and the rest that a recipe doesn't say.
        hours_of_audio: size of the data. Without it: what the longest stage hears, as if nothing
            were heard twice.
        epochs: how often each stage hears the data; without it a stage hears `max_steps` times
            `batch.per_step` batches of `batch.seconds`. Sources are encoded whenever they are
            heard, feature caches once.

    Raises:
        PlanError: a part isn't known, or a stage trains what the planner doesn't count.
    """
    if epochs is not None and hours_of_audio is None:
        raise PlanError("epochs needs hours_of_audio: how much is one epoch?")
    given = {"hours_of_audio": hours_of_audio, "epochs": epochs}
    options = replace(options, **{k: v for k, v in given.items() if v is not None})
    options.check()
    config = recipe_config(recipe.model)
    heard = [
        options.hours_of_audio * options.epochs
        if epochs is not None and _audio_share(section)
        else _batches(section) * _audio_share(section) * section.batch.seconds / 3600
        for section in recipe.stages
    ]
    data = options.hours_of_audio if hours_of_audio is not None else max(heard, default=0.0)
    # The cache is made before the first stage that listens to it.
    cached = [h if options.feature_cache and s.features else 0.0 for s, h in _pairs(recipe, heard)]
    first = next((i for i, hours in enumerate(cached) if hours), None)
    options = replace(options, feature_cache=first is not None)
    stages = [
        Stage(
            section.name,
            _train(section),
            audio_hours=hours,
            encoded_hours=(data if i == first else 0.0) if cached[i] else hours,
            text_tokens=_batches(section) * (1 - _audio_share(section)) * section.batch.tokens,
            batch_tokens=section.batch.tokens if section.sources else None,
            gradient_checkpointing=section.compute.gradient_checkpointing or None,
            packing=section.batch.packing or None,
            frozen_precision="nf4" if section.compute.frozen_precision == "nf4" else None,
            sharding="fsdp" if section.compute.sharding == "fsdp" else None,
            validations=_validations(section),
            validation_clips=section.validation.clips,
            # The best one is known where something is measured.
            checkpoints_kept=section.checkpoints.keep + bool(section.validation.sources),
            **_lora(section),
            **_embeddings(section, config),
        )
        for i, (section, hours) in enumerate(_pairs(recipe, heard))
    ]
    rate = options.text_tokens_per_second
    spelled = recipe.model.tokenizer_single_characters or recipe.model.checkpoint in bundled()
    if rate is None and spelled:
        rate = LETTERS_PER_SECOND
    options = replace(options, hours_of_audio=data, text_tokens_per_second=rate)
    return plan_stages(config, stages, options)


def recipe_config(section: ModelSection) -> Any:
    """The `BorealisConfig` that a recipe's model section describes.

    A model from scratch gets the vocabulary that the recipe asks for; how many pieces its text
    really gives is known after the tokenizer's training only.
    """
    config = _config_of_parts(section)
    if section.speech is not None and config.speech is None:
        _extend(config, section)
    elif section.speech is not None and section.speech.voices and "voices" not in config.speech:
        _add_voices(config, section.speech)
    return config


def _config_of_parts(section: ModelSection) -> Any:
    """The same without the tokens of a codec."""
    from transformers import AutoConfig

    from borealis.data.text import CTC_CHARACTERS
    from borealis.model import BorealisConfig

    if section.checkpoint:
        folder = bundled().get(section.checkpoint, Path(section.checkpoint))
        if not (folder / "config.json").is_file():
            raise PlanError(
                f"The planner can't see the checkpoint '{section.checkpoint}'; give a bundled name "
                "or a folder."
            )
        return BorealisConfig.from_pretrained(folder)
    if section.language_model:
        text = text_config(section.language_model)
    else:
        values = dict(section.text_config or {})
        values["vocab_size"] = section.tokenizer_vocab_size + _CHAT_WORDS
        text = AutoConfig.for_model(values.pop("model_type", "qwen3"), **values)
    config = dict(section.config)
    if config.get("adapter_type") == "ctc":
        config.setdefault("ctc_labels", CTC_CHARACTERS)
    encoder = encoder_config(section.audio_tower or "")
    try:
        return BorealisConfig(audio_config=encoder, text_config=text, **config)
    except (ValueError, TypeError) as error:
        raise PlanError(f"model.config of the recipe: {error}") from None


def _extend(config: BorealisConfig, section: ModelSection) -> None:
    """Give a config the rows of a codec's tokens, as the run will."""
    from borealis.codec import CodecVocabulary

    speech, text = section.speech, config.text_config
    assert speech is not None
    size = codebook_size(speech.codec)
    vocabulary = CodecVocabulary(speech.num_codebooks, size, first_id=_tokens(section, config))
    config.speech = speech_settings(speech, vocabulary)
    tokens = num_speech_tokens(config.speech)
    text.vocab_size = rows_for(text.vocab_size, vocabulary.first_id + tokens)


def _add_voices(config: BorealisConfig, speech: SpeechSection) -> None:
    """Give a config with the rows of a codec's tokens those of voices, as the run will."""
    from borealis.codec import CodecVocabulary

    assert config.speech is not None
    vocabulary = CodecVocabulary.of_settings(config.speech)
    config.speech = speech_settings(speech, vocabulary)
    tokens = vocabulary.first_id + num_speech_tokens(config.speech)
    config.text_config.vocab_size = rows_for(config.text_config.vocab_size, tokens)


def vocabulary_line(recipe: Recipe) -> str:
    """What of the vocabulary is a codec's, in a line; empty where there is none.

    Raises:
        PlanError: a part isn't known.
    """
    from borealis.codec import CodecVocabulary

    config = recipe_config(recipe.model)
    if config.speech is None:
        return ""
    vocabulary = CodecVocabulary.of_settings(config.speech)
    rows = config.text_config.vocab_size
    voices = num_speech_tokens(config.speech) - len(vocabulary)
    spare = rows - vocabulary.first_id - len(vocabulary) - voices
    spoken = f", {voices:,} of voices" if voices else ""
    return (
        f"{rows:,} rows: {vocabulary.first_id:,} of text, {len(vocabulary):,} of the codec "
        f"{config.speech['codec']} (3 marks, {vocabulary.num_codebooks} x "
        f"{vocabulary.codebook_size:,} codes){spoken}, {spare:,} spare"
    )


def _tokens(section: ModelSection, config: BorealisConfig) -> int:
    """How many tokens a tokenizer has before those of a codec are added."""
    from borealis.model.processing import AUDIO_TOKEN, END_OF_AUDIO, START_OF_AUDIO

    audio = {AUDIO_TOKEN, END_OF_AUDIO, START_OF_AUDIO}
    if section.text_config:
        return config.text_config.vocab_size
    if section.language_model and (known := qwen3_tokens(section.language_model)):
        return known + len(audio)
    from transformers import AutoTokenizer

    name = section.language_model or section.checkpoint or ""
    folder = bundled().get(name, Path(name))
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise PlanError(f"The tokenizer of '{name}' can't be read: {first}") from None
    return len(tokenizer.get_vocab().keys() | audio)


def _embeddings(stage: StageSection, config: BorealisConfig) -> dict[str, int]:
    """Numbers in embeddings that learn by themselves."""
    text = config.text_config
    said = {}
    if stage.speech_learns:
        if config.speech is None:
            raise PlanError(
                f"Stage '{stage.name}' trains speech; say of which codec: model.speech."
            )
        matrices = 1 if text.tie_word_embeddings else 2
        tokens = num_speech_tokens(config.speech)
        said["rows"] = matrices * tokens * text.hidden_size
    if stage.embeddings_learn and _train(stage) != "full":
        said["embeddings"] = text.vocab_size * text.hidden_size
    return said


def _pairs(recipe: Recipe, heard: list[float]) -> list[tuple[StageSection, float]]:
    return list(zip(recipe.stages, heard, strict=True))


def _batches(stage: StageSection) -> int:
    return stage.max_steps * stage.batch.per_step


def _validations(stage: StageSection) -> int:
    """How often a stage measures its word error rate: every N steps, and at the last one."""
    if not stage.validation.sources:
        return 0
    return math.ceil(stage.max_steps / stage.validation.every)


def _audio_share(stage: StageSection) -> float:
    """Share of the batches that are recorded audio."""
    return stage.tasks.share("letters", "transcription", "questions")


def _train(stage: StageSection) -> str:
    if any(n.split(".")[0] == "audio_tower" for n in stage.trainable):
        raise PlanError(
            f"Stage '{stage.name}' trains the encoder; the planner knows it frozen or with LoRA."
        )
    if set(stage.tasks.given) == {"letters"}:
        return "ctc"
    if stage.lora is not None:
        return "lora"
    names = [name for name in stage.trainable if name != EMBEDDINGS]
    learns = any(name.split(".")[0] == "language_model" for name in names)
    return "full" if learns else "adapter"


def _lora(stage: StageSection) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for prefix, section in (("", stage.lora), ("encoder_", stage.encoder_lora)):
        if section is not None:
            # Like peft, which takes the names that are there; the default ones are a decoder's.
            names = [n for n in section.target_modules if not prefix or n != "o_proj"]
            said[f"{prefix}lora_rank"] = section.rank
            said[f"{prefix}lora_modules"] = tuple(names)
    return said
