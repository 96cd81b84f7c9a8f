"""ru_tts, a formant synthesiser of Russian with a man's and a woman's voice that nano never heard.

It is the PyPI package retro-ru-tts (MIT, by Speech Research Laboratory, Minsk, and others); its
Python wrapper doesn't run on Python 3.11, so the library inside is called directly.

    pip install --no-deps retro-ru-tts
"""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from typing import Literal

import numpy as np

from borealis.errors import BorealisError

SAMPLING_RATE = 10_000
_FEMALE = 4  # flag of the alternative voice
_DECIMAL = 3


class _Settings(ctypes.Structure):
    """Speech parameters of the library, percent of the usual."""

    _fields_ = [
        (name, ctypes.c_int)
        for name in [
            "speech_rate",
            "voice_pitch",
            "intonation",
            "general_gap",
            "comma_gap",
            "dot_gap",
            "semicolon_gap",
            "colon_gap",
            "question_gap",
            "exclamation_gap",
            "intonational_gap",
            "flags",
        ]
    ]


_CONSUMER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)


def speak(
    text: str, voice: Literal["male", "female"], *, rate: int = 100, pitch: int = 100
) -> np.ndarray:
    """A sentence as float32 samples at `SAMPLING_RATE`.

    Args:
        text: Russian; `+` after a vowel marks the stress.
        voice: which.
        rate: 20 to 500, percent of the usual.
        pitch: 50 to 300, percent of the usual.

    Raises:
        BorealisError: the package isn't installed.
    """
    found = find_spec("_ru_tts_native")
    if found is None or found.origin is None:
        raise BorealisError("ru_tts isn't installed: pip install --no-deps retro-ru-tts.")
    library = ctypes.CDLL(found.origin)
    settings, parts = _Settings(), []
    library.ru_tts_config_init(ctypes.byref(settings))
    settings.speech_rate, settings.voice_pitch = rate, pitch
    settings.flags = _DECIMAL | (_FEMALE if voice == "female" else 0)

    def take(data: int, size: int, _: int) -> int:
        parts.append(ctypes.string_at(data, size))
        return 0

    buffer = ctypes.create_string_buffer(8192)
    spelled = text.replace("—", "-").encode("koi8-r", errors="ignore")
    library.ru_tts_transfer(
        ctypes.byref(settings), spelled, buffer, len(buffer), _CONSUMER(take), None
    )
    return np.frombuffer(b"".join(parts), np.int8).astype(np.float32) / 128
