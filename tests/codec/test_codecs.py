"""Every codec: lengths, whole and in parts, what is refused; and against transformers' own way."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from borealis.codec import Codec, Codes, layered, windowed
from borealis.codec.codes import num_frames
from borealis.codec.protocol import bits_per_second
from borealis.errors import AudioEmptyError, AudioValueError, CodecError

# Of samples that lie in -1..1: sums in another order, rounded to float32.
ROUNDING = 5e-5

each_example_small = settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


def by_transformers(codec, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes and decoded sound as the network itself makes them of the whole."""
    model, n = codec.model, len(samples)
    x = torch.tensor(samples)[None, None]
    with torch.inference_mode():
        if model.config.model_type == "encodec":
            codes = model.encode(x, bandwidth=model.config.target_bandwidths[-1]).audio_codes[0, 0]
            sound = model.decode(codes[None, None], [None]).audio_values[0, 0]
        elif model.config.model_type == "mimi":
            codes = model.encode(x).audio_codes[0]
            sound = model.decode(codes[None]).audio_values[0, 0]
        else:
            x = torch.nn.functional.pad(x, (0, -n % codec.hop_length))
            if model.config.model_type == "dac":
                codes = model.encode(x).audio_codes[0]
                sound = model.decode(audio_codes=codes[None]).audio_values[0]
            else:
                codes = model.encode(x[:, 0])[0]
                sound = model.decode(codes[None])[0]
    sound = sound.numpy()[:n]
    return codes.numpy(), np.pad(sound, (0, n - len(sound)))


def in_parts(stream, whole: np.ndarray, sizes: list[int]) -> np.ndarray:
    """What a stream gives for `whole` `[..., n]`, pushed in parts of these sizes again and again."""
    parts, at, turn = [], 0, 0
    while at < whole.shape[-1]:
        size = sizes[turn % len(sizes)]
        parts.append(stream.push(whole[..., at : at + size]))
        at, turn = at + size, turn + 1
    return np.concatenate([*parts, stream.finish()], -1)


def test_it_is_a_codec(codec):
    assert isinstance(codec, Codec)
    assert codec.sampling_rate == 8_000
    assert codec.codebook_size == 32
    bits = bits_per_second(codec, 2)
    assert bits == pytest.approx(8_000 / codec.hop_length * 2 * 5)


@pytest.mark.parametrize("n", [1, 2, 6, 7, 8, 39, 40, 41, 123, 801, 16_077])
def test_whole_sound_is_what_the_network_gives(codec, sound, n):
    samples = sound[:n] + np.float32(0.01)
    codes = codec.encode(samples)
    assert codes.codes.shape == (codec.num_codebooks, num_frames(n, codec.hop_length))
    assert (codes.num_samples, codes.sampling_rate, codes.codec) == (n, 8_000, codec.name)
    decoded = codec.decode(codes)
    assert decoded.shape == (n,) and decoded.dtype == np.float32
    their_codes, their_sound = by_transformers(codec, samples)
    assert np.array_equal(codes.codes, their_codes)
    scale = max(1, np.abs(their_sound).max())
    assert np.abs(decoded - their_sound).max() < ROUNDING * scale


def test_codes_differ_from_frame_to_frame(codec, sound):
    """Else the comparisons would compare constants."""
    codes = codec.encode(sound).codes
    assert min(len(set(book)) for book in codes.tolist()) > 8
    assert np.abs(codec.decode(codec.encode(sound))).std() > 1e-4


@each_example_small
@given(
    sizes=st.lists(st.integers(0, 500), min_size=1, max_size=5).filter(any), n=st.integers(1, 9_000)
)
def test_sound_in_parts_gives_the_codes_of_the_whole(codec, sound, sizes, n):
    stream = codec.stream_encoder(num_codebooks=2)
    parts = in_parts(stream, sound[:n], sizes)
    assert stream.num_samples == n
    assert np.array_equal(parts, codec.encode(sound[:n], num_codebooks=2).codes)


@each_example_small
@given(
    sizes=st.lists(st.integers(0, 20), min_size=1, max_size=5).filter(any), n=st.integers(1, 9_000)
)
def test_codes_in_parts_give_the_sound_of_the_whole(codec, sound, sizes, n):
    codes = codec.encode(sound[:n])
    whole = codec.decode(codes)
    parts = in_parts(codec.stream_decoder(num_samples=n), codes.codes, sizes)
    assert parts.shape == whole.shape
    assert np.abs(parts - whole).max() < ROUNDING * max(1, np.abs(whole).max())


def test_long_sound_goes_through_in_chunks_that_leave_no_trace(codec, sound, monkeypatch):
    whole = codec.encode(sound)
    decoded = codec.decode(whole)
    monkeypatch.setattr(layered, "_CHUNK_SECONDS", 0.11)
    monkeypatch.setattr(windowed, "_LONG_SECONDS", 0.11)
    assert np.array_equal(codec.encode(sound).codes, whole.codes)
    chunked = codec.decode(whole)
    assert np.abs(chunked - decoded).max() < ROUNDING * max(1, np.abs(decoded).max())


def test_a_causal_codec_answers_at_once(codecs, sound):
    codec = codecs["mimi"]
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    hop = codec.hop_length
    for at in range(0, 10 * hop, hop):
        codes = encoder.push(sound[at : at + hop])
        assert codes.shape == (4, 1)
        assert decoder.push(codes).shape == (hop,)


def test_too_little_context_shows(codecs, sound):
    codec = codecs["nano"]
    codes = codec.encode(sound)
    decoded = codec.decode(codes)
    short = windowed.WindowedCodec(codec.model, "short")
    short.encoder_context = short.decoder_context = 0
    parts = in_parts(short.stream_encoder(), sound, [400])
    assert parts.shape == codes.codes.shape
    assert not np.array_equal(parts, codes.codes)
    parts = in_parts(short.stream_decoder(num_samples=len(sound)), codes.codes, [10])
    assert parts.shape == decoded.shape
    assert np.abs(parts - decoded).max() > 0.01 * np.abs(decoded).max()


def test_first_codebooks_are_those_of_all(codec, sound):
    codes = codec.encode(sound)
    fewer = codec.encode(sound, num_codebooks=1)
    assert np.array_equal(fewer.codes, codes.take(1).codes)
    assert codec.decode(fewer).shape == sound.shape
    with pytest.raises(CodecError, match="9 codebooks were asked for"):
        codec.encode(sound, num_codebooks=9)
    with pytest.raises(CodecError, match="0 codebooks"):
        codec.stream_encoder(num_codebooks=0)


def test_a_caller_may_fill_its_array_again(codec, sound):
    stream, buffer, parts = codec.stream_encoder(), np.zeros(100, np.float32), []
    for at in range(0, 4_000, 100):
        buffer[:] = sound[at : at + 100]
        parts.append(stream.push(buffer))
    parts.append(stream.finish())
    assert np.array_equal(np.concatenate(parts, 1), codec.encode(sound[:4_000]).codes)


def test_nothing_pushed_gives_nothing(codec):
    assert codec.stream_encoder().finish().shape == (codec.num_codebooks, 0)
    assert codec.stream_decoder().finish().shape == (0,)


def test_a_finished_stream_takes_no_more(codec, sound):
    for stream, part in (
        (codec.stream_encoder(), sound[:100]),
        (codec.stream_decoder(), np.zeros((1, 3), int)),
    ):
        stream.push(part)
        stream.finish()
        with pytest.raises(CodecError, match="finished"):
            stream.push(part)


def test_what_is_no_waveform_is_refused(codec):
    with pytest.raises(AudioEmptyError):
        codec.encode(np.zeros(0, np.float32))
    with pytest.raises(AudioValueError, match=r"\[2, 100\]"):
        codec.encode(np.zeros((2, 100), np.float32))
    with pytest.raises(AudioValueError, match="int16"):
        codec.encode(np.zeros(100, np.int16))
    with pytest.raises(AudioValueError, match="finite"):
        codec.encode(np.array([0, np.nan], np.float32))


def test_codes_of_another_codec_are_refused(codec):
    codes = codec.encode(np.full(1_000, 0.1, np.float32))
    with pytest.raises(CodecError, match="16000 Hz"):
        codec.decode(dataclasses.replace(codes, sampling_rate=16_000))
    with pytest.raises(CodecError, match="2000 samples are"):
        codec.decode(dataclasses.replace(codes, num_samples=2_000))
    with pytest.raises(CodecError, match="32 isn't in"):
        codec.decode(dataclasses.replace(codes, codes=np.full_like(codes.codes, 32)))
    many = np.zeros((9, codes.num_frames), int)
    with pytest.raises(CodecError, match="9 codebooks"):
        codec.decode(dataclasses.replace(codes, codes=many))
    stream = codec.stream_decoder()
    stream.push(codes.take(2).codes)
    with pytest.raises(CodecError, match="has 2 codebooks, and 1 were"):
        stream.push(codes.take(1).codes)


def test_the_same_sound_gives_the_same_codes(codec, sound):
    first, second = codec.encode(sound), codec.encode(sound)
    assert isinstance(first, Codes)
    assert np.array_equal(first.codes, second.codes)
    assert np.array_equal(codec.decode(first), codec.decode(second))


def test_what_is_looked_up_is_a_sum_over_codebooks(codec):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, codec.codebook_size, (codec.num_codebooks, 6)).astype(np.int32)
    whole = codec.look_up(codes)
    assert whole.dtype == np.float32 and whole.shape[0] == 6
    # What the last codebook adds doesn't depend on those before it.
    other = np.concatenate([rng.permuted(codes[:-1]), codes[-1:]])
    added = [codec.look_up(c) - codec.look_up(c[:-1]) for c in (codes, other)]
    np.testing.assert_allclose(*added, atol=1e-4)
    assert np.abs(added[0]).max() > 1e-3
    with pytest.raises(CodecError):
        codec.look_up(codes + codec.codebook_size)
