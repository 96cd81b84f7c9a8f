"""Keys of a stage as recipes spelled them before they had groups: refused by their new names."""

from __future__ import annotations

from typing import Any

RENAMED = {
    "learning_rate": "optimizer.learning_rate",
    "warmup_steps": "optimizer.warmup_steps",
    "scheduler": "optimizer.scheduler",
    "min_learning_rate_ratio": "optimizer.min_learning_rate_ratio",
    "weight_decay": "optimizer.weight_decay",
    "max_grad_norm": "optimizer.max_grad_norm",
    "adam_beta2": "optimizer.adam_beta2",
    "precision": "compute.precision",
    "frozen_precision": "compute.frozen_precision",
    "sharding": "compute.sharding",
    "use_liger_kernel": "compute.use_liger_kernel",
    "gradient_checkpointing": "compute.gradient_checkpointing",
    "time_mask": "augment.time_mask",
    "frequency_mask": "augment.frequency_mask",
    "style_mix": "augment.style_mix",
    "packing": "batch.packing",
    "workers": "batch.workers",
    "batch_seconds": "batch.seconds",
    "batch_tokens": "batch.tokens",
    "batches_per_step": "batch.per_step",
    "save_steps": "checkpoints.every",
    "keep_checkpoints": "checkpoints.keep",
    "logging_steps": "log.every",
    "log_to": "log.to",
    "validation_steps": "validation.every",
    "validation_clips": "validation.clips",
    "text_share": "tasks.text.share",
    "text_sources": "tasks.conversations.sources",
    "chat_share": "tasks.chat.share",
    "pseudo_share": "tasks.pseudo.share",
    "pseudo_source": "pseudo_audio.source",
    "pseudo_clips": "pseudo_audio.clips",
    "error_rate": "pseudo_audio.error_rate",
    "max_chars": "pseudo_audio.max_chars",
    "question_share": "tasks.transcription.questions",
    "follow_up_share": "tasks.transcription.follow_up",
    "ask_share": "tasks.questions.share",
    "read_share": "tasks.questions.read",
    "ctc_weight": "losses.ctc.weight",
    "guide_weight": "losses.guide.weight",
    "guide_layers": "losses.guide.layers",
    "counting_weight": "losses.counting.weight",
    "counting_layer": "losses.counting.layer",
    "text": "tasks.text, tasks.chat and tasks.conversations",
    "pseudo": "tasks.pseudo and pseudo_audio",
    "questions": "questions and kinds of the tasks, and tasks.questions",
}
# Keys that are groups now, and were plain values.
_GROUPS = {"augment": "augment.presets", "validation": "validation.sources"}
_KIND = (
    "kind is gone: a stage is what its tasks say. text is tasks text and pseudo; align is letters "
    "(with losses.ctc) or transcription; instruct is transcription, questions and others"
)


def refuse_old_keys(values: Any) -> None:
    """Whether a stage's keys are spelled as they are now.

    Raises:
        ValueError: one isn't; the message has its new name.
    """
    if not isinstance(values, dict):
        return
    if "kind" in values:
        raise ValueError(_KIND)
    for old, new in RENAMED.items():
        if old in values:
            raise ValueError(f"{old} is {new} now")
    for old, new in _GROUPS.items():
        if isinstance(values.get(old), list):
            raise ValueError(f"{old} is {new} now")
