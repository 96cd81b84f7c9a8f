"""Guided attention points at the letters that a question or an answer is about."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from borealis.training.data.talks import Turn, encode_turns
from borealis.training.losses.guides import guides, word_frames

TEXT = "Тихо, — сказал старый кот."
FRAMES = np.arange(len(TEXT)) * 8  # a letter every two audio tokens
FACTOR, AUDIO = 4, 7
NUM_TOKENS = len(TEXT) * 2


@pytest.fixture
def tokenizer(nano):
    return nano.processor.tokenizer


def guided(tokenizer, *turns):
    audio_id = tokenizer.convert_tokens_to_ids("<|audio|>")
    ids, labels = encode_turns(tokenizer, turns, NUM_TOKENS, audio_id)
    found = guides(
        turns, TEXT, FRAMES, torch.tensor(ids), torch.tensor(labels),
        tokenizer=tokenizer, audio_token_id=audio_id, factor=FACTOR,
    )  # fmt: skip
    audio = ids.index(audio_id)
    return ids, [(query, low - audio, high - audio) for query, low, high in found]


def test_words_are_found_without_marks():
    words = word_frames(TEXT, FRAMES)
    assert [word for word, _ in words] == ["тихо", "сказал", "старый", "кот"]
    assert [f.tolist() for _, f in words][3] == [8 * TEXT.index("кот") + 8 * i for i in range(3)]
    assert [word for word, _ in word_frames("Ещё кое-что!", np.arange(12))] == ["еще", "кое", "что"]


def test_a_transcript_listens_to_its_letters(tokenizer):
    ids, found = guided(tokenizer, Turn("transcribe", "Запиши.", TEXT))
    letters = tokenizer(TEXT).input_ids
    assert len(found) == len(letters)
    for (query, low, high), letter, place in zip(found, letters, range(len(TEXT)), strict=True):
        assert ids[query + 1] == letter
        assert low == 2 * place and high == min(low + 1, NUM_TOKENS - 1)


def test_first_and_last_word_listen_to_where_they_were_said(tokenizer):
    turns = Turn("first_word", "Первое?", "тихо", "тихо"), Turn("last_word", "А?", "кот", "кот")
    ids, found = guided(tokenizer, *turns)
    spoken = [tokenizer.decode([ids[query + 1]]) for query, _, _ in found]
    assert "".join(spoken) == "тихокот"
    places = [low // 2 for _, low, _ in found]
    assert places == [0, 1, 2, 3, *range(TEXT.index("кот"), TEXT.index("кот") + 3)]


def test_a_word_in_a_question_listens_to_itself(tokenizer):
    ids, found = guided(tokenizer, Turn("word_present", "Сказано ли «старый»?", "Да.", "старый"))
    assert "".join(tokenizer.decode([ids[query]]) for query, _, _ in found) == "тарый"
    assert [low // 2 for _, low, _ in found] == list(range(16, 21)) == [TEXT.index("старый") + i for i in range(1, 6)]  # fmt: skip


@pytest.mark.parametrize("word", ["дождь", "а"])
def test_a_word_that_was_not_said_is_not_guided(tokenizer, word):
    _, found = guided(tokenizer, Turn("word_present", f"Есть ли «{word}»?", "Нет.", word))
    assert not found
