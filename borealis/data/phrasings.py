"""Wordings of questions and answers from `phrasings.yaml`, for training and evaluation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Any, Literal

import numpy as np
import yaml

from borealis.data.kinds import KINDS

Split = Literal["train", "test"]
LANGUAGES = ("ru", "en")
TASKS = ("transcribe", *(kind.name for kind in KINDS))
# Patterns are many wordings each, so they are drawn more often than the plain sentences, and those
# of many wordings more often than those of few.
_PATTERN_SHARE = 0.7


@dataclass(frozen=True)
class Phrasings:
    """The content of the file.

    Args:
        tasks: task -> language -> `train` and `test` questions, `patterns` of more training
            questions (see `expand`), and `answers` by label.
        parts: language -> name -> alternatives, which patterns of that language may name.
        chat: language -> question and answer pairs about the model itself.
        missing: language -> the answer to a question about a recording that isn't there.
        russian: share of training prompts that are Russian; the others are English.
    """

    tasks: dict[str, dict[str, Any]]
    parts: dict[str, dict[str, str]]
    chat: dict[str, list[dict[str, str]]]
    missing: dict[str, str]
    russian: float = 0.65

    def draw_language(self, rng: np.random.Generator) -> str:
        """Language of a training prompt."""
        return "ru" if rng.random() < self.russian else "en"

    def questions(self, task: str, language: str, split: Split = "train") -> list[str]:
        """Questions of a task; those of `test` are never trained on."""
        return self.tasks[task][language][split]

    def draw(self, task: str, language: str, rng: np.random.Generator) -> str:
        """A random training question: a plain one, or one made from a pattern; never a `test` one.

        Args:
            task: name of the task.
            language: of the question.
            rng: source of all randomness.
        """
        plain, patterns = self.tasks[task][language]["train"], self._patterns[task, language]
        if patterns and rng.random() < _PATTERN_SHARE:
            wordings = patterns[int(rng.choice(len(patterns), p=self._chances[task, language]))]
            return wordings[int(rng.integers(len(wordings)))]
        return plain[int(rng.integers(len(plain)))]

    def wordings(self, task: str, language: str) -> list[list[str]]:
        """All training questions: each plain one by itself, and those of each pattern together."""
        plain = [[question] for question in self.questions(task, language)]
        return [*plain, *(made for made in self._patterns[task, language] if made)]

    @cached_property
    def _patterns(self) -> dict[tuple[str, str], list[list[str]]]:
        """Wordings of each pattern, without those kept for the test."""
        found = {}
        for task, languages in self.tasks.items():
            for language, entry in languages.items():
                tested = {plain_wording(question) for question in entry["test"]}
                found[task, language] = [
                    [
                        wording
                        for wording in expand(pattern, self.parts[language])
                        if plain_wording(wording) not in tested
                    ]
                    for pattern in entry.get("patterns", [])
                ]
        return found

    @cached_property
    def _chances(self) -> dict[tuple[str, str], np.ndarray]:
        """Chance of each pattern: the root of its number of wordings."""
        found = {}
        for kind, patterns in self._patterns.items():
            sizes = np.sqrt([len(wordings) for wordings in patterns])
            found[kind] = sizes / max(1.0, sizes.sum())
        return found

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


def expand(pattern: str, parts: Mapping[str, str] | None = None) -> list[str]:
    """All sentences of a pattern: `[Name|Write] the word[ again|].` gives four.

    Args:
        pattern: text, and alternatives in brackets; one that is `*name` stands for those of a part.
        parts: alternatives by name.

    Raises:
        KeyError: the pattern names a part that isn't there.
    """
    sentences = [""]
    pattern = re.sub(r"(?<=[\[|])\*(\w+)(?=[|\]])", lambda m: (parts or {})[m[1]], pattern)
    for text, choices in re.findall(r"([^\[\]]+)|\[([^\[\]]*)\]", pattern):
        options = [text] if text else choices.split("|")
        sentences = [sentence + option for sentence in sentences for option in options]
    return sentences


def plain_wording(question: str) -> str:
    """A wording without capitals and marks, to tell whether two are the same."""
    return " ".join(re.findall(r"[\w{}]+", question.lower()))


@cache
def load_phrasings() -> Phrasings:
    """Read the bundled file once."""
    text = resources.files("borealis.data").joinpath("phrasings.yaml").read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    return Phrasings(
        tasks=data["tasks"], parts=data["parts"], chat=data["about"], missing=data["no_audio"]
    )
