"""Short spellings of a stage's keys: `nested({"learning_rate": 0.1, "log.every": 1})`."""

from __future__ import annotations

from typing import Any

from borealis.training.recipe import StageSection

# Keys that tests name often; any other is spelled by its path.
SHORT = {
    "learning_rate": "optimizer.learning_rate",
    "warmup_steps": "optimizer.warmup_steps",
    "scheduler": "optimizer.scheduler",
    "rates": "optimizer.rates",
    "batch_seconds": "batch.seconds",
    "batch_tokens": "batch.tokens",
    "batches_per_step": "batch.per_step",
    "packing": "batch.packing",
    "workers": "batch.workers",
    "presets": "augment.presets",
    "time_mask": "augment.time_mask",
    "frequency_mask": "augment.frequency_mask",
    "style_mix": "augment.style_mix",
    "precision": "compute.precision",
    "frozen_precision": "compute.frozen_precision",
    "sharding": "compute.sharding",
    "use_liger_kernel": "compute.use_liger_kernel",
    "gradient_checkpointing": "compute.gradient_checkpointing",
    "save_steps": "checkpoints.every",
    "keep_checkpoints": "checkpoints.keep",
    "logging_steps": "log.every",
    "log_to": "log.to",
}


def nested(*layers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Keys of a stage in their groups; of a key that is given twice the later one counts.

    `tasks` replaces those of earlier layers; `tasks.text.share` adds to them.
    """
    out: dict[str, Any] = {}
    for key, value in (pair for layer in (*layers, more) for pair in layer.items()):
        *groups, name = SHORT.get(key, key).replace("__", ".").split(".")
        place = out
        for group in groups:
            place = place.setdefault(group, {})
        merges = isinstance(value, dict) and isinstance(place.get(name), dict) and name != "tasks"
        place[name] = {**place[name], **value} if merges else value
    return out


def spelled(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe whose stages may have short spellings, as it is written."""
    return recipe | {"stages": [nested(stage) for stage in recipe["stages"]]}


# What a stage of recordings asked when golden batches and losses were written down.
CLIPS = {
    "language": 0.13, "voice": 0.17, "sound": 0.12, "word_present": 0.26,
    "first_word": 0.11, "last_word": 0.11, "word_count": 0.1, "about": 0.03,
}  # fmt: skip
SENTENCES = {"word_present": 0.5, "first_word": 0.16, "last_word": 0.16, "word_count": 0.18}
ASKED = {"questions": 0.35, "follow_up": 0.1, "kinds": CLIPS}


def a_stage(**keys: Any) -> StageSection:
    """A stage of one step on recordings, with other keys in short spelling."""
    settings = {"name": "s", "max_steps": 1, "learning_rate": 1.0}
    heard = {} if {"features", "tasks"} & set(keys) else {"sources": ["s"]}
    return StageSection(**nested(settings, heard, keys))
