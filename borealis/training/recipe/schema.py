"""Recipe schema: one YAML file fixes a model, its data and its stages.

Every key has its help and default here; `borealis train --help-recipe` and the documentation
print them from this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from borealis.errors import RecipeError
from borealis.training.recipe.overrides import key_path, override


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NgramSection(_Section):
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


class ModelSection(_Section):
    """What the model is assembled from."""

    checkpoint: str | None = Field(
        None,
        description="Borealis checkpoint to go on from: bundled name, folder or hub id. The other "
        "keys of this section are then left out.",
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


class FeatureSourceSection(_Section):
    """One pass over a manifest or a source when features are computed."""

    manifest: str | None = Field(None, description="Manifest, relative to the data folder.")
    source: str | None = Field(
        None,
        description="A source (data.sources) instead of a manifest: a dataset or folder, with its "
        "own limits; its weight doesn't count here.",
    )
    augment: Literal["none", "light", "rough", "hard"] = Field(
        "none", description="Distortion preset."
    )
    fraction: float = Field(1.0, gt=0, le=1, description="Share of the utterances taken.")
    join_probability: float = Field(
        0.0, ge=0, lt=1, description="Chance to append another utterance of the same voice."
    )
    max_joined_seconds: float = Field(20.0, description="Longest joined clip, seconds.")
    voices: list[str] = Field(
        default_factory=list,
        description="Only utterances of these voices; all if empty. Leave one out to see how a "
        "stranger fares.",
    )

    @model_validator(mode="after")
    def _one_origin(self) -> FeatureSourceSection:
        if bool(self.manifest) == bool(self.source):
            raise ValueError("give one of manifest, source")
        return self


class SourceSection(_Section):
    """Examples that a stage learns from without a feature cache: recordings, or conversations."""

    manifest: str | None = Field(None, description="Manifest, relative to the data folder.")
    folder: str | None = Field(
        None, description="Folder of recordings, each with a .txt beside, in the data folder."
    )
    dataset: str | None = Field(
        None,
        description="Dataset read by the library datasets: an entry ('borealis data hub' "
        "lists them), a hub id, or a local folder. Kept as a manifest in the data folder.",
    )
    config: str | None = Field(None, description="Configuration of the dataset.")
    split: str = Field("train", description="Split of the dataset.")
    revision: str | None = Field(None, description="Commit or tag of the dataset.")
    streaming: bool = Field(False, description="Read the dataset without downloading it whole.")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Which column of the dataset is what: audio, text, voice, gender, language, "
        "question, answer, messages.",
    )
    language: Literal["ru", "en", ""] = Field(
        "ru", description="Language where a row of the dataset or folder doesn't say it."
    )
    limit: int | None = Field(None, gt=0, description="At most so many examples, from the start.")
    weight: float = Field(
        1.0, gt=0, description="How often it is heard, relative to its hours: 2 is twice as often."
    )
    min_seconds: float = Field(0.2, ge=0, description="Shorter recordings are left out.")
    max_seconds: float = Field(
        30.0, gt=0, description="Longer recordings are left out and counted, never cut."
    )

    @model_validator(mode="after")
    def _one_origin(self) -> SourceSection:
        if sum(x is not None for x in (self.manifest, self.folder, self.dataset)) != 1:
            raise ValueError("give one of manifest, folder, dataset")
        return self


class LoraSection(_Section):
    """Low-rank adaptation (Hu et al., 2021), through peft."""

    rank: int = Field(16, gt=0, description="Rank of the update.")
    alpha: int = Field(32, gt=0, description="Scale; the update is multiplied by alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the update.")
    target_modules: list[str] = Field(
        default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj"],
        description="Linear layers that get one, by name; an audio tower has q_proj, k_proj, "
        "v_proj, out_proj, fc1, fc2.",
    )


class TextSection(_Section):
    """Steps on text without sound."""

    share: float = Field(0.0, ge=0, le=1, description="Share of the steps.")
    sources: list[str] = Field(
        default_factory=list,
        description="Sources (data.sources) of conversations without audio, where the stage has "
        "sources; else data.corpora is the text.",
    )
    chat: float = Field(
        0.25,
        ge=0,
        le=1,
        description="Share of the text steps that are chat without audio (instruct).",
    )


class PseudoSection(_Section):
    """Steps on pseudo-audio: sentences that nobody recorded, as noisy CTC posteriors (features)."""

    share: float = Field(0.0, ge=0, le=1, description="Share of the steps.")
    source: Literal["rules", "clips"] = Field(
        "rules",
        description="What pseudo-audio is made of: rules make errors up (error_rate); clips glues "
        "sentences from pieces of what the adapter hears in the stage's features as it begins.",
    )
    clips: int = Field(3000, gt=0, description="Clips that are cut into pieces, with source clips.")
    error_rate: tuple[float, float] = Field(
        (0.0, 0.3), description="Damaged letters of pseudo-audio, from the first to the last step."
    )
    max_chars: tuple[int, int] = Field(
        (26, 120), description="Longest pseudo-audio sentence in letters, at first and later."
    )


class QuestionsSection(_Section):
    """What is asked about clips (instruct)."""

    share: float = Field(
        0.35, ge=0, le=1, description="Share of clips with a question instead of transcription."
    )
    follow_up: float = Field(0.1, ge=0, le=1, description="Share of clips with a second question.")
    only: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the steps on audio and pseudo-audio that hold nothing but questions, "
        "each answer of a kind equally often.",
    )
    read: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Of the conversations of steps of nothing but questions, the share that begins "
        "with a transcript, as `Borealis.ask` begins with transcribe_before_answer.",
    )


class CTCSection(_Section):
    """CTC on the adapter's letters (adapter ctc)."""

    weight: float = Field(0.0, ge=0, description="Weight; 0 is off.")


class GuideSection(_Section):
    """Guided attention: two heads are shown where to look."""

    weight: float = Field(
        0.0,
        ge=0,
        description="Weight; 0 is off. Places are known of pseudo-audio and of transcripts.",
    )
    layers: list[int] = Field(
        default_factory=lambda: [1, 2], description="Layers whose first two heads are guided."
    )


class CountingSection(_Section):
    """Numbering the words of a transcript that is read."""

    weight: float = Field(
        0.0,
        ge=0,
        description="Weight; 0 is off. At each letter of a transcript that is read "
        "(questions.read) a layer learns which word it is in, and a count to look at the last one.",
    )
    layer: int = Field(4, gt=0, description="Layer after which words are numbered, from 1.")


class LossesSection(_Section):
    """Losses beside that of the next token; each is off until it has a weight."""

    ctc: CTCSection = Field(default_factory=CTCSection, description="CTC on the adapter's letters.")
    guide: GuideSection = Field(default_factory=GuideSection, description="Guided attention.")
    counting: CountingSection = Field(
        default_factory=CountingSection, description="Numbering of words."
    )


# Keys of a stage as recipes spelled them before they had groups.
RENAMED = {
    "text_share": "text.share",
    "text_sources": "text.sources",
    "chat_share": "text.chat",
    "pseudo_share": "pseudo.share",
    "pseudo_source": "pseudo.source",
    "pseudo_clips": "pseudo.clips",
    "error_rate": "pseudo.error_rate",
    "max_chars": "pseudo.max_chars",
    "question_share": "questions.share",
    "follow_up_share": "questions.follow_up",
    "ask_share": "questions.only",
    "read_share": "questions.read",
    "ctc_weight": "losses.ctc.weight",
    "guide_weight": "losses.guide.weight",
    "guide_layers": "losses.guide.layers",
    "counting_weight": "losses.counting.weight",
    "counting_layer": "losses.counting.layer",
}


class StageSection(_Section):
    """One training stage."""

    name: str = Field(description="Name of the stage; its output folder carries it.")
    kind: Literal["text", "align", "instruct"] = Field(
        description="text: language model on plain text and pseudo-audio; align: adapter with "
        "CTC or with the frozen language model's loss; instruct: transcription, questions, chat."
    )
    max_steps: int = Field(description="Optimizer steps.", gt=0)
    seed: int | None = Field(None, description="Seed of the stage's batches; the recipe's if None.")
    learning_rate: float = Field(description="Peak learning rate.", gt=0)
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
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradient clipping.")
    adam_beta2: float = Field(0.98, description="Second-moment decay of AdamW.")
    trainable: list[str] = Field(
        default_factory=lambda: ["adapter"],
        description="Prefixes of the parameters that learn: audio_tower, adapter, "
        "adapter.label_embeddings, language_model, ...",
    )
    batch_seconds: float = Field(60.0, gt=0, description="Audio in a batch, padding included.")
    batch_tokens: int = Field(3000, gt=0, description="Tokens in a text batch.")
    features: list[str] = Field(
        default_factory=list, description="Feature caches the stage learns from."
    )
    sources: list[str] = Field(
        default_factory=list,
        description="Sources (data.sources) of recordings that the stage learns from, encoded anew "
        "at every step; instead of features.",
    )
    text: TextSection = Field(
        default_factory=TextSection, description="Steps on text without sound."
    )
    pseudo: PseudoSection = Field(
        default_factory=PseudoSection, description="Steps on pseudo-audio."
    )
    questions: QuestionsSection = Field(
        default_factory=QuestionsSection, description="What is asked about clips (instruct)."
    )
    losses: LossesSection = Field(
        default_factory=LossesSection, description="Losses beside that of the next token."
    )
    augment: list[Literal["none", "light", "rough", "hard"]] = Field(
        default_factory=lambda: ["none"],
        description="Distortions of recordings from sources, by progress: each preset serves an "
        "equal part of the stage.",
    )
    batches_per_step: int = Field(
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
        description="Share of recorded clips whose channel statistics are mixed with those of "
        "another clip (MixStyle), so that few voices stand for many; not where the voice is asked.",
    )
    lora: LoraSection | None = Field(
        None, description="Train the language model by LoRA; merged when the stage ends."
    )
    encoder_lora: LoraSection | None = Field(
        None,
        description="Train the audio tower by LoRA as well; merged when the stage ends. Needs "
        "sources: cached features would be those of the old tower.",
    )
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
    save_steps: int = Field(500, gt=0, description="Checkpoint every N steps.")
    keep_checkpoints: int = Field(
        2, gt=0, description="Newest checkpoints that are kept; the best by validation stays too."
    )
    logging_steps: int = Field(50, gt=0, description="Log every N steps.")
    log_to: list[Literal["tensorboard", "wandb", "trackio"]] = Field(
        default_factory=list, description="Where the log goes too, by libraries you have installed."
    )
    validation: list[str] = Field(
        default_factory=list, description="Sources on which the word error rate is measured."
    )
    validation_steps: int = Field(1000, gt=0, description="Measure it every N steps.")
    validation_clips: int = Field(64, gt=0, description="On at most so many recordings.")

    @model_validator(mode="before")
    @classmethod
    def _new_spelling(cls, values: Any) -> Any:
        for old, new in RENAMED.items():
            if isinstance(values, dict) and old in values:
                raise ValueError(f"{old} is {new} now")
        return values

    @property
    def language_model_learns(self) -> bool:
        """Whether any of its weights change, or LoRA is put on it."""
        named = any(name.split(".")[0] == "language_model" for name in self.trainable)
        return named or self.lora is not None

    @model_validator(mode="after")
    def _examples_fit(self) -> StageSection:
        if self.features and self.sources:
            raise ValueError("give features or sources, not both")
        if self.text.sources and not self.sources:
            raise ValueError("text.sources needs sources; elsewhere data.corpora is the text")
        if self.sources and (self.pseudo.share or self.style_mix or self.questions.only):
            raise ValueError(
                "pseudo.share, style_mix and questions.only go with features, not sources"
            )
        if self.pseudo.source == "clips" and not self.features:
            raise ValueError("pseudo.source clips needs features to cut the pieces from")
        if self.encoder_lora and not self.sources:
            raise ValueError("encoder_lora needs sources: cached features don't change")
        if self.sources and self.text.share and not self.text.sources:
            raise ValueError("text.share needs text.sources")
        if self.text.share and self.sources and not self.language_model_learns:
            raise ValueError("text.share needs a language model that learns: lora, or trainable")
        if not self.sources and (self.packing or self.sharding != "none"):
            raise ValueError("packing and sharding need sources")
        return self

    @model_validator(mode="after")
    def _formats_fit(self) -> StageSection:
        if self.frozen_precision != "float32" and self.precision != "bfloat16":
            raise ValueError(f"frozen_precision {self.frozen_precision} needs precision bfloat16")
        if self.frozen_precision == "nf4":
            if self.language_model_learns and not self.lora:
                raise ValueError("frozen_precision nf4 needs lora: 4-bit weights don't learn")
            if self.sharding != "none":
                raise ValueError("frozen_precision nf4 can't be sharded; give one of the two")
        return self

    @model_validator(mode="after")
    def _losses_fit(self) -> StageSection:
        losses, asked = self.losses, self.questions
        if self.use_liger_kernel and losses.guide.weight:
            raise ValueError("losses.guide looks at attention, use_liger_kernel keeps no outputs")
        if losses.counting.weight and not (asked.only and asked.read):
            raise ValueError(
                "losses.counting needs questions.only and questions.read: talks to count in"
            )
        if self.use_liger_kernel and losses.counting.weight:
            raise ValueError("losses.counting looks at a layer, use_liger_kernel keeps no outputs")
        return self


class DataSection(_Section):
    """Where text and features come from."""

    optional: list[str] = Field(
        default_factory=list,
        description="Manifests, corpora and names of dataset sources that may be missing: the run "
        "warns and goes on.",
    )
    corpora: list[str] = Field(
        default_factory=list,
        description="Text files for the text stage, one sentence a line, in the data folder.",
    )
    features: dict[str, list[FeatureSourceSection]] = Field(
        default_factory=dict, description="Feature caches by name, each a list of passes."
    )
    sources: dict[str, SourceSection] = Field(
        default_factory=dict, description="Examples by name, for stages without a feature cache."
    )


class Recipe(_Section):
    """A whole recipe."""

    name: str = Field(description="Name of the model.")
    seed: int = Field(0, description="Seed of everything random.")
    model: ModelSection
    data: DataSection = Field(default_factory=DataSection)
    stages: list[StageSection]
    notes: str = Field("", description="How the published checkpoint was made.")

    def stage(self, name: str) -> StageSection:
        """The stage called `name`; RecipeError names the ones there are."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        known = ", ".join(s.name for s in self.stages)
        raise RecipeError(f"The recipe '{self.name}' has no stage '{name}'; it has {known}.")


def bundled_recipes() -> dict[str, Path]:
    """Recipes that come with the package, by name."""
    folder = Path(str(resources.files("borealis") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by the name of a bundled one or by path.

    Args:
        name_or_path: which.
        overrides: keys to change, `seed=1` or `stages.align.max_steps=100`; a stage is named, an
            item of another list numbered from 0, `*` is every one. Values are YAML.

    Raises:
        RecipeError: no such file, not YAML, or a key is unknown, missing or out of range; the
            message names the key.
    """
    path = bundled_recipes().get(str(name_or_path), Path(name_or_path))
    if not path.is_file():
        known = ", ".join(bundled_recipes())
        raise RecipeError(f"There is no recipe '{name_or_path}'. Bundled: {known}; or give a path.")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except yaml.YAMLError as error:
        raise RecipeError(f"'{path}' isn't valid YAML: {error}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"'{path}' isn't text in UTF-8.") from None
    if not isinstance(data, dict):
        raise RecipeError(f"'{path}' should hold keys and values, as recipes/nano.yaml does.")
    for text in overrides:
        override(data, text)
    try:
        return Recipe(**data)
    except ValidationError as error:
        lines = [f"{key_path(data, e['loc'])}: {e['msg']}" for e in error.errors()[:5]]
        raise RecipeError(f"'{path.name}' has mistakes: " + "; ".join(lines) + ".") from None


def recorded_recipe(values: dict[str, Any]) -> Recipe:
    """The recipe that a run keeps, also one of before a stage's keys had groups.

    Args:
        values: what was written; not changed.

    Raises:
        ValidationError: it isn't a recipe.
    """
    stages = []
    for stage in values["stages"]:
        stage = dict(stage)
        for old, new in RENAMED.items():
            if old in stage:
                *groups, name = new.split(".")
                place = stage
                for group in groups:
                    place[group] = dict(place.get(group, {}))
                    place = place[group]
                place[name] = stage.pop(old)
        stages.append(stage)
    return Recipe(**(values | {"stages": stages}))


def recipe_help() -> str:
    """Every recipe key with its type, default and meaning, as plain text."""
    lines: list[str] = []
    sections: list[type[_Section]] = [Recipe, ModelSection, DataSection, FeatureSourceSection]
    sections += [SourceSection, StageSection, TextSection, PseudoSection, QuestionsSection]
    sections += [LossesSection, CTCSection, GuideSection, CountingSection, LoraSection]
    for section in sections:
        lines.append(f"{section.__name__.removesuffix('Section').lower()}: {section.__doc__}")
        for name, info in section.model_fields.items():
            if info.description:
                default = info.get_default(call_default_factory=True)
                default = "required" if info.is_required() else default
                default = "keys below" if isinstance(default, _Section) else default
                lines.append(f"  {name} ({default}): {info.description}")
        lines.append("")
    return "\n".join(lines)
