"""Conversations that ask with the transcript in view, as `Borealis.ask` does.

A small model that has to hear, spell and answer in one breath gets words wrong that it writes down
right. So the transcript, which all of decoding works on, is put before the question, and what was
said can be read; voice and noise can still be heard. It is the order of thought of
chain-of-thought prompting (Wei et al., 2022, arXiv:2201.11903), with a transcript as the thought.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from borealis.data.manifest import Utterance
from borealis.data.phrasings import Phrasings
from borealis.inference.messages import TRANSCRIBE_PROMPTS
from borealis.training.data.talks import Turn
from borealis.training.tasks.turns import ask_for_transcript, question_turn

# Half of the transcripts are asked for as `Borealis.ask` does it.
_ASKED_PLAINLY = 0.5
# Mistakes a letter: many transcripts have none, a few have many.
_MISTAKES = (0.02, 0.04)
_LETTERS = "аеиоунтсрвлкмдпэыяйбзгч"


def reading_talk(
    utterance: Utterance,
    tasks: Sequence[str],
    phrasings: Phrasings,
    rng: np.random.Generator,
    other: str = "",
) -> list[Turn]:
    """A transcript with its mistakes, and then questions.

    Whether a word is said is asked about what is really said, so the model learns to see a word
    through a mistake; the other words and their number are read as they were written.

    Args:
        utterance: the clip, or a sentence in the form of one.
        tasks: kinds of questions (see `question_turn`), or `transcribe`: once more, please.
        phrasings: wordings.
        rng: source of all randomness.
        other: text of another clip, whose words serve as words that aren't said.
    """
    written = misspelled(utterance.text, rng)
    if not written.split():  # every letter got lost
        written = utterance.text
    shown = replace(utterance, text=written)
    turns = []
    for task in tasks:
        if task == "transcribe":
            turns.append(Turn(task, ask_for_transcript(phrasings, rng), written))
        else:
            about = utterance if task == "word_present" else shown
            turns.append(question_turn(task, about, phrasings, rng, other))
    return [_transcript(written, phrasings, rng), *turns]


def draw_kinds(kinds: Mapping[str, float], count: int, rng: np.random.Generator) -> list[str]:
    """Different kinds of questions about a sentence, each as often as its share says."""
    names = [name for name, share in kinds.items() if share]
    shares = np.array([kinds[name] for name in names])
    shares = shares / shares.sum()
    picks = rng.choice(len(names), size=min(count, len(names)), replace=False, p=shares)
    return [names[int(i)] for i in picks]


def _transcript(written: str, phrasings: Phrasings, rng: np.random.Generator) -> Turn:
    if rng.random() < _ASKED_PLAINLY:
        question = TRANSCRIBE_PROMPTS["ru"]
    else:
        question = ask_for_transcript(phrasings, rng)
    return Turn("transcribe", question, written, given=True)


def misspelled(text: str, rng: np.random.Generator) -> str:
    """A transcript with mistakes such as a model makes: letters changed, lost or added."""
    rate = max(0.0, float(rng.normal(*_MISTAKES)))
    out = []
    for char in text:
        if not char.isalpha() or rng.random() >= rate:
            # Now and then two words are run together.
            lost = char == " " and rng.random() < rate / 2
            out.append("" if lost else char)
            continue
        kind = rng.random()
        letter = _LETTERS[int(rng.integers(len(_LETTERS)))]
        if kind < 0.6:
            out.append(letter)
        elif kind >= 0.8:
            out.append(char + (" " if kind >= 0.97 else letter))  # or one is cut in two
    return " ".join("".join(out).split())
