"""Recordings of hours: their samples wait in a temporary file and are read piece by piece."""

from __future__ import annotations

import tempfile
from threading import Lock
from typing import TYPE_CHECKING

from borealis.errors import AudioError

if TYPE_CHECKING:
    import numpy as np

_BYTES = 4  # of a sample


class LongAudio:
    """Samples in an unnamed file, read like an array: `len(audio)`, `audio[start:end]`.

    Three hours are 0.7 GB as an array; a transcription needs two minutes of them at once.
    """

    def __init__(self) -> None:
        # Closed, and so gone, with this object.
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._lock, self._length = Lock(), 0
        self.divisor = 1.0  # of what is read

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice) -> np.ndarray:
        """A copy of a part, float32 `[num_samples]`; slices with a step aren't known."""
        import numpy as np

        start, end, step = part.indices(self._length)
        if step != 1:
            raise ValueError(f"A step of {step} was asked for; only whole parts are read.")
        samples = np.empty(max(0, end - start), np.float32)
        with self._lock:
            self._file.seek(start * _BYTES)
            self._file.readinto(samples.data.cast("B"))  # type: ignore[attr-defined]
        if self.divisor != 1.0:
            samples /= self.divisor
        return samples

    def append(self, piece: np.ndarray) -> None:
        """More samples, float32 `[num_samples]`.

        Raises:
            AudioError: there is no room.
        """
        try:
            with self._lock:
                self._file.seek(self._length * _BYTES)
                self._file.write(piece.tobytes())
                self._file.flush()
        except OSError as error:
            raise AudioError(
                f"There is no room for a long recording in {tempfile.gettempdir()} "
                f"({error.strerror}); make room, or set TMPDIR to another folder."
            ) from None
        self._length += len(piece)
