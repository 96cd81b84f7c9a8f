"""Borealis inside vLLM: the tokens and log-probabilities of transformers, whatever the batch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen3Config

import borealis
from borealis.checkpoints import NGRAM, resolve_checkpoint
from tests.conftest import tiny_text_config
from tests.serving.conftest import engine, needs_vllm, only_while_sound

pytestmark = [needs_vllm, pytest.mark.slow]

NEW_TOKENS = 24
USER = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
AUDIO = "<|start_of_audio|><|audio|><|end_of_audio|>"
TRANSCRIBE = USER.format(AUDIO + "Запиши речь.")


def request(prompt: str, *clips: np.ndarray, **options: Any) -> dict[str, Any]:
    """A prompt as `LLM.generate` takes it."""
    return {"prompt": prompt, "multi_modal_data": {"audio": list(clips)}} | options


def greedy(llm: Any, requests: list[dict[str, Any]], **options: Any) -> list[Any]:
    """The first answer to each request; `options` are those of `LLM.generate`."""
    from vllm import SamplingParams

    params = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, logprobs=1)
    return [out.outputs[0] for out in llm.generate(requests, params, use_tqdm=False, **options)]


def agree(answer: Any, expected: tuple[list[int], list[float]]) -> None:
    """All tokens equal, log-probabilities nearly.

    Where a score hangs on a hair, two ways to float32 differ: transformers differs from itself in
    float64 by up to 5.5e-4 at one token of these clips, and by a few millionths at the others.
    """
    ids, scores = expected
    assert list(answer.token_ids) == ids
    got = [step[token].logprob for step, token in zip(answer.logprobs, ids, strict=True)]
    assert got == pytest.approx(scores, abs=1e-3)
    assert np.median(np.abs(np.subtract(got, scores))) < 1e-4


@pytest.fixture(scope="module")
def mixed(recordings) -> list[np.ndarray]:
    """32 clips from 0.3 s to 5 min: recordings, their beginnings, and recordings joined."""
    joined = np.concatenate(recordings)
    lengths = [0.3, 0.5, 0.98, 1.0, 1.7, 2.5, 3.2, 4.1, 29.9, 30.0, 30.1, 37.3]
    beginnings = [joined[k : k + round(n * 16_000)] for k, n in enumerate(lengths)]
    shifted = [clip[500 * k :][:24_000] for k, clip in enumerate(recordings * 2, 1)]
    five_minutes = np.tile(joined, 9)[: 300 * 16_000]
    return [*recordings, *beginnings, *shifted, five_minutes, np.tile(joined, 2)]


@pytest.fixture(scope="module")
def expected(mixed, nano, reference) -> list[tuple[list[int], list[float]]]:
    """What transformers makes of each of them, one at a time."""
    return [reference(nano.model, nano.processor, TRANSCRIBE, [c], NEW_TOKENS) for c in mixed]


def test_tokens_of_mixed_lengths_equal_those_of_transformers(
    nano_engine, mixed, expected, nano
) -> None:
    from vllm import SamplingParams

    assert len(mixed) == 32
    requests = [request(TRANSCRIBE, clip) for clip in mixed]
    params = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, logprobs=1)
    outputs = nano_engine.generate(requests, params, use_tqdm=False)
    config = nano.model.config
    for clip, out, wanted in zip(mixed, outputs, expected, strict=True):
        placeholders = out.prompt_token_ids.count(config.audio_token_id)
        assert placeholders == config.num_audio_tokens(len(clip))
        agree(out.outputs[0], wanted)
    # Again, with the features and the encoded audio in vLLM's caches, in another order.
    again = greedy(nano_engine, requests[::-1])[::-1]
    for answer, wanted in zip(again, expected, strict=True):
        agree(answer, wanted)


def test_alone_or_in_a_batch(nano_engine, mixed, expected) -> None:
    nano_engine.reset_mm_cache()
    nano_engine.reset_prefix_cache()
    for index in (0, 6, 15, 17, 31):
        agree(greedy(nano_engine, [request(TRANSCRIBE, mixed[index])])[0], expected[index])


def test_an_engine_that_failed_fails_again_and_does_not_hang() -> None:
    def step() -> None:
        raise OSError("There is no compiler.")

    careful = only_while_sound(step)
    with pytest.raises(OSError, match="compiler"):
        careful()
    with pytest.raises(RuntimeError, match="earlier test"):
        careful()


def test_several_recordings_and_turns_in_a_prompt(nano_engine, recordings, nano, reference) -> None:
    first, second, third = recordings[:3]
    prompt = (
        USER.format(AUDIO + "Запиши речь.")
        + "Да.<|im_end|>\n"
        + USER.format(AUDIO + AUDIO + "Какое слово первое?")
    )
    clips = [first, second[:20_000], third]
    answer = greedy(nano_engine, [request(prompt, *clips)])[0]
    agree(answer, reference(nano.model, nano.processor, prompt, clips, NEW_TOKENS))


def test_other_sampling_rates_are_resampled(nano_engine, recordings) -> None:
    import soxr

    wide = soxr.resample(recordings[0], 16_000, 44_100)
    prompt = {"prompt": TRANSCRIBE, "multi_modal_data": {"audio": (wide, 44_100)}}
    plain, again = greedy(nano_engine, [request(TRANSCRIBE, recordings[0]), prompt])
    assert again.text[:10] == plain.text[:10]


def test_audio_tokens_made_elsewhere(nano_engine, recordings, nano, expected) -> None:
    features = nano.processor(audio=[recordings[1]])
    with torch.inference_mode():
        tokens = nano.model.get_audio_features(**features).pooler_output
    prompt = {"prompt": TRANSCRIBE, "multi_modal_data": {"audio": [tokens]}}
    agree(greedy(nano_engine, [prompt])[0], expected[1])


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (np.zeros(0, np.float32), "empty"),
        (np.full(16_000, np.nan, np.float32), "finite"),
        (np.zeros(601 * 16_000, np.float32), "601 s"),
        (np.zeros(400 * 16_000, np.float32), "max"),  # more tokens than the context holds
    ],
    ids=["empty", "nan", "over the limit", "over the context"],
)
def test_bad_audio_is_refused_and_the_next_request_answered(
    nano_engine, recordings, expected, clip, words
) -> None:
    from vllm.exceptions import VLLMValidationError

    with pytest.raises((ValueError, VLLMValidationError), match=words):
        greedy(nano_engine, [request(TRANSCRIBE, clip)])
    agree(greedy(nano_engine, [request(TRANSCRIBE, recordings[0])])[0], expected[0])


# ---- other architectures, with tiny random models ----


def text_config(tokenizer: Any) -> Qwen3Config:
    """As the tests' tiny language model, with heads of a width that vLLM's attention takes."""
    return tiny_text_config(tokenizer, head_dim=32, tie_word_embeddings=False)


@pytest.mark.parametrize(
    ("adapter_type", "options"),
    [("deep", {"encoder_window": "full"}), ("ctc", {})],
)
def test_adapters_and_windows(
    adapter_type, options, make_tiny, tokenizer, recordings, reference, tmp_path
) -> None:
    model, processor = make_tiny(adapter_type, text_config=text_config(tokenizer), **options)
    _saved(model, processor, tmp_path)
    clips = three_lengths(recordings)
    with engine(tmp_path, max_model_len=2048) as llm:
        answers = greedy(llm, [request(TRANSCRIBE, clip) for clip in clips])
    for answer, clip in zip(answers, clips, strict=True):
        agree(answer, reference(model, processor, TRANSCRIBE, [clip], NEW_TOKENS))


def test_mlp_adapter_and_lora_of_the_language_model(
    make_tiny, tokenizer, recordings, reference, tmp_path
) -> None:
    from peft import LoraConfig, get_peft_model
    from vllm.lora.request import LoRARequest

    options = {"encoder_window": "full", "keep_padding": True}
    model, processor = make_tiny("mlp", text_config=text_config(tokenizer), **options)
    base, adapter = tmp_path / "base", tmp_path / "lora"
    _saved(model, processor, base)
    clips = three_lengths(recordings)
    plain = [reference(model, processor, TRANSCRIBE, [clip], NEW_TOKENS) for clip in clips]
    settings = LoraConfig(
        r=8, lora_alpha=32, target_modules=r".*language_model.*\.(q_proj|v_proj|down_proj)"
    )
    tuned = get_peft_model(model, settings)
    torch.manual_seed(1)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    tuned.save_pretrained(adapter)
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    assert "language_model" in config["target_modules"]
    merged = tuned.merge_and_unload().eval()
    wanted = reference(merged, processor, TRANSCRIBE, [clips[0]], NEW_TOKENS)
    assert wanted[0] != plain[0][0]
    with engine(base, max_model_len=2048, enable_lora=True, max_lora_rank=8) as llm:
        lora = LoRARequest("ours", 1, str(adapter))
        with_lora = greedy(llm, [request(TRANSCRIBE, clips[0])], lora_request=lora)[0]
        without = greedy(llm, [request(TRANSCRIBE, clip) for clip in clips])
    agree(with_lora, wanted)
    for answer, expected in zip(without, plain, strict=True):
        agree(answer, expected)


def three_lengths(recordings: list[np.ndarray]) -> list[np.ndarray]:
    """A recording, half a second, and more than a window."""
    return [recordings[0], recordings[1][:8_000], np.concatenate(recordings)[: 37 * 16_000]]


def _saved(model: Any, processor: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def test_lora_of_our_trainer(clips, recordings, reference, tmp_path) -> None:
    """Trained, exported apart and put on by vLLM, it answers as the model it is merged into."""
    import yaml
    from vllm.lora.request import LoRARequest

    rows = [{"audio": c.audio, "text": c.text, "duration": c.duration} for c in clips[:3]]
    (tmp_path / "speech.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    stage = {
        "name": "instruct", "max_steps": 3,
        "optimizer": {"learning_rate": 0.05, "warmup_steps": 0}, "batch": {"seconds": 12},
        "compute": {"precision": "float32"}, "sources": ["speech"],
        "trainable": ["adapter.sound", "language_model"],
        "lora": {"rank": 8, "target_modules": ["q_proj", "o_proj", "down_proj"]},
    }  # fmt: skip
    # Without the n-gram, which isn't asked here: to pack it anew takes longer than all the rest.
    base = shutil.copytree(
        resolve_checkpoint("nano"), tmp_path / "base", ignore=shutil.ignore_patterns(NGRAM)
    )
    recipe = {
        "name": "tuned", "model": {"checkpoint": str(base)}, "stages": [stage],
        "data": {"sources": {"speech": {"manifest": "speech.jsonl"}}},
    }  # fmt: skip
    (tmp_path / "tuned.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    run, apart, merged = (tmp_path / name for name in ("run", "apart", "merged"))

    train = ("train", tmp_path / "tuned.yaml", "--data", tmp_path, "--output", run)
    export = ("export", run, "--checkpoint", "instruct/checkpoint-3", "--dtype", "float32")
    commands = [train, (*export, "--output", apart, "--lora"), (*export, "--output", merged)]
    # In a process of its own: an engine in this one would pass for several processes.
    lines = [f"assert not main({[str(word) for word in words]})" for words in commands]
    program = "\n".join(["from borealis.cli import main", *lines])
    call = [sys.executable, "-c", program]
    done = subprocess.run(call, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    tuned = borealis.load(merged)
    wanted = reference(tuned.model, tuned.processor, TRANSCRIBE, [recordings[0]], NEW_TOKENS)
    bare = borealis.load(apart)
    plain = reference(bare.model, bare.processor, TRANSCRIBE, [recordings[0]], NEW_TOKENS)
    assert wanted[0] != plain[0]
    with engine(apart, enable_lora=True, max_lora_rank=8) as llm:
        asked = [request(TRANSCRIBE, recordings[0])]
        lora = LoRARequest("ours", 1, str(apart / "lora"))
        with_lora = greedy(llm, asked, lora_request=lora)[0]
        without = greedy(llm, asked)[0]
    agree(with_lora, wanted)
    agree(without, plain)


def test_a_language_model_in_8_bits(recordings, nano, reference, tmp_path) -> None:
    """As compressed-tensors writes it: vLLM takes its int8 kernels and hears much the same."""
    import jiwer
    from safetensors.torch import load_file, save_file
    from vllm import SamplingParams

    nano.model.save_pretrained(tmp_path)
    nano.processor.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    for name in [n for n in tensors if "language_model.layers" in n and n.endswith("_proj.weight")]:
        weight = tensors[name].float()
        scale = weight.abs().amax(1, keepdim=True) / 127
        tensors[name] = (weight / scale).round().to(torch.int8)
        tensors[f"{name}_scale"] = scale
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    eight = {"num_bits": 8, "type": "int", "symmetric": True}
    group = {
        "targets": ["Linear"],
        "weights": eight | {"strategy": "channel", "dynamic": False},
        "input_activations": eight | {"strategy": "token", "dynamic": True},
    }
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {
        "quant_method": "compressed-tensors", "format": "int-quantized",
        "quantization_status": "compressed", "config_groups": {"group_0": group},
        "ignore": ["re:.*audio_tower.*", "re:.*adapter.*", "re:.*lm_head"],
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    requests = [request(TRANSCRIBE, clip) for clip in recordings[:3]]
    params = SamplingParams(temperature=0, max_tokens=120)
    with engine(tmp_path, dtype="bfloat16") as llm:
        method = llm.llm_engine.vllm_config.quant_config.get_name()
        texts = [o.outputs[0].text for o in llm.generate(requests, params, use_tqdm=False)]
    assert method == "compressed-tensors"
    ids = [reference(nano.model, nano.processor, TRANSCRIBE, [c], 120)[0] for c in recordings[:3]]
    plain = nano.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert jiwer.cer(plain, texts) < 0.05
