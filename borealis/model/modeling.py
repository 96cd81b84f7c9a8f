"""The model: Whisper encoder -> adapter -> causal language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, Cache, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    BaseModelOutputWithPooling,
    CausalLMOutputWithPast,
)

from borealis.model.adapters import ADAPTERS, CTCAdapter
from borealis.model.audio_tower import BorealisAudioTower
from borealis.model.configuration import BorealisConfig

# Arguments of `forward` whose rows are windows and not prompts.
_OF_WINDOWS = ("input_features", "num_samples", "audio_tokens")


@dataclass
class BorealisOutputWithPast(CausalLMOutputWithPast):
    """`CausalLMOutputWithPast` and the audio tokens that were put into the prompt.

    Args:
        audio_hidden_states: `[audio_tokens, hidden_size]`, all clips of the batch in order.
    """

    audio_hidden_states: torch.Tensor | None = None


@dataclass
class Heard:
    """What the audio tower and the adapter make of windows of audio.

    Args:
        tokens: audio tokens for the language model `[windows, ceil(T / factor), hidden_size]`.
        token_mask: which of them hold audio `[windows, ceil(T / factor)]`.
        logits: of the letters of a `ctc` adapter for every 20 ms frame
            `[windows, T, num_classes]`; None with other adapters.
        mask: which frames hold audio `[windows, T]`.
    """

    tokens: torch.Tensor
    token_mask: torch.Tensor
    logits: torch.Tensor | None
    mask: torch.Tensor

    @property
    def flat_tokens(self) -> torch.Tensor:
        """Audio tokens without padding, window after window: `[tokens, hidden_size]`."""
        return self.tokens[self.token_mask]

    def log_probs(self) -> list[torch.Tensor]:
        """Natural log probabilities of each window's letters: `[frames, num_classes]` each."""
        if self.logits is None:
            raise ValueError("Only a 'ctc' adapter hears letters; this model has another.")
        rows = self.logits.float().log_softmax(-1)  # [windows, T, num_classes]
        return [row[:n] for row, n in zip(rows, self.mask.sum(1).tolist(), strict=True)]


def _leading(lengths: torch.Tensor, width: int) -> torch.Tensor:
    """True in the first `lengths` places of each row: `[rows, width]`."""
    return torch.arange(width, device=lengths.device)[None] < lengths[:, None]


class BorealisPreTrainedModel(PreTrainedModel):
    """Shared switches of the library: attention backends, checkpointing, initialisation."""

    config: BorealisConfig
    config_class = BorealisConfig
    base_model_prefix = "model"
    input_modalities = ("audio", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ("past_key_values",)
    _no_split_modules = ("WhisperEncoderLayer", "CTCBlock")

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, CTCAdapter):
            # The sum of a token's four frames then has about the size of a text embedding.
            init.normal_(module.label_embeddings, std=0.03)
            # The sound path opens during training: at first the model sees characters alone.
            init.zeros_(module.sound[-1].weight)


class AudioEncoding:
    """Log-mel windows -> audio tokens, for whatever holds a config, an audio tower and an adapter.

    `BorealisModel` and the model class of the vLLM plugin share it.
    """

    config: BorealisConfig
    audio_tower: Any
    adapter: Any

    def encode_audio(
        self, input_features: torch.Tensor, num_samples: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the audio tower and drop the frames of padding.

        Windows are encoded at their own length (`config.encoder_samples`), equal lengths
        together, so a window's result doesn't depend on what shares its batch.

        Args:
            input_features: log-mel `[windows, num_mel_bins, mel_frames]`.
            num_samples: samples of audio in each window `[windows]`.

        Returns:
            Frames `[windows, T, d_model]` and their mask `[windows, T]`, true where there is audio.
        """
        counts = num_samples.tolist()
        frames = [self.config.num_encoder_frames(n) for n in counts]
        weight = self.audio_tower.conv1.weight
        hidden = weight.new_zeros(len(counts), max(frames), self.config.audio_config.d_model)
        groups: dict[int, list[int]] = {}
        for row, n in enumerate(counts):
            groups.setdefault(self.config.encoder_samples(n), []).append(row)
        for samples, rows in groups.items():
            mel_frames = samples // self.config.hop_length
            if input_features.shape[-1] < mel_frames:
                raise ValueError(
                    f"A window of {max(counts[r] for r in rows)} samples needs {mel_frames} "
                    f"log-mel frames and input_features has {input_features.shape[-1]}."
                )
            window = input_features[rows, :, :mel_frames].to(weight.device, weight.dtype)
            encoded = self.audio_tower(window).last_hidden_state
            for place, row in enumerate(rows):
                hidden[row, : frames[row]] = encoded[place, : frames[row]]
        lengths = torch.tensor(frames, device=hidden.device)
        return hidden, _leading(lengths, hidden.shape[1])

    def hear(self, input_features: torch.Tensor, num_samples: torch.Tensor) -> Heard:
        """All that there is to know of windows of audio, by one run of tower and adapter.

        Args:
            input_features: log-mel `[windows, num_mel_bins, mel_frames]`.
            num_samples: samples of audio in each window `[windows]`.
        """
        return self.hear_frames(*self.encode_audio(input_features, num_samples))

    def hear_frames(self, frames: torch.Tensor, mask: torch.Tensor) -> Heard:
        """`hear` for encoder frames `[windows, T, d_model]` with their mask `[windows, T]`."""
        tokens, logits = self.adapter.forward_with_logits(frames, mask)
        return Heard(tokens, self.token_mask(mask, tokens.shape[1]), logits, mask)

    def num_tokens(self, num_samples: torch.Tensor) -> torch.Tensor:
        """Audio tokens of windows of `num_samples` samples each: `[windows]`."""
        frames = map(self.config.num_encoder_frames, num_samples.tolist())
        return torch.tensor([self.config.num_tokens_from_frames(n) for n in frames])

    def token_mask(self, mask: torch.Tensor, num_tokens: int) -> torch.Tensor:
        """Which audio tokens of each window hold audio: `[windows, num_tokens]`."""
        lengths = torch.tensor(
            [self.config.num_tokens_from_frames(n) for n in mask.sum(1).tolist()],
            device=mask.device,
        )
        return _leading(lengths, num_tokens)


class BorealisModel(AudioEncoding, BorealisPreTrainedModel):
    """Both towers and the adapter, without the output layer."""

    def __init__(self, config: BorealisConfig) -> None:
        super().__init__(config)
        self.audio_tower = BorealisAudioTower(config.audio_config)
        self.adapter = ADAPTERS[config.adapter_type](config)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_audio_features(
        self, input_features: torch.Tensor, num_samples: torch.Tensor, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """Audio tokens of all windows of a batch.

        Args:
            input_features: log-mel `[windows, num_mel_bins, mel_frames]`.
            num_samples: samples of audio in each window `[windows]`.

        Returns:
            `last_hidden_state` (encoder frames `[windows, T, d_model]`) and `pooler_output`
            (`[audio_tokens, hidden_size]`, window after window, padding left out).
        """
        frames, mask = self.encode_audio(input_features, num_samples)
        return BaseModelOutputWithPooling(
            last_hidden_state=frames, pooler_output=self.hear_frames(frames, mask).flat_tokens
        )

    def embed_prompt(self, input_ids: torch.Tensor, audio_tokens: torch.Tensor) -> torch.Tensor:
        """Text embeddings with `audio_tokens` in the places of the placeholders.

        Args:
            input_ids: `[batch, sequence]`.
            audio_tokens: `[audio_tokens, hidden_size]` in reading order.

        Returns:
            `[batch, sequence, hidden_size]`.

        Raises:
            ValueError: the prompt holds another number of placeholders than there are tokens.
        """
        embeds = self.get_input_embeddings()(input_ids)
        places = input_ids == self.config.audio_token_id
        wanted, given = int(places.sum()), audio_tokens.shape[0]
        if wanted != given:
            raise ValueError(
                f"The prompt has {wanted} audio placeholders and the audio gave {given} tokens. "
                "Build prompts with BorealisProcessor, which counts with config.num_audio_tokens."
            )
        audio_tokens = audio_tokens.to(embeds.device, embeds.dtype)
        return embeds.masked_scatter(places[..., None].expand_as(embeds), audio_tokens)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        num_samples: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        audio_tokens: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> tuple[BaseModelOutputWithPast, torch.Tensor | None]:
        """Hidden states of the language model, and the audio tokens if audio was given."""
        flat = None
        if inputs_embeds is None:
            if input_features is None and audio_tokens is None:
                inputs_embeds = self.get_input_embeddings()(input_ids)
            else:
                if num_samples is None:
                    raise ValueError("Audio needs num_samples, as the processor gives.")
                if audio_tokens is None:
                    flat = self.get_audio_features(input_features, num_samples).pooler_output
                else:
                    counts = self.num_tokens(num_samples).to(audio_tokens.device)
                    flat = audio_tokens[_leading(counts, audio_tokens.shape[1])]
                inputs_embeds = self.embed_prompt(input_ids, flat)
        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )
        return outputs, flat


class BorealisForConditionalGeneration(BorealisPreTrainedModel, GenerationMixin):
    """The whole model with its output layer; `generate` works as for any causal model."""

    _tied_weights_keys = {  # noqa: RUF012
        "lm_head.weight": "model.language_model.embed_tokens.weight"
    }

    def __init__(self, config: BorealisConfig) -> None:
        super().__init__(config)
        self.model = BorealisModel(config)
        text = config.text_config
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        self.post_init()

    def get_audio_features(
        self, input_features: torch.Tensor, num_samples: torch.Tensor, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """See `BorealisModel.get_audio_features`."""
        return self.model.get_audio_features(input_features, num_samples, **kwargs)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        num_samples: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        audio_tokens: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Any,
    ) -> BorealisOutputWithPast:
        """Next-token logits, and the loss where `labels` aren't -100.

        Args:
            input_ids: `[batch, sequence]` with `audio_token_id` at the placeholders.
            input_features: log-mel of all windows of the batch `[windows, num_mel_bins, frames]`.
            num_samples: samples of audio in each window `[windows]`.
            attention_mask: `[batch, sequence]`, 0 at padding.
            position_ids: `[batch, sequence]`.
            past_key_values: cache of earlier positions.
            inputs_embeds: `[batch, sequence, hidden_size]` instead of the ids and features.
            audio_tokens: what was heard of the windows before (`hear(...).tokens`)
                `[windows, tokens, hidden_size]`, instead of the features.
            labels: `[batch, sequence]`; -100 is ignored.
            use_cache: keep keys and values for the next step.
            logits_to_keep: how many last positions to compute logits for (0: all).
            **kwargs: passed to the language model.
        """
        num_items = kwargs.pop("num_items_in_batch", None)
        outputs, flat = self.model(
            input_ids=input_ids,
            input_features=input_features,
            num_samples=num_samples,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            audio_tokens=audio_tokens,
            use_cache=use_cache,
            **kwargs,
        )
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, keep])
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits,
                labels=labels,
                vocab_size=logits.shape[-1],
                num_items_in_batch=num_items,
            )
        return BorealisOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            audio_hidden_states=flat,
        )

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.Tensor,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> dict:
        """Give the audio to the first step only: afterwards it lives in the cache."""
        audio = {name: kwargs.pop(name, None) for name in _OF_WINDOWS}
        first = kwargs.get("is_first_iteration", False)
        inputs = super().prepare_inputs_for_generation(
            input_ids, inputs_embeds=inputs_embeds, **kwargs
        )
        if first or not kwargs.get("use_cache", True):
            inputs |= audio
        return inputs

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, input_ids: torch.Tensor | None = None, **kwargs: Any
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """A row for each beam, with all windows of its row: they have no dimension of the batch."""
        audio = {name: kwargs.pop(name) for name in _OF_WINDOWS if kwargs.get(name) is not None}
        if audio and expand_size > 1:
            assert input_ids is not None
            placeholders = (input_ids == self.config.audio_token_id).sum(1).cpu()
            last = self.model.num_tokens(audio["num_samples"]).cumsum(0) - 1
            row_of = torch.searchsorted(placeholders.cumsum(0), last, right=True)
            windows = [
                w
                for row in range(len(input_ids))
                for w in (row_of == row).nonzero()[:, 0].tolist() * expand_size
            ]
            audio = {name: value[windows] for name, value in audio.items()}
        ids, others = super()._expand_inputs_for_generation(
            expand_size=expand_size, input_ids=input_ids, **kwargs
        )
        return ids, others | audio
