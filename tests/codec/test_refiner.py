"""Codes are completed: the given ones stay, a stream gives what the whole gives, mistakes are told.

The network is tiny and its weights are random, the codecs are those of the other tests.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from borealis.codec import Codes, load_codec
from borealis.codec.nano import CodeRefiner, CodeRefinerConfig
from borealis.codec.nano.refiner import codebook_entries, places_of
from borealis.errors import CheckpointError, CodecError

TEXT = " мама, она.еа"
LASTING = np.array([5, 2, 3, 1, 4, 17, 0, 3, 2, 2, 9, 1, 6])


def refiner_for(codec, **sizes) -> CodeRefiner:
    torch.manual_seed(0)
    tables = codebook_entries(codec, codec.num_codebooks)
    config = CodeRefinerConfig(
        symbols=" ,.аемно",
        voices=["anna", "nikolai"],
        num_codebooks=codec.num_codebooks,
        codebook_size=codec.codebook_size,
        latent_size=tables[0].shape[1],
        **{"hidden_size": 16, "intermediate_size": 24, "kernel_size": 3, "num_layers": 2} | sizes,
    )
    refiner = CodeRefiner(config).eval()
    refiner.spread.fill_(float(tables[1].std()) * 2)
    return refiner


@pytest.fixture(scope="module")
def nano(codecs):
    return codecs["nano"]


@pytest.fixture(scope="module")
def refiner(nano) -> CodeRefiner:
    return refiner_for(nano)


@pytest.fixture(scope="module")
def given(nano) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(nano.codebook_size, size=(1, int(LASTING.sum())), dtype=np.int32)


def test_given_books_stay_and_the_others_are_the_nearest_entries(nano, refiner, given):
    whole = refiner.complete(nano, given, TEXT, LASTING, "anna")
    assert whole.shape == (nano.num_codebooks, given.shape[1]) and whole.dtype == np.int32
    assert np.array_equal(whole[:1], given)
    assert len(set(whole[1].tolist())) > 3
    places = places_of(refiner.symbol_numbers(TEXT), LASTING, refiner.config)
    codes, where = torch.tensor(given)[None].long(), torch.tensor(places)[None]
    with torch.no_grad():
        rest = refiner(codes, where, torch.tensor([1]))[0]
    book = nano.model.quantizer.codebooks[1]
    assert np.array_equal(whole[1], torch.cdist(rest, book).argmin(1).numpy())
    sound = nano.decode(Codes(whole, whole.shape[1] * nano.hop_length, nano.sampling_rate))
    assert np.isfinite(sound).all()


def test_voice_text_and_durations_matter(nano, refiner, given):
    whole = refiner.complete(nano, given, TEXT, LASTING, "anna")
    assert not np.array_equal(refiner.complete(nano, given, TEXT, LASTING), whole)
    assert not np.array_equal(refiner.complete(nano, given, TEXT, LASTING, "nikolai"), whole)
    assert not np.array_equal(
        refiner.complete(nano, given, TEXT.replace("м", "н"), LASTING, "anna"), whole
    )
    other = LASTING[::-1].copy()
    assert not np.array_equal(refiner.complete(nano, given, TEXT, other, "anna"), whole)


@pytest.mark.parametrize("part", [1, 7, 100])
@pytest.mark.parametrize("counted", [3, 8])
def test_a_stream_gives_what_the_whole_gives(nano, given, part, counted):
    refiner = refiner_for(nano, counted_frames=counted)
    whole = refiner.complete(nano, given, TEXT, LASTING, "nikolai")
    stream = refiner.stream(nano, TEXT, "nikolai")
    ends, told, parts = np.cumsum(LASTING), 0, []
    for start in range(0, given.shape[1], part):
        end = min(start + part, given.shape[1])
        over = int((ends <= end).sum())
        parts.append(stream.push(given[:, start:end], LASTING[told:over]))
        told = over
    early = sum(p.shape[1] for p in parts)
    assert early >= given.shape[1] - refiner.config.context - 8
    parts.append(stream.finish())
    assert np.array_equal(np.concatenate(parts, 1), whole)
    with pytest.raises(CodecError, match="finished"):
        stream.push(given[:, :1], [])


def test_a_stream_that_is_cut_off_ends_with_what_was_written(nano, refiner, given):
    stream = refiner.stream(nano, TEXT)
    parts = [stream.push(given[:, :20], LASTING[:5]), stream.finish()]
    lasting = np.zeros(len(TEXT), int)
    lasting[:6] = [*LASTING[:5], 5]
    whole = refiner.complete(nano, given[:, :20], TEXT, lasting)
    assert np.array_equal(np.concatenate(parts, 1), whole)
    assert refiner.stream(nano, TEXT).finish().shape == (nano.num_codebooks, 0)


def test_recordings_of_a_batch_do_not_touch_each_other(nano, refiner, given):
    places = torch.tensor(places_of(refiner.symbol_numbers(TEXT), LASTING, refiner.config))
    codes = torch.tensor(given).long()
    both = torch.stack([codes, torch.roll(codes, 3, 1)])
    mask = torch.ones(2, codes.shape[1], dtype=torch.bool)
    mask[1, 30:] = False
    with torch.no_grad():
        found = refiner(both, places.expand(2, -1, -1), torch.tensor([1, 2]), mask)
        alone = refiner(both[1:, :, :30], places[None, :30], torch.tensor([2]))
    torch.testing.assert_close(found[1, :30], alone[0])


@pytest.mark.parametrize("name", ["encodec", "mimi", "nano"])
def test_any_codec_whose_books_add_up_is_completed(codecs, name):
    codec = codecs[name]
    refiner = refiner_for(codec, given_codebooks=2)
    codes = np.random.default_rng(1).integers(codec.codebook_size, size=(4, 11))
    tables = codebook_entries(codec, codec.num_codebooks)
    sums = sum(table[row] for table, row in zip(tables, torch.tensor(codes), strict=True))
    np.testing.assert_allclose(sums.numpy(), codec.look_up(codes), atol=1e-4)
    whole = refiner.complete(codec, codes[:2], " он.", [4, 3, 2, 2])
    assert whole.shape == (codec.num_codebooks, 11) and np.array_equal(whole[:2], codes[:2])


def test_files_give_the_same_refiner(nano, refiner, given, tmp_path):
    refiner.save_pretrained(tmp_path)
    again = CodeRefiner.from_pretrained(tmp_path)
    assert np.array_equal(
        again.complete(nano, given, TEXT, LASTING, "anna"),
        refiner.complete(nano, given, TEXT, LASTING, "anna"),
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"voice": "boris"}, "doesn't know the voice 'boris'; it knows anna, nikolai"),
        ({"symbols": TEXT.replace("н", "q")}, "doesn't know the symbol 'q'"),
        ({"symbols": ""}, "0 symbols have 13 durations"),
        ({"symbols": "", "durations": []}, "The durations are 0 frames in all"),
        ({"durations": LASTING[1:]}, "13 symbols have 12 durations"),
        ({"durations": LASTING + 1}, "The durations are 68 frames in all"),
        ({"durations": LASTING - 1}, "0 or more"),
        ({"durations": LASTING * 1.0}, "whole numbers"),
        ({"codes": np.zeros((2, 55), int)}, "goes on from 1"),
        ({"codes": np.full((1, 55), 99)}, "The code 99 isn't in"),
    ],
)
def test_mistakes_are_told(nano, refiner, given, change, said):
    right = {"codes": given, "symbols": TEXT, "durations": LASTING, "voice": "anna"}
    with pytest.raises(CodecError, match=said):
        refiner.complete(nano, **right | change)


def test_mistakes_of_a_stream_are_told(nano, refiner, given):
    stream = refiner.stream(nano, " а.", "anna")
    with pytest.raises(CodecError, match="last 9 frames, and codes of 4"):
        stream.push(given[:, :4], [4, 5])
    stream.push(given[:, :4], [4])
    with pytest.raises(CodecError, match="4 symbols are over, and the text has 3"):
        stream.push(given[:, :4], [1, 1, 2])
    stream.push(given[:, :4], [2, 2])
    with pytest.raises(CodecError, match="last 8 frames, and codes of 9"):
        stream.push(given[:, :1], [])
    with pytest.raises(CodecError, match="no symbols"):
        refiner.stream(nano, "")


def test_another_codec_is_refused(codecs, refiner, given, folders):
    with pytest.raises(CodecError, match="and the refiner"):
        refiner.complete(load_codec(folders["mimi"]), given, TEXT, LASTING)


def test_sizes_that_do_not_go_together_are_refused():
    with pytest.raises(CheckpointError, match="given_codebooks is 8"):
        CodeRefinerConfig(given_codebooks=8)
    with pytest.raises(CheckpointError, match="must be odd"):
        CodeRefinerConfig(kernel_size=4)
    with pytest.raises(CheckpointError, match="voices names something twice"):
        CodeRefinerConfig(voices=["a", "a"])
