"""Keys of a stage: its tasks, what it hears, which losses it has, and how it goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from borealis.training.recipe.losses import LossesSection
from borealis.training.recipe.renamed import refuse_old_keys
from borealis.training.recipe.section import Section
from borealis.training.recipe.tasks import TasksSection

EMBEDDINGS = "language_model.embed_tokens"
_OF_RECORDINGS = ("letters", "transcription", "conversations", "speech", "listening")
_OF_SPEECH = ("speech", "listening")


class LoraSection(Section):
    """Low-rank adaptation (Hu et al., 2021), through peft."""

    rank: int = Field(16, gt=0, description="Rank of the update.")
    alpha: int = Field(32, gt=0, description="Scale; the update is multiplied by alpha / rank.")
    use_rslora: bool = Field(
        False,
        description="Multiply the update by alpha / sqrt(rank) instead (rsLoRA, Kalajdzievski, "
        "2023): a high rank learns as fast as a low one.",
    )
    use_dora: bool = Field(
        False,
        description="Learn how large each row of the weights is apart from where it points (DoRA, "
        "Liu et al., 2024): steps are slower, and servers that put LoRA on as they run may not "
        "know it.",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the update.")
    target_modules: list[str] = Field(
        default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj"],
        description="Linear layers that get one, by name; an audio tower has q_proj, k_proj, "
        "v_proj, out_proj, fc1, fc2.",
    )


class PseudoAudioSection(Section):
    """How sentences that nobody recorded become noisy CTC posteriors."""

    source: Literal["rules", "clips"] = Field(
        "rules",
        description="What it is made of: rules make errors up (error_rate); clips glues sentences "
        "from pieces of what the adapter hears in the stage's features as it begins.",
    )
    clips: int = Field(3000, gt=0, description="Clips that are cut into pieces, with source clips.")
    error_rate: tuple[float, float] = Field(
        (0.0, 0.3), description="Damaged letters, from the first to the last step."
    )
    max_chars: tuple[int, int] = Field(
        (26, 120), description="Longest sentence in letters, at first and later."
    )


class OptimizerSection(Section):
    """AdamW (Loshchilov and Hutter, 2019) and its learning rate."""

    learning_rate: float = Field(description="Peak learning rate.", gt=0)
    rates: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        description="Peak learning rates of parts, by beginnings of parameters' names as in "
        "trainable, such as adapter: 1e-3; the longest that fits counts, else learning_rate.",
    )
    warmup_steps: int = Field(100, ge=0, description="Linear warm-up, steps.")
    scheduler: Literal[
        "cosine",
        "cosine_with_restarts",
        "linear",
        "polynomial",
        "inverse_sqrt",
        "constant",
        "constant_with_warmup",
    ] = Field(
        "cosine",
        description="Schedule after warm-up, by its transformers name: cosine, "
        "cosine_with_restarts, linear, polynomial, inverse_sqrt, constant, constant_with_warmup. "
        "Only the last three let a finished stage go on with more steps.",
    )
    min_learning_rate_ratio: float = Field(
        0.05, ge=0, le=1, description="Floor of a cosine schedule, relative to the peak."
    )
    weight_decay: float = Field(0.01, ge=0, description="Weight decay.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradient clipping.")
    adam_beta2: float = Field(0.98, description="Decay of the second moments.")


class BatchSection(Section):
    """How large batches are, and who makes them."""

    seconds: float = Field(60.0, gt=0, description="Audio in a batch, padding included.")
    tokens: int = Field(3000, gt=0, description="Tokens in a batch.")
    per_step: int = Field(
        1,
        gt=0,
        description="Batches whose gradients make one optimizer step, on all processes together: "
        "the same run on one GPU and on eight.",
    )
    packing: bool = Field(
        False,
        description="Lay the examples of a batch one after another in one row without padding, "
        "each attending only to itself; the loss is the same. Needs sources. Attention computes "
        "the whole row, so a long row costs more than padding: 'borealis plan --compare' tells.",
    )
    workers: int = Field(0, ge=0, description="Processes that read and distort audio beforehand.")


class AugmentSection(Section):
    """Distortions of what is heard."""

    presets: list[Literal["none", "light", "rough", "hard"]] = Field(
        default_factory=lambda: ["none"],
        description="Distortions of recordings from sources, by progress: each preset serves an "
        "equal part of the stage. Cached features have theirs in data.features.",
    )
    time_mask: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="SpecAugment: share of time masked, in cached frames or in log-mel features.",
    )
    frequency_mask: float = Field(
        0.0, ge=0, lt=1, description="SpecAugment: share of log-mel channels masked (sources)."
    )
    style_mix: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of cached clips whose channel statistics are mixed with those of "
        "another clip (MixStyle), so that few voices stand for many; not where the voice is asked.",
    )


class ComputeSection(Section):
    """Number formats, memory, and what several processes share."""

    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Number format of the computation; auto: bfloat16 where it is native."
    )
    frozen_precision: Literal["float32", "bfloat16", "nf4"] = Field(
        "float32",
        description="Number format in which towers that don't learn are held; bfloat16 halves "
        "their memory and wants precision bfloat16. nf4 (with lora: QLoRA) holds the linear layers "
        "of a frozen language model in 4 bits, by the library bitsandbytes, the rest in bfloat16.",
    )
    sharding: Literal["none", "fsdp"] = Field(
        "none",
        description="What several processes share: none, each holds the whole model (DDP); fsdp, "
        "each holds a part of weights, gradients and optimizer (FSDP2). Same losses.",
    )
    use_liger_kernel: bool = Field(
        False,
        description="Norms, gated layers and the loss by the library liger-kernel: logits are "
        "never held whole. CUDA only.",
    )
    gradient_checkpointing: bool = Field(
        False, description="Compute layers again in the backward pass instead of keeping them."
    )


class CheckpointsSection(Section):
    """What is kept on the way."""

    every: int = Field(500, gt=0, description="Checkpoint every N steps.")
    keep: int = Field(
        2, gt=0, description="Newest checkpoints that are kept; the best by validation stays too."
    )


class LogSection(Section):
    """The log."""

    every: int = Field(50, gt=0, description="Log every N steps.")
    to: list[Literal["tensorboard", "wandb", "trackio"]] = Field(
        default_factory=list, description="Where the log goes too, by libraries you have installed."
    )


class ValidationSection(Section):
    """Measurements on recordings that aren't learned from."""

    sources: list[str] = Field(
        default_factory=list,
        description="Sources on which the word error rate and the losses are measured.",
    )
    speech: list[str] = Field(
        default_factory=list,
        description="Recordings (data.speech) on which the loss of speech is measured, and how "
        "often the likeliest code of the first codebook is right.",
    )
    every: int = Field(1000, gt=0, description="Measure every N steps, and after the last.")
    clips: int = Field(64, gt=0, description="On at most so many recordings, of speech too.")
    patience: int | None = Field(
        None,
        gt=0,
        description="End the stage early when so many measurements in a row had no lower word "
        "error rate than the best before. With this key its result is always the weights of the "
        "best measurement, those it began with among them.",
    )


class StageSection(Section):
    """One training stage."""

    name: str = Field(description="Name of the stage; its output folder carries it.")
    max_steps: int = Field(description="Optimizer steps.", gt=0)
    seed: int | None = Field(None, description="Seed of the stage's batches; the recipe's if None.")
    tasks: TasksSection = Field(
        default_factory=lambda: TasksSection.model_validate({"transcription": {}}),
        description="What is learned; transcription if nothing is said.",
    )
    features: list[str] = Field(
        default_factory=list, description="Feature caches the stage learns from."
    )
    sources: list[str] = Field(
        default_factory=list,
        description="Sources (data.sources) of recordings that the stage learns from, encoded anew "
        "at every step; instead of features.",
    )
    mixing_temperature: float = Field(
        1.0,
        gt=0,
        description="How evenly the sources are heard: each as often as (its hours x weight) to "
        "the power of 1 / temperature. 1: by hours and weight; large: all alike.",
    )
    pseudo_audio: PseudoAudioSection = Field(
        default_factory=PseudoAudioSection,
        description="Sound of the tasks pseudo and pseudo_questions.",
    )
    russian_prompts: float = Field(
        0.65, ge=0, le=1, description="Share of the prompts that are Russian; the rest is English."
    )
    losses: LossesSection = Field(
        default_factory=LossesSection, description="Losses beside that of the next token."
    )
    trainable: list[str] = Field(
        default_factory=lambda: ["adapter"],
        description="Prefixes of the parameters that learn: audio_tower, adapter, "
        "adapter.label_embeddings, language_model, language_model.embed_tokens, ...; and speech, "
        "the embeddings of a codec's tokens (model.speech) alone, in the input and the output.",
    )
    lora: LoraSection | None = Field(
        None, description="Train the language model by LoRA; merged when the stage ends."
    )
    encoder_lora: LoraSection | None = Field(
        None,
        description="Train the audio tower by LoRA as well; merged when the stage ends. Needs "
        "sources: cached features would be those of the old tower.",
    )
    optimizer: OptimizerSection = Field(description="AdamW and its learning rate.")
    batch: BatchSection = Field(default_factory=BatchSection, description="Size of batches.")
    augment: AugmentSection = Field(default_factory=AugmentSection, description="Distortions.")
    compute: ComputeSection = Field(
        default_factory=ComputeSection, description="Number formats, memory, sharing."
    )
    checkpoints: CheckpointsSection = Field(
        default_factory=CheckpointsSection, description="What is kept on the way."
    )
    log: LogSection = Field(default_factory=LogSection, description="The log.")
    validation: ValidationSection = Field(
        default_factory=ValidationSection, description="Measurements on the way."
    )

    @model_validator(mode="before")
    @classmethod
    def _new_spelling(cls, values: Any) -> Any:
        refuse_old_keys(values)
        return values

    def changed(self, keys: Mapping[str, Any]) -> StageSection:
        """A stage with other values.

        Args:
            keys: by their paths, such as `batch.seconds`.

        Raises:
            ValueError: a value doesn't go with the others.
        """
        values = self.model_dump()
        for path, value in keys.items():
            *groups, name = path.split(".")
            place = values
            for group in groups:
                place = place[group]
            place[name] = value
        return type(self).model_validate(values)

    @property
    def talk_sources(self) -> list[str]:
        """Names of the sources of conversations without audio."""
        return list(getattr(self.tasks.given.get("conversations"), "sources", ()))

    @property
    def speech_sets(self) -> list[str]:
        """Names of the recordings of `data.speech` that are needed, those of validation too."""
        tasks = [self.tasks.given[name] for name in _OF_SPEECH if name in self.tasks.given]
        names = [name for task in tasks for name in getattr(task, "sets", ())]
        return list(dict.fromkeys([*names, *self.validation.speech]))

    @property
    def makes_pseudo_audio(self) -> bool:
        """Whether a task needs it."""
        return bool(self.tasks.share("pseudo", "pseudo_questions"))

    @property
    def reads_corpora(self) -> bool:
        """Whether a task learns from the text of data.corpora."""
        return self.makes_pseudo_audio or bool(self.tasks.share("text"))

    @property
    def embeddings_learn(self) -> bool:
        """Whether all input embeddings are named by themselves: they learn beside LoRA, too."""
        return EMBEDDINGS in self.trainable

    @property
    def speech_learns(self) -> bool:
        """Whether the embeddings of a codec's tokens learn by themselves."""
        return any(name.split(".")[0] == "speech" for name in self.trainable)

    @property
    def language_model_learns(self) -> bool:
        """Whether any of its weights change, or LoRA is put on it."""
        named = any(name.split(".")[0] == "language_model" for name in self.trainable)
        return named or self.lora is not None

    @model_validator(mode="after")
    def _has_tasks(self) -> StageSection:
        if not self.tasks.given:
            raise ValueError("tasks: give one with a share above 0")
        return self

    @model_validator(mode="after")
    def _tasks_fit(self) -> StageSection:
        tasks = self.tasks.given
        if self.features and self.sources:
            raise ValueError("give features or sources, not both")
        if self.sources and (wrong := [name for name in tasks if name not in _OF_RECORDINGS]):
            raise ValueError(
                f"tasks.{wrong[0]} goes with features, not sources; sources have the tasks "
                f"{', '.join(_OF_RECORDINGS)}"
            )
        if self.sources and ("letters" in tasks) == ("transcription" in tasks):
            raise ValueError("sources are heard by one of the tasks letters, transcription")
        if "conversations" in tasks and not self.sources:
            raise ValueError("tasks.conversations needs sources; elsewhere there is tasks.chat")
        if "conversations" in tasks and not self.language_model_learns:
            raise ValueError(
                "tasks.conversations needs a language model that learns: lora, or trainable"
            )
        for name in _OF_SPEECH:
            if name in tasks and not (self.language_model_learns or self.speech_learns):
                raise ValueError(
                    f"tasks.{name} needs a language model that learns: lora, or trainable"
                )
        for name in ("letters", "transcription", "questions"):
            if name in tasks and not (self.features or self.sources):
                raise ValueError(f"tasks.{name} needs features, or sources of recordings")
        return self

    @model_validator(mode="after")
    def _sounds_fit(self) -> StageSection:
        if self.sources and self.augment.style_mix:
            raise ValueError("augment.style_mix goes with features, not sources")
        if self.mixing_temperature != 1 and not self.sources:
            raise ValueError("mixing_temperature needs sources: passes over features are explicit")
        if self.encoder_lora and not self.sources:
            raise ValueError("encoder_lora needs sources: cached features don't change")
        if not self.sources and (self.batch.packing or self.compute.sharding != "none"):
            raise ValueError("batch.packing and compute.sharding need sources")
        if self.makes_pseudo_audio and self.pseudo_audio.source == "clips" and not self.features:
            raise ValueError("pseudo_audio.source clips needs features to cut the pieces from")
        return self

    @model_validator(mode="after")
    def _validation_fits(self) -> StageSection:
        if self.validation.patience and not self.validation.sources:
            raise ValueError("validation.patience needs validation.sources to measure on")
        return self

    @model_validator(mode="after")
    def _formats_fit(self) -> StageSection:
        compute = self.compute
        if compute.frozen_precision != "float32" and compute.precision != "bfloat16":
            raise ValueError(
                f"compute.frozen_precision {compute.frozen_precision} needs precision bfloat16"
            )
        if compute.frozen_precision == "nf4":
            if self.language_model_learns and not self.lora:
                raise ValueError(
                    "compute.frozen_precision nf4 needs lora: 4-bit weights don't learn"
                )
            if compute.sharding != "none":
                raise ValueError(
                    "compute.frozen_precision nf4 can't be sharded; give one of the two"
                )
        return self

    @model_validator(mode="after")
    def _losses_fit(self) -> StageSection:
        losses, tasks = self.losses, self.tasks.given
        if "letters" in tasks and not losses.ctc.weight:
            raise ValueError("tasks.letters needs losses.ctc with a weight: it has no other loss")
        if losses.counting.weight and not any(getattr(t, "read", 0) for t in tasks.values()):
            raise ValueError(
                "losses.counting needs a task that reads transcripts to count in: questions or "
                "pseudo_questions with read above 0"
            )
        if self.compute.use_liger_kernel and self.speech_learns:
            raise ValueError(
                "trainable speech needs the output layer's logits, compute.use_liger_kernel keeps "
                "none; give one of the two"
            )
        for name in ("guide", "counting"):
            if self.compute.use_liger_kernel and getattr(losses, name).weight:
                raise ValueError(
                    f"losses.{name} looks inside the language model, compute.use_liger_kernel "
                    "keeps no outputs"
                )
        return self
