"""A codec recipe: one YAML file fixes the codec, what it hears and its stages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from borealis.training.recipe.schema import bundled_recipes, check_names, read_recipe
from borealis.training.recipe.section import Section
from borealis.training.recipe.stage import CheckpointsSection, LogSection, OptimizerSection

# What learns: parts of the codec, and the letters beside it.
_PARTS = ("encoder", "decoder", "letters")


class CodecSizes(Section):
    """Sizes of the codec; the others are those of `BorealisCodecConfig`."""

    num_codebooks: int = Field(8, gt=0, le=32, description="Stages of the residual quantizer.")
    codebook_size: int = Field(1024, gt=1, description="Entries of each.")
    latent_size: int = Field(64, gt=0, description="Width of what is quantized.")
    hidden_size: int = Field(256, gt=0, description="Width of encoder and decoder.")
    intermediate_size: int = Field(768, gt=0, description="Width inside their blocks.")
    encoder_layers: int = Field(4, gt=0, description="Blocks before the quantizer.")
    decoder_layers: int = Field(6, gt=0, description="Blocks after it.")


class ClipsSection(Section):
    """Recordings of one manifest."""

    manifest: str = Field(description="JSON Lines file in the data folder.")
    weight: float = Field(1.0, gt=0, description="How often a second of it is heard.")


class CodecDataSection(Section):
    """What is heard."""

    train: list[ClipsSection] = Field(min_length=1, description="Recordings that are learned from.")
    validation: list[str] = Field(
        default_factory=list, description="Manifests that are measured on."
    )
    teacher: str | None = Field(
        None,
        description="Borealis model (nano, a folder) that tells the letter of every 20 ms: the "
        "first codebook learns to tell them apart. Needs texts in the manifests.",
    )


class QuantizerSection(Section):
    """How codebooks learn (van den Oord et al., 2017, appendix A.1: moving averages)."""

    begin: int = Field(
        0,
        ge=0,
        description="Steps without a quantizer; then the codebooks begin with k-means. 0 where "
        "the codec is quantized already.",
    )
    decay: float = Field(0.98, gt=0, lt=1, description="Of the averages, a step.")
    revive_below: float = Field(
        0.04, ge=0, description="Entries that fewer vectors a step choose begin anew elsewhere."
    )
    books: dict[int, Annotated[float, Field(gt=0)]] = Field(
        description="How often a step uses only the first N codebooks, by N, in shares."
    )


class CodecLossesSection(Section):
    """Weights of the losses."""

    mel: float = Field(1.0, ge=0, description="Log-mel spectra at four resolutions, L1.")
    waveform: float = Field(1.0, ge=0, description="Samples, L1.")
    commitment: float = Field(0.25, ge=0, description="Latents against their entries, MSE.")
    letters: float = Field(
        0.0, ge=0, description="Letters of each frame from the first codebook, cross-entropy."
    )
    adversarial: float = Field(
        0.0, ge=0, description="What spectrogram discriminators take for real (hinge)."
    )
    features: float = Field(
        0.0, ge=0, description="Layers of the discriminators, real against made, L1."
    )


class CodecBatchSection(Section):
    """What a step hears."""

    clips: int = Field(12, gt=0, description="Crops of recordings.")
    seconds: float = Field(1.92, gt=0.2, description="Length of each.")


class CodecValidationSection(Section):
    """Measurement on the recordings of data.validation: mel distances and use of the codebooks."""

    every: int = Field(1000, gt=0, description="Measure every N steps, and after the last.")
    clips: int = Field(32, gt=0, description="On at most so many crops.")


class CodecStage(Section):
    """One training stage."""

    name: str = Field(description="Name of the stage; its output folder carries it.")
    max_steps: int = Field(gt=0, description="Optimizer steps.")
    trainable: list[Literal["encoder", "decoder"]] = Field(
        default_factory=lambda: ["encoder", "decoder"],
        description="Parts that learn. The codebooks learn with the encoder, and only with it: "
        "codes of a frozen encoder stay what they are.",
    )
    quantizer: QuantizerSection = Field(description="How codebooks learn.")
    losses: CodecLossesSection = Field(
        default_factory=CodecLossesSection, description="Weights of the losses."
    )
    discriminator_rate: float = Field(
        3e-4, gt=0, description="Learning rate of the discriminators, constant after warm-up."
    )
    optimizer: OptimizerSection = Field(description="AdamW and its learning rate.")
    muon_rate: float | None = Field(
        None,
        gt=0,
        description="Matrices of the codec, but for projections, learn by Muon (Jordan et al., "
        "2024) at this peak rate and the schedule of optimizer; the rest by AdamW. If not given, "
        "all by AdamW.",
    )
    batch: CodecBatchSection = Field(
        default_factory=CodecBatchSection, description="What a step hears."
    )
    augment: Literal["none", "light", "rough", "hard"] = Field(
        "none", description="Preset of distortions; what is heard and what is wanted alike."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Number format of the computation; auto: bfloat16 where it is native."
    )
    checkpoints: CheckpointsSection = Field(
        default_factory=CheckpointsSection, description="What is kept on the way."
    )
    log: LogSection = Field(default_factory=LogSection, description="The log.")
    validation: CodecValidationSection = Field(
        default_factory=CodecValidationSection, description="Measurements on the way."
    )

    @model_validator(mode="after")
    def _fits(self) -> CodecStage:
        if not self.trainable:
            raise ValueError("trainable: name encoder, decoder or both")
        if "encoder" not in self.trainable and self.quantizer.begin:
            raise ValueError("quantizer.begin needs an encoder that learns")
        if "encoder" not in self.trainable and self.losses.letters:
            raise ValueError("losses.letters needs an encoder that learns")
        if self.losses.features and not self.losses.adversarial:
            raise ValueError("losses.features needs losses.adversarial: its layers are compared")
        if wrong := sorted({*self.optimizer.rates} - {*_PARTS}):
            raise ValueError(f"optimizer.rates has '{wrong[0]}'; parts are {', '.join(_PARTS)}")
        if self.quantizer.begin >= self.max_steps:
            raise ValueError("quantizer.begin must be less than max_steps")
        return self

    @property
    def learns_codes(self) -> bool:
        """Whether the encoder and with it the codebooks learn."""
        return "encoder" in self.trainable


class CodecRecipe(Section):
    """A whole codec recipe."""

    name: str = Field(description="Name of the codec.")
    seed: int = Field(0, description="Seed of everything random.")
    codec: CodecSizes = Field(default_factory=CodecSizes, description="Sizes of the codec.")
    data: CodecDataSection = Field(description="What is heard.")
    stages: list[CodecStage] = Field(min_length=1, description="Stages in order.")

    @model_validator(mode="after")
    def _fits(self) -> CodecRecipe:
        check_names(self.stages)
        if not self.stages[0].learns_codes or not self.stages[0].quantizer.begin:
            raise ValueError("stages.0: the first one makes the codes; give quantizer.begin")
        for stage in self.stages:
            if stage.losses.letters and self.data.teacher is None:
                raise ValueError(f"stages.{stage.name}: losses.letters needs data.teacher")
            if max(stage.quantizer.books, default=0) > self.codec.num_codebooks:
                raise ValueError(f"stages.{stage.name}: quantizer.books has more than there are")
        return self


def load_codec_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> CodecRecipe:
    """Read a codec recipe by the name of a bundled one or by path; see `read_recipe`."""
    return read_recipe(CodecRecipe, name_or_path, bundled_recipes("codec"), overrides)
