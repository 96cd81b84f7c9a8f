"""What goes on inside while a recording is written down: spectrogram, counts, attention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from borealis import arguments
from borealis.audio import SAMPLING_RATE, split_at_silence
from borealis.inference.engine import TRANSCRIBE_PROMPTS
from borealis.inference.messages import user_message
from borealis.prompts import render

if TYPE_CHECKING:
    from borealis.inference.engine import Borealis

# How many attention heads are averaged: those that look at the sound most sharply.
SHARPEST_HEADS = 4


@dataclass
class WordAttention:
    """Where the model listened while it wrote a word.

    Args:
        text: the word.
        start: second at which its first audio token begins.
        weights: share of the attention that each audio token of its part got, `[tokens]`.
    """

    text: str
    start: float
    weights: np.ndarray


@dataclass
class Inspection:
    """The inside of the first window of a recording, and the counts of all of it.

    Args:
        duration: of the whole recording, seconds.
        num_samples: of the whole recording.
        windows: encoder windows of the whole recording, seconds.
        num_encoder_frames: of the whole recording.
        num_audio_tokens: of the whole recording, by the one function that counts them.
        token_seconds: length of an audio token.
        shown: seconds of the recording that the pictures cover.
        cuts: where the shown stretch is cut into parts, seconds.
        audio: the shown stretch, float32 `[num_samples]`.
        mel: its log-mel features `[num_mel_bins, mel_frames]`.
        words: attention of each word.
        text: transcript of the shown stretch.
    """

    duration: float
    num_samples: int
    windows: list[tuple[float, float]]
    num_encoder_frames: int
    num_audio_tokens: int
    token_seconds: float
    shown: float
    cuts: list[float]
    audio: np.ndarray
    mel: np.ndarray
    words: list[WordAttention]
    text: str


def inspect(model: Borealis, clip: np.ndarray, *, language: str | None = None) -> Inspection:
    """Transcribe the first window of a recording and look inside.

    Args:
        model: the model.
        clip: float32 mono at 16 kHz `[num_samples]`.
        language: language of the prompt, `ru` or `en`.
    """
    config = model.model.config
    windows = config.window_spans(len(clip))
    shown = clip[: windows[0][1]]
    spans = split_at_silence(shown, max_seconds=model.longest_part)
    features = model.processor.extract_features([shown])["input_features"][0]
    words: list[WordAttention] = []
    texts = []
    for start, end in spans:
        part = clip[start:end]
        text = model.transcribe(part, sampling_rate=SAMPLING_RATE, language=language).text
        if text:
            texts.append(text)
            ids, heads = answer_attention(model, part, text, language=language)
            rows = _sharpest(heads.reshape(-1, *heads.shape[2:]))
            words += _by_word(model.processor.tokenizer, ids, rows, start / SAMPLING_RATE)
    return Inspection(
        duration=len(clip) / SAMPLING_RATE,
        num_samples=len(clip),
        windows=[(a / SAMPLING_RATE, b / SAMPLING_RATE) for a, b in windows],
        num_encoder_frames=sum(config.num_encoder_frames(b - a) for a, b in windows),
        num_audio_tokens=config.num_audio_tokens(len(clip)),
        token_seconds=config.frame_length * config.downsample_factor / SAMPLING_RATE,
        shown=len(shown) / SAMPLING_RATE,
        cuts=[end / SAMPLING_RATE for _, end in spans[:-1]],
        audio=shown,
        mel=features[:, : max(1, len(shown) // config.hop_length)].float().numpy(),
        words=words,
        text=" ".join(texts),
    )


@torch.inference_mode()
def answer_attention(
    model: Borealis, clip: np.ndarray, text: str, *, language: str | None = None
) -> tuple[list[int], np.ndarray]:
    """What each token of a transcript listened to.

    Args:
        model: the model.
        clip: float32 mono at 16 kHz `[num_samples]`, at most one window.
        text: its transcript.
        language: of the prompt, `ru` or `en`.

    Returns:
        Ids of `text` `[tokens]`, and attention `[layers, heads, tokens, audio tokens]`.
    """
    processor, whole = model.processor, model.model
    message = user_message(TRANSCRIBE_PROMPTS[arguments.language(language) or "ru"], 1)
    prompt = render(processor.tokenizer, message, template=processor.chat_template)
    inputs = {k: v.to(model.device) for k, v in processor(text=prompt, audio=clip).items()}
    ids = processor.tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
    length = inputs["input_ids"].shape[1]
    places = (inputs["input_ids"][0] == whole.config.audio_token_id).nonzero().flatten()
    with _eager(whole.model.language_model):
        output = whole(
            input_ids=torch.cat([inputs["input_ids"], ids.to(model.device)], 1),
            input_features=inputs["input_features"],
            num_samples=inputs["num_samples"],
            output_attentions=True,
            logits_to_keep=1,
        )
    # A token is written by the position before it.
    heads = torch.stack([layer[0, :, length - 1 : -1][..., places] for layer in output.attentions])
    return ids[0].tolist(), heads.float().cpu().numpy()


@contextmanager
def _eager(language_model: Any) -> Iterator[None]:
    """The fast kernels don't give attention weights."""
    before = language_model.config._attn_implementation
    language_model.set_attn_implementation("eager")
    try:
        yield
    finally:
        language_model.set_attn_implementation(before)


def _sharpest(heads: np.ndarray) -> np.ndarray:
    """Mean of the heads with the sharpest look: `[heads, rows, tokens]` -> `[rows, tokens]`."""
    sharpness = heads.max(-1).mean(-1)  # [heads]
    best = np.argsort(sharpness)[-SHARPEST_HEADS:]
    return heads[best].mean(0)


def _by_word(tokenizer: Any, ids: list[int], rows: np.ndarray, start: float) -> list[WordAttention]:
    """Mean rows of the tokens that write each word; a token may be a part of a letter."""
    words: list[WordAttention] = []
    waiting: list[np.ndarray] = []

    def close(text: str) -> None:
        if waiting:
            words.append(WordAttention(text.split()[-1], start, np.mean(waiting, 0)))
            waiting.clear()

    before = ""
    for end, row in enumerate(rows, 1):
        text = tokenizer.decode(ids[:end])
        fresh = text[len(before) :]
        if fresh[:1].isspace():
            close(before)
        if not fresh.isspace():
            waiting.append(row)
        before = text
    close(before)
    return words
