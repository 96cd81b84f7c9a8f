"""Joint decoding: CTC prefix scores against the CTC loss, and letters that tokens stand for."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from borealis.data.text import CTC_CHARACTERS, ctc_label_ids
from borealis.inference.joint import CTCPrefixScore, PrefixScores, token_labels

SENTENCE = "Мороз и солнце, день чудесный!"


@pytest.fixture(scope="module")
def labels(tokenizer) -> torch.Tensor:
    return token_labels(tokenizer, CTC_CHARACTERS, len(tokenizer))


def random_log_probs(frames: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    classes = len(CTC_CHARACTERS) + 1
    return torch.randn(frames, classes, generator=generator).mul(2).log_softmax(-1)


def sure_log_probs(text: str) -> torch.Tensor:
    """Three frames a letter: a blank, the letter twice; almost certain."""
    ids = [x for i in ctc_label_ids(text) for x in (0, i, i)] + [0]
    return F.one_hot(torch.tensor(ids), len(CTC_CHARACTERS) + 1).float().mul(12).log_softmax(-1)


@pytest.mark.parametrize("text", ["а", "мама", "длинна", "и то и другое", "oo"])
def test_a_whole_spelling_scores_what_ctc_loss_says(text):
    probs = random_log_probs(30)
    spelled = PrefixScores(probs[None], torch.tensor([30]))
    ids = ctc_label_ids(text)
    for label in ids:
        spelled.extend(torch.tensor([label]))
    loss = F.ctc_loss(
        probs[:, None], torch.tensor([ids]), torch.tensor([30]), torch.tensor([len(ids)]),
        reduction="sum",
    )  # fmt: skip
    torch.testing.assert_close(spelled.either[0, -1], -loss, atol=1e-3, rtol=1e-4)


def test_what_may_follow_a_prefix_adds_up_to_one():
    spelled = PrefixScores(random_log_probs(12)[None], torch.tensor([12]))
    for label in (5, 5, 1):
        gains, ends = spelled.gains()
        total = gains[0, 1:].exp().sum() + ends[0].exp()
        torch.testing.assert_close(total, torch.tensor(1.0), atol=1e-4, rtol=0)
        spelled.extend(torch.tensor([label]))


def test_rows_that_come_and_go_score_as_alone():
    """Clips of other lengths, rows that wait, rows taken out: as a server's batch changes."""
    clips = [random_log_probs(frames, seed) for seed, frames in enumerate((9, 20, 13))]
    alone = [PrefixScores(clip[None], torch.tensor([len(clip)])) for clip in clips]
    batch = PrefixScores(clips[0][None], torch.tensor([9]))
    alone[0].extend(torch.tensor([7]))
    batch.extend(torch.tensor([7]))
    for clip in clips[1:]:
        batch.join(PrefixScores(clip[None], torch.tensor([len(clip)])))
    for labels in ((7, 3, 0), (0, 1, 2), (4, 1, 9)):
        batch.extend(torch.tensor(labels))
        for row, label in zip(alone, labels, strict=True):
            row.extend(torch.tensor([label]))
        got = batch.gains()
        for mine, theirs in zip(
            got, zip(*(row.gains() for row in alone), strict=True), strict=True
        ):
            torch.testing.assert_close(mine, torch.cat(theirs), atol=1e-4, rtol=1e-5)
    batch.select(torch.tensor([2, 0]))
    batch.own_clips()
    assert len(batch) == len(batch.log_probs) == 2
    torch.testing.assert_close(batch.gains()[0][0], alone[2].gains()[0][0], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(batch.gains()[0][1], alone[0].gains()[0][0], atol=1e-4, rtol=1e-5)


def spell(score: CTCPrefixScore, tokenizer, prefer: list[int], rows: int = 1) -> list[str]:
    """Greedy decoding; of all that CTC hears alike, the wanted token is likelier by a little."""
    ids = torch.zeros(rows, 0, dtype=torch.long)
    for token in prefer:
        scores = torch.zeros(rows, len(tokenizer))
        scores[:, token] = 1.0
        ids = torch.cat([ids, score(ids, scores).argmax(-1)[:, None]], 1)
    return tokenizer.batch_decode(ids, skip_special_tokens=True)


def test_sure_posteriors_are_spelled_with_case_and_punctuation(tokenizer, labels):
    probs = sure_log_probs(SENTENCE)
    wanted = [*tokenizer(SENTENCE).input_ids, tokenizer.eos_token_id]
    score = CTCPrefixScore(
        probs[None], torch.tensor([len(probs)]), labels, tokenizer.eos_token_id, 0.3
    )
    assert spell(score, tokenizer, wanted) == [SENTENCE]


def test_what_was_not_heard_loses_to_what_was(tokenizer, labels):
    """The language model leans to another word; CTC is sure, so the sound wins."""
    probs = sure_log_probs("роза")
    score = CTCPrefixScore(
        probs[None], torch.tensor([len(probs)]), labels, tokenizer.eos_token_id, 0.5
    )
    assert spell(score, tokenizer, tokenizer("коза").input_ids) == ["роза"]


def test_rows_of_a_batch_do_not_mix(tokenizer, labels):
    first, second = sure_log_probs("роза"), sure_log_probs("прелестный")
    both = torch.zeros(2, len(second), first.shape[1])
    both[0, : len(first)], both[1] = first, second
    lengths = torch.tensor([len(first), len(second)])
    score = CTCPrefixScore(both, lengths, labels, tokenizer.eos_token_id, 0.9)
    ids = torch.zeros(2, 0, dtype=torch.long)
    for _ in range(10):
        scores = torch.zeros(2, len(tokenizer))
        ids = torch.cat([ids, score(ids, scores).argmax(-1)[:, None]], 1)
    texts = [t.split("<|")[0].lower() for t in tokenizer.batch_decode(ids)]
    assert texts[0].startswith("роза") and texts[1].startswith("прелестный")


def test_every_letter_is_one_token_and_stands_for_its_class(tokenizer, labels):
    """No token may join a space with half a letter: CTC could never say it."""
    for letter in set("".join(SENTENCE.lower().split()) + "quick"):
        if not letter.isalpha():
            continue
        for text in (letter, " " + letter):
            ids = tokenizer(text).input_ids
            assert len(ids) == len(text)
            assert [int(labels[i]) for i in ids] == [CTC_CHARACTERS.index(c) + 1 for c in text]


@pytest.mark.slow
def test_the_bundled_tokenizer_spells_word_beginnings_in_whole_letters(nano):
    config, tokenizer = nano.model.config, nano.processor.tokenizer
    known = token_labels(tokenizer, config.ctc_labels, config.text_config.vocab_size)
    text = "Номер не отвечает the cat ёж Щука Юг Эхо"
    assert all(int(known[i]) > 0 for i in tokenizer(text).input_ids)
    assert len(tokenizer(text).input_ids) == len(text)
