"""From a recipe to the planner's terms: its model's config, and its stages as work."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from borealis.checkpoints import bundled
from borealis.training.planner.costs import LETTERS_PER_SECOND, Options, Plan, Stage, plan_stages
from borealis.training.planner.shapes import PlanError, encoder_config, text_config
from borealis.training.recipe import ModelSection, Recipe, StageSection

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
    learns = any(name.split(".")[0] == "language_model" for name in stage.trainable)
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
