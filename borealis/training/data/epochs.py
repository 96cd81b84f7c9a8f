"""The order of examples: batches of similar length, whole epochs one after another."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np


def length_buckets(
    lengths: Sequence[int],
    budget: int,
    rng: np.random.Generator,
    *others: tuple[Sequence[int], int],
    padded: bool = True,
) -> list[list[int]]:
    """Batches of similar length, in random order.

    Args:
        lengths: length of every item.
        budget: most `items x longest length` in a batch.
        rng: jitters the order of equal lengths and shuffles the batches.
        others: further lengths of every item, each with a budget that has to be kept too.
        padded: items are padded to the longest; otherwise a batch is as large as their sum.
    """
    limits = [(lengths, budget), *others]
    jitter = np.asarray(lengths) * (1 + 0.1 * rng.random(len(lengths)))
    batches: list[list[int]] = []
    current: list[int] = []
    sizes = [0] * len(limits)  # of the longest item, or of all
    for i in np.argsort(jitter, kind="stable").tolist():
        own = [values[i] for values, _ in limits]
        grown = [(max if padded else sum)(pair) for pair in zip(sizes, own, strict=True)]
        count = len(current) + 1 if padded else 1
        if current and any(g * count > most for g, (_, most) in zip(grown, limits, strict=True)):
            batches.append(current)
            current, grown = [], own
        current.append(i)
        sizes = grown
    if current:
        batches.append(current)
    return [batches[i] for i in rng.permutation(len(batches))]


def windows(
    groups: Sequence[Hashable], seconds: Sequence[float], most: float, rng: np.random.Generator
) -> list[list[int]]:
    """Items in windows: whole groups in random order, as many at once as last `most` together.

    Where all groups fit into one window it holds the items in their own order.

    Args:
        groups: of every item.
        seconds: length of every item.
        most: seconds of a window; a group that lasts longer is a window of its own.
        rng: shuffles the groups.
    """
    members: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    lists = list(members.values())
    found: list[list[int]] = []
    total = 0.0
    for place in rng.permutation(len(lists)).tolist():
        length = sum(seconds[i] for i in lists[place])
        if not found or total + length > most:
            found.append([])
            total = 0.0
        found[-1] += lists[place]
        total += length
    return [sorted(window) for window in found]


class Epochs:
    """Batches of whole epochs by number; each epoch has batches of its own.

    Args:
        make: gives the batches of an epoch by its number.
    """

    def __init__(self, make: Callable[[int], list[list[int]]]) -> None:
        self.make = make
        self._sizes: list[int] = []
        self._current: tuple[int, list[list[int]]] | None = None

    def batch(self, place: int) -> list[int]:
        """The batch with number `place` since the beginning."""
        epoch = 0
        while True:
            if epoch == len(self._sizes):
                self._sizes.append(len(self._at(epoch)))
            if place < self._sizes[epoch]:
                return self._at(epoch)[place]
            place -= self._sizes[epoch]
            epoch += 1

    def _at(self, epoch: int) -> list[list[int]]:
        if self._current is None or self._current[0] != epoch:
            self._current = (epoch, self.make(epoch))
        return self._current[1]
