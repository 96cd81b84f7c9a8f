"""Recordings that clients send -> samples, within the limits of the server."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from borealis.audio import AudioLimits, load_audio
from borealis.errors import AudioTooLargeError, AudioTooLongError, BorealisError
from borealis.serving.errors import RequestError

if TYPE_CHECKING:
    import numpy as np

    from borealis.serving.room import Visit
    from borealis.serving.settings import Settings

log = logging.getLogger("borealis.serving")
DECODE_SECONDS = 120.0  # two files that take longer would keep all others waiting


class Sounds:
    """The decoder of uploads.

    Args:
        settings: limits.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        # Decoding takes a core and, for the longest file, a few hundred MB.
        self._places = asyncio.Semaphore(2)

    async def decode(
        self, data: bytes, visit: Visit, *, param: str, max_seconds: float | None = None
    ) -> np.ndarray:
        """An encoded file -> float32 mono 16 kHz.

        Args:
            data: the file.
            visit: the request; its samples are counted there.
            param: field of the request that holds the file.
            max_seconds: longest recording, if less than that of the settings.

        Raises:
            RequestError: it isn't audio, is broken, empty, too large, too long or too slow to
                decode, or there is no memory for it now.
        """
        longest = self.settings.max_seconds
        if max_seconds is not None:
            longest = min(longest, max_seconds)
        limits = AudioLimits(
            max_bytes=self.settings.max_bytes,
            max_seconds=longest,
            max_decode_seconds=DECODE_SECONDS,
        )
        async with self._places:
            try:
                clip = await asyncio.to_thread(load_audio, data, limits=limits)
            except BorealisError as error:
                large = isinstance(error, (AudioTooLargeError, AudioTooLongError))
                raise RequestError(str(error), 413 if large else 400, param) from None
            except Exception:  # a decoder's own failure: the file is the cause, not the server
                log.exception("A decoder failed.")
                raise RequestError(
                    "The file isn't audio that can be read, or is broken. WAV, FLAC, MP3, Ogg, "
                    "Opus, M4A, MP4 and WebM work.",
                    param=param,
                ) from None
        visit.hold(clip.nbytes)
        return clip
