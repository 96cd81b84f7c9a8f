"""Fixtures of the vLLM tests; without vLLM (make test has it in .venv-serve) they are skipped."""

from __future__ import annotations

import gc
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import borealis
from borealis.checkpoints import resolve_checkpoint

# Before vLLM is imported: an engine in this process, little memory, no reports to its makers.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

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
    try:
        yield llm
    finally:
        llm.llm_engine.engine_core.shutdown()
        del llm
        gc.collect()
        cleanup_dist_env_and_memory()


@pytest.fixture(scope="module")
def nano_engine() -> Iterator[Any]:
    """The bundled model in vLLM."""
    options = {"logits_processors": ["borealis.serving.joint:CTCLogitsProcessor"]}
    with engine(resolve_checkpoint("nano"), enable_mm_embeds=True, **options) as llm:
        yield llm


@pytest.fixture(scope="session")
def recordings(clips) -> list[np.ndarray]:
    """The real recordings of examples/audio, float32 at 16 kHz."""
    return [borealis.load_audio(clip.audio) for clip in clips]


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
