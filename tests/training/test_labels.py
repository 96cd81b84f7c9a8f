"""Invariant 4: loss only on the assistant's answers, proved token by token."""

from __future__ import annotations

import numpy as np
import pytest

from borealis.model.processing import AUDIO_TOKEN
from borealis.training.batches import IGNORE, encode_messages, encode_turns
from borealis.training.instructions import Turn


def learned_and_not(tokenizer, ids, labels):
    """The text that is learned, and the text that isn't, each as it stands in the row."""
    assert len(ids) == len(labels)
    assert all(label in (IGNORE, token) for token, label in zip(ids, labels, strict=True))
    runs: list[tuple[bool, list[int]]] = []
    for token, label in zip(ids, labels, strict=True):
        learned = label != IGNORE
        if not runs or runs[-1][0] != learned:
            runs.append((learned, []))
        runs[-1][1].append(token)
    return [(learned, tokenizer.decode(run)) for learned, run in runs]


def test_one_turn(tokenizer):
    ids, labels = encode_turns(tokenizer, [Turn("t", "Запиши речь.", "Мороз.")], 3, tokenizer.convert_tokens_to_ids(AUDIO_TOKEN))  # fmt: skip
    runs = learned_and_not(tokenizer, ids, labels)
    prompt = (
        f"<|im_start|>user\n<|start_of_audio|>{AUDIO_TOKEN * 3}<|end_of_audio|>Запиши речь."
        "<|im_end|>\n<|im_start|>assistant\n"
    )
    assert runs == [(False, prompt), (True, "Мороз.<|im_end|>"), (False, "\n")]


def test_every_answer_of_a_long_conversation_and_nothing_else(tokenizer):
    messages = [
        {"role": "system", "content": "assistant"},
        {"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": "Что это?"}]},
        {"role": "assistant", "content": "Речь."},
        {"role": "user", "content": "Речь."},
        {"role": "assistant", "content": "Русский."},
        {"role": "user", "content": [{"type": "text", "text": "А это? "}, {"type": "audio"}]},
        {"role": "assistant", "content": ""},
    ]
    audio = tokenizer.convert_tokens_to_ids(AUDIO_TOKEN)
    ids, labels = encode_messages(tokenizer, messages, [2, 5], audio)
    runs = learned_and_not(tokenizer, ids, labels)
    assert [text for learned, text in runs if learned] == [
        "Речь.<|im_end|>",
        "Русский.<|im_end|>",
        "<|im_end|>",
    ]
    assert sum(token == audio for token in ids) == 7
    assert all(label != audio for label in labels)


def test_training_and_inference_see_the_same_prompt(make_tiny, tokenizer):
    """What the processor builds for `generate` is, token by token, what training put before."""
    model, processor = make_tiny()
    clip = np.zeros(16_000, np.float32)
    question = "Сколько слов?"
    messages = [
        {"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": question}]}
    ]
    prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
    inferred = processor(text=prompt, audio=clip)["input_ids"][0].tolist()
    ids, labels = encode_turns(
        tokenizer,
        [Turn("t", question, "Два.")],
        model.config.num_audio_tokens(len(clip)),
        model.config.audio_token_id,
    )
    first = next(i for i, label in enumerate(labels) if label != IGNORE)
    assert ids[:first] == inferred


@pytest.mark.parametrize("answer", ["", "<|im_end|> внутри", "два\nряда", "assistant user"])
def test_odd_answers_are_learned_whole(tokenizer, answer):
    ids, labels = encode_turns(tokenizer, [Turn("t", "Что?", answer)], 0, 0)
    learned = [text for is_learned, text in learned_and_not(tokenizer, ids, labels) if is_learned]
    assert "".join(learned).replace("\n", "") == (answer + "<|im_end|>").replace("\n", "")
