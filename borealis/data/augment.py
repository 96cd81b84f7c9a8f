"""Augmentation of waveforms: speed, echo, telephone band, codec, noise, gain.

The set follows the curriculum that the published Borealis describes (noise, room echo, telephone
band, codec), on waveforms of float32 at 16 kHz.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr
from scipy import signal

from borealis.audio import SAMPLING_RATE

_TELEPHONE_BAND = signal.butter(4, [250, 3500], "bandpass", fs=SAMPLING_RATE, output="sos")

_CODECS = (("OGG", "OPUS"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"))


@dataclass(frozen=True)
class AugmentConfig:
    """Probability of each distortion and its range.

    Args:
        speed_probability: chance of resampling, which moves tempo, pitch and formants together.
        speed_range: factor of the speed, slowest and fastest.
        echo_probability: chance of a room echo (a decaying noise impulse response).
        telephone_probability: chance of a 250-3500 Hz band.
        noise_probability: chance of added noise.
        noise_snr: signal-to-noise ratio in dB, lowest and highest.
        gain_range: peak level in dBFS, lowest and highest; None keeps the level.
        codec_probability: chance of going through a lossy codec (Opus, Vorbis or MP3).
    """

    speed_probability: float = 0.6
    speed_range: tuple[float, float] = (0.87, 1.15)
    echo_probability: float = 0.25
    telephone_probability: float = 0.3
    noise_probability: float = 0.35
    noise_snr: tuple[float, float] = (8.0, 30.0)
    gain_range: tuple[float, float] | None = (-12.0, 0.0)
    codec_probability: float = 0.0


def augment(
    audio: np.ndarray,
    config: AugmentConfig,
    rng: np.random.Generator,
    noises: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Distort one clip.

    Args:
        audio: float32 mono at 16 kHz, `[num_samples]`.
        config: what may happen and how often.
        rng: source of all randomness.
        noises: recordings to mix in; coloured noise is made when there are none.

    Returns:
        A new float32 array; its length differs when the speed changed.
    """
    if rng.random() < config.speed_probability:
        audio = change_speed(audio, rng.uniform(*config.speed_range))
    if rng.random() < config.echo_probability:
        audio = add_echo(audio, rng)
    if rng.random() < config.telephone_probability:
        audio = signal.sosfilt(_TELEPHONE_BAND, audio)
    if rng.random() < config.noise_probability:
        if noises and rng.random() < 0.4:
            noise = np.resize(noises[int(rng.integers(len(noises)))], len(audio))
        else:
            noise = coloured_noise(len(audio), rng)
        audio = mix_noise(audio, noise, rng.uniform(*config.noise_snr))
    # Asked only where it can happen: the random numbers of older presets stay what they were.
    if config.codec_probability and rng.random() < config.codec_probability:
        audio = through_codec(audio, rng)
    if config.gain_range is not None:
        peak = max(float(np.abs(audio).max()), 1e-4)
        audio = audio * (10 ** (rng.uniform(*config.gain_range) / 20) / peak)
    return np.asarray(audio, dtype=np.float32)


def change_speed(audio: np.ndarray, factor: float) -> np.ndarray:
    """Play `factor` times faster; pitch and formants move with it, as with another vocal tract."""
    return soxr.resample(audio, SAMPLING_RATE, SAMPLING_RATE / factor).astype(np.float32)


def add_echo(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Convolve with an exponentially decaying noise tail of 50-300 ms (Polack's room model)."""
    length = int(SAMPLING_RATE * rng.uniform(0.05, 0.3))
    response = rng.standard_normal(length) * np.exp(-6 * np.arange(length) / length)
    response *= rng.uniform(0.05, 0.3) / np.sqrt((response**2).sum())
    response[0] = 1.0
    return signal.fftconvolve(audio, response)[: len(audio)].astype(np.float32)


def coloured_noise(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """White, brownish or mains-hum noise of unit power."""
    noise = rng.standard_normal(num_samples)
    choice = rng.random()
    if choice < 0.5:
        noise = signal.lfilter([1.0], [1.0, -rng.uniform(0.6, 0.98)], noise)
    elif choice < 0.6:
        base = rng.choice([50.0, 60.0])
        time = np.arange(num_samples) / SAMPLING_RATE
        noise = 0.3 * noise + sum(np.sin(2 * np.pi * base * k * time) / k for k in (1, 2, 3, 5))
    return (noise / np.sqrt((noise**2).mean() + 1e-12)).astype(np.float32)


def through_codec(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Encode with a lossy codec at a low rate and decode again; the length stays."""
    container, subtype = _CODECS[int(rng.integers(len(_CODECS)))]
    level = float(rng.uniform(0.7, 1.0))  # 1 is the strongest compression
    peak = max(float(np.abs(audio).max()), 1e-4)
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", SAMPLING_RATE, 1, subtype, format=container, compression_level=level
    ) as file:
        file.write(np.asarray(audio / peak * 0.9, np.float32))
    decoded, rate = soundfile.read(io.BytesIO(buffer.getvalue()), dtype="float32")
    if rate != SAMPLING_RATE:
        decoded = soxr.resample(decoded, rate, SAMPLING_RATE)
    out = np.zeros(len(audio), np.float32)
    length = min(len(audio), len(decoded))
    out[:length] = decoded[:length] * (peak / 0.9)
    return out


def mix_noise(audio: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Add `noise` at `snr_db` decibels below the mean power of `audio`."""
    power = float((audio**2).mean()) + 1e-9
    noise = noise / np.sqrt(float((noise**2).mean()) + 1e-12)
    return (audio + noise * np.sqrt(power) * 10 ** (-snr_db / 20)).astype(np.float32)
