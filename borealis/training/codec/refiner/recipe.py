"""A refiner's recipe: which codec, whose voices, what is heard, and the stages.

It is a recipe of its own, not a stage of a codec's: a refiner learns from finished codes, of any
codec whose codebooks add up, and from recordings of the voices that will speak.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from borealis.training.recipe.data import SpeechSourceSection
from borealis.training.recipe.schema import bundled_recipes, check_names, read_recipe
from borealis.training.recipe.section import Section
from borealis.training.recipe.stage import CheckpointsSection, LogSection, OptimizerSection


class RefinerSizes(Section):
    """Which codec, and sizes of the network; see `CodeRefinerConfig`."""

    codec: str = Field("nano", description="Name, folder or hub id of a finished codec.")
    symbols: str | None = Field(
        None, description="Characters that can be spoken; those of borealis.speech if None."
    )
    given_codebooks: int = Field(1, gt=0, description="The first books, which a model writes.")
    hidden_size: int = Field(256, gt=0, description="Width of the network.")
    intermediate_size: int = Field(768, gt=0, description="Width inside its blocks.")
    kernel_size: int = Field(7, gt=0, description="Frames that a block looks at; odd.")
    num_layers: int = Field(6, gt=0, description="Blocks.")
    neighbours: int = Field(
        2, ge=0, description="Symbols to both sides of its own that a frame knows."
    )
    counted_frames: int = Field(
        8, gt=0, description="How far a frame counts to the ends of its symbol."
    )


class RefinerDataSection(Section):
    """What is heard."""

    speech: dict[str, list[SpeechSourceSection]] = Field(
        description="Recordings by name, each a list of manifests, as in the recipe of a model "
        "that speaks. They are aligned with their texts and encoded by the codec once."
    )
    train: list[str] = Field(min_length=1, description="Those that are learned from.")
    weights: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        description="How often a second of a voice is heard; 1 if it isn't named.",
    )
    validation: list[str] = Field(default_factory=list, description="Those that are measured on.")
    aligner: str = Field(
        "nano",
        description="Model that aligns: a bundled name, folder or hub id of a Borealis with a ctc "
        "adapter.",
    )

    @model_validator(mode="after")
    def _fits(self) -> RefinerDataSection:
        for name in (*self.train, *self.validation):
            if name not in self.speech:
                raise ValueError(f"'{name}' isn't in speech, which has {', '.join(self.speech)}")
        if strange := [voice for voice in self.weights if voice not in self.voices]:
            raise ValueError(
                f"weights has the voice '{strange[0]}'; learned are {', '.join(self.voices)}"
            )
        return self

    @property
    def voices(self) -> list[str]:
        """Voices that are learned, each once."""
        parts = [part for name in self.train for part in self.speech[name]]
        return list(dict.fromkeys(voice for part in parts for voice in part.voices.values()))

    @property
    def used(self) -> list[str]:
        """Names of the recordings that are learned from or measured on, each once."""
        return list(dict.fromkeys([*self.train, *self.validation]))


class ErrorsSection(Section):
    """Given codes that are replaced in training, as the model that writes them errs."""

    near: float = Field(0.0, ge=0, le=1, description="Share that becomes a near entry.")
    nearest: int = Field(16, gt=0, description="A near entry is one of so many nearest.")
    random: float = Field(0.0, ge=0, le=1, description="Share that becomes any entry.")


class RefinerLossesSection(Section):
    """Weights of the losses."""

    latents: float = Field(1.0, ge=0, description="What the missing books add, MSE.")
    mel: float = Field(
        0.0,
        ge=0,
        description="Log-mel spectra of what the frozen decoder makes, against those with all "
        "codebooks. Needs a codec of our own kind, and three times the computation.",
    )


class RefinerBatchSection(Section):
    """What a step hears."""

    clips: int = Field(32, gt=0, description="Crops of recordings.")
    frames: int = Field(96, gt=0, description="Length of each, in frames of the codec.")


class RefinerValidationSection(Section):
    """Measurement on whole recordings of data.validation, a second book's codes and sound."""

    every: int = Field(1000, gt=0, description="Measure every N steps, and after the last.")
    clips: int = Field(30, gt=0, description="On at most so many recordings.")
    wrong: float = Field(
        0.2, ge=0, le=1, description="Share of given codes that are near ones in mel_wrong."
    )


class RefinerStage(Section):
    """One training stage."""

    name: str = Field(description="Name of the stage; its output folder carries it.")
    max_steps: int = Field(gt=0, description="Optimizer steps.")
    losses: RefinerLossesSection = Field(
        default_factory=RefinerLossesSection, description="Weights of the losses."
    )
    errors: ErrorsSection = Field(
        default_factory=ErrorsSection, description="Given codes that are replaced."
    )
    voice_dropout: float = Field(
        0.1, ge=0, le=1, description="Share of crops whose voice the network isn't told."
    )
    optimizer: OptimizerSection = Field(description="AdamW and its learning rate.")
    batch: RefinerBatchSection = Field(
        default_factory=RefinerBatchSection, description="What a step hears."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Number format of the computation; auto: bfloat16 where it is native."
    )
    checkpoints: CheckpointsSection = Field(
        default_factory=CheckpointsSection, description="What is kept on the way."
    )
    log: LogSection = Field(default_factory=LogSection, description="The log.")
    validation: RefinerValidationSection = Field(
        default_factory=RefinerValidationSection, description="Measurements on the way."
    )

    @model_validator(mode="after")
    def _fits(self) -> RefinerStage:
        if not self.losses.latents and not self.losses.mel:
            raise ValueError("losses: give latents, mel or both a weight")
        if self.errors.near + self.errors.random > 1:
            raise ValueError("errors: near and random are more than 1 together")
        return self


class RefinerRecipe(Section):
    """A whole refiner recipe."""

    name: str = Field(description="Name of the refiner.")
    seed: int = Field(0, description="Seed of everything random.")
    refiner: RefinerSizes = Field(description="Which codec, and sizes of the network.")
    data: RefinerDataSection = Field(description="What is heard.")
    stages: list[RefinerStage] = Field(min_length=1, description="Stages in order.")

    @model_validator(mode="after")
    def _fits(self) -> RefinerRecipe:
        check_names(self.stages)
        return self


def load_refiner_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> RefinerRecipe:
    """Read a refiner recipe by the name of a bundled one or by path; see `read_recipe`."""
    return read_recipe(RefinerRecipe, name_or_path, bundled_recipes("refiner"), overrides)
