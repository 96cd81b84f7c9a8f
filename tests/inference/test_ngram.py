"""What the letter n-gram does to spelling in the joint search."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import borealis
from borealis.ctc.ngram import Ngram
from borealis.data.text import CTC_CHARACTERS, ctc_label_ids
from borealis.errors import PromptError
from borealis.inference.decoding import Agreement
from borealis.inference.joint import JointScores, PrefixScores, token_labels
from borealis.inference.streaming import Guess
from borealis.training.ngram import count_ngrams

LINES = ["мороз и солнце", "день чудесный", "еще ты дремлешь друг прелестный", "пора красавица"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("\n".join(LINES * 30), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def ngram(corpus) -> Ngram:
    return count_ngrams([corpus], CTC_CHARACTERS, order=5, min_gain=1.0)


@pytest.fixture(scope="module")
def knowing(tmp_path_factory) -> Ngram:
    """An n-gram that knows the words of the text: those that occur twice or stand alone."""
    path = tmp_path_factory.mktemp("words") / "text.txt"
    lines = [*LINES * 30, "мароз ударил однажды", "словарное"]
    path.write_text("\n".join(lines), encoding="utf-8")
    return count_ngrams([path], CTC_CHARACTERS, order=5, min_gain=1.0, word_bits=16)


def test_it_decides_between_letters_that_sound_alike(ngram, tokenizer):
    """CTC hears о and а alike; the language model says nothing; the text knows the word."""
    labels = token_labels(tokenizer, CTC_CHARACTERS, len(tokenizer))
    ids = [x for i in ctc_label_ids("мароз") for x in (0, i, i)] + [0]
    probs = F.one_hot(torch.tensor(ids), len(CTC_CHARACTERS) + 1).float().mul(12)
    a, o = ctc_label_ids("а")[0], ctc_label_ids("о")[0]
    probs[probs[:, a] > 0, o] = 11.9  # a hair less than а
    probs = probs.log_softmax(-1)
    joint = JointScores(labels, tokenizer.eos_token_id)
    said = {}
    for weight in (0.0, 0.6):
        spelled = PrefixScores(probs[None], torch.tensor([len(probs)]), ngram)
        text = ""
        for _ in range(5):
            flat = torch.zeros(1, len(tokenizer))
            token = joint.mix(flat, spelled, 0.5, weight).argmax(-1)
            spelled.extend(joint.heard(token, spelled.last))
            text += tokenizer.decode(token)
        said[weight] = text.lower()
    assert said == {0.0: "мароз", 0.6: "мороз"}


def test_rows_carry_their_contexts(ngram):
    probs = torch.zeros(2, 8, len(CTC_CHARACTERS) + 1).log_softmax(-1)
    rows = PrefixScores(probs, torch.tensor([8, 8]), ngram)
    begun = ngram.step(0, ctc_label_ids("а б")[1])  # after a space, as every text begins
    label = ctc_label_ids("м")[0]
    rows.extend(torch.tensor([label, 0]))
    assert rows.context.tolist() == [ngram.step(begun, label), begun]
    rows.select(torch.tensor([1, 0]))
    assert rows.context[0] == begun
    rows.join(PrefixScores(probs[:1], torch.tensor([8]), ngram))
    assert len(rows.context) == 3


def test_a_word_that_is_not_known_costs_once_where_it_ends(knowing, tokenizer):
    """By the space, the mark or the end behind it, whatever comes first; a known one is free."""
    labels = token_labels(tokenizer, CTC_CHARACTERS, len(tokenizer))
    joint = JointScores(labels, tokenizer.eos_token_id)
    plain = Ngram(**knowing._stored)
    space, comma = (tokenizer.convert_tokens_to_ids(t) for t in (tokenizer.tokenize(" ")[0], ","))

    def costs(text: str) -> list[float]:
        probs = torch.zeros(1, 30, len(CTC_CHARACTERS) + 1).log_softmax(-1)
        rows = [PrefixScores(probs, torch.tensor([30]), n) for n in (knowing, plain)]
        for token in tokenizer(text).input_ids:
            last = torch.tensor([token])
            for row in rows:
                row.extend(joint.heard(last, row.last), joint.is_mark(last))
        flat = torch.zeros(1, len(tokenizer))
        told, free = (joint.mix(flat, row, 0.5, 1.0)[0] for row in rows)
        letter = tokenizer.convert_tokens_to_ids("a")
        ends = [comma, space, tokenizer.eos_token_id, letter]
        return [round(float(told[i] - free[i]), 2) for i in ends]

    assert costs("сонлце") == costs("и сонлце") == [-2.8, -2.8, -2.8, 0.0]
    assert costs("солнце") == costs("") == [0.0] * 4
    assert costs("сонлце,") == costs("сонлце ") == [0.0] * 4


def test_an_empty_spelling_may_end(ngram, tokenizer):
    """Nothing was heard: the n-gram doesn't ask for a word, nor for marks one after another."""
    labels = token_labels(tokenizer, CTC_CHARACTERS, len(tokenizer))
    silence = torch.full((1, 20, len(CTC_CHARACTERS) + 1), -12.0)
    silence[..., 0] = 0.0
    joint = JointScores(labels, tokenizer.eos_token_id)
    spelled = PrefixScores(silence.log_softmax(-1), torch.tensor([20]), ngram)
    scores = joint.mix(torch.zeros(1, len(tokenizer)), spelled, 0.4, 0.6)
    assert scores.argmax() == tokenizer.eos_token_id


def test_only_what_all_beams_say_is_told():
    """The second beam wins in the end; a beam that may have ended holds back what differs."""
    told: list[int] = []
    agreement = Agreement(lambda tokens: told.extend(tokens.tolist()), eos_token_id=0)
    scores = torch.zeros(2, 6)
    scores[:, 4:] = 1.0  # the end isn't among the best
    agreement.step(torch.zeros(2, 0, dtype=torch.long), scores)
    agreement.step(torch.tensor([[1, 2], [1, 3]]), scores)
    assert told == [1]
    ending = scores.clone()
    ending[1, 0] = 2.0
    agreement.step(torch.tensor([[1, 2, 4], [1, 3, 4]]), ending)
    agreement.step(torch.tensor([[1, 2, 4, 4], [1, 2, 4, 5]]), scores)
    assert told == [1]
    agreement.finish([1, 3, 4, 0])
    assert told == [1, 3, 4, 0]


def test_the_best_beam_is_a_guess_at_what_follows():
    guesses: list[list[int]] = []
    agreement = Agreement(lambda _: None, eos_token_id=0, guess=guesses.append)
    scores = torch.zeros(2, 6)
    scores[:, 4:] = 1.0
    for length in range(10):  # two beams that differ from the second token on
        rows = [[1, 2] + [4] * length, [1, 3] + [4] * length]
        agreement.step(torch.tensor([row[:length] for row in rows]), scores)
    assert agreement.told == [1]
    # When the first token was settled, and every eighth token.
    assert guesses == [[1], [1, 2, *[4] * 6]]


@pytest.mark.slow
def test_guesses_come_before_what_is_settled_and_fit_behind_it(nano, clips):
    for clip in clips[:3]:
        pieces = list(nano.transcribe(clip.audio, stream=True, guesses=True, num_beams=4))
        settled = [p for p in pieces if not isinstance(p, Guess)]
        assert "".join(settled).strip() == nano.transcribe(clip.audio, num_beams=4).text
        first = next(i for i, p in enumerate(pieces) if isinstance(p, Guess))
        assert not "".join(pieces[:first]).strip() or first < len(pieces) / 2
        assert len(pieces) > len(settled) + 3


@pytest.mark.slow
def test_a_stream_of_beams_says_what_beams_write(nano, clips):
    """Words come before the search has ended, and none is taken back."""
    for clip in clips[:4]:
        pieces = list(nano.transcribe(clip.audio, stream=True, num_beams=4))
        assert "".join(pieces).strip() == nano.transcribe(clip.audio, num_beams=4).text
        assert len([p for p in pieces if p.strip()]) > 1
    plain = "".join(nano.transcribe(clips[0].audio, stream=True, ctc_weight=0.0, num_beams=2))
    assert plain.strip() == nano.transcribe(clips[0].audio, ctc_weight=0.0, num_beams=2).text


def test_weights_out_of_range_and_missing_ngrams_are_explained(nano, clips, make_tiny):
    with pytest.raises(PromptError, match="ngram_weight is 2"):
        nano.transcribe(clips[0].audio, ngram_weight=2)
    with pytest.raises(PromptError, match="needs ctc_weight above 0"):
        nano.transcribe(clips[0].audio, ctc_weight=0.0, ngram_weight=0.5)
    tiny = borealis.Borealis(*make_tiny("ctc", ctc_labels=CTC_CHARACTERS))
    with pytest.raises(PromptError, match="a checkpoint with a letter n-gram"):
        tiny.transcribe(clips[0].audio, ctc_weight=0.3, ngram_weight=0.5)
