"""Transcripts of models with a `ctc` adapter: parts of all requests' recordings, written together.

Letters come from a search over what the adapter hears and not from vLLM's engine, which generates.
So the front has the model once more, as Python has it, and a thread in which it works; that way a
transcript is the one of `Borealis.transcribe`. The audio tower, the adapter and the search run once
for a part, whatever is made of it: text, times of words, or the draft of an answer.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition, Thread
from typing import TYPE_CHECKING, Any

import torch

from borealis.audio import SAMPLING_RATE, split_at_silence
from borealis.ctc.alphabet import Alphabet
from borealis.inference.engine import Borealis
from borealis.serving.errors import RequestError, shown

if TYPE_CHECKING:
    import numpy as np

    from borealis.inference.engine import Written

# Audio of a batch, padding included. It is written in a second or so, and then whoever has come
# meanwhile gets a turn; on a processor larger batches are no faster.
_BATCH_SECONDS, _BATCH_SECONDS_CUDA = 30.0, 480.0
# Shorter parts count as this long: of them a batch may have any mixture.
_SHORT_SECONDS = 2.0
_CLOSE_SECONDS = 30.0


@dataclass(frozen=True)
class Manner:
    """How a part is to be written; parts of one batch are of one manner.

    Args:
        language: of the speech, `ru` or `en`; None lets each part decide.
        words: tell when each word was said.
        hot_words: words that are expected.
    """

    language: str | None = None
    words: bool = False
    hot_words: tuple[str, ...] = ()


@dataclass(eq=False)
class _Job:
    """A part that somebody waits for."""

    part: np.ndarray
    manner: Manner
    done: Future[Written]

    @property
    def seconds(self) -> float:
        return max(_SHORT_SECONDS, len(self.part) / SAMPLING_RATE)


class Drafts:
    """The writer: one model, one thread.

    Args:
        model: its adapter is `ctc`.
        batch_seconds: audio of a batch, padding included; by default by the device.
    """

    def __init__(self, model: Borealis, batch_seconds: float | None = None) -> None:
        self.model = model
        self.alphabet = Alphabet(model.model.config.ctc_labels)
        cuda = model.device.type == "cuda"
        self.batch_seconds = batch_seconds or (_BATCH_SECONDS_CUDA if cuda else _BATCH_SECONDS)
        self.running = 0  # parts of the batch at work
        self._jobs: list[_Job] = []  # the oldest first
        self._closed = False
        self._change = Condition()  # of these two
        self._thread = Thread(target=self._work, name="borealis-drafts", daemon=True)
        self._thread.start()

    @property
    def at_once(self) -> int:
        """Parts of one recording that may wait together: a batch, so that others get the next."""
        return max(2, int(self.batch_seconds / self.model.longest_part))

    @property
    def waiting(self) -> int:
        """Parts that wait for a batch."""
        with self._change:
            return sum(not job.done.cancelled() for job in self._jobs)

    def cut(self, clip: np.ndarray) -> list[tuple[int, int]]:
        """Where `Borealis.transcribe` cuts a recording: first and last sample of each part.

        Args:
            clip: float32 mono at 16 kHz `[num_samples]`.
        """
        config = self.model.model.config
        window = config.window_length / config.sampling_rate
        return split_at_silence(clip, max_seconds=min(self.model.longest_part, window))

    def check(self, hot_words: Iterable[str]) -> None:
        """Raise RequestError for a hot word that can't be written."""
        if unknown := next((word for word in hot_words if not self.letters(word)), None):
            raise RequestError(
                f"The hot word '{shown(unknown)}' has no letter that the model can write.",
                param="hotwords",
            )

    async def write(self, part: np.ndarray, manner: Manner) -> Written:
        """Write down a part. A caller that is cancelled takes it back.

        Args:
            part: float32 mono at 16 kHz `[num_samples]`, one of those that `cut` makes.
            manner: how.

        Raises:
            RequestError: the server stops.
        """
        job = _Job(part, manner, Future())
        with self._change:
            if self._closed:
                raise _stops()
            self._jobs.append(job)
            self._change.notify()
        return await asyncio.wrap_future(job.done)

    def tokens(self, text: str) -> list[int]:
        """Ids of a text."""
        return self.model.processor.tokenizer(text, add_special_tokens=False)["input_ids"]

    def letters(self, text: str) -> int:
        """How many letters, spaces among them, the search found for a text that it wrote."""
        return len(self.alphabet.spell(text))

    def close(self) -> None:
        """Stop after the batch at work; whoever waits is told."""
        self._end()
        self._thread.join(_CLOSE_SECONDS)

    # ---- in the thread ----

    def _work(self) -> None:
        # vLLM sets its own number for this process, and changes it while it reads audio.
        threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
        try:
            while (batch := self._next()) is not None:
                torch.set_num_threads(threads)
                self._write_batch(batch)
        finally:
            self._end()

    def _write_batch(self, batch: list[_Job]) -> None:
        manner = batch[0].manner
        self.running = len(batch)
        try:
            written = self.model.write_parts(
                [job.part for job in batch],
                language=manner.language,
                words=manner.words,
                hot_words=manner.hot_words,
            )
            for job, one in zip(batch, written, strict=True):
                job.done.set_result(one)
        except Exception as error:  # it is the requests' and not the thread's
            for job in batch:
                if not job.done.done():
                    job.done.set_exception(error)
        finally:
            self.running = 0

    def _next(self) -> list[_Job] | None:
        """The parts that are written next, once there are any; None at the end."""
        while True:
            with self._change:
                self._change.wait_for(lambda: self._jobs or self._closed)
                if self._closed:
                    return None
                batch = self._like(self._jobs[0])
                self._jobs = [job for job in self._jobs if job not in batch]
            # Those whose client has left aren't written.
            batch = [job for job in batch if job.done.set_running_or_notify_cancel()]
            if batch:
                return batch

    def _like(self, first: _Job) -> list[_Job]:
        """A batch with the part that has waited longest, and others like it, the oldest first.

        Its length is at least half and at most twice that of the others, or padding would take the
        time of the work.
        """
        batch, longest = [first], first.seconds
        for job in self._jobs:
            if job is first or job.manner != first.manner or job.done.cancelled():
                continue
            if not first.seconds / 2 <= job.seconds <= 2 * first.seconds:
                continue
            width = max(longest, job.seconds)
            if width * (len(batch) + 1) <= self.batch_seconds:
                batch.append(job)
                longest = width
        return batch

    def _end(self) -> None:
        with self._change:
            self._closed = True
            left, self._jobs = self._jobs, []
            self._change.notify_all()
        for job in left:
            if job.done.set_running_or_notify_cancel():
                job.done.set_exception(_stops())


def _stops() -> RequestError:
    return RequestError("The server stops.", 503, code="unavailable", retry_after=30)


def load_drafts(checkpoint: str, dtype: torch.dtype | str | None = None) -> Drafts:
    """The writer of a checkpoint, on CUDA where there is one; what it needs is read at once.

    Args:
        checkpoint: folder or hub id.
        dtype: precision, as the engine has it.

    Raises:
        CheckpointError: it can't be read.
    """
    model = Borealis.load(checkpoint, dtype=dtype)
    model.write_parts([_hiss()])  # reads the n-gram and makes the search, which the first would pay
    return Drafts(model)


def _hiss() -> np.ndarray:
    import numpy as np

    noise = np.random.default_rng(0).standard_normal(SAMPLING_RATE)
    return (0.05 * noise).astype(np.float32)


def show(drafts: Drafts) -> Iterable[Any]:
    """Tell /metrics how many parts are at work and wait; vLLM counts those of its engine only."""
    from prometheus_client import Gauge

    running = Gauge("borealis:parts_running", "Parts of recordings that are being written down.")
    running.set_function(lambda: drafts.running)
    waiting = Gauge("borealis:parts_waiting", "Parts of recordings that wait to be written down.")
    waiting.set_function(lambda: drafts.waiting)
    return running, waiting
