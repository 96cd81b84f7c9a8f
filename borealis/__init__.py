"""Borealis: an open audio language model for Russian and English.

```python
import borealis

model = borealis.load()
print(model.transcribe("examples/audio/speech.flac"))
print(model.ask("examples/audio/speech.flac", "Кто говорит: мужчина или женщина?"))
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from borealis.auto_classes import register_when_wanted
from borealis.lazy import lazily
from borealis.threads import wait_politely

if TYPE_CHECKING:
    from borealis.audio import load_audio
    from borealis.errors import AudioError, BorealisError
    from borealis.inference import Borealis, Segment, Transcript, load
    from borealis.model import (
        BorealisConfig,
        BorealisForConditionalGeneration,
        BorealisProcessor,
    )

__version__ = "0.1.0"

wait_politely()  # before torch is imported: it looks only once

# Public names and where they live: torch is imported only when one of them is used.
_PUBLIC = {
    "load": "borealis.inference",
    "Borealis": "borealis.inference",
    "Transcript": "borealis.inference",
    "Segment": "borealis.inference",
    "BorealisConfig": "borealis.model",
    "BorealisForConditionalGeneration": "borealis.model",
    "BorealisProcessor": "borealis.model",
    "load_audio": "borealis.audio",
    "BorealisError": "borealis.errors",
    "AudioError": "borealis.errors",
}

__all__ = [
    "AudioError",
    "Borealis",
    "BorealisConfig",
    "BorealisError",
    "BorealisForConditionalGeneration",
    "BorealisProcessor",
    "Segment",
    "Transcript",
    "load",
    "load_audio",
]


__getattr__, __dir__ = lazily(__name__, _PUBLIC, globals())
register_when_wanted()
