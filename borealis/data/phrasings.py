"""Wordings of questions and answers from `phrasings.yaml`, for training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml

Split = Literal["train", "test"]
LANGUAGES = ("ru", "en")
TASKS = (
    "transcribe",
    "language",
    "voice",
    "sound",
    "word_present",
    "first_word",
    "last_word",
    "word_count",
)


@dataclass(frozen=True)
class Phrasings:
    """The content of the file.

    Args:
        tasks: task -> language -> `train` and `test` questions, and `answers` by label.
        chat: language -> question and answer pairs about the model itself.
        missing: language -> the answer to a question about a recording that isn't there.
    """

    tasks: dict[str, dict[str, Any]]
    chat: dict[str, list[dict[str, str]]]
    missing: dict[str, str]

    def questions(self, task: str, language: str, split: Split = "train") -> list[str]:
        """Questions of a task; those of `test` are never trained on."""
        return self.tasks[task][language][split]

    def answers(self, task: str, language: str, label: str = "") -> list[str]:
        """Answers for a label; word tasks have one list under the empty label."""
        answers = self.tasks[task][language]["answers"]
        return answers[label] if isinstance(answers, dict) else answers

    def about(self, language: str) -> list[tuple[str, str]]:
        """Questions about the model itself, with their answers."""
        return [(pair["q"], pair["a"]) for pair in self.chat[language]]

    def no_audio(self, language: str) -> str:
        """The answer when a recording is asked about and none was given."""
        return self.missing[language]


@cache
def load_phrasings() -> Phrasings:
    """Read the bundled file once."""
    text = resources.files("borealis.data").joinpath("phrasings.yaml").read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    return Phrasings(tasks=data["tasks"], chat=data["about"], missing=data["no_audio"])
