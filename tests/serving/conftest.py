"""Fixtures of the vLLM tests; without vLLM (make test has it in .venv-serve) they are skipped."""

from __future__ import annotations

import gc
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

import borealis
from borealis import Borealis, Transcript
from borealis.checkpoints import resolve_checkpoint
from tests.serving.server import KEY, PLACES, Server, encoded

# Before vLLM is imported: an engine in this process, little memory, no reports to its makers.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
# As `borealis serve` on a CPU: nothing is compiled.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

needs_vllm = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vLLM isn't installed in this environment"
)


@contextmanager
def engine(path: Path, **options: Any) -> Iterator[Any]:
    """An in-process vLLM engine in float32, shut down afterwards."""
    from vllm import LLM
    from vllm.distributed import cleanup_dist_env_and_memory

    settings = {
        "dtype": "float32",
        "enforce_eager": True,
        "max_num_seqs": 32,
        "limit_mm_per_prompt": {"audio": 3},
        "disable_log_stats": True,
    }
    llm = LLM(str(path), **(settings | options))
    llm.llm_engine.step = only_while_sound(llm.llm_engine.step)
    try:
        yield llm
    finally:
        llm.llm_engine.engine_core.shutdown()
        del llm
        gc.collect()
        cleanup_dist_env_and_memory()


def only_while_sound(step: Callable[[], Any]) -> Callable[[], Any]:
    """A step of an engine that is refused once one has failed.

    Requests of a failed step stay in vLLM's scheduler, which may turn over them for ever: the tests
    after it must fail and not hang.
    """
    failed: list[BaseException] = []

    def careful() -> Any:
        if failed:
            raise RuntimeError("The engine has failed in an earlier test.") from failed[0]
        try:
            return step()
        except BaseException as error:
            failed.append(error)
            raise

    return careful


@pytest.fixture(scope="module")
def nano_engine() -> Iterator[Any]:
    """The bundled model in vLLM."""
    with engine(resolve_checkpoint("nano"), enable_mm_embeds=True) as llm:
        yield llm


@pytest.fixture(scope="session")
def recordings(clips) -> list[np.ndarray]:
    """The real recordings of examples/audio, float32 at 16 kHz."""
    return [borealis.load_audio(clip.audio) for clip in clips]


@pytest.fixture(scope="session")
def transcripts(clips, nano) -> list[Transcript]:
    """What `transcribe` writes of the real recordings."""
    return nano.transcribe([clip.audio for clip in clips], words=True)


@pytest.fixture(scope="session")
def reference() -> Callable[..., tuple[list[int], list[float]]]:
    """`reference(model, processor, prompt, clips, n)`: transformers' greedy ids and log-probs."""

    @torch.inference_mode()
    def run(
        model: Any, processor: Any, prompt: str, clips: list[np.ndarray], new_tokens: int
    ) -> tuple[list[int], list[float]]:
        inputs = processor(text=prompt, audio=clips)
        made = model.generate(
            **inputs,
            max_new_tokens=new_tokens,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        ids = made.sequences[0, inputs["input_ids"].shape[1] :].tolist()
        scores = [float(step[0].float().log_softmax(-1).max()) for step in made.logits]
        return ids, scores

    return run


# ---- the server over HTTP ----


@pytest.fixture(scope="session")
def tuned(tmp_path_factory) -> tuple[Path, Borealis]:
    """A folder with a LoRA of the bundled model, and the model with that LoRA merged into it."""
    peft = pytest.importorskip("peft")
    folder = tmp_path_factory.mktemp("lora")
    base = borealis.load("nano")
    settings = peft.LoraConfig(
        r=4, lora_alpha=4, target_modules=r".*language_model.*\.(o_proj|down_proj)"
    )
    torch.manual_seed(0)  # its first half is drawn here
    model = peft.get_peft_model(base.model, settings)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=2.0)
    model.save_pretrained(folder)
    return folder, Borealis(model.merge_and_unload(), base.processor)


@pytest.fixture(scope="session")
def one_server(tmp_path_factory, tuned) -> Iterator[Server]:
    """`borealis serve` with the bundled model, a LoRA and small limits."""
    log = tmp_path_factory.mktemp("server") / "log.txt"
    options = ("--max-megabytes", "4", "--max-seconds", "600", "--max-requests", PLACES)
    options += ("--lora", f"ours={tuned[0]}")
    running = Server(log, *options)
    yield running
    running.stop()


@pytest.fixture
def server(one_server) -> Server:
    """The server of the session, started unless it runs."""
    if not one_server.healthy():
        one_server.start()
    return one_server


@pytest.fixture
def http(server) -> Iterator[Any]:
    """A client with the key."""
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=300) as client:
        yield client


@pytest.fixture
def client(server) -> Any:
    """OpenAI's own client."""
    openai = pytest.importorskip("openai")
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=300)


@pytest.fixture(scope="session")
def long(recordings) -> bytes:
    """All recordings joined, half a minute and more, as FLAC."""
    return encoded(np.concatenate(recordings))


@pytest.fixture(scope="session")
def long_transcript(recordings, nano) -> Transcript:
    """What `transcribe` writes of that."""
    return nano.transcribe(np.concatenate(recordings), words=True)
