"""How the demo holds under load: `python benchmarks/demo_load.py --output results/demo-load.json`.

Starts `borealis demo` in a process of its own and measures, on this machine: how soon the first
text of a 10-second recording appears after it was sent; whether 20 visitors at once all get what
the model itself answers; and how the memory of the server grows over 100 requests. Run it on an
idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
from gradio_client import Client, handle_file

import borealis
from borealis.data.manifest import read_manifest
from borealis.evaluation import results

ROOT = Path(__file__).resolve().parent.parent
SECONDS, SAMPLING_RATE = 10, 16_000


def recordings(folder: Path) -> list[Path]:
    """Recordings of ten seconds: each example followed by the beginning of the next."""
    utterances = read_manifest(ROOT / "examples" / "audio" / "manifest.jsonl")
    clips = [borealis.load_audio(utterance.audio) for utterance in utterances]
    files = []
    for number, clip in enumerate(clips):
        both = np.concatenate([clip, clips[(number + 1) % len(clips)]])[: SECONDS * SAMPLING_RATE]
        files.append(folder / f"{number}.wav")
        soundfile.write(files[-1], both, SAMPLING_RATE)
    return files


def memory(pid: int) -> float:
    """Resident memory of a process in megabytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the system doesn't tell the memory of a process")


def first_text(client: Client, file: Path) -> float:
    """Seconds from sending a recording to its first text."""
    begin = time.perf_counter()
    job = client.submit(handle_file(str(file)), api_name="/transcribe_stream")
    for text in job:
        if text.strip():
            seconds = time.perf_counter() - begin
            job.result()
            return seconds
    raise RuntimeError("no text came")


def crowd(base: str, files: list[Path], wanted: list[str], visitors: int) -> dict:
    """All at once; how many got the right answer and when the last one had it."""

    def visit(number: int) -> tuple[bool, float]:
        client = Client(f"{base}/demo/ru/", verbose=False)
        begin = time.perf_counter()
        heard = client.predict(handle_file(str(files[number % len(files)])), api_name="/transcribe")
        return heard["text"] == wanted[number % len(files)], time.perf_counter() - begin

    with ThreadPoolExecutor(visitors) as pool:
        done = list(pool.map(visit, range(visitors)))
    return {
        "visitors": visitors,
        "right": sum(right for right, _ in done),
        "median_seconds": round(statistics.median(s for _, s in done), 2),
        "last_seconds": round(max(s for _, s in done), 2),
    }


def measure(visitors: int, requests: int) -> dict:
    """Everything; see the head of the file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "borealis", "demo", "--no-site", "--port", str(port)]
    began = results.checkout()
    model = borealis.load()
    settings = {"language": "ru"}  # of the page that is visited
    with tempfile.TemporaryDirectory() as folder:
        files = recordings(Path(folder))
        wanted = [model.transcribe(file, **settings).text for file in files]
        process = subprocess.Popen(command, env=os.environ | {"no_proxy": "127.0.0.1"})
        try:
            while True:
                try:
                    with urllib.request.urlopen(f"{base}/healthz", timeout=5):
                        break
                except OSError:
                    if process.poll() is not None:
                        raise RuntimeError("the server stopped") from None
                    time.sleep(0.5)
            client = Client(f"{base}/demo/ru/", verbose=False)
            first_text(client, files[0])  # the first run of all is slower
            firsts = [first_text(client, file) for file in files * 2]
            together = crowd(base, files, wanted, visitors)
            grown = []
            for number in range(requests):
                file = handle_file(str(files[number % len(files)]))
                heard = client.predict(file, api_name="/transcribe")
                if heard["text"] != wanted[number % len(files)]:
                    raise RuntimeError(f"request {number + 1} got another answer")
                if number % max(1, requests // 10) == 0:
                    grown.append(round(memory(process.pid), 1))
        finally:
            process.terminate()
            process.wait(60)
    # One visitor is served after another.
    decoding = results.describe_decoding(model, batch_size=1, **settings)
    record = results.describe("demo-load", model=model, decoding=decoding)
    record["dirty"] |= began != results.checkout()
    record["metrics"] = {
        "recording_seconds": SECONDS,
        "first_text_seconds": {
            "median": round(statistics.median(firsts), 3),
            "worst": round(max(firsts), 3),
            "runs": len(firsts),
        },
        "crowd": together,
        "memory_megabytes": {"requests": requests, "samples": grown, "most": max(grown)},
        "cores": os.cpu_count(),
        "system": platform.system(),
    }
    return record


def main() -> None:
    """Measure, print, and write the result file if one is named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--output", metavar="FILE")
    args = parser.parse_args()
    record = measure(args.visitors, args.requests)
    print(json.dumps(record["metrics"], indent=1))
    if args.output:
        results.write(args.output, record)


if __name__ == "__main__":
    main()
