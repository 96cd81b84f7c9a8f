"""What all parts of a recipe are: unknown keys are errors, nothing changes afterwards."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Keys of a recipe that belong together; the description of each is its documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True)
