"""`borealis serve`: vLLM's OpenAI server with the flags that fit this machine and this model."""

from __future__ import annotations

import argparse
import ipaddress
import json
import math
import os
import shlex
import signal
import sys
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from borealis.errors import BorealisError

# The text around the audio and the answer, when the context is made long enough for the audio.
_TEXT_TOKENS = 1024
_MAX_KV_GIB = 8
_MAX_HELD = 8 * 2**30
_CPU_SEQUENCES = 32
# Requests that are taken for each that is decoded at once.
_QUEUE = 4
# A server that was told to stop waits so long for the answers under way.
_STOP_SECONDS = 10
_ENGINE_DIED = 1
# Smaller vocabularies than this are of letters, larger ones of pieces of words.
_LETTERS = 1024


class ServingError(BorealisError):
    """The server can't be started as asked."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `borealis serve`."""
    parser.description = "Start vLLM's OpenAI-compatible server with a Borealis model."
    parser.add_argument(
        "checkpoint",
        nargs="?",
        default="nano",
        help="bundled name, checkpoint folder or hub id (nano)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="port (8000)")
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        help="key that clients must send; better in the variable VLLM_API_KEY",
    )
    parser.add_argument("--name", help="name of the model in requests; by default the checkpoint's")
    parser.add_argument(
        "--lora", action="append", default=[], metavar="NAME=DIR", help="LoRA to serve beside it"
    )
    parser.add_argument("--dtype", help="float32 on a CPU and bfloat16 on a GPU by default")
    parser.add_argument(
        "--max-model-len", type=int, help="context, tokens; by default by the model"
    )
    parser.add_argument("--max-num-seqs", type=int, help="requests decoded at once (32 on a CPU)")
    parser.add_argument(
        "--tensor-parallel-size", type=int, default=1, help="GPUs a model spans (1)"
    )
    parser.add_argument("--max-megabytes", type=int, default=25, help="largest file (25)")
    parser.add_argument("--max-seconds", type=float, default=3600, help="longest recording (3600)")
    parser.add_argument(
        "--max-requests",
        type=int,
        metavar="N",
        help="requests taken at once, at work or waiting; more get 503 and Retry-After (four times "
        "what is decoded at once)",
    )
    parser.add_argument(
        "--receive-seconds",
        type=float,
        default=30,
        metavar="S",
        help="how long a request may take to come, and a second more for every 16 KB (30)",
    )
    parser.add_argument(
        "--allow-media-domain",
        action="append",
        default=[],
        metavar="HOST",
        help="let audio_url fetch from this host; by default from none",
    )
    parser.add_argument("--print", action="store_true", help="print the command and don't start")
    parser.add_argument(
        "--vllm",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="FLAG",
        help="all that follows goes to vLLM as it is: --vllm --seed 1",
    )


@dataclass
class Plan:
    """How vLLM will be started: flags of `vllm serve` and variables of the environment."""

    flags: list[str]
    environment: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """A command for the shell; keys aren't in it."""
        words = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return " ".join([*words, "vllm serve", *map(shlex.quote, self.flags)])


@dataclass(frozen=True)
class Machine:
    """What flags depend on.

    Args:
        cuda: there is a CUDA device and a build of vLLM for it.
        cores: cores this process may use.
        memory: bytes of memory that are free.
    """

    cuda: bool
    cores: int
    memory: int

    @classmethod
    def here(cls) -> Machine:
        import psutil
        import torch

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return cls(torch.cuda.is_available(), cores or 1, psutil.virtual_memory().available)


def make_plan(args: argparse.Namespace, path: str, config: Any, machine: Machine) -> Plan:
    """Flags for this model on this machine.

    Args:
        args: options of the command.
        path: folder of the checkpoint, or its hub id.
        config: its `BorealisConfig`.
        machine: where the server will run.

    Raises:
        ServingError: an option is out of range, or opens the server to the network without a key.
    """
    from borealis.serving.settings import VARIABLE, Settings
    from borealis.serving.speech import RULE

    _check(args)
    text = config.text_config
    audio = config.num_audio_tokens(round(config.max_audio_seconds * config.sampling_rate))
    longest = getattr(text, "max_position_embeddings", audio + _TEXT_TOKENS)
    flags = [
        path,
        *("--host", args.host, "--port", str(args.port)),
        *("--served-model-name", args.name or _name(args.checkpoint)),
        *("--dtype", args.dtype or ("bfloat16" if machine.cuda else "float32")),
        *("--max-model-len", str(args.max_model_len or min(longest, audio + _TEXT_TOKENS))),
        *("--limit-mm-per-prompt", '{"audio": 4}'),
        *("--middleware", "borealis.serving.front.Front"),
        # No web page of another origin may read answers; the list of routes isn't shown.
        *("--allowed-origins", "[]"),
        "--disable-fastapi-docs",
    ]
    speech = config.speech or {}
    if speech.get("voices"):
        flags += ["--logits-processors", RULE]
    if speech.get("first_id", text.vocab_size) < _LETTERS:  # tokens of speech stand behind the text
        # A token is a letter: an event for each would cost more than the letter.
        flags += ["--stream-interval", "4"]
    if args.tensor_parallel_size > 1:
        flags += ["--tensor-parallel-size", str(args.tensor_parallel_size)]
    if args.lora:
        flags += ["--enable-lora", "--max-lora-rank", str(_max_rank(args.lora))]
        flags += ["--lora-modules", *args.lora]
    # vLLM decodes up to 256 at once on a GPU, if nothing else is said.
    at_once = args.max_num_seqs or (256 if machine.cuda else _CPU_SEQUENCES)
    settings = Settings(
        max_bytes=args.max_megabytes * 2**20,
        max_seconds=args.max_seconds,
        media_domains=tuple(args.allow_media_domain),
        max_requests=args.max_requests or _QUEUE * at_once,
        receive_seconds=args.receive_seconds,
    )
    # Memory for what clients have sent, and in any case for two of the largest requests.
    held = max(2 * settings.largest_request, min(_MAX_HELD, machine.memory // 8))
    settings = replace(settings, max_held=held)
    environment = {
        VARIABLE: settings.to_variable(),
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
    }
    if machine.cuda:
        flags += ["--max-num-seqs", str(args.max_num_seqs)] if args.max_num_seqs else []
    else:
        flags += ["--enforce-eager", "--max-num-seqs", str(at_once)]
        flags += ["--mm-processor-cache-gb", "0.25"]
        # vLLM's own share of the memory refuses to start on a busy machine.
        gib = max(1, min(_MAX_KV_GIB, machine.memory // 4 // 2**30))
        environment["VLLM_CPU_KVCACHE_SPACE"] = str(gib)
        environment["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        environment["OMP_NUM_THREADS"] = str(machine.cores)
        # On a CPU vLLM compiles nothing but a few helpers of the sampler, for which it wants a C++
        # compiler and Python's headers at the first request; without them its engine dies.
        environment["TORCHDYNAMO_DISABLE"] = "1"
    flags += args.vllm
    # What the user has set stays.
    environment = {k: os.environ.get(k, v) for k, v in environment.items()}
    environment[VARIABLE] = settings.to_variable()
    return Plan(flags, environment)


def run(args: argparse.Namespace) -> int:
    """Start the server, or print how it would be started; returns when it is stopped."""
    if find_spec("vllm") is None:
        raise ServingError(
            "vLLM isn't installed. Install borealis-audio[serve], or on a machine without a GPU "
            "what requirements-serve.lock lists (make .venv-serve)."
        )
    from borealis.checkpoints import resolve_checkpoint
    from borealis.errors import CheckpointError
    from borealis.inference.decoding import choose
    from borealis.model import BorealisConfig

    path = str(resolve_checkpoint(args.checkpoint))
    try:
        config = BorealisConfig.from_pretrained(path)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"'{args.checkpoint}' can't be read: {error}.") from None
    choose(config)  # wrong settings of the search are told before vLLM's start, which takes long
    plan = make_plan(args, path, config, Machine.here())
    print(plan, file=sys.stdout if args.print else sys.stderr, flush=True)
    if args.print:
        return 0
    os.environ.update(plan.environment)
    if args.api_key:
        os.environ["VLLM_API_KEY"] = args.api_key  # not a flag: those show in the list of processes
    return _start(plan.flags)


def _start(flags: list[str]) -> int:
    """What `vllm serve` does; its own command fails where the package is named vllm-cpu."""
    import uvloop
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.entrypoints.serve.utils.api_utils import cli_env_setup
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    cli_env_setup()
    parsed = make_arg_parser(FlexibleArgumentParser(prog="vllm serve")).parse_args(flags)
    parsed.model = parsed.model_tag or parsed.model
    validate_parsed_serve_args(parsed)
    return uvloop.run(_serve(parsed))


async def _serve(parsed: argparse.Namespace) -> int:
    """Serve until a signal, or until the engine dies: vLLM's own loop ends with 0 then.

    Returns:
        Exit code.

    Raises:
        ServingError: the address can't be listened on.
    """
    from vllm.entrypoints.launchers.api_server.entry import (
        build_and_serve,
        build_async_engine_client,
    )
    from vllm.entrypoints.launchers.launcher import setup_server

    from borealis.serving.connection import PunctualProtocol
    from borealis.serving.watch import Watch

    signal.signal(signal.SIGTERM, _interrupt)  # until uvicorn takes signals over
    try:
        address, listening = setup_server(parsed, reuse_port=False)
    except OSError as error:
        raise ServingError(
            f"{parsed.host}:{parsed.port} can't be listened on: {error.strerror}. Give another "
            "--port or --host."
        ) from None
    try:
        async with build_async_engine_client(parsed) as engine, Watch(engine) as watch:
            stopped = await build_and_serve(
                engine,
                address,
                listening,
                parsed,
                http=PunctualProtocol,
                ws="none",
                timeout_graceful_shutdown=_STOP_SECONDS,
            )
        await stopped
    finally:
        listening.close()
    if watch.died:
        print("borealis: the engine of the server died; its log says why.", file=sys.stderr)
        return _ENGINE_DIED
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _check(args: argparse.Namespace) -> None:
    if not 1 <= args.port <= 65535:
        raise ServingError(f"The port is {args.port}; it must be from 1 to 65535.")
    names = ("max_megabytes", "max_seconds", "tensor_parallel_size", "receive_seconds")
    for name in (*names, "max_requests", "max_num_seqs"):
        value = getattr(args, name)
        if value is not None and not 1 <= value < math.inf:
            option = name.replace("_", "-")
            raise ServingError(f"--{option} is {value}; it must be 1 or more.")
    if not (args.api_key or os.environ.get("VLLM_API_KEY")) and not _loopback(args.host):
        raise ServingError(
            f"Listening on {args.host} lets others in: set a key in VLLM_API_KEY, or leave --host."
        )
    for lora in args.lora:
        name, equals, folder = lora.partition("=")
        if not (name and equals and (Path(folder) / "adapter_config.json").is_file()):
            raise ServingError(f"--lora {lora}: NAME=DIR is wanted, DIR with adapter_config.json.")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _name(checkpoint: str) -> str:
    """`nano`, `owner/model`, or the name of the folder."""
    path = Path(checkpoint)
    return path.resolve().name if path.is_dir() else checkpoint


def _max_rank(loras: list[str]) -> int:
    """The smallest rank vLLM knows that holds all of `NAME=DIR`."""
    files = (Path(lora.partition("=")[2]) / "adapter_config.json" for lora in loras)
    rank = max(json.loads(file.read_text(encoding="utf-8")).get("r", 8) for file in files)
    return next((size for size in (8, 16, 32, 64, 128, 256, 320, 512) if size >= rank), 512)
