"""Keys of `data`: where text, recordings and features come from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from borealis.training.recipe.section import Section


class FeatureSourceSection(Section):
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


class SpeechSourceSection(Section):
    """Recordings of one manifest that speech is learned from."""

    manifest: str = Field(description="Manifest, relative to the data folder.")
    voices: dict[str, str] = Field(
        min_length=1,
        description="Voices of the manifest, and the name that each has in model.speech.voices; "
        "recordings of others are left out. A manifest without voices has the voice ''.",
    )
    fraction: float = Field(1.0, gt=0, le=1, description="Share of the recordings taken.")
    commas: float | None = Field(
        None,
        gt=0,
        description="The texts lack commas: a space at which the speaker pauses for so many "
        "seconds is learned as one.",
    )


class SourceSection(Section):
    """Examples that a stage learns from without a feature cache: recordings, or conversations."""

    manifest: str | None = Field(None, description="Manifest, relative to the data folder.")
    folder: str | None = Field(
        None, description="Folder of recordings, each with a .txt beside, in the data folder."
    )
    dataset: str | None = Field(
        None,
        description="Dataset read by the library datasets: an entry ('borealis data hub' "
        "lists them), a hub id, or a local folder. Kept in the data folder.",
    )
    config: str | None = Field(None, description="Configuration of the dataset.")
    split: str = Field("train", description="Split of the dataset.")
    revision: str | None = Field(None, description="Commit or tag of the dataset.")
    streaming: bool = Field(
        False,
        description="Leave the recordings in the dataset's parquet files and fetch them batch by "
        "batch; only an index is kept in the data folder. Not for feature caches and validation.",
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Which column of the dataset is what: audio, text, voice, gender, language, "
        "question, answer, messages; duration (seconds) where the dataset is streamed.",
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


class DataSection(Section):
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
    speech: dict[str, list[SpeechSourceSection]] = Field(
        default_factory=dict,
        description="Recordings for the tasks speech and listening by name, each a list of "
        "manifests. They are encoded by the codec and aligned with their texts once.",
    )
    aligner: str = Field(
        "nano",
        description="Model that aligns data.speech: a bundled name, folder or hub id of a Borealis "
        "with a ctc adapter.",
    )
    sources: dict[str, SourceSection] = Field(
        default_factory=dict, description="Examples by name, for stages without a feature cache."
    )
