"""A sound ends with the probability that the model gives, whatever codes are drawn by."""

from __future__ import annotations

import pytest
import torch

from borealis.speech.choosing import shaped

CODES = torch.tensor([1.0, 0.5, -0.3, 2.0, -4.0])
OVER = torch.tensor(2.2)


@pytest.mark.parametrize("temperature", [0.2, 0.6, 1.0, 1.7])
@pytest.mark.parametrize("top_k", [1, 3, 5, 50])
def test_the_end_keeps_its_probability(temperature: float, top_k: int) -> None:
    codes, over = shaped(CODES, OVER, temperature, top_k)
    assert over is not None
    drawn = (torch.cat([codes, over[None]]) / temperature).softmax(0)
    expected = torch.cat([CODES, OVER[None]]).softmax(0)[-1]
    assert drawn[-1] == pytest.approx(float(expected), rel=1e-5)
    # Among the codes the draw is the usual one.
    kept = CODES.masked_fill(CODES.topk(min(top_k, 5)).values[-1] > CODES, -torch.inf)
    usual = (kept / temperature).softmax(0) * (1 - expected)
    torch.testing.assert_close(drawn[:-1], usual)


@pytest.mark.parametrize(("over", "ends"), [(2.2, False), (2.9, True)])
def test_greedily_a_sound_ends_when_that_is_more_probable_than_not(over: float, ends: bool) -> None:
    codes, shaped_over = shaped(CODES, torch.tensor(over), 0.0, 20)
    assert shaped_over is not None
    # 2.2 is above every single code, and below all of them together.
    assert bool(shaped_over > codes.max()) is ends
    assert int(codes.argmax()) == 3


def test_where_only_one_is_left_nothing_changes() -> None:
    assert shaped(CODES[:0], OVER, 0.6, 20)[1] is OVER
    codes, over = shaped(CODES, None, 0.6, 2)
    assert over is None and torch.isfinite(codes).sum() == 2
