"""Numbering words: which letters are numbered how, and that a model can learn it."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from borealis.training.data.talks import Turn, encode_turns
from borealis.training.losses.counting import (
    MOST,
    count_guides,
    directions,
    numbering_loss,
    word_numbers,
)
from borealis.training.losses.guides import guides

TEXT = "Кое-что, — сказал кот."
AUDIO_TOKENS = 12


def encoded(tokenizer, *turns):
    audio = tokenizer.convert_tokens_to_ids("<|audio|>")
    ids, labels = encode_turns(tokenizer, turns, AUDIO_TOKENS, audio)
    return torch.tensor(ids), torch.tensor(labels), audio


def test_every_letter_of_a_transcript_has_the_number_of_its_word(nano):
    tokenizer = nano.processor.tokenizer
    talk = [Turn("transcribe", "Запиши.", TEXT, given=True), Turn("word_count", "Сколько?", "4")]
    ids, _, audio = encoded(tokenizer, *talk)
    found = word_numbers(talk, ids, tokenizer=tokenizer, audio_token_id=audio)
    spelled = "".join(f"{tokenizer.decode([ids[place]])}{number}" for place, number in found[:-1])
    assert spelled == "К1о1е1ч2т2о2с3к3а3з3а3л3к4о4т4"
    end, total = found[-1]
    assert ids[end] == tokenizer.eos_token_id and total == 4


def test_only_a_transcript_in_view_is_numbered(nano):
    tokenizer = nano.processor.tokenizer
    for turn in (Turn("transcribe", "Запиши.", TEXT), Turn("transcribe", "?", "", given=True)):
        ids, _, audio = encoded(tokenizer, turn)
        assert not word_numbers([turn], ids, tokenizer=tokenizer, audio_token_id=audio)


def test_a_transcript_that_is_asked_for_again_is_looked_at_where_it_was_given(nano):
    tokenizer = nano.processor.tokenizer
    talk = [Turn("transcribe", "Запиши.", TEXT, given=True), Turn("transcribe", "Ещё раз.", TEXT)]
    ids, labels, audio = encoded(tokenizer, *talk)
    answer = int((labels != -100).nonzero()[0])
    found = guides(
        talk, TEXT, np.zeros(0), ids, labels, tokenizer=tokenizer, audio_token_id=audio, factor=4
    )
    assert len(found) == len(TEXT)
    assert all(high < answer <= query + 1 for query, _, high in found)
    assert all(place < answer for place, _ in word_numbers(
        talk, ids, tokenizer=tokenizer, audio_token_id=audio
    ))  # fmt: skip


def test_a_count_is_read_off_the_end_of_the_transcript(nano):
    """Each digit is written while looking at the last letter and the end; other answers aren't."""
    tokenizer = nano.processor.tokenizer
    text = " ".join(["да"] * 12)
    talk = [
        Turn("transcribe", "Запиши.", text, given=True),
        Turn("first_word", "Первое?", "да", "да"),
        Turn("word_count", "Сколько?", "12"),
    ]
    ids, labels, audio = encoded(tokenizer, *talk)
    counted = word_numbers(talk, ids, tokenizer=tokenizer, audio_token_id=audio)
    found = count_guides(talk, labels, counted)
    assert "".join(tokenizer.decode([ids[query + 1]]) for query, _, _ in found) == "12"
    assert {(low, high) for _, low, high in found} == {(counted[-2][0], counted[-1][0])}
    assert tokenizer.decode([ids[counted[-2][0]]]) == "а"
    assert count_guides(talk[2:], labels, []) == []


def test_states_along_a_direction_have_its_number():
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(2, 30, 64, generator=generator)
    counted = torch.tensor([[0, 3, 1], [0, 9, 2], [1, 29, 17], [1, 4, MOST + 40]])
    unsure = numbering_loss(states, counted)
    for row, place, number in counted.tolist():
        states[row, place] = 2.5 * directions(64)[:, min(number, MOST)]
    sure = numbering_loss(states, counted)
    assert unsure > 3 and sure < 0.5
    torch.testing.assert_close(sure, numbering_loss(states * 3, counted))  # length says nothing


def test_a_layer_learns_to_number():
    """The loss reaches the layer: a linear map learns it within moments."""
    torch.manual_seed(0)
    layer, places = torch.nn.Linear(8, 64), torch.randn(1, 10, 8)
    counted = torch.tensor([[0, i, i // 3] for i in range(10)])
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        loss = numbering_loss(F.gelu(layer(places)), counted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
