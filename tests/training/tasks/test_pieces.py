"""Pseudo-audio glued from pieces of what the adapter heard."""

from __future__ import annotations

import numpy as np
import pytest

from borealis.data.text import CTC_CHARACTERS, LETTERS
from borealis.errors import RecipeError
from borealis.training.batches.cached import CachedBatches
from borealis.training.tasks.pieces import Pieces, collect_pieces
from borealis.training.tasks.pseudo_audio import PseudoAudio
from tests.training.batches.test_batches import batches, cache, model  # noqa: F401

CLASSES = len(CTC_CHARACTERS) + 1


def heard(text: str, *, wrong: dict[str, str] | None = None) -> np.ndarray:
    """Posteriors of a clip: each letter two frames after two blanks, some letters mistaken."""
    rows = []
    for label, char in zip(LETTERS.spell(text), LETTERS.fold(text), strict=True):
        said = LETTERS.spell(wrong[char])[0] if wrong and char in wrong else label
        letter = np.full(CLASSES, 0.1 / CLASSES)
        letter[said] += 0.9
        blank = np.full(CLASSES, 0.1 / CLASSES)
        blank[0] += 0.9
        rows += [blank, blank, letter, letter]
    return np.array([*rows, rows[0], rows[0]], np.float32)


def read(posteriors: np.ndarray) -> str:
    best = posteriors.argmax(1)
    kept = [b for i, b in enumerate(best) if b and (i == 0 or best[i - 1] != b)]
    return "".join(CTC_CHARACTERS[b - 1] for b in kept)


def test_sentences_are_spelled_by_pieces_of_others():
    pieces = Pieces(CTC_CHARACTERS)
    assert pieces.add(heard("мороз и солнце"), "Мороз и солнце")
    rng = np.random.default_rng(0)
    posteriors, char_frames = pieces.glue("Олин — мир!", rng)
    assert read(posteriors) == "олин мир"
    assert posteriors.dtype == np.float32 and np.allclose(posteriors.sum(1), 1.0, atol=0.01)
    assert len(char_frames) == len("Олин — мир!") and (np.diff(char_frames) >= 0).all()
    for place, char in ((0, "о"), (7, "м"), (9, "р")):  # a letter sounds within its piece
        start = char_frames[place]
        assert posteriors[start : start + 4].argmax(1).max() == CTC_CHARACTERS.index(char) + 1


def test_mistakes_come_with_their_neighbours():
    pieces = Pieces(CTC_CHARACTERS)
    for _ in range(4):
        pieces.add(heard("молоко", wrong={"л": "р"}), "молоко")
        pieces.add(heard("пила"), "пила")
    rng = np.random.default_rng(0)
    assert read(pieces.glue("олово", rng)[0])[:3] == "оро"
    assert read(pieces.glue("ила", rng)[0]) == "ила"


def test_letters_nobody_said_are_still_spelled():
    pieces = Pieces(CTC_CHARACTERS)
    pieces.add(heard("да"), "да")
    assert read(pieces.glue("Fox", np.random.default_rng(0))[0]) == "fox"


def test_a_text_that_does_not_fit_is_left_out():
    pieces = Pieces(CTC_CHARACTERS)
    assert not pieces.add(heard("да")[:3], "долгая история")
    assert not pieces.add(heard("да"), "...") and not pieces.frames


def test_pauses_after_marks_are_pieces_of_their_own():
    pieces = Pieces(CTC_CHARACTERS)
    symbols, places = pieces.spell("Да, нет. И — да")
    assert pieces.classes(symbols) == LETTERS.spell("да нет и да")
    spaces = [s for s in symbols if s in (1, pieces.pause)]
    assert spaces == [pieces.pause] * 3 and len(places) == len("Да, нет. И — да")
    assert pieces.spell("да нет ")[0] == LETTERS.spell("да нет")


def test_pseudo_audio_is_glued_where_there_are_pieces():
    pieces = Pieces(CTC_CHARACTERS)
    pieces.add(heard("мороз и солнце"), "мороз и солнце")
    clip = PseudoAudio(CTC_CHARACTERS, 4, pieces)("зима", np.random.default_rng(0), 0.28)
    assert len(clip.posteriors) % 4 == 0 and read(clip.posteriors) == "зима"
    assert clip.char_frames.max() < len(clip.posteriors)


def test_pieces_of_a_stage_are_cut_from_its_clips(batches, model):  # noqa: F811
    made = batches(pseudo_audio__source="clips", features=["c"])
    tiny = model[0]
    first, again = (
        collect_pieces(tiny, made.tasks["transcription"].frames, 6, 0) for _ in range(2)
    )
    said = sum(len(LETTERS.spell(c.utterance.text)) for c in made.context.cache.clips)
    assert len(first.clips) == 6 and len(first.frames) == said
    assert all(np.array_equal(a, b) for a, b in zip(first.frames, again.frames, strict=True))
    glued = CachedBatches(made.stage, made.context, first)
    batch = glued.tasks["pseudo"].batch(0, 0.5, np.random.default_rng(0))
    assert batch["posteriors"].shape[-1] == CLASSES and len(batch["guide"])


def test_an_adapter_that_spells_nothing_gives_no_pieces(batches, make_tiny):  # noqa: F811
    made = batches(pseudo_audio__source="clips", features=["c"])
    with pytest.raises(RecipeError, match="the adapter 'mlp' spells nothing"):
        collect_pieces(make_tiny("mlp")[0], made.tasks["transcription"].frames, 6, 0)


def test_clips_without_text_give_no_pieces(model):  # noqa: F811
    with pytest.raises(RecipeError, match="no clip of the stage"):
        collect_pieces(model[0], None, 6, 0)
