"""Beams that spell the same letters: one goes on, and the search finds more words."""

from __future__ import annotations

import pytest
import torch

import borealis.inference.joint as joint
from borealis.inference.merging import MergedSpellings

COMMA, SMALL, CAPITAL, OTHER = 1, 2, 3, 4
CLASSES = torch.tensor([0, 0, 7, 7, 8])  # what each token says


def step(merged, come_from, rows, scores=None):
    ids = torch.tensor(rows)
    heard = CLASSES[ids[:, -1]] if ids.shape[1] else None
    if scores is None:
        scores = torch.zeros(len(rows), len(CLASSES))
    return merged.step(come_from, ids, heard, scores).tolist()


def test_of_two_beams_with_the_same_letters_the_better_goes_on():
    merged = MergedSpellings(1)
    scores = torch.tensor([[-9.0, -9.0, -2.0, -1.0, -3.0]])
    assert step(merged, [0], [[]], scores) == [True]
    assert step(merged, [0, 0, 0], [[CAPITAL], [SMALL], [OTHER]]) == [True, False, True]


def test_a_beam_that_took_a_comma_is_merged_when_it_arrives():
    merged = MergedSpellings(1)
    step(merged, [0], [[]], torch.tensor([[-9.0, -1.5, -9.0, -9.0, -1.0]]))
    scores = torch.full((2, 5), -1.0)
    assert step(merged, [0, 0], [[OTHER], [COMMA]], scores) == [True, True]
    rows = [[OTHER, OTHER], [COMMA, OTHER]]
    assert step(merged, [0, 1], rows) == [True, False]


def test_a_beam_that_arrives_late_but_better_goes_on():
    merged = MergedSpellings(1)
    step(merged, [0], [[]], torch.tensor([[-9.0, -1.0, -9.0, -9.0, -5.0]]))
    step(merged, [0, 0], [[COMMA], [OTHER]], torch.full((2, 5), -1.0))
    assert step(merged, [0, 1], [[COMMA, OTHER], [OTHER, SMALL]]) == [True, True]


def test_clips_are_searched_apart_and_their_best_beam_always_goes_on():
    merged = MergedSpellings(2)
    step(merged, [0, 1], [[], []], torch.full((2, 5), -1.0))
    rows = [[SMALL], [CAPITAL], [SMALL], [OTHER]]
    assert step(merged, [0, 0, 1, 1], rows) == [True, False, True, True]
    worse = [[SMALL, COMMA], [SMALL, OTHER], [SMALL, COMMA], [OTHER, COMMA]]
    assert step(merged, [0, 0, 2, 3], worse) == [True] * 4
    # Both rows of the second clip spell what was reached before with a better score.
    merged.reached[1] = {chr(7) * 2: 5.0, chr(8) + chr(7): 5.0}
    again = [[*row, SMALL] for row in worse]
    assert step(merged, [0, 1, 2, 3], again)[2:] in ([True, False], [False, True])


@pytest.mark.slow
def test_no_two_beams_of_a_transcript_spell_the_same(nano, clips, monkeypatch):
    seen = []

    class Watched(MergedSpellings):
        def step(self, *args):
            alive = super().step(*args)
            beams = len(alive) // len(self.reached)
            for clip in range(len(self.reached)):
                mine = range(clip * beams, (clip + 1) * beams)
                classes = args[2].tolist() if args[2] is not None else [0] * len(alive)
                spelled = [self.spellings[r] for r in mine if alive[r] and classes[r]]
                assert len(set(spelled)) == len(spelled)
            seen.append(int(alive.sum()) / len(alive))
            return alive

    written = [t.text for t in nano.transcribe([c.audio for c in clips[:3]], num_beams=6)]
    monkeypatch.setattr(joint, "MergedSpellings", Watched)
    assert [t.text for t in nano.transcribe([c.audio for c in clips[:3]], num_beams=6)] == written
    assert min(seen[1:]) < 1  # some were given up
