"""The thread that writes transcripts: who shares a batch, who is left out, what a failure does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from borealis.inference.engine import Written
from borealis.serving.drafts import Drafts, Manner
from borealis.serving.errors import RequestError

SECOND = 16_000


class Model:
    """As much of `Borealis` as is asked; a part's text is the number in it, and its batch's size."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        config = SimpleNamespace(ctc_labels=" абв", window_length=30 * SECOND, sampling_rate=SECOND)
        self.model = SimpleNamespace(config=config)
        self.longest_part = 15.0
        self.batches: list[tuple[list[int], dict[str, Any]]] = []
        self.at_work, self.goes_on = threading.Event(), threading.Event()
        self.goes_on.set()

    def write_parts(self, parts: list[np.ndarray], **manner: Any) -> list[Written]:
        numbers = [int(part[0]) for part in parts]
        self.batches.append((numbers, manner))
        self.at_work.set()
        self.goes_on.wait()
        if -1 in numbers:
            raise MemoryError("There is no memory.")
        return [Written(str(number)) for number in numbers]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def drafts(model) -> Iterator[Drafts]:
    made = Drafts(model, batch_seconds=30)
    yield made
    model.goes_on.set()
    made.close()


def part(number: int, seconds: float = 5) -> np.ndarray:
    return np.full(round(seconds * SECOND), number, np.float32)


def asked(model: Model, drafts: Drafts, *jobs: tuple[np.ndarray, Manner]) -> list[Any]:
    """What comes of jobs that all wait when the thread looks; exceptions are results."""

    async def run() -> list[Any]:
        model.goes_on.clear()
        model.at_work.clear()
        first = asyncio.create_task(drafts.write(part(0), Manner()))
        await asyncio.to_thread(model.at_work.wait)
        tasks = [asyncio.create_task(drafts.write(*job)) for job in jobs]
        await asyncio.sleep(0)  # every task has put its job in
        assert drafts.waiting == len(jobs) and drafts.running == 1
        model.goes_on.set()
        results = await asyncio.gather(first, *tasks, return_exceptions=True)
        return [r.text if isinstance(r, Written) else r for r in results[1:]]

    return asyncio.run(run())


def numbers(model: Model) -> list[list[int]]:
    """The batches after the first."""
    return [batch for batch, _ in model.batches[1:]]


def test_parts_of_all_who_wait_share_a_batch_as_far_as_it_goes(model, drafts) -> None:
    assert asked(model, drafts, *((part(n), Manner()) for n in range(1, 9))) == list("12345678")
    assert numbers(model) == [[1, 2, 3, 4, 5, 6], [7, 8]]


def test_a_batch_is_of_one_manner(model, drafts) -> None:
    ru, hot = Manner(language="ru"), Manner(words=True, hot_words=("аба",))
    jobs = [(part(1), Manner()), (part(2), ru), (part(3), hot), (part(4), ru), (part(5), Manner())]
    assert asked(model, drafts, *jobs) == list("12345")
    assert numbers(model) == [[1, 5], [2, 4], [3]]
    assert model.batches[2][1] == {"language": "ru", "words": False, "hot_words": ()}
    assert model.batches[3][1] == {"language": None, "words": True, "hot_words": ("аба",)}


def test_long_parts_do_not_pad_short_ones(model, drafts) -> None:
    lengths = (15, 3, 14, 0.5, 1, 6)
    jobs = [(part(n, seconds), Manner()) for n, seconds in enumerate(lengths, 1)]
    assert asked(model, drafts, *jobs) == list("123456")
    assert numbers(model) == [[1, 3], [2, 4, 5, 6]]


def test_a_part_too_long_for_a_batch_is_one_alone(model) -> None:
    drafts = Drafts(model, batch_seconds=3)
    assert asked(model, drafts, (part(1), Manner()), (part(2), Manner())) == ["1", "2"]
    assert numbers(model) == [[1], [2]]
    drafts.close()


def test_what_nobody_waits_for_any_more_is_not_written(model, drafts) -> None:
    async def run() -> list[str]:
        model.goes_on.clear()
        model.at_work.clear()
        first = asyncio.create_task(drafts.write(part(0), Manner()))
        await asyncio.to_thread(model.at_work.wait)
        tasks = [asyncio.create_task(drafts.write(part(n), Manner())) for n in (1, 2, 3, 4)]
        await asyncio.sleep(0)
        for left in (first, tasks[0], tasks[2]):  # one of them is being written
            left.cancel()
        await asyncio.gather(first, tasks[0], tasks[2], return_exceptions=True)
        assert drafts.waiting == 2
        model.goes_on.set()
        return [written.text for written in await asyncio.gather(tasks[1], tasks[3])]

    assert asyncio.run(run()) == ["2", "4"]
    assert numbers(model) == [[2, 4]]


def test_a_failure_is_told_to_its_batch_and_the_next_is_written(model, drafts) -> None:
    ru = Manner(language="ru")
    results = asked(model, drafts, (part(-1), Manner()), (part(1), Manner()), (part(2), ru))
    assert [type(result) for result in results] == [MemoryError, MemoryError, str]
    assert asked(model, drafts, (part(3), Manner())) == ["3"]


def test_at_the_end_whoever_waits_is_told(model, drafts) -> None:
    async def run() -> list[Any]:
        model.goes_on.clear()
        model.at_work.clear()
        first = asyncio.create_task(drafts.write(part(0), Manner()))
        await asyncio.to_thread(model.at_work.wait)
        late = asyncio.create_task(drafts.write(part(1), Manner()))
        await asyncio.sleep(0)
        closing = asyncio.create_task(asyncio.to_thread(drafts.close))
        refused = await asyncio.gather(late, return_exceptions=True)
        model.goes_on.set()
        await closing
        after = asyncio.create_task(drafts.write(part(2), Manner()))
        return [(await first).text, *refused, *await asyncio.gather(after, return_exceptions=True)]

    done, *refused = asyncio.run(run())
    assert done == "0"
    assert [error.status for error in refused] == [503, 503]


def test_a_hot_word_without_letters_is_refused(drafts) -> None:
    drafts.check(["Аба", "в-в"])
    with pytest.raises(RequestError, match="«» 12") as refused:
        drafts.check(["аба", "«» 12"])
    assert refused.value.param == "hotwords"


@pytest.mark.slow
def test_parts_are_those_of_transcribe(nano, recordings) -> None:
    joined = np.concatenate(recordings)
    drafts = Drafts(nano)
    try:
        cut = drafts.cut(joined)

        async def run() -> list[Written]:
            manner = Manner(words=True)
            return await asyncio.gather(*(drafts.write(joined[a:b], manner) for a, b in cut))

        written = asyncio.run(run())
    finally:
        drafts.close()
    expected = nano.transcribe(joined, words=True)
    assert [one.text for one in written if one.text] == [s.text for s in expected.segments]
    assert all(drafts.letters(one.text) == len(drafts.alphabet.fold(one.text)) for one in written)
