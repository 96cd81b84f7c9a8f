"""Which of the tokens that may come is taken: first whether the sound is over, then the code.

A model spreads its probability over a thousand codes, while all of "the sound is over" is in one
token. Drawn together at a low temperature, or greedily, that one token wins far too early. So it is
decided at the temperature the model was trained at, 1, and only the code is drawn at another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

COLDEST = 1e-4  # a lower temperature is greedy


def shaped(
    codes: torch.Tensor, over: torch.Tensor | None, temperature: float, top_k: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Logits by which a plain draw at `temperature` decides as it should.

    Args:
        codes: logits of the codes that may come `[n]`.
        over: that of `<|next_symbol|>`, a number; None where the sound can't be over.
        temperature: of the draw of a code; 0 takes the most probable one, and ends the sound if
            that is more probable than not.
        top_k: only so many of the most probable codes are left.

    Returns:
        `codes` and `over` anew; of codes that are left out minus infinity.
    """
    import torch

    if not len(codes):
        return codes, over
    odds = None if over is None else over - codes.logsumexp(0)  # log p / (1 - p)
    if temperature < COLDEST:
        if odds is not None:
            over = torch.where(odds > 0, codes.max() + 1, -torch.inf)
        return codes, over
    if top_k < len(codes):
        codes = codes.masked_fill(codes < codes.topk(top_k).values[-1], -torch.inf)
    if odds is not None:
        over = temperature * (odds + (codes / temperature).logsumexp(0))
    return codes, over
