"""How well a model speaks: `python benchmarks/speech.py --peer WHISPER`.

Sentences that no training saw are spoken by the voices that spoke them in the recordings. Whisper
writes down both (texts with digits are left out: it writes numbers as it likes). Lengths are
compared with the recordings', speed is that of the whole way from text to sound.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import borealis
from borealis.audio import load_audio
from borealis.data.manifest import Utterance, read_manifest
from borealis.evaluation import results
from borealis.evaluation.metrics import error_rates, rate_difference
from borealis.evaluation.peer import Whisper
from borealis.evaluation.runner import select
from borealis.inference import Borealis
from borealis.inference.speech import TEMPERATURE, TOP_K

SHORTEST, LONGEST = 0.8, 1.25  # of the recording's length: a speech that stops where it should
_TRIED = 10  # sentences whose first sound is waited for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nano", help="name, folder or hub id (nano)")
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (data)")
    parser.add_argument("--manifest", default="synthetic-ru.test.jsonl", help="of the folder")
    parser.add_argument("--limit", type=int, default=100, help="sentences (100)")
    parser.add_argument("--temperature", type=float, help="by default the model's own")
    parser.add_argument("--output", type=Path, default=Path("results/speech.json"))
    parser.add_argument("--peer", type=Path, required=True, help="Whisper in CTranslate2 format")
    args = parser.parse_args()

    began = results.checkout()
    model = borealis.load(args.model)
    names = {voice.name for voice in model.voices}
    path = args.data / args.manifest
    items = [
        u for u in read_manifest(path) if u.voice in names and not any(c.isdigit() for c in u.text)
    ]
    items = select(items, args.limit)
    peer = Whisper(args.peer, threads=torch.get_num_threads(), compute_type="int8")
    settings = {} if args.temperature is None else {"temperature": args.temperature}
    metrics = measured(model, items, peer, settings)
    data = {args.manifest: results.describe_manifest(path, items)}
    decoding = {"temperature": TEMPERATURE, "top_k": TOP_K, "seed": 0} | settings
    record = results.describe("speech", model=model, data=data, decoding=decoding)
    record["dirty"] |= began != results.checkout()
    record["judge"] = peer.describe()
    results.write(args.output, record | {"metrics": metrics})


def measured(
    model: Borealis, items: Sequence[Utterance], peer: Whisper, settings: dict[str, Any]
) -> dict[str, Any]:
    """What the judge writes of the recordings and of the model's speech, and how long both are."""
    clips = [load_audio(item.audio) for item in items]
    texts, languages = [item.text for item in items], [item.language for item in items]
    rate = model.speaker.codec.sampling_rate

    def written(sounds: Sequence[np.ndarray]) -> list[str]:
        return [peer.transcribe(s, language=g) for s, g in zip(sounds, languages, strict=True)]

    model.speak("Раз.", **settings)  # what is loaded late is loaded now
    begun = time.perf_counter()
    made = [model.speak(item.text, voice=item.voice, **settings) for item in items]
    took = time.perf_counter() - begun
    waits = [_first_sound(model, item, settings) for item in items[:_TRIED]]
    sounds = [load_audio((rate, speech.waveform)) for speech in made]
    ratios = [len(s) / len(c) for s, c in zip(sounds, clips, strict=True)]
    heard, told = written(clips), written(sounds)
    by_voice = {}
    for voice in sorted({item.voice for item in items}):
        own = [i for i, item in enumerate(items) if item.voice == voice]
        by_voice[voice] = error_rates([texts[i] for i in own], [told[i] for i in own]).to_dict()
    numbers = {
        "original": error_rates(texts, heard).to_dict(),
        "spoken": error_rates(texts, told).to_dict(),
        "over_original": rate_difference(texts, told, heard),
        "voices": by_voice,
        "length": {
            "mean": round(float(np.mean(ratios)), 3),
            "shortest": round(min(ratios), 3),
            "longest": round(max(ratios), 3),
            "between_0.8_and_1.25": sum(SHORTEST <= r <= LONGEST for r in ratios),
            "of": len(ratios),
        },
        "times_real_time": round(sum(s.duration for s in made) / took, 2),
        "first_sound_seconds": {
            "median": round(float(np.median(waits)), 3),
            "longest": round(max(waits), 3),
        },
        "threads": torch.get_num_threads(),
    }
    for name in ("original", "spoken"):
        wer, cer = (numbers[name][f"{unit}_error_rate"] for unit in ("word", "character"))
        print(f"{name}: WER {100 * wer:.1f} %, CER {100 * cer:.1f} %", flush=True)
    print({k: numbers[k] for k in ("length", "times_real_time", "first_sound_seconds")})
    return numbers


def _first_sound(model: Borealis, item: Utterance, settings: dict[str, Any]) -> float:
    """Seconds until there is something to hear."""
    begun = time.perf_counter()
    stream = model.speak_stream(item.text, voice=item.voice, **settings)
    next(part for part in stream if len(part.waveform))
    took = time.perf_counter() - begun
    stream.close()  # type: ignore[attr-defined]
    return took


if __name__ == "__main__":
    main()
