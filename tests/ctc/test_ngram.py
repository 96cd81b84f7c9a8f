"""The letter n-gram and its set of words: probabilities, states, the file."""

from __future__ import annotations

import lzma
import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from borealis.checkpoints import NGRAM
from borealis.ctc.ngram import Ngram
from borealis.ctc.words import NO_WORD, KnownWords, grown
from borealis.data.text import CTC_CHARACTERS, LETTERS
from borealis.errors import CheckpointError, TrainingError
from borealis.training.start.ngram import count_ngrams

LINES = ["мороз и солнце", "день чудесный", "еще ты дремлешь друг прелестный", "пора красавица"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("\n".join(LINES * 30), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def ngram(corpus) -> Ngram:
    return count_ngrams([corpus], CTC_CHARACTERS, order=5, min_gain=1.0)


def after(ngram: Ngram, text: str) -> int:
    state = 0
    for label in LETTERS.spell(text):
        state = ngram.step(state, label)
    return state


def log_prob(ngram: Ngram, text: str) -> float:
    state, total = np.array([ngram.step(0, 1)]), 0.0
    for label in LETTERS.spell(text):
        state, score = ngram.follow(state, np.array([label]))
        total += float(score[0])
    return total


def all_scores(ngram: Ngram, text: str) -> np.ndarray:
    """Log probability of every letter after `text`: `[num_classes - 1]`."""
    letters = np.arange(1, ngram.num_classes)
    return ngram.follow(np.full(len(letters), after(ngram, text)), letters)[1]


@pytest.mark.parametrize("context", ["", "мор", "солнц", "ыыы", "день чу", "прелестн"])
def test_probabilities_of_what_follows_add_up_to_one(ngram, context):
    assert np.exp(all_scores(ngram, context)).sum() == pytest.approx(
        1.0, abs=0.13
    )  # quarters of a nat are kept


def test_words_of_the_text_are_likelier_than_misspelled_ones(ngram):
    assert log_prob(ngram, "солнце") > log_prob(ngram, "сонлце") + 3
    assert log_prob(ngram, "чудесный") > log_prob(ngram, "чюдестный") + 3


def test_a_state_is_the_longest_context_that_the_model_knows(corpus):
    """Against the definition: back off to shorter contexts by dictionary, without pruning."""
    order = 4
    whole = count_ngrams([corpus], CTC_CHARACTERS, order=order, min_gain=-math.inf)
    grams: dict[tuple[int, ...], int] = {(): 0}
    for length in range(1, order + 1):
        for known, state in [i for i in grams.items() if len(i[0]) == length - 1]:
            for child in range(whole.first[state], whole.first[state + 1]):
                grams[*known, int(whole.classes[child])] = child
    assert len(grams) == len(whole.classes)
    said = LETTERS.spell("день и солнце мы дремлешь")
    state = 0
    for place, label in enumerate(said):
        state = whole.step(state, label)
        endings = [tuple(said[start : place + 1]) for start in range(place + 2)]
        assert state == next(grams[e] for e in endings if e in grams)


def test_pruning_makes_the_file_smaller_and_keeps_the_likely(corpus, ngram):
    small = count_ngrams([corpus], CTC_CHARACTERS, order=5, min_gain=40.0)
    assert small.sizes.sum() < ngram.sizes.sum() / 2
    assert log_prob(small, "день") > log_prob(small, "дньу")


def test_it_is_saved_and_read_back(ngram, tmp_path):
    assert Ngram.of_checkpoint(tmp_path) is None
    ngram.save_pretrained(tmp_path)
    again = Ngram.of_checkpoint(tmp_path)
    assert again is not None
    for context in ("", "мор", "красав"):
        assert np.array_equal(all_scores(again, context), all_scores(ngram, context))
    assert np.array_equal(again.shorter, ngram.shorter)


def test_what_was_read_is_not_packed_again(ngram, tmp_path, monkeypatch):
    """It takes ten seconds for nano's, at each of three places of a run."""
    (tmp_path / "copy").mkdir()
    ngram.save_pretrained(tmp_path)
    monkeypatch.setattr("lzma.compress", lambda *_: pytest.fail("packed again"))
    Ngram.load(tmp_path / NGRAM).save_pretrained(tmp_path / "copy")
    assert (tmp_path / "copy" / NGRAM).read_bytes() == (tmp_path / NGRAM).read_bytes()


def test_a_damaged_file_is_said_to_be_one(ngram, tmp_path):
    (tmp_path / NGRAM).write_bytes(b"not safetensors")
    with pytest.raises(CheckpointError, match="holds no letter n-gram"):
        Ngram.of_checkpoint(tmp_path)
    from safetensors.numpy import load_file, save_file

    ngram.save_pretrained(tmp_path)
    arrays = load_file(tmp_path / NGRAM)
    fewer = arrays["sizes"] - np.eye(len(arrays["sizes"]), dtype=np.int64)[-1]
    save_file(arrays | {"sizes": fewer}, tmp_path / NGRAM)
    with pytest.raises(CheckpointError, match="a packed array has another length"):
        Ngram.of_checkpoint(tmp_path)


def test_a_file_cannot_make_us_unpack_without_end(ngram, tmp_path):
    from safetensors.numpy import load_file, save_file

    ngram.save_pretrained(tmp_path)
    endless = np.frombuffer(lzma.compress(bytes(2 * 10**8)), np.uint8)
    save_file(load_file(tmp_path / NGRAM) | {"classes.xz": endless}, tmp_path / NGRAM)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="a packed array has another length"):
        Ngram.of_checkpoint(tmp_path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 5 * 10**7  # the four arrays are unpacked at once, with 8 MiB of window each
    many = np.array([10**12, 1])  # a file that claims as many as it unpacks into
    save_file(load_file(tmp_path / NGRAM) | {"sizes": many}, tmp_path / NGRAM)
    with pytest.raises(CheckpointError, match="at most"):
        Ngram.of_checkpoint(tmp_path)


def test_bad_settings_are_refused(corpus, tmp_path):
    with pytest.raises(TrainingError, match="must be 2 to 10"):
        count_ngrams([corpus], CTC_CHARACTERS, order=11)
    empty = tmp_path / "empty.txt"
    empty.write_text("1234\n", encoding="utf-8")
    with pytest.raises(TrainingError, match="needs text"):
        count_ngrams([empty], CTC_CHARACTERS)


@pytest.fixture(scope="module")
def knowing(tmp_path_factory) -> Ngram:
    """An n-gram that knows the words of the text: those that occur twice or stand alone."""
    path = tmp_path_factory.mktemp("words") / "text.txt"
    lines = [*LINES * 30, "мароз ударил однажды", "словарное"]
    path.write_text("\n".join(lines), encoding="utf-8")
    return count_ngrams([path], CTC_CHARACTERS, order=5, min_gain=1.0, word_bits=16)


def hashed(*words: str) -> np.ndarray:
    rows = []
    for word in words:
        row = np.full(1, NO_WORD, np.int64)
        for label in LETTERS.spell(word):
            row = grown(row, np.array([label]))
        rows.append(row)
    return np.concatenate(rows)


def test_words_that_occur_twice_or_stand_alone_are_known(knowing, tmp_path):
    assert knowing.words is not None
    known = knowing.words.has(hashed("мороз", "солнце", "словарное", "мароз", "однажды", "соль"))
    assert known.tolist() == [True, True, True, False, False, False]
    knowing.save_pretrained(tmp_path)
    again = Ngram.load(tmp_path / NGRAM)
    assert again.words is not None
    assert np.array_equal(again.words.filled, knowing.words.filled)
    assert again.words.num_hashes == knowing.words.num_hashes


def test_few_unknown_words_pass_for_known():
    rng = np.random.default_rng(0)
    letters = np.array(list("абвгдежзиклмнопрстуфхцчшщыэюя"))
    words = ["".join(rng.choice(letters, 7)) for _ in range(6000)]
    known = KnownWords.of(words[:3000], LETTERS, bits=8)
    assert len(known.filled) == 3000
    assert known.has(hashed(*words[:300])).all()
    assert known.has(hashed(*words[3000:])).mean() < 0.04


def test_a_damaged_set_of_words_is_said_to_be_one(knowing, tmp_path):
    from safetensors.numpy import load_file, save_file

    knowing.save_pretrained(tmp_path)
    arrays = load_file(tmp_path / NGRAM)
    for wrong in (np.zeros(0, np.uint8), np.zeros(4), np.zeros((2, 2), np.uint8)):
        save_file(arrays | {"known_words": wrong}, tmp_path / NGRAM)
        with pytest.raises(CheckpointError, match="no row of bytes"):
            Ngram.load(tmp_path / NGRAM)
    save_file(arrays | {"known_words_hashes": np.array([0])}, tmp_path / NGRAM)
    with pytest.raises(CheckpointError, match="0 hashes"):
        Ngram.load(tmp_path / NGRAM)
