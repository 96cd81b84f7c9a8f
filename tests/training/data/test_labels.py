"""Invariant 4: loss only on the assistant's answers, proved token by token."""

from __future__ import annotations

import numpy as np
import pytest

from borealis.data.manifest import read_manifest
from borealis.data.phrasings import load_phrasings
from borealis.model.processing import AUDIO_TOKEN
from borealis.training.batches.cached import CachedBatches
from borealis.training.batches.recorded import RecordingBatches, Source
from borealis.training.data.features import FeatureCache, FeatureSource, build_features, plan_clips
from borealis.training.data.talks import IGNORE, Turn, encode_messages, encode_turns
from borealis.training.recipe import StageSection
from borealis.training.tasks.task import BatchContext
from tests.training.keys import nested


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


# ---- the whole mixture ----


def answers_of(tokenizer, ids: list[int]) -> list[int]:
    """Labels by the marks of the chat alone: what follows an assistant's mark, to its end mark."""
    mark = tokenizer("<|im_start|>assistant\n", add_special_tokens=False).input_ids
    labels, place = [IGNORE] * len(ids), 0
    while place < len(ids):
        if ids[place : place + len(mark)] != mark:
            place += 1
            continue
        place += len(mark)
        while True:
            labels[place] = ids[place]
            place += 1
            if ids[place - 1] == tokenizer.eos_token_id:
                break
    return labels


@pytest.fixture
def mixtures(make_tiny, world, tmp_path):
    """Batches of both kinds: of recordings, and of a feature cache; all that a stage can mix."""
    model, processor = make_tiny("ctc")
    settings = {
        "name": "s", "max_steps": 30, "learning_rate": 1e-3,
        "batch_seconds": 20, "batch_tokens": 500, 
    }  # fmt: skip
    names = ("speech", "asked", "chat")
    speech, asked, chat = (Source(n, read_manifest(world / f"{n}.jsonl")) for n in names)
    stage = StageSection(
        **nested(
            settings,
            trainable=["language_model"],
            sources=["speech", "asked"],
            tasks={
                "conversations": {"share": 0.3, "sources": ["chat"]},
                "transcription": {"share": 0.7, "questions": 0.5, "follow_up": 0.5},
            },
        )
    )
    context = BatchContext(processor.tokenizer, model.config, load_phrasings(), None, [], 0)
    recordings = RecordingBatches(stage, context, [speech, asked], [chat], processor)
    build_features(
        plan_clips([FeatureSource(f"{name}.jsonl") for name in names[:2]], world, seed=0),
        tmp_path / "cache",
        audio_tower=model.model.audio_tower,
        feature_extractor=processor.feature_extractor,
        config=model.config,
    )
    sentences = sorted(["Мороз и солнце.", "День чудесный!", "Пора, красавица."] * 30, key=len)
    context = BatchContext(
        processor.tokenizer,
        model.config,
        load_phrasings(),
        FeatureCache([tmp_path / "cache"]),
        sentences,
        0,
    )
    stage = StageSection(
        **nested(
            settings,
            features=["cache"],
            tasks={
                "text": {"share": 0.2},
                "chat": {"share": 0.1},
                "pseudo": {"share": 0.15, "questions": 0.5},
                "pseudo_questions": {"share": 0.05},
                "transcription": {"share": 0.4, "questions": 0.5, "follow_up": 0.5},
                "questions": {"share": 0.1},
            },
        )
    )
    return {"recordings": recordings, "cache": CachedBatches(stage, context)}


@pytest.mark.parametrize("kind", ["recordings", "cache"])
def test_labels_of_the_whole_mixture_token_by_token(mixtures, tokenizer, kind):
    batches, seen = mixtures[kind], set()
    for step in range(len(batches)):
        batch = batches[step]
        ids, labels = batch["input_ids"].tolist(), batch["labels"].tolist()
        chat = "<|im_start|>" in tokenizer.decode(ids[0])
        if kind == "cache" and batch["mode"] == "text" and not chat:
            assert ids == labels, "plain text is learned whole"
            seen.add("plain text")
            continue
        for row, learned in zip(ids, labels, strict=True):
            assert learned == answers_of(tokenizer, row)
            text = tokenizer.decode(row)
            seen.add(batch["mode"])
            seen |= {"several turns"} if text.count("<|im_start|>assistant") > 1 else set()
            seen |= {"system"} if "<|im_start|>system" in text else set()
            seen |= {"own question"} if "Кто говорит?" in text and "Мужчина." in text else set()
            seen |= {"recording"} if AUDIO_TOKEN in text else set()
    everything = {"text", "audio", "several turns", "system", "own question", "recording"}
    assert seen == everything | ({"pseudo", "plain text"} if kind == "cache" else set())
