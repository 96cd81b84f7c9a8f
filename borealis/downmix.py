"""Several channels -> one, and nothing that any of them says is lost."""

from __future__ import annotations

from collections.abc import Iterator
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
        return self._to_mono(samples[:usable])

    def flush(self) -> np.ndarray:
        """The end of the recording."""
        rest, self._rest = self._rest, self._rest[:0]
        return self._to_mono(rest)

    def _to_mono(self, samples: np.ndarray) -> np.ndarray:
        """Whole tenths of a second, or the rest of the recording."""
        import numpy as np

        mono = samples @ np.full(samples.shape[1], self._gain)
        for number, after in enumerate(self._turned(samples)):
            before = after if self._signs is None else self._signs
            self._signs = after
            if (before > 0).all() and (after > 0).all():
                continue
            hop = samples[number * self._hop : (number + 1) * self._hop]
            weights = np.repeat(after[None], len(hop), axis=0)
            ramp = np.linspace(0, 1, min(self._fade, len(hop)), dtype=np.float32)[:, None]
            weights[: len(ramp)] = before + (after - before) * ramp
            start = number * self._hop
            mono[start : start + len(hop)] = (hop * weights).sum(axis=1) * self._gain
        return mono

    def _turned(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """For each tenth of a second 1 and -1, `[channels]`: which channels are turned over."""
        import numpy as np

        old = np.ones(samples.shape[1], np.float32) if self._signs is None else self._signs
        if not len(samples):
            return
        size = min(self._hop, len(samples))
        if self._signs is not None and size < self._hop // 4:
            yield old  # too little to judge by
            return
        hops = np.array(samples.T, order="C").reshape(samples.shape[1], -1, size)
        hops -= hops.mean(axis=2, keepdims=True)
        power = np.einsum("chn,chn->hc", hops, hops).astype(np.float64)
        so_far = self._power + np.cumsum(power, axis=0)
        self._power = so_far[-1]
        loudest = so_far.argmax(axis=1)  # [hops]
        reference = hops[loudest, np.arange(len(loudest))]  # [hops, size]
        together = np.einsum("chn,hn->hc", hops, reference).astype(np.float64)
        heard = power > _QUIET * size
        strongest = np.take_along_axis(power, loudest[:, None], axis=1)
        likeness = together / np.sqrt(np.maximum(power * strongest, 1e-30))
        for hop, best in enumerate(loudest):
            if heard[hop, best]:
                opposite = heard[hop] & (likeness[hop] * old * old[best] < _OPPOSITE)
                old = np.where(opposite, -old, old)
            yield old
