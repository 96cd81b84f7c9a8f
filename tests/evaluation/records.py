"""Result files as the benchmarks write them, for tests of the tables."""

from __future__ import annotations

from typing import Any

from borealis.evaluation.normalization import NORMALIZER_VERSION
from borealis.evaluation.results import FORMAT
from tools.site.freshness import GROUPS, Shipped

RATES = {
    "word_error_rate": 0.2512,
    "character_error_rate": 0.0712,
    "word_error_rate_95": [0.21, 0.294],
}
PEER_RATES = RATES | {"word_error_rate": 0.207, "character_error_rate": 0.052}
DECODING = {
    "strategy": "ctc prefix beam search",
    "ngram_weight": 0.9,
    "num_beams": 12,
    "batch_size": 8,
}
GREEDY = DECODING | {"strategy": "greedy", "num_beams": 1, "batch_size": 32}
PEER = {
    "engine": "faster-whisper",
    "version": "1.2.1",
    "compute_type": "float32",
    "beam_size": 5,
    "batch_size": 1,
    "guards": True,
    "threads": 2,
}
_WAITS = {"p50": 0.5, "p90": 1.0, "p99": 2.04}
_LOADED = {"first_token_seconds": _WAITS, "latency_seconds": _WAITS}


def _engine(speed: float, wer: float, **values: Any) -> dict[str, Any]:
    return {"audio_seconds_per_second": speed, "word_error_rate": wer} | values


_SERVING = {
    "server": _engine(26.2, 0.319, concurrency=32, **_LOADED),
    "server_one_at_a_time": _engine(6.2, 0.319, concurrency=1, **_LOADED),
    "transformers_one_at_a_time": _engine(11.1, 0.319, batch_size=1, decoding=GREEDY),
    "transformers_batches": _engine(27.7, 0.319, batch_size=32, decoding=GREEDY),
    "peer_batches": _engine(9.2, 0.16, **PEER | {"batch_size": 32, "guards": False}),
    "peer_batches_greedy": _engine(
        12.5, 0.17, **PEER | {"batch_size": 32, "beam_size": 1, "guards": False}
    ),
}

METRICS: dict[str, dict[str, Any]] = {
    "transcription": {
        "test": RATES
        | {"peer": PEER_RATES, "difference": {"word_error_rate_95": [-0.0421, 0.0113]}},
        "unseen": RATES
        | {"peer": PEER_RATES, "difference": {"word_error_rate_95": [0.0201, 0.0622]}},
        "radio": RATES,
    },
    "questions": {
        "balanced_accuracy": 0.843,
        "tasks": {"voice": 0.97, "word_count": 0.6},
        "questions": {"voice": 160, "word_count": 120},
    },
    "sounds": {
        "seconds_each": 600.0,
        "kinds": {
            kind: {"words": words, "peer": {"words": 9}}
            for kind, words in {"silence": 0, "noise": 1, "music": 2}.items()
        },
    },
    "speed": {"times_real_time": 31.4, "word_error_rate": 0.188}
    | {"busy": {"processes": 2, "slower": 2.24}}
    | {"bfloat16": {"times_real_time": 22.4, "word_error_rate": 0.189}}
    | {"peer_int8": {"times_real_time": 14.0, "word_error_rate": 0.201}}
    | {"peer": {"times_real_time": 12.0, "word_error_rate": 0.2}},
    "serving_bfloat16": _SERVING,
    "serving_float32": _SERVING,
    "load": {
        "recording_seconds": 10,
        "first_text_seconds": {"median": 0.4, "worst": 0.49, "runs": 12},
        "crowd": {"visitors": 20, "right": 19, "median_seconds": 15.0, "last_seconds": 30.6},
        "memory_megabytes": {"requests": 100, "samples": [800.0, 830.5, 812.0], "most": 830.5},
    },
    "words": {
        "right": 0.81,
        "start_error_seconds": {"median": 0.022, "p95": 0.3},
        "calibration_error": 0.041,
    },
    "commands": {"transcribe": {"median_seconds": 2.84}, "help": {"median_seconds": 0.12}},
    "install": {"seconds": 150.0},
    "test": {
        "seconds": 960.0,
        "phases": {
            "lint": {"seconds": 9.0},
            "test-main": {"seconds": 800.0, "passed": 700, "skipped": 2},
            "test-serve": {"seconds": 100.0, "passed": 90},
        },
    },
}


def record(group: str, **values: Any) -> dict[str, Any]:
    """A file that vouches for its numbers, of what ships; `values` change it."""
    shipped = Shipped.here()
    decoding: dict[str, Any] = DECODING
    if group.startswith("serving"):
        decoding = GREEDY
    elif group == "questions":
        decoding = {"transcript": DECODING, "answer": {"strategy": "greedy", "batch_size": 8}}
    known: dict[str, Any] = {
        "name": GROUPS[group].file,
        "format": FORMAT,
        "date": "2026-11-24",
        "commit": "abc123",
        "dirty": False,
        "took_seconds": 250.0,
        "normalizer_version": NORMALIZER_VERSION,
        "machine": {"processor": "A CPU", "accelerator": "", "threads": 2},
        "model": {"checkpoint": shipped.checkpoint, "parameters": 32_400_000},
        "decoding": decoding,
        "metrics": METRICS[group],
    }
    if group in ("install", "test"):
        del known["model"], known["decoding"]
        known["lock"] = shipped.lock
    if group in ("transcription", "sounds", "speed") or group.startswith("serving"):
        batches = {"batch_size": 32, "guards": False} if group.startswith("serving") else {}
        known["peer"] = PEER | batches
    return known | values
