"""How loud recordings are that a codec learns from: all about alike."""

from __future__ import annotations

import numpy as np

_LEVEL = 0.07  # root mean square of a recording, about that of normalised speech


def levelled(clip: np.ndarray, kind: str) -> np.ndarray:
    """A recording at the usual level; silence stays silent."""
    level = float(np.sqrt(np.mean(clip**2)))
    gain = _LEVEL / level if kind != "silence" and level > 1e-4 else 1.0
    return np.clip(clip * gain, -1, 1)
