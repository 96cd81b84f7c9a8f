"""Words that are invented where nobody speaks: `python benchmarks/nano_sounds.py --data data`.

An hour: twenty minutes of silence (digital, then the hiss of a quiet room), twenty of noise (white,
coloured, hum), twenty of music that no training saw: three minutes of it over and over, each time
cut at other places. Whisper in CTranslate2 format, if given, hears the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

import borealis
from borealis.audio import SAMPLING_RATE, load_audio
from borealis.data.augment import coloured_noise
from borealis.data.manifest import read_manifest
from borealis.evaluation import results
from borealis.evaluation.peer import Whisper, kept_since

MANIFEST = "sounds.test.jsonl"
SECONDS_EACH = 1200.0
PIECE_SECONDS = 10.0
SEED = 3


def recordings(data: Path, seconds: float) -> dict[str, list[np.ndarray]]:
    """Pieces of ten seconds by kind, `seconds` of each kind.

    Args:
        data: folder that `python -m lab.nano.data` wrote.
        seconds: length of each kind.
    """
    rng = np.random.default_rng(SEED)
    count, length = round(seconds / PIECE_SECONDS), round(PIECE_SECONDS * SAMPLING_RATE)
    hiss = [0.0] * (count // 2) + [0.001] * (count - count // 2)
    silence = [(level * rng.standard_normal(length)).astype(np.float32) for level in hiss]
    levels = 10 ** (rng.uniform(-40, -10, count) / 20)
    noise = [(level * coloured_noise(length, rng)).astype(np.float32) for level in levels]
    sounds = [u for u in read_manifest(data / MANIFEST) if u.kind == "music"]
    played = np.concatenate([load_audio(u.audio) for u in sounds])
    music = np.resize(played, count * length).reshape(count, length)
    return {"silence": silence, "noise": noise, "music": list(music)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nano", help="bundled name, folder or hub id (nano)")
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (data)")
    parser.add_argument("--output", type=Path, default=Path("results/nano-sounds.json"))
    parser.add_argument("--seconds", type=float, default=SECONDS_EACH, help="of each kind (1200)")
    parser.add_argument("--peer", type=Path, help="Whisper in CTranslate2 format")
    parser.add_argument(
        "--peer-anew", action="store_true", help="let it hear again what OUTPUT has from it"
    )
    args = parser.parse_args()

    began = results.checkout()
    model = borealis.load(args.model)
    heard = recordings(args.data, args.seconds)
    settings = {"batch_size": 8}
    kinds: dict[str, Any] = {
        name: _words([t.text for t in model.transcribe(pieces, **settings)])
        for name, pieces in heard.items()
    }
    sounds = read_manifest(args.data / MANIFEST)
    data = {"sounds": results.describe_manifest(args.data / MANIFEST, sounds)}
    decoding = results.describe_decoding(model, **settings)
    record = results.describe(
        "nano-sounds", recipe="nano", model=model, decoding=decoding, data=data
    )
    record["dirty"] |= began != results.checkout()
    if args.peer is not None:
        peer = Whisper(args.peer, threads=torch.get_num_threads())
        old = {} if args.peer_anew else results.read(args.output)
        when = kept_since(old, peer.describe(), data)
        if when and old["metrics"]["seconds_each"] == args.seconds:
            print(f"what the peer wrote at commit {when['commit']} is kept")
            theirs = {name: old["metrics"]["kinds"][name]["peer"] for name in kinds}
        else:
            when = results.now()
            theirs = {
                name: _words([peer.transcribe(piece) for piece in pieces])
                for name, pieces in heard.items()
            }
        for name, words in theirs.items():
            kinds[name]["peer"] = words
        record["peer"] = peer.describe() | {"measured": when}
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
