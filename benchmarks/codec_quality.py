"""What is left of speech after a codec: `python benchmarks/codec_quality.py --codec DIR`.

Real recordings that no training saw are encoded and decoded with 1, 2, 4, ... codebooks. Whisper
writes down both (texts with digits are left out: it writes numbers as it likes), PESQ (wide band)
and STOI compare the sound. They come from the packages pesq and pystoi, which only this file uses:

    pip install pesq pystoi
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from borealis.audio import SAMPLING_RATE, load_audio
from borealis.codec import Codec, load_codec
from borealis.codec.protocol import bits_per_second
from borealis.data.manifest import Utterance, read_manifest
from borealis.evaluation import results
from borealis.evaluation.metrics import error_rates, rate_difference
from borealis.evaluation.peer import Whisper
from borealis.evaluation.runner import select
from borealis.training.digests import weights_digest

SETS = {
    "known": "festvox-ru.test.jsonl",
    "unseen": "asterisk-ru.unseen.jsonl",
    "synthetic": "synthetic-ru.test.jsonl",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--codec", default="nano", help="name, folder or hub id (nano)")
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (data)")
    parser.add_argument("--sets", default=",".join(SETS), help="which, or manifests of the folder")
    parser.add_argument("--limit", type=int, help="recordings of each set")
    parser.add_argument("--output", type=Path, default=Path("results/nano-codec.json"))
    parser.add_argument("--peer", type=Path, required=True, help="Whisper in CTranslate2 format")
    args = parser.parse_args()

    began = results.checkout()
    codec = load_codec(args.codec)
    peer = Whisper(args.peer, threads=torch.get_num_threads(), compute_type="int8")
    metrics: dict[str, Any] = {"sets": {}}
    data = {}
    for name in args.sets.split(","):
        manifest = args.data / SETS.get(name, name)
        items = [u for u in read_manifest(manifest) if not any(c.isdigit() for c in u.text)]
        items = select(items, args.limit)
        data[name] = results.describe_manifest(manifest, items)
        metrics["sets"][name] = measured(codec, items, peer)
    record = results.describe("nano-codec", recipe="nano-codec", data=data)
    record["dirty"] |= began != results.checkout()
    folder = Path(args.codec)
    record["codec"] = {
        "name": folder.name if folder.is_dir() else args.codec,
        "weights": weights_digest(folder)[:16] if folder.is_dir() else "",
        "frame_rate": codec.sampling_rate / codec.hop_length,
        "codebooks": codec.num_codebooks,
        "codebook_size": codec.codebook_size,
    }
    record["judge"] = peer.describe()
    results.write(args.output, record | {"metrics": metrics})


def measured(codec: Codec, items: Sequence[Utterance], peer: Whisper) -> dict[str, Any]:
    """One set: what the judge writes of the originals, and of them after each number of books."""
    clips = [load_audio(item.audio) for item in items]
    texts, languages = [item.text for item in items], [item.language for item in items]

    def written(sounds: Sequence[np.ndarray]) -> list[str]:
        return [peer.transcribe(s, language=g) for s, g in zip(sounds, languages, strict=True)]

    heard = written(clips)
    numbers: dict[str, Any] = {"original": error_rates(texts, heard).to_dict(), "codebooks": {}}
    _show("original", numbers["original"])
    seconds = sum(map(len, clips)) / SAMPLING_RATE
    begun = time.perf_counter()
    encoded = [codec.encode(clip) for clip in clips]
    numbers["encode_times_real_time"] = round(seconds / (time.perf_counter() - begun), 1)
    books = 1
    while books <= codec.num_codebooks:
        begun = time.perf_counter()
        made = [codec.decode(codes.take(books)) for codes in encoded]
        took = time.perf_counter() - begun
        told = written(made)
        again = [codec.encode(sound, num_codebooks=books) for sound in made]
        same = [a.codes == c.codes[:books] for a, c in zip(again, encoded, strict=True)]
        row = {
            "bits_per_second": bits_per_second(codec, books),
            **error_rates(texts, told).to_dict(),
            "over_original": rate_difference(texts, told, heard),
            **likeness(clips, made),
            "codes_kept": round(float(np.mean(np.concatenate([s.ravel() for s in same]))), 4),
            "decode_times_real_time": round(seconds / took, 1),
        }
        numbers["codebooks"][str(books)] = row
        _show(f"{books} codebooks", row)
        books *= 2
    return numbers


def likeness(
    clips: Sequence[np.ndarray], made: Sequence[np.ndarray]
) -> dict[str, float | int | None]:
    """Mean PESQ and STOI; recordings in which PESQ finds no speech don't count."""
    from pesq import NoUtterancesError, pesq
    from pystoi import stoi

    heard, understood = [], []
    for clip, sound in zip(clips, made, strict=True):
        # STOI needs some thirty frames of speech.
        if len(clip) < SAMPLING_RATE or not sound.any():
            continue
        try:
            heard.append(pesq(SAMPLING_RATE, clip, sound, "wb"))
        except NoUtterancesError:
            continue
        understood.append(stoi(clip, sound, SAMPLING_RATE))
    return {
        "pesq": round(float(np.mean(heard)), 3) if heard else None,
        "stoi": round(float(np.mean(understood)), 4) if understood else None,
        "compared": len(heard),
    }


def _show(name: str, row: dict[str, Any]) -> None:
    rest = "".join(f"  {k} {row[k]}" for k in ("pesq", "stoi", "codes_kept") if k in row)
    wer, cer = row["word_error_rate"], row["character_error_rate"]
    print(f"{name}: WER {100 * wer:.1f} %, CER {100 * cer:.1f} %{rest}", flush=True)


if __name__ == "__main__":
    main()
