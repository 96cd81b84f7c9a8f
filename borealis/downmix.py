"""Several channels -> one, and nothing that any of them says is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_OPPOSITE = -0.7  # correlation below which two channels count as one turned upside down
_QUIET = 1e-8  # mean power (-80 dB) below which a channel's polarity says nothing


class Downmix:
    """Mixes the blocks of one recording, `[num_samples, channels]`, to `[num_samples]`.

    One or two channels: the mean. More: half of the sum, so that a voice in the centre of 5.1 is as
    loud as a voice on one side of stereo, and not a sixth of itself.

    Channels in opposite phase (a microphone wired the wrong way round, a "wide" effect) would
    cancel each other in any such sum. So each tenth of a second is looked at: a channel that
    correlates below -0.7 with the loudest one so far is turned over before it is added, and stays
    so until it correlates above 0.7 that way. Channels that have nothing to do with each other
    (the two sides of a call) are just added. Where the polarity changes, it does so within 10 ms.

    The result doesn't depend on how the recording is cut into blocks.

    Args:
        rate: of the blocks, in Hz.
        channels: in each block.
    """

    def __init__(self, rate: int, channels: int) -> None:
        import numpy as np

        self._hop, self._fade = max(1, rate // 10), max(1, rate // 100)
        self._gain = np.float32(1 / min(channels, 2))
        self._signs: np.ndarray | None = None  # [channels], of the last tenth of a second
        self._power = np.zeros(channels)  # of all so far
        self._rest = np.zeros((0, channels), np.float32)

    def mix(self, samples: np.ndarray) -> np.ndarray:
        """The next block; what doesn't fill a tenth of a second is kept for later."""
        import numpy as np

        if samples.shape[1] == 1:
            return samples[:, 0]
        if len(self._rest):
            samples = np.concatenate([self._rest, samples])
        usable = len(samples) // self._hop * self._hop
        self._rest = samples[usable:].copy()
        return self._mix(samples[:usable])

    def flush(self) -> np.ndarray:
        """The end of the recording."""
        rest, self._rest = self._rest, self._rest[:0]
        return self._mix(rest)

    def _mix(self, samples: np.ndarray) -> np.ndarray:
        import numpy as np

        mono = samples.sum(axis=1, dtype=np.float32) * self._gain
        for start in range(0, len(samples), self._hop):
            hop = samples[start : start + self._hop]
            before, after = self._signs, self._turned(hop)
            self._signs = after
            if before is None:
                before = after
            if (before > 0).all() and (after > 0).all():
                continue
            weights = np.repeat(after[None], len(hop), axis=0)
            ramp = np.linspace(0, 1, min(self._fade, len(hop)), dtype=np.float32)[:, None]
            weights[: len(ramp)] = before + (after - before) * ramp
            mono[start : start + len(hop)] = (hop * weights).sum(axis=1) * self._gain
        return mono

    def _turned(self, hop: np.ndarray) -> np.ndarray:
        """Which channels are to be turned over in this tenth of a second: -1 or 1, `[channels]`."""
        import numpy as np

        old = self._signs if self._signs is not None else np.ones(hop.shape[1], np.float32)
        if self._signs is not None and len(hop) < self._hop // 4:
            return old  # too little to judge by
        hop = hop - hop.mean(axis=0)
        power = np.einsum("nc,nc->c", hop, hop, dtype=np.float64)
        self._power += power
        loudest = int(np.argmax(self._power))
        heard = power > _QUIET * len(hop)
        if not heard[loudest]:
            return old
        together = np.einsum("nc,n->c", hop, hop[:, loudest], dtype=np.float64)
        likeness = together / np.sqrt(np.maximum(power * power[loudest], 1e-30))
        opposite = heard & (likeness * old * old[loudest] < _OPPOSITE)
        return np.where(opposite, -old, old)
