"""What a checkpoint can be asked: the kind of a question, and the answers that are left for it.

A small model answers whatever it is asked: "Translate it" gives "Russian." So a checkpoint may have
a file that tells the kinds of questions it was taught from all others, by the letters of the
question. The others get a sentence that says what the model can do; a question of a kind with few
answers ("yes" and "no") gets one of these, in its own language. `borealis.training.tasks.scope`
makes the file; a checkpoint without one answers everything as it likes.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from borealis.checkpoints import SCOPE, checkpoint_file
from borealis.errors import CheckpointError

OTHER = "other"  # the kind of all questions that the checkpoint wasn't taught
LANGUAGES = ("ru", "en")
_VERSION = "1"
_PLAUSIBLE = 0.05  # kinds less likely than this don't matter
_QUOTED = re.compile(
    r"«[^«»]*»|\"[^\"]*\"|“[^“”]*”|„[^„“”]*[“”]|(?<!\w)'[^']*'(?!\w)|(?<!\w)‘[^‘’]*’(?!\w)"
)
_QUOTE = "\x01"  # stands for what was quoted
_LETTERS = (3, 4, 5)  # lengths of the parts of words
_LONGEST = 2000  # characters that are looked at
_MOST_BUCKETS = 1 << 20


class Scope:
    """Tells kinds of questions: multinomial logistic regression over hashed words and letters.

    Args:
        weights: int8 `[buckets, kinds]`.
        scales: of the weights of each kind, float32 `[kinds]`.
        biases: float32 `[kinds]`.
        kinds: their names; `OTHER` is one of them.
        answers: kind -> language -> all answers it has; kinds with any number of them aren't there.
        refusal: language -> the answer to `OTHER`.
        threshold: the least probability of `OTHER` at which a question is refused.

    Raises:
        ValueError: the parts don't fit together.
    """

    def __init__(
        self,
        weights: np.ndarray,
        scales: np.ndarray,
        biases: np.ndarray,
        *,
        kinds: Sequence[str],
        answers: Mapping[str, Mapping[str, Sequence[str]]],
        refusal: Mapping[str, str],
        threshold: float,
    ) -> None:
        if weights.dtype != np.int8 or weights.ndim != 2 or weights.shape[1] != len(kinds):
            raise ValueError(f"weights are {weights.dtype} {list(weights.shape)}")
        if not 0 < len(weights) <= _MOST_BUCKETS:
            raise ValueError(f"there are {len(weights)} buckets")
        if scales.shape != (len(kinds),) or biases.shape != (len(kinds),):
            raise ValueError("scales and biases don't fit the kinds")
        if OTHER not in kinds:
            raise ValueError(f"the kind '{OTHER}' is missing")
        for texts in (refusal, *answers.values()):
            if set(texts) != set(LANGUAGES) or not all(texts.values()):
                raise ValueError("an answer is missing in one of the languages")
        self.weights, self.scales, self.biases = weights, scales, biases
        self.kinds, self.threshold = tuple(kinds), float(threshold)
        self.closed = {
            kind: {language: tuple(texts[language]) for language in LANGUAGES}
            for kind, texts in answers.items()
        }
        self.refusal = dict(refusal)

    def probabilities(self, question: str) -> dict[str, float]:
        """How likely the question is of each kind."""
        found = features(question, len(self.weights))
        scores = self.weights[found].sum(0, dtype=np.int64) * self.scales
        scores = scores / max(1, len(found)) ** 0.5 + self.biases
        exponents = np.exp(scores - scores.max())
        return dict(zip(self.kinds, (exponents / exponents.sum()).tolist(), strict=True))

    def answers(self, question: str, *, recording: bool = True) -> list[str]:
        """All answers that a question can get; empty where it may be any.

        One alone is the refusal: the question is none that the checkpoint was taught.

        Args:
            question: what is asked.
            recording: whether there is a recording. Without one the model says so itself, whatever
                it is asked about it.
        """
        if not question.strip():
            return []
        likely = self.probabilities(question)
        language = language_of(question)
        if likely.pop(OTHER) >= self.threshold:
            return [self.refusal[language]]
        kinds = [kind for kind, chance in likely.items() if chance >= _PLAUSIBLE]
        if not recording or not kinds or any(kind not in self.closed for kind in kinds):
            return []
        texts = [text for kind in kinds for text in self.closed[kind][language]]
        return list(dict.fromkeys(texts))

    def without_refusals(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """A conversation without the questions that were refused in it, and without the refusals.

        The model never saw one in training and would go on about it. Recordings of such a turn stay
        and stand in the user's next one.

        Args:
            messages: with `role` and `content`, a string or a list of parts with a `type`.
        """
        refusals = set(self.refusal.values())
        kept: list[dict[str, Any]] = []
        waiting: list[Any] = []
        for place, message in enumerate(messages):
            after = messages[place + 1] if place + 1 < len(messages) else {}
            if message["role"] == "assistant" and text_of(message).strip() in refusals:
                continue
            if message["role"] == "user" and isinstance(message["content"], (list, tuple)):
                sounds = [part for part in message["content"] if part.get("type") != "text"]
            else:
                sounds = []
            if (
                message["role"] == "user"
                and after.get("role") == "assistant"
                and text_of(after).strip() in refusals
            ):
                waiting += sounds
            elif message["role"] == "user" and waiting:
                kept.append({**message, "content": [*waiting, *_parts(message)]})
                waiting = []
            else:
                kept.append(dict(message))
        return kept

    # ---- on disk ----

    def save_pretrained(self, folder: Path) -> None:
        """Write `questions.safetensors` into `folder`."""
        about = {
            "version": _VERSION,
            "kinds": self.kinds,
            "answers": self.closed,
            "refusal": self.refusal,
            "threshold": self.threshold,
        }
        save_file(
            {
                "weights": np.ascontiguousarray(self.weights),
                "scales": np.ascontiguousarray(self.scales, np.float32),
                "biases": np.ascontiguousarray(self.biases, np.float32),
            },
            folder / SCOPE,
            metadata={"scope": json.dumps(about, ensure_ascii=False)},
        )

    @classmethod
    def of_checkpoint(cls, name_or_path: str | os.PathLike[str]) -> Scope | None:
        """That of a checkpoint folder or hub id; None if it has none.

        Raises:
            CheckpointError: it has one that can't be read.
        """
        found = checkpoint_file(name_or_path, SCOPE)
        return None if found is None else cls.load(found)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Scope:
        """Read what `save_pretrained` wrote.

        Raises:
            CheckpointError: the file can't be read, or is of another version.
        """
        name = os.fspath(path)
        try:
            with safe_open(name, framework="numpy") as file:
                about = json.loads((file.metadata() or {})["scope"])
                tensors = {key: file.get_tensor(key) for key in ("weights", "scales", "biases")}
            if about.pop("version") != _VERSION:
                raise ValueError(f"it is of another version than {_VERSION}")
            return cls(**tensors, **about)
        except (
            OSError,
            SafetensorError,
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
        ) as error:
            raise CheckpointError(f"'{name}' holds no kinds of questions: {error}.") from None


def features(question: str, buckets: int) -> np.ndarray:
    """Numbers of the words, pairs of words and parts of words of a question, each once.

    Args:
        question: any text; what is quoted in it counts as a quotation, whatever it is.
        buckets: numbers go up to this.
    """
    words = re.findall(_QUOTE + r"|[^\W\d_]+|\d+", unquoted(question, _QUOTE))
    found = ["w" + word for word in words]
    found += [f"b{one} {two}" for one, two in zip(["^", *words], [*words, "$"], strict=True)]
    for word in words:
        if word != _QUOTE:
            framed = f"<{word}>"
            for length in _LETTERS:
                found += ["c" + framed[at : at + length] for at in range(len(framed) - length + 1)]
    return np.unique([zlib.crc32(text.encode()) % buckets for text in found]).astype(np.int64)


def unquoted(question: str, instead: str = "") -> str:
    """The question's beginning in small letters, ё as е, with `instead` for each quotation."""
    return _QUOTED.sub(f" {instead} ", question[:_LONGEST].lower().replace("ё", "е"))


def language_of(question: str) -> str:
    """`ru` or `en`: the language of most of the question's words outside quotation marks.

    Of as many, that of the first word; a text without any letters counts as Russian.
    """
    for text in (unquoted(question), question[:_LONGEST]):
        words = re.findall(r"[^\W\d_]+", text)
        russian = [bool(re.search(r"[\u0400-\u04ff]", word)) for word in words]
        if words:
            return "ru" if 2 * sum(russian) + russian[0] > len(words) else "en"
    return "ru"


def text_of(message: Mapping[str, Any]) -> str:
    """The text parts of a message, with a space between them."""
    parts = _parts(message)
    return " ".join(part["text"] for part in parts if part.get("type") == "text")


def _parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
