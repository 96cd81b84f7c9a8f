"""The processor: chat messages and audio -> ids, log-mel windows and their lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature
from transformers.processing_utils import ProcessorMixin

from borealis.errors import PromptError
from borealis.model.configuration import BorealisConfig
from borealis.prompts import SEAM, encode, plain_messages

AUDIO_TOKEN = "<|audio|>"
START_OF_AUDIO = "<|start_of_audio|>"
END_OF_AUDIO = "<|end_of_audio|>"

_CLIP = "{{ '" + START_OF_AUDIO + AUDIO_TOKEN + END_OF_AUDIO + "' }}"

# ChatML as Qwen writes it. Content is a string or a list of parts; an audio part becomes one
# placeholder between its two marks, which the processor then repeats. The only recording of a
# message comes first, wherever it was put: models learn from that order. Several keep their places,
# for the text between them may say which is which.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% set clips = message['content'] | selectattr('type', 'equalto', 'audio') | list | length %}"
    "{% if clips == 1 %}" + _CLIP + "{% endif %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'audio' %}{% if clips != 1 %}" + _CLIP + "{% endif %}"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def check_characters(text: str) -> None:
    """Raise PromptError where a text has half a character, which no tokenizer knows."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise PromptError(
            "The text has half a character (a lone surrogate); it must be UTF-8."
        ) from None


class BorealisProcessor(ProcessorMixin):
    """Whisper's feature extractor and the language model's tokenizer under one call.

    Args:
        feature_extractor: a `WhisperFeatureExtractor`.
        tokenizer: the tokenizer; it must know `<|audio|>` and the two marks around it.
        chat_template: Jinja template of the chat.
        audio_arithmetic: keys of `BorealisConfig` that the count of tokens depends on; kept with
            the processor so that it agrees with the model it was saved with.
    """

    attributes = ["feature_extractor", "tokenizer"]  # noqa: RUF012
    tokenizer_class = "AutoTokenizer"

    def __init__(
        self,
        feature_extractor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        audio_arithmetic: dict[str, Any] | None = None,
    ) -> None:
        self.audio_arithmetic = dict(audio_arithmetic or {})
        self.audio_token = AUDIO_TOKEN
        super().__init__(feature_extractor, tokenizer, chat_template=chat_template or CHAT_TEMPLATE)
        self.audio_token_id = tokenizer.convert_tokens_to_ids(AUDIO_TOKEN)
        if self.audio_token_id is None or self.audio_token_id == tokenizer.unk_token_id:
            raise ValueError(
                f"The tokenizer doesn't know {AUDIO_TOKEN}; assemble the model with "
                "borealis.model.convert, which adds the audio tokens."
            )
        self.lengths = _lengths_config(self.audio_arithmetic)

    @classmethod
    def from_config(
        cls, config: BorealisConfig, feature_extractor: Any, tokenizer: Any, **kwargs: Any
    ) -> BorealisProcessor:
        """A processor that counts tokens exactly as a model of `config` does."""
        return cls(feature_extractor, tokenizer, audio_arithmetic=arithmetic_of(config), **kwargs)

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "input_features", "num_samples"]

    def num_audio_tokens(self, num_samples: int) -> int:
        """Audio tokens of a clip of `num_samples` samples at 16 kHz (the config's own function)."""
        return self.lengths.num_audio_tokens(num_samples)

    def apply_chat_template(self, conversation: Any, *args: Any, **kwargs: Any) -> Any:
        """As of any processor; control words in the conversation's texts are plain text."""
        several = bool(conversation) and not isinstance(conversation[0], dict)
        plain = (
            [plain_messages(self.tokenizer, messages) for messages in conversation]
            if several
            else plain_messages(self.tokenizer, conversation)
        )
        return super().apply_chat_template(plain, *args, **kwargs)

    def __call__(
        self,
        text: str | Sequence[str] | None = None,
        audio: Any = None,
        return_tensors: str = "pt",
        padding_side: str = "left",
        **kwargs: Any,
    ) -> BatchFeature:
        """Prepare a batch.

        Args:
            text: one prompt or several, with one `<|audio|>` for every clip.
            audio: the clips in reading order: one array, a list of arrays, or a list of lists
                (one list a prompt). Each is float32 mono at 16 kHz, `[num_samples]`.
            return_tensors: only `pt`.
            padding_side: `left` for generation, `right` for training.
            **kwargs: passed to the tokenizer (`max_length` and the like).

        Returns:
            `input_ids`, `attention_mask` `[batch, sequence]`, and with audio `input_features`
            `[windows, num_mel_bins, mel_frames]` and `num_samples` `[windows]`.

        Raises:
            PromptError: the number of clips and of placeholders differ, a clip is empty, not
                one-dimensional, not finite, or longer than `max_audio_seconds`, or the text isn't
                Unicode.
        """
        if return_tensors != "pt":
            raise ValueError("BorealisProcessor gives PyTorch tensors only (return_tensors='pt').")
        kwargs.pop("sampling_rate", None)
        clips = [self._check_clip(clip, i) for i, clip in enumerate(_flatten(audio))]
        data: dict[str, Any] = {}
        if text is not None:
            prompts = self._expand([text] if isinstance(text, str) else list(text), clips)
            check_characters("".join(prompts))
            kwargs.setdefault("padding", True)
            kwargs.setdefault("add_special_tokens", False)
            data |= self._tokenize(prompts, padding_side, kwargs)
        if clips:
            data |= self.extract_features(clips)
        return BatchFeature(data)

    def extract_features(self, clips: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Log-mel windows of `clips`: `input_features` and `num_samples`, window after window.

        Every window is padded with silence to its own encoder length before the spectrogram is
        taken, so its features don't depend on the batch; shorter ones are then padded to stack.
        """
        lengths, extractor = self.lengths, self.feature_extractor
        windows = [clip[a:b] for clip in clips for a, b in lengths.window_spans(len(clip))]
        # The extractor computes on the CPU with torch: in float32, whatever autocast is around it.
        with torch.autocast("cpu", enabled=False):
            features = [
                extractor(
                    window,
                    sampling_rate=lengths.sampling_rate,
                    padding="max_length",
                    max_length=lengths.encoder_samples(len(window)),
                    return_tensors="pt",
                )["input_features"][0].T
                for window in windows
            ]
        stacked = torch.nn.utils.rnn.pad_sequence(features, batch_first=True).transpose(1, 2)
        return {
            "input_features": stacked.contiguous(),
            "num_samples": torch.tensor([len(w) for w in windows]),
        }

    def _tokenize(
        self, prompts: Sequence[str], padding_side: str, kwargs: dict[str, Any]
    ) -> dict[str, torch.Tensor]:
        if not any(SEAM in prompt for prompt in prompts):
            kwargs = kwargs | {"padding_side": padding_side, "return_token_type_ids": False}
            return self.tokenizer(prompts, return_tensors="pt", **kwargs)
        longest = kwargs.get("max_length") if kwargs.get("truncation") else None
        rows = [encode(self.tokenizer, prompt)[:longest] for prompt in prompts]
        settings = {key: kwargs[key] for key in ("padding", "max_length") if key in kwargs}
        return self.tokenizer.pad(
            {"input_ids": rows}, return_tensors="pt", padding_side=padding_side, **settings
        )

    def _check_clip(self, clip: Any, index: int) -> np.ndarray:
        array = np.asarray(clip, dtype=np.float32)
        if array.ndim != 1:
            raise PromptError(
                f"Clip {index + 1} has shape {array.shape}; one channel at 16 kHz is wanted. "
                "borealis.audio.load_audio makes it from any file."
            )
        if not len(array):
            raise PromptError(f"Clip {index + 1} is empty: it has no samples.")
        if not np.isfinite(array).all():
            raise PromptError(f"Clip {index + 1} has values that aren't finite numbers.")
        seconds = len(array) / self.lengths.sampling_rate
        if seconds > self.lengths.max_audio_seconds:
            raise PromptError(
                f"Clip {index + 1} lasts {seconds:.0f} s and one prompt takes at most "
                f"{self.lengths.max_audio_seconds:.0f} s; cut it, or use transcribe()."
            )
        return array

    def _expand(self, prompts: list[str], clips: Sequence[np.ndarray]) -> list[str]:
        wanted = sum(prompt.count(self.audio_token) for prompt in prompts)
        if wanted != len(clips):
            raise PromptError(
                f"The text has {wanted} {self.audio_token} placeholder(s) and {len(clips)} clip(s) "
                "were given; there must be one placeholder for each clip."
            )
        counts = iter([self.num_audio_tokens(len(clip)) for clip in clips])
        expanded = []
        for prompt in prompts:
            pieces = prompt.split(self.audio_token)
            out = pieces[0]
            for piece in pieces[1:]:
                out += self.audio_token * next(counts) + piece
            expanded.append(out)
        return expanded


_ARITHMETIC_KEYS = (
    "downsample_factor",
    "encoder_window",
    "encoder_window_margin",
    "encoder_window_step",
    "keep_padding",
    "sampling_rate",
    "hop_length",
    "max_audio_seconds",
)


def arithmetic_of(config: BorealisConfig) -> dict[str, Any]:
    """The part of a config that token counts depend on, as plain values."""
    values = {key: getattr(config, key) for key in _ARITHMETIC_KEYS}
    return values | {"max_source_positions": config.audio_config.max_source_positions}


def _lengths_config(values: dict[str, Any]) -> BorealisConfig:
    """A config that serves only for counting, so that there is one arithmetic."""
    values = dict(values)
    positions = values.pop("max_source_positions", 1500)
    audio_config = {"model_type": "whisper", "max_source_positions": positions}
    return BorealisConfig(audio_config=audio_config, **values)


def _flatten(audio: Any) -> list[Any]:
    """Clips in reading order from one array, a list of arrays, or a list of lists of arrays."""
    if audio is None:
        return []
    if isinstance(audio, (list, tuple)):
        if audio and all(np.isscalar(x) for x in audio):
            return [audio]
        return [clip for item in audio for clip in _flatten(item)]
    return [audio]
