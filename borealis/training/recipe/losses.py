"""Keys of the losses beside that of the next token; their code is in `borealis.training.losses`."""

from __future__ import annotations

from pydantic import Field

from borealis.training.recipe.section import Section


class CTCSection(Section):
    """CTC on the adapter's letters (adapter ctc)."""

    weight: float = Field(0.0, ge=0, description="Weight; 0 is off.")


class GuideSection(Section):
    """Guided attention: two heads are shown where to look."""

    weight: float = Field(
        0.0,
        ge=0,
        description="Weight; 0 is off. Places are known of pseudo-audio and of transcripts.",
    )
    layers: list[int] = Field(
        default_factory=lambda: [1, 2], description="Layers whose first two heads are guided."
    )


class CountingSection(Section):
    """Numbering the words of a transcript that is read."""

    weight: float = Field(
        0.0,
        ge=0,
        description="Weight; 0 is off. At each letter of a transcript that is read (read of the "
        "tasks questions and pseudo_questions) a layer learns which word it is in, and a count to "
        "look at the last one.",
    )
    layer: int = Field(4, gt=0, description="Layer after which words are numbered, from 1.")


class LossesSection(Section):
    """Losses beside that of the next token; each is off until it has a weight."""

    ctc: CTCSection = Field(default_factory=CTCSection, description="CTC on the adapter's letters.")
    guide: GuideSection = Field(default_factory=GuideSection, description="Guided attention.")
    counting: CountingSection = Field(
        default_factory=CountingSection, description="Numbering of words."
    )
