"""Whatever goes wrong while a batch is made is an error with its place, never the end of the data.

Loops read StopIteration as the end, and a worker's errors come back as the text of a traceback. So
an error of a batch goes the batch's way, as a batch that can't be used, and stops the run there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from borealis.data.manifest import Utterance
from borealis.errors import BorealisError, TrainingError

logger = logging.getLogger(__name__)

_ERROR = "error"


@contextmanager
def at_row(item: Utterance) -> Iterator[None]:
    """Name the row that an error is about.

    Raises:
        TrainingError: instead of any error that isn't Borealis's own.
    """
    try:
        yield
    except BorealisError:
        raise
    except Exception as error:
        where = item.place or f"'{item.audio}'"
        raise TrainingError(
            f"{where}: this row can't be learned from ({_told(error)}). Mend it or take it out; "
            "'borealis data check' looks through a manifest."
        ) from error


class CheckedBatches:
    """Batches by number; what can't be made is a batch that `raise_errors` knows.

    Args:
        batches: a dataset that gives a whole batch for each number.
    """

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int) -> dict[str, Any]:
        try:
            return self.batches[step]
        except BorealisError as error:
            return {"mode": _ERROR, _ERROR: error}
        except Exception as error:
            logger.debug("batch %d can't be made", step, exc_info=True)
            told = TrainingError(f"Batch {step} can't be made ({_told(error)}).")
            told.__cause__ = error
            return {"mode": _ERROR, _ERROR: told}


def raise_errors(batches: Sequence[Any]) -> None:
    """Raise what went wrong while one of the batches was made.

    Raises:
        BorealisError: of the first such batch.
    """
    for batch in batches:
        if isinstance(batch, dict) and _ERROR in batch:
            raise batch[_ERROR]


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
