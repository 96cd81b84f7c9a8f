"""What borealis-nano can be asked and what it can't, in wordings from `scope.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from borealis.data.phrasings import expand


@dataclass(frozen=True)
class ScopeWordings:
    """The content of the file.

    Args:
        refusal: language -> what is said to a question that it wasn't taught.
        parts: language -> name -> alternatives, which patterns of that language may name.
        refused: `train` and `test` -> language -> topic -> patterns of such questions.
        answered: language -> kind -> patterns of questions that it was taught, for training.
        asked: language -> kind -> such questions, for measuring only.
    """

    refusal: dict[str, str]
    parts: dict[str, dict[str, str]]
    refused: dict[str, dict[str, dict[str, list[str]]]]
    answered: dict[str, dict[str, list[str]]]
    asked: dict[str, dict[str, list[str]]]

    def refused_wordings(self, language: str, split: str) -> dict[str, list[list[str]]]:
        """Topic -> all wordings of each of its patterns."""
        return self._expanded(self.refused[split][language], language)

    def answered_wordings(self, language: str) -> dict[str, list[list[str]]]:
        """Kind -> all wordings of each of its patterns."""
        return self._expanded(self.answered[language], language)

    def _expanded(
        self, patterns: dict[str, list[str]], language: str
    ) -> dict[str, list[list[str]]]:
        parts = self.parts[language]
        return {name: [expand(item, parts) for item in items] for name, items in patterns.items()}


@cache
def load_scope_wordings() -> ScopeWordings:
    """Read the bundled file once."""
    text = resources.files("borealis.data").joinpath("scope.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.safe_load(text)
    return ScopeWordings(
        refusal=data["answer"],
        parts=data["parts"],
        refused={"train": data["train"], "test": data["test"]},
        answered=data["answered"],
        asked=data["asked"],
    )
