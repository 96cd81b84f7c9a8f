"""Kinds of questions are learned from training wordings only, and the bundled file is up to date."""

from __future__ import annotations

import re

import numpy as np
import pytest

from borealis.checkpoints import SCOPE, bundled
from borealis.data.phrasings import LANGUAGES, TASKS, load_phrasings, plain_wording
from borealis.data.scope import load_scope_wordings
from borealis.inference.scope import OTHER, Scope
from borealis.training.tasks import scope as training


@pytest.fixture(scope="module")
def learned() -> Scope:
    return training.learn_scope()


def measured() -> set[str]:
    """All wordings that are kept for measuring."""
    phrasings, wordings = load_phrasings(), load_scope_wordings()
    texts: list[str] = []
    for language in LANGUAGES:
        for task in TASKS:
            texts += phrasings.questions(task, language, "test")
        for patterns in wordings.refused_wordings(language, "test").values():
            texts += [text for pattern in patterns for text in pattern]
        for asked in wordings.asked[language].values():
            texts += asked
    return {plain(text) for text in texts}


def plain(question: str) -> str:
    """Without capitals, marks and the word that is asked for."""
    return plain_wording(re.sub(r"«.*?»|\".*?\"", "{word}", question.replace("ё", "е")))


def test_nothing_that_is_measured_is_learned(monkeypatch) -> None:
    monkeypatch.setattr(training, "vary", lambda question, language, rng: question)
    monkeypatch.setattr(training, "_with_word", lambda question, words, rng: question)
    monkeypatch.setattr(training, "_EACH", 40.0)  # all wordings of a pattern, or nearly
    rows = training._questions(load_phrasings(), load_scope_wordings(), np.random.default_rng(0))
    assert len(rows) > 10_000
    assert set(rows.values()) == {*TASKS, training.ABOUT, OTHER}
    both = {plain(question) for question in rows} & measured()
    assert not both


def test_every_pattern_expands() -> None:
    wordings = load_scope_wordings()
    for language in LANGUAGES:
        groups = [wordings.refused_wordings(language, split) for split in ("train", "test")]
        for patterns in [*(p for g in groups for p in g.values()), *wordings.answered_wordings(language).values()]:  # fmt: skip
            for text in (text for pattern in patterns for text in pattern):
                assert text.strip() and not set("[]|") & set(text)
        assert set(wordings.answered[language]) == set(wordings.asked[language])
        assert set(wordings.asked[language]) == {*TASKS, training.ABOUT}


@pytest.mark.slow
def test_the_bundled_file_is_what_the_command_makes(learned) -> None:
    shipped = Scope.load(bundled()["nano"] / SCOPE)
    assert shipped.kinds == learned.kinds
    assert (shipped.closed, shipped.refusal) == (learned.closed, learned.refusal)
    assert shipped.threshold == learned.threshold
    # Another machine rounds otherwise, in the last place.
    assert np.abs(shipped.weights.astype(int) - learned.weights).max() <= 2
    np.testing.assert_allclose(shipped.biases, learned.biases, atol=1e-2)


def test_the_command_needs_a_folder(tmp_path, capsys) -> None:
    assert training.main(["--output", str(tmp_path / "none")]) == 2
    assert "there is no folder" in capsys.readouterr().err
