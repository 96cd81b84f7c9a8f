"""Liger kernels: errors where they can't be; the same loss and gradients in Triton's interpreter."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from transformers import RecurrentGemmaConfig

from borealis.errors import RecipeError
from borealis.training.loop.stage import run_stage
from borealis.training.weights import kernels
from tests.training.keys import a_stage

STAGE = {"use_liger_kernel": True}
needs_liger = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("liger_kernel", "triton")),
    reason="liger-kernel and triton aren't installed",
)


def test_a_missing_library_is_named(make_tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match="pip install liger-kernel"):
        run_stage(make_tiny()[0], a_stage(**STAGE), [], tmp_path, seed=0, use_cpu=True)


def test_a_cpu_is_refused(make_tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "find_spec", lambda name: True)
    with pytest.raises(RecipeError, match="needs a GPU"):
        run_stage(make_tiny()[0], a_stage(**STAGE), [], tmp_path, seed=0, use_cpu=True)


def test_guided_attention_does_not_go_with_it():
    with pytest.raises(ValueError, match=r"losses\.guide looks inside"):
        a_stage(**STAGE, losses__guide__weight=1.0)


@needs_liger
def test_a_family_without_kernels_is_named(make_tiny, tokenizer, small):
    model, _ = make_tiny("mlp", text_config=RecurrentGemmaConfig(vocab_size=len(tokenizer), **small))  # fmt: skip
    with pytest.raises(RecipeError, match="none for a recurrent_gemma"):
        kernels.use_liger(model, "s", use_cpu=False)


@needs_liger
@pytest.mark.slow
def test_same_loss_and_gradients():
    # The interpreter is chosen when kernels are defined: in a process of its own.
    script = f"import runpy; runpy.run_path({__file__!r})['compare']()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["qwen3", "1", "llama", "1", "same"]


def numbers_as_triton_has_them() -> None:
    """On a GPU a kernel gets a float as a number of Triton's, its interpreter hands on Python's."""
    import numpy as np
    import triton.language as tl
    from triton.runtime import interpreter

    convert = interpreter._implicit_cvt

    def better(value):
        if isinstance(value, float):
            handle = interpreter.TensorHandle(np.array([value], np.float32), tl.float32)
            return tl.tensor(handle, tl.float32)
        return convert(value)

    interpreter._implicit_cvt = better


def compare() -> None:
    """Loss and gradients of the same batch with and without kernels; prints what was changed."""
    from liger_kernel.transformers import monkey_patch
    from transformers import LlamaConfig, Qwen3Config, WhisperConfig

    from borealis.model import BorealisConfig, BorealisForConditionalGeneration
    from borealis.training.losses.stage import stage_losses

    numbers_as_triton_has_them()
    # The interpreter can't run the kernel of norms: what is compared is gated layers and the loss.
    monkey_patch._patch_rms_norm_module = lambda *args, **kwargs: None
    shapes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}  # fmt: skip
    audio = WhisperConfig(d_model=8, encoder_layers=1, encoder_attention_heads=1, encoder_ffn_dim=8)
    batch = {"mode": "text", "input_ids": torch.arange(12)[None] + 20}
    batch["labels"] = batch["input_ids"].clone()
    batch["labels"][:, :4] = -100
    batch["position_ids"] = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4]])
    for family in (Qwen3Config, LlamaConfig):
        torch.manual_seed(0)
        config = BorealisConfig(audio_config=audio, text_config=family(**shapes), audio_token_id=1, adapter_type="mlp")  # fmt: skip
        model = BorealisForConditionalGeneration(config)
        seen = []
        for liger in (False, True):
            model.zero_grad()
            if liger:
                changed = kernels.use_liger(model, "s", use_cpu=True)
                print(config.text_config.model_type, sum(changed.values()))
            loss = stage_losses(model, batch, a_stage(**STAGE | {"use_liger_kernel": liger}))["lm"]  # fmt: skip
            loss.backward()
            grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
            seen.append((loss.detach(), grads))
        kernels.leave_liger(model)
        assert not any("forward" in vars(m) for m in model.model.language_model.modules())
        (plain, wanted), (fused, got) = seen
        torch.testing.assert_close(fused, plain, atol=1e-5, rtol=1e-5)
        assert got.keys() == wanted.keys() and len(got) > 8
        for name, grad in wanted.items():
            torch.testing.assert_close(got[name], grad, atol=1e-5, rtol=1e-4)
    print("same")
