"""Kinds of questions about a recording: what is right, and what an answer is.

A new kind is an entry of `KINDS`, and its wordings in `phrasings.yaml` under the same name: a task
of a recipe that names it draws it, evaluation asks it in wordings that were kept apart, and a
checkpoint that refuses what it wasn't taught knows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from borealis.data.manifest import Utterance

# Says what is right, by the row of a manifest and the words that are said; "" where it isn't known.
Answer = Callable[[Utterance, Sequence[str]], str]


@dataclass(frozen=True)
class Kind:
    """A kind of question.

    Args:
        name: as in `phrasings.yaml`.
        answer: what is right; of a closed kind one of `classes`.
        fills: the place `{...}` in the answers that it fills; none where it chooses among them.
        classes: of a closed kind: what an answer must contain to name a class, whatever else it
            says, as stems of words.
        words: it is about what is said, so a sentence that nobody recorded can be asked about.
    """

    name: str
    answer: Answer
    fills: str = ""
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    words: bool = False

    @property
    def closed(self) -> bool:
        """Whether the answer is one of a few."""
        return bool(self.classes)


def _if_spoken(key: str) -> Answer:
    """What a manifest says of the speech under `key`."""
    return lambda item, words: getattr(item, key) if item.kind == "speech" else ""


def _word(place: int) -> Answer:
    return lambda item, words: words[place] if words else ""


# In the order of the tables; closed ones first.
KINDS: list[Kind] = [
    Kind(
        "language",
        _if_spoken("language"),
        classes={"ru": ("русск", "russian"), "en": ("английск", "english")},
    ),
    Kind(
        "voice",
        _if_spoken("gender"),
        classes={
            "male": ("мужчин", "мужск", "male", "man"),
            "female": ("женщин", "женск", "female", "woman"),
        },
    ),
    Kind(
        "sound",
        lambda item, words: item.kind,
        classes={
            "speech": ("реч", "speech"),
            "silence": ("тишин", "ничего", "silence", "nothing"),
            "noise": ("шум", "noise"),
            "music": ("музык", "music"),
        },
    ),
    # Asked about a word that is drawn for the question, so there is no answer before it.
    Kind(
        "word_present",
        lambda item, words: "any" if words else "",
        classes={"yes": ("да", "yes"), "no": ("нет", "no")},
        words=True,
    ),
    Kind("first_word", _word(0), fills="word", words=True),
    Kind("last_word", _word(-1), fills="word", words=True),
    Kind("word_count", lambda item, words: str(len(words) or ""), fills="count", words=True),
]


def kind_of(name: str) -> Kind:
    """The kind called `name`.

    Raises:
        KeyError: there is none.
    """
    for kind in KINDS:
        if kind.name == name:
            return kind
    raise KeyError(name)
