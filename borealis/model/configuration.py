"""Configuration of a Borealis model, and the one place that counts audio tokens."""

from __future__ import annotations

import math
from typing import Any

from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto import CONFIG_MAPPING

ADAPTER_TYPES = ("mlp", "deep", "ctc")
ENCODER_WINDOWS = ("full", "cut")
SPEECH_KEYS = ("codec", "num_codebooks", "codebook_size", "layout", "first_id")
VOICE_KEYS = ("voices", "symbols", "symbol_ids")  # of models that were taught to speak


class BorealisConfig(PreTrainedConfig):
    """Everything that fixes the architecture: two towers, the adapter, and the window arithmetic.

    Args:
        audio_config: a `WhisperConfig` (or its dict) of any size. Only the encoder part is used.
        text_config: the config (or dict) of any causal language model of transformers.
        audio_token_id: id of the placeholder `<|audio|>` in the tokenizer.
        downsample_factor: how many 50 Hz encoder frames become one audio token (4 -> 12.5 Hz).
        adapter_type: `mlp` (two bias-free linear layers with GELU), `deep` (input projection and
            residual MLP layers) or `ctc` (a transformer over frames whose CTC posteriors are
            embedded for the language model; for small models trained from scratch).
        adapter_hidden_size: width inside the adapter. For `mlp` and `deep` None means the
            language model's `hidden_size`.
        adapter_num_layers: residual MLP layers of `deep`, transformer blocks of `ctc`.
        adapter_expansion: width of a feed-forward layer relative to `adapter_hidden_size`.
        adapter_num_heads: attention heads of a `ctc` block.
        adapter_conv_kernel_size: width of the depthwise convolution of a `ctc` block, in frames.
        adapter_frame_stack: frames concatenated before the blocks of `ctc`; must divide
            `downsample_factor`. Every original frame keeps its own CTC output.
        adapter_dropout: dropout inside `deep` and `ctc`, training only.
        adapter_hidden_act: name of the activation.
        ctc_labels: the characters that CTC can emit; class 0 is the blank and isn't listed.
        encoder_window: `full` pads every window to 30 s as Whisper was trained; `cut` encodes only
            the clip and a margin, several times cheaper for short clips.
        encoder_window_margin: seconds of silence after the clip that a cut window keeps.
        encoder_window_step: cut windows are rounded up to a multiple of this many seconds, so that
            clips of similar length can share a batch.
        keep_padding: give the language model the tokens of the padding too (375 per window), as
            the published VikhrModels checkpoints expect. Needs `encoder_window="full"`.
        sampling_rate: Hz.
        hop_length: samples per log-mel frame.
        max_audio_seconds: longest audio the processor accepts in one prompt.
        speech: tokens of a codec in the vocabulary, for models that speak: `codec` (as
            `borealis.codec.load_codec` takes it), `num_codebooks`, `codebook_size`, `layout`
            (`flat` or `delay`) and `first_id`, the id of `<|start_of_speech|>`; the others follow
            it. Models that were taught to speak have `voices` too (`name`, `language`, `gender`,
            `description` each; their tokens stand behind the codec's), `symbols` and
            `symbol_ids`, the token of each (see `borealis.speech.vocabulary`). None, and nothing is
            written into `config.json`, if there are none.

    Raises:
        ValueError: settings that don't go together.
    """

    model_type = "borealis"
    # Of the class: the files of models that don't speak know nothing of it.
    speech: dict[str, Any] | None = None
    sub_configs = {"text_config": AutoConfig, "audio_config": AutoConfig}  # noqa: RUF012

    def __init__(
        self,
        audio_config: PreTrainedConfig | dict[str, Any] | None = None,
        text_config: PreTrainedConfig | dict[str, Any] | None = None,
        audio_token_id: int = 0,
        downsample_factor: int = 4,
        adapter_type: str = "mlp",
        adapter_hidden_size: int | None = None,
        adapter_num_layers: int = 3,
        adapter_expansion: float = 1.5,
        adapter_num_heads: int = 4,
        adapter_conv_kernel_size: int = 15,
        adapter_frame_stack: int = 2,
        adapter_dropout: float = 0.0,
        adapter_hidden_act: str = "gelu",
        ctc_labels: str | None = None,
        encoder_window: str = "full",
        encoder_window_margin: float = 1.0,
        encoder_window_step: float = 1.0,
        keep_padding: bool = False,
        sampling_rate: int = 16_000,
        hop_length: int = 160,
        max_audio_seconds: float = 600.0,
        speech: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.audio_config = _sub_config(audio_config, "whisper")
        self.text_config = _sub_config(text_config, "qwen3")
        self.audio_token_id = audio_token_id
        self.downsample_factor = downsample_factor
        self.adapter_type = adapter_type
        self.adapter_hidden_size = adapter_hidden_size
        self.adapter_num_layers = adapter_num_layers
        self.adapter_expansion = adapter_expansion
        self.adapter_num_heads = adapter_num_heads
        self.adapter_conv_kernel_size = adapter_conv_kernel_size
        self.adapter_frame_stack = adapter_frame_stack
        self.adapter_dropout = adapter_dropout
        self.adapter_hidden_act = adapter_hidden_act
        self.ctc_labels = ctc_labels
        self.encoder_window = encoder_window
        self.encoder_window_margin = encoder_window_margin
        self.encoder_window_step = encoder_window_step
        self.keep_padding = keep_padding
        self.sampling_rate = sampling_rate
        self.hop_length = hop_length
        self.max_audio_seconds = max_audio_seconds
        if speech is not None:
            self.speech = speech
        # The language model decides whether the output layer shares the embedding matrix.
        kwargs.setdefault(
            "tie_word_embeddings", getattr(self.text_config, "tie_word_embeddings", False)
        )
        super().__init__(**kwargs)
        self._check()

    def _check(self) -> None:
        if self.adapter_type not in ADAPTER_TYPES:
            raise ValueError(
                f"adapter_type is {self.adapter_type!r}; "
                f"it must be one of {', '.join(ADAPTER_TYPES)}."
            )
        if self.encoder_window not in ENCODER_WINDOWS:
            raise ValueError(
                f"encoder_window is {self.encoder_window!r}; it must be 'full' or 'cut'."
            )
        if self.downsample_factor < 1:
            raise ValueError(
                f"downsample_factor is {self.downsample_factor}; it must be 1 or more."
            )
        if self.keep_padding and self.encoder_window != "full":
            raise ValueError(
                "keep_padding needs encoder_window='full': a cut window has no padding to keep."
            )
        if self.speech is not None:
            self._check_speech(self.speech)
        if self.adapter_type == "ctc":
            if not self.ctc_labels:
                raise ValueError(
                    "adapter_type='ctc' needs ctc_labels, the characters CTC may emit."
                )
            if self.downsample_factor % self.adapter_frame_stack:
                raise ValueError(
                    f"adapter_frame_stack={self.adapter_frame_stack} must divide "
                    f"downsample_factor={self.downsample_factor}."
                )

    def _check_speech(self, speech: dict[str, Any]) -> None:
        if sorted(speech) not in (sorted(SPEECH_KEYS), sorted(SPEECH_KEYS + VOICE_KEYS)):
            raise ValueError(
                f"speech has the keys {', '.join(speech)}; it must have {', '.join(SPEECH_KEYS)}, "
                f"and with voices {', '.join(VOICE_KEYS)}."
            )
        if speech["layout"] not in ("flat", "delay"):
            raise ValueError(
                f"speech.layout is {speech['layout']!r}; it must be 'flat' or 'delay'."
            )
        # Three marks and the codes of each book.
        end = speech["first_id"] + 3 + speech["num_codebooks"] * speech["codebook_size"]
        if "voices" in speech:
            if not speech["voices"] or speech["layout"] != "flat":
                raise ValueError("speech.voices must have one at least, and the layout be 'flat'.")
            if len(speech["symbols"]) != len(speech["symbol_ids"]):
                raise ValueError(
                    f"speech has {len(speech['symbols'])} symbols and "
                    f"{len(speech['symbol_ids'])} symbol_ids; one each is needed."
                )
            end += 1 + len(speech["voices"])
        if end > self.text_config.vocab_size:
            raise ValueError(
                f"The tokens of the codec end at id {end}, and the language model has "
                f"{self.text_config.vocab_size} rows of embeddings."
            )

    # ---- lengths: the processor, the model, the trainer and the vLLM plugin all call these ----

    @property
    def frame_length(self) -> int:
        """Samples per encoder frame: Whisper's second convolution halves the log-mel rate."""
        return self.hop_length * 2

    @property
    def window_length(self) -> int:
        """Samples in a full encoder window (480,000 = 30 s for every Whisper)."""
        return self.audio_config.max_source_positions * self.frame_length

    def window_spans(self, num_samples: int) -> list[tuple[int, int]]:
        """Cut `num_samples` samples into consecutive `(start, end)` windows of at most 30 s."""
        if num_samples < 1:
            raise ValueError("The audio has no samples; there is nothing to encode.")
        step = self.window_length
        return [(s, min(s + step, num_samples)) for s in range(0, num_samples, step)]

    def encoder_samples(self, num_samples: int) -> int:
        """Samples the encoder sees for one window that holds `num_samples` samples of audio."""
        if self.encoder_window == "full":
            return self.window_length
        step = round(self.encoder_window_step * self.sampling_rate)
        wanted = num_samples + round(self.encoder_window_margin * self.sampling_rate)
        padded = math.ceil(wanted / step) * step
        # The second convolution needs whole frames.
        return min(math.ceil(padded / self.frame_length) * self.frame_length, self.window_length)

    def num_encoder_frames(self, num_samples: int) -> int:
        """50 Hz encoder frames kept for one window that holds `num_samples` samples of audio."""
        if self.keep_padding:
            return self.audio_config.max_source_positions
        return math.ceil(min(num_samples, self.window_length) / self.frame_length)

    def num_tokens_from_frames(self, num_frames: int) -> int:
        """Audio tokens made of `num_frames` encoder frames; the last token may be part padding."""
        return math.ceil(num_frames / self.downsample_factor)

    def num_audio_tokens(self, num_samples: int) -> int:
        """Audio tokens (placeholders in the prompt) of a clip of `num_samples` samples."""
        return sum(
            self.num_tokens_from_frames(self.num_encoder_frames(end - start))
            for start, end in self.window_spans(num_samples)
        )


def _sub_config(value: PreTrainedConfig | dict[str, Any] | None, default: str) -> PreTrainedConfig:
    """A nested config from what `from_pretrained` (dict) or a caller (object, None) gives."""
    if isinstance(value, dict):
        kind = value.get("model_type", default)
        return CONFIG_MAPPING[kind](**{k: v for k, v in value.items() if k != "model_type"})
    return CONFIG_MAPPING[default]() if value is None else value
