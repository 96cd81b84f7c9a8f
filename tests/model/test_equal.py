"""Invariant 3: padding never counts, a batch gives what single clips give, windows don't mix."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from borealis.model.processing import AUDIO_TOKEN

PROMPT = f"<|im_start|>user\n<|start_of_audio|>{AUDIO_TOKEN}<|end_of_audio|>Запиши речь.<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("adapter_type", ["mlp", "deep", "ctc"])
def test_batch_equals_single(make_tiny, noise, adapter_type):
    model, processor = make_tiny(adapter_type)
    clips = [noise(s, seed=i) for i, s in enumerate((0.3, 2.0, 5.1, 31.0))]
    batch = processor(text=[PROMPT] * len(clips), audio=clips)
    with torch.inference_mode():
        together = model(**batch).logits[:, -1]
        alone = [model(**processor(text=PROMPT, audio=c)).logits[0, -1] for c in clips]
    torch.testing.assert_close(together, torch.stack(alone), atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("adapter_type", ["mlp", "ctc"])
def test_generated_tokens_are_equal_in_a_batch(make_tiny, noise, adapter_type):
    model, processor = make_tiny(adapter_type)
    clips = [noise(s, seed=i) for i, s in enumerate((0.5, 3.0, 1.7))]
    options = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False}
    batch = processor(text=[PROMPT] * 3, audio=clips)
    together = model.generate(**batch, **options)[:, batch["input_ids"].shape[1] :]
    for row, clip in enumerate(clips):
        single = processor(text=PROMPT, audio=clip)
        alone = model.generate(**single, **options)[0, single["input_ids"].shape[1] :]
        assert together[row].tolist() == alone.tolist()


@pytest.mark.parametrize("adapter_type", ["mlp", "deep", "ctc"])
def test_a_window_does_not_depend_on_its_neighbours(make_tiny, noise, adapter_type):
    model, processor = make_tiny(adapter_type)
    clip = noise(62.0)
    windows = [clip[a:b] for a, b in model.config.window_spans(len(clip))]
    with torch.inference_mode():
        whole = processor.extract_features([clip])
        tokens = model.get_audio_features(**whole).pooler_output
        parts = [
            model.get_audio_features(**processor.extract_features([w])).pooler_output
            for w in windows
        ]
    assert len(windows) == 3
    torch.testing.assert_close(tokens, torch.cat(parts), atol=1e-4, rtol=1e-3)


def test_a_short_clip_in_a_long_batch_costs_no_padding(tiny, noise):
    _, processor = tiny
    inputs = processor(text=[PROMPT] * 2, audio=[noise(3.0), noise(29.0)])
    counts = (inputs["input_ids"] == processor.audio_token_id).sum(1).tolist()
    assert counts == [38, 363]


def test_two_clips_in_one_prompt_keep_their_order(tiny, noise):
    model, processor = tiny
    first, second = noise(1.0, seed=1), noise(2.0, seed=2)
    inputs = processor(text=f"{AUDIO_TOKEN} и {AUDIO_TOKEN}", audio=[[first, second]])
    with torch.inference_mode():
        both = model.get_audio_features(inputs["input_features"], inputs["num_samples"])
        one = model.get_audio_features(**processor.extract_features([first])).pooler_output
        two = model.get_audio_features(**processor.extract_features([second])).pooler_output
        torch.testing.assert_close(both.pooler_output, torch.cat([one, two]), atol=1e-4, rtol=1e-3)
        logits = model(**inputs).logits
        turned = processor(text=f"{AUDIO_TOKEN} и {AUDIO_TOKEN}", audio=[[second, first]])
        assert not torch.allclose(logits[0, -1], model(**turned).logits[0, -1], atol=1e-4)


def test_full_window_differs_from_cut_but_not_in_count(make_tiny, noise):
    clip = noise(2.0)
    outputs = []
    for window in ("cut", "full"):
        model, processor = make_tiny(encoder_window=window)
        with torch.inference_mode():
            features = processor.extract_features([clip])
            outputs.append(model.get_audio_features(**features).pooler_output)
        width = 300 if window == "cut" else 3000
        assert features["input_features"].shape == (1, 80, width)
    assert outputs[0].shape == outputs[1].shape == (25, 64)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_close(make_tiny, noise, dtype):
    model, processor = make_tiny("ctc")
    inputs = processor(text=PROMPT, audio=noise(1.5))
    with torch.inference_mode():
        exact = model(**inputs).logits[0, -1]
        rough = model.to(dtype)(**inputs).logits[0, -1]
    assert rough.dtype == dtype
    assert torch.cosine_similarity(exact, rough.float(), dim=0) > 0.99


def test_silence_inside_the_window_is_still_audio(tiny):
    """Only what lies past the end is padding: a silent second counts as any other."""
    model, processor = tiny
    assert processor.num_audio_tokens(16_000) == 13
    inputs = processor(text=AUDIO_TOKEN, audio=np.zeros(16_000, np.float32))
    with torch.inference_mode():
        assert torch.isfinite(model(**inputs).logits).all()


@pytest.mark.parametrize("adapter", ["mlp", "deep", "ctc"])
def test_hearing_once_gives_tokens_and_letters(make_tiny, noise, adapter):
    """`hear` agrees with the tokens the prompt gets, and a window's letters with its own length."""
    model, processor = make_tiny(adapter)
    features = processor.extract_features([noise(1.5), noise(0.7)])
    with torch.inference_mode():
        heard = model.model.hear(**features)
        assert torch.equal(heard.flat_tokens, model.get_audio_features(**features).pooler_output)
        if adapter != "ctc":
            with pytest.raises(ValueError, match="hears letters"):
                heard.log_probs()
            return
        rows = heard.log_probs()
        assert [len(row) for row in rows] == [75, 35]
        alone = model.model.hear(**processor.extract_features([noise(0.7)])).log_probs()[0]
    assert torch.allclose(rows[1], alone, atol=1e-4)
    assert torch.allclose(rows[0].exp().sum(-1), torch.ones(75), atol=1e-5)
