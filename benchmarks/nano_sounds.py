"""Words that are invented where nobody speaks: `python benchmarks/nano_sounds.py --data data`.

Thirty minutes: ten of silence (digital, then the hiss of a quiet room), ten of noise (white,
coloured, hum), ten of music that no training saw, one after another. Whisper in
CTranslate2 format, if given, hears the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import borealis
from borealis.audio import SAMPLING_RATE, load_audio
from borealis.data.augment import coloured_noise
from borealis.data.manifest import read_manifest
from borealis.evaluation import results
from borealis.evaluation.peer import Whisper

SECONDS_EACH = 600.0
PIECE_SECONDS = 10.0
SEED = 3


def recordings(data: Path, seconds: float) -> dict[str, list[np.ndarray]]:
    """Pieces of ten seconds by kind, `seconds` of each kind.

    Args:
        data: folder that `borealis data nano` wrote.
        seconds: length of each kind.
    """
    rng = np.random.default_rng(SEED)
    count, length = round(seconds / PIECE_SECONDS), round(PIECE_SECONDS * SAMPLING_RATE)
    hiss = [0.0] * (count // 2) + [0.001] * (count - count // 2)
    silence = [(level * rng.standard_normal(length)).astype(np.float32) for level in hiss]
    levels = 10 ** (rng.uniform(-40, -10, count) / 20)
    noise = [(level * coloured_noise(length, rng)).astype(np.float32) for level in levels]
    sounds = [u for u in read_manifest(data / "sounds.test.jsonl") if u.kind == "music"]
    played = np.concatenate([load_audio(u.audio) for u in sounds])
    music = np.resize(played, count * length).reshape(count, length)
    return {"silence": silence, "noise": noise, "music": list(music)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nano", help="bundled name, folder or hub id (nano)")
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (data)")
    parser.add_argument("--output", type=Path, default=Path("results/nano-sounds.json"))
    parser.add_argument("--seconds", type=float, default=SECONDS_EACH, help="of each kind (600)")
    parser.add_argument("--peer", type=Path, help="Whisper in CTranslate2 format")
    args = parser.parse_args()

    model = borealis.load(args.model)
    heard = recordings(args.data, args.seconds)
    kinds: dict[str, Any] = {
        name: _words([t.text for t in model.transcribe(pieces)]) for name, pieces in heard.items()
    }
    record = results.describe("nano-sounds", recipe="nano", model=model)
    if args.peer is not None:
        peer = Whisper(args.peer)
        for name, pieces in heard.items():
            kinds[name]["peer"] = _words([peer.transcribe(piece) for piece in pieces])
        record["peer"] = peer.describe()
    metrics = {"seconds_each": args.seconds, "kinds": kinds}
    results.write(args.output, record | {"metrics": metrics})
    for name, result in kinds.items():
        print(f"{name}: {result['words']} words; {result['examples']}")


def _words(texts: list[str]) -> dict[str, Any]:
    written = [text for text in texts if text.strip()]
    return {
        "pieces": len(texts),
        "words": sum(len(text.split()) for text in written),
        "examples": written[:5],
    }


if __name__ == "__main__":
    main()
