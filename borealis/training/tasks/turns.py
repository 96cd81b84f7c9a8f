"""Questions and answers about a clip, drawn from its manifest entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from borealis.data.kinds import KINDS, kind_of
from borealis.data.manifest import Utterance
from borealis.data.phrasings import Phrasings
from borealis.data.text import LETTERS
from borealis.training.data.talks import Turn


def clip_turn(
    utterance: Utterance,
    phrasings: Phrasings,
    rng: np.random.Generator,
    question_share: float,
    kinds: Mapping[str, float],
    other: str = "",
) -> Turn:
    """A turn about a recorded clip: mostly transcription, else a question it has the answer to.

    Args:
        utterance: the clip.
        phrasings: wordings.
        rng: source of all randomness.
        question_share: chance of a question.
        kinds: how often which kind of question, or `about`: what the model is.
        other: text of another clip, whose words serve as words that aren't said.
    """
    prompt_language = phrasings.draw_language(rng)
    if utterance.question and utterance.answer:
        return Turn("own", utterance.question, utterance.answer)
    if utterance.kind != "speech":
        if rng.random() < 0.5:
            return _answer("sound", utterance.kind, prompt_language, phrasings, rng)
        if rng.random() < 0.25:
            return _answer("about", "", prompt_language, phrasings, rng)
        return Turn("transcribe", _question("transcribe", prompt_language, phrasings, rng), "")
    if rng.random() < question_share:
        task = draw_kind(kinds, rng)
        if task != "about" and not kind_of(task).words and not is_known(task, utterance):
            task = "sound"
        if task == "about":
            return _answer(task, "", prompt_language, phrasings, rng)
        return question_turn(task, utterance, phrasings, rng, other)
    question = _question("transcribe", prompt_language, phrasings, rng)
    return Turn("transcribe", question, utterance.text)


def question_turn(
    task: str,
    utterance: Utterance,
    phrasings: Phrasings,
    rng: np.random.Generator,
    other: str = "",
) -> Turn:
    """A question of the given kind about a recorded clip.

    Args:
        task: name of a kind (`borealis.data.kinds`).
        utterance: the clip; what `task` asks about must be known of it.
        phrasings: wordings.
        rng: source of all randomness.
        other: text of another clip, whose words serve as words that aren't said.
    """
    language = phrasings.draw_language(rng)
    if kind_of(task).words:
        return _word_turn(task, utterance.text, other, language, phrasings, rng)
    return _sound_turn(task, utterance, language, phrasings, rng)


def ask_for_transcript(phrasings: Phrasings, rng: np.random.Generator) -> str:
    """A wording of the wish for a transcript."""
    return _question("transcribe", phrasings.draw_language(rng), phrasings, rng)


def is_known(task: str, utterance: Utterance) -> bool:
    """Whether a question of this kind about a clip has an answer."""
    return bool(_right(task, utterance))


def _right(task: str, utterance: Utterance) -> str:
    """What is right; empty where it isn't known."""
    spoken = LETTERS.fold(utterance.text).split() if utterance.kind == "speech" else []
    return kind_of(task).answer(utterance, spoken)


def text_turn(
    text: str,
    phrasings: Phrasings,
    rng: np.random.Generator,
    question_share: float,
    kinds: Mapping[str, float],
    other: str = "",
) -> Turn:
    """A turn about a sentence that exists as text only (pseudo-audio); see `clip_turn`."""
    prompt_language = phrasings.draw_language(rng)
    if rng.random() < question_share:
        return _word_turn(draw_kind(kinds, rng), text, other, prompt_language, phrasings, rng)
    return Turn("transcribe", _question("transcribe", prompt_language, phrasings, rng), text)


def chat_turn(phrasings: Phrasings, rng: np.random.Generator, about: float) -> Turn:
    """A turn without audio: what the model is, or a question that needs the missing recording.

    Args:
        phrasings: wordings.
        rng: source of all randomness.
        about: chance of the former.
    """
    language = phrasings.draw_language(rng)
    if rng.random() < about:
        return _answer("about", "", language, phrasings, rng)
    tasks = ["transcribe", *(kind.name for kind in KINDS)]
    task = tasks[int(rng.integers(len(tasks)))]
    question = _question(task, language, phrasings, rng).format(word=_COMMON[int(rng.integers(10))])
    return Turn("no_audio", question, phrasings.no_audio(language))


def draw_kind(shares: Mapping[str, float], rng: np.random.Generator) -> str:
    """One of the kinds, each as often as its share says."""
    names = list(shares)
    weights = np.array([shares[n] for n in names])
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


def _question(task: str, language: str, phrasings: Phrasings, rng: np.random.Generator) -> str:
    return vary(phrasings.draw(task, language, rng), language, rng)


_OPENINGS = {
    "ru": ("Пожалуйста. ", "Послушай запись. ", "Ответь: ", "Вопрос: ", "Вот запись. ", "Скажи: "),
    "en": ("Please. ", "Listen. ", "Answer: ", "Question: ", "Here is a recording. ", "Tell me: "),
}


def vary(question: str, language: str, rng: np.random.Generator) -> str:
    """The small differences between people's typing: an opening, no capital, no final mark."""
    draw = rng.random(3)
    if draw[0] < 0.15:
        question = question[0].lower() + question[1:]
    if draw[1] < 0.15:
        question = question.rstrip(".?!")
    if draw[2] < 0.15:
        openings = _OPENINGS[language]
        question = openings[int(rng.integers(len(openings)))] + question
    return question


def _answer(
    task: str, label: str, language: str, phrasings: Phrasings, rng: np.random.Generator
) -> Turn:
    if task == "about":
        pairs = phrasings.about(language)
        question, answer = pairs[int(rng.integers(len(pairs)))]
        return Turn(task, vary(question, language, rng), answer)
    choices = phrasings.answers(task, language, label)
    return Turn(
        task, _question(task, language, phrasings, rng), choices[int(rng.integers(len(choices)))]
    )


def _sound_turn(
    task: str, utterance: Utterance, language: str, phrasings: Phrasings, rng: np.random.Generator
) -> Turn:
    """A question about how a clip sounds."""
    kind, right = kind_of(task), _right(task, utterance)
    turn = _answer(task, right if kind.closed else "", language, phrasings, rng)
    return turn if kind.closed else replace(turn, answer=turn.answer.format(**{kind.fills: right}))


def _word_turn(
    task: str,
    text: str,
    other: str,
    language: str,
    phrasings: Phrasings,
    rng: np.random.Generator,
) -> Turn:
    """A question about what is said."""
    words = LETTERS.fold(text).split()
    if not words:
        return Turn("transcribe", _question("transcribe", language, phrasings, rng), text)
    kind = kind_of(task)
    if kind.name == "word_present":
        present = rng.random() < 0.5
        word = _present_word(words, rng) if present else _absent_word(words, other, rng)
        turn = _answer(task, "yes" if present else "no", language, phrasings, rng)
        return replace(turn, question=turn.question.format(word=word), word=word)
    right = kind.answer(Utterance(text=text), words)
    turn = _answer(task, "", language, phrasings, rng)
    word = right if kind.fills == "word" else ""
    return replace(turn, answer=turn.answer.format(**{kind.fills: right}), word=word)


def _present_word(words: list[str], rng: np.random.Generator) -> str:
    long = [w for w in words if len(w) > 3] or words
    return long[int(rng.integers(len(long)))]


def _absent_word(words: list[str], other: str, rng: np.random.Generator) -> str:
    """A word that isn't said: from another sentence, so that it can't be told by its rarity."""
    said = set(words)
    candidates = [w for w in LETTERS.fold(other).split() if len(w) > 3 and w not in said]
    candidates = candidates or [w for w in _COMMON if w not in said]
    return candidates[int(rng.integers(len(candidates)))]


_COMMON = ("дом", "время", "человек", "вода", "книга", "город", "house", "water", "people", "time")
