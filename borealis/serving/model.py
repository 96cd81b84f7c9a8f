"""Borealis as a model class of vLLM: its Whisper layers and language models, our adapters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput
from vllm.config import ModelConfig, SpeechToTextConfig, VllmConfig
from vllm.config.speech_to_text import SpeechToTextParams
from vllm.inputs import PromptType, TokensPrompt
from vllm.model_executor.models.interfaces import (
    SupportsLoRA,
    SupportsMultiModal,
    SupportsPP,
    SupportsTranscription,
)
from vllm.model_executor.models.module_mapping import MultiModelKeys
from vllm.model_executor.models.utils import (
    AutoWeightsLoader,
    WeightsMapper,
    init_vllm_registered_model,
    maybe_prefix,
)
from vllm.model_executor.models.whisper import WhisperEncoder, _create_fake_bias_for_k_proj
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.sequence import IntermediateTensors
from vllm.transformers_utils.processor import cached_processor_from_config

from borealis.inference.engine import TRANSCRIBE_PROMPTS
from borealis.model import BorealisConfig, BorealisProcessor
from borealis.model.adapters import ADAPTERS
from borealis.model.modeling import AudioEncoding
from borealis.model.processing import AUDIO_TOKEN, END_OF_AUDIO, START_OF_AUDIO
from borealis.prompts import encode, render
from borealis.serving.processor import (
    BorealisDummyInputsBuilder,
    BorealisMultiModalProcessor,
    BorealisProcessingInfo,
)


class BorealisAudioTower(WhisperEncoder):
    """vLLM's Whisper encoder (tensor parallel), reading a batch of windows of any one length."""

    def forward(self, input_features: torch.Tensor) -> BaseModelOutput:
        """Map `[windows, num_mel_bins, mel_frames]` to `[windows, mel_frames / 2, d_model]`."""
        hidden_states = nn.functional.gelu(self.conv1(input_features))
        hidden_states = nn.functional.gelu(self.conv2(hidden_states)).transpose(1, 2)
        positions = self.embed_positions.weight[: hidden_states.shape[1]]
        hidden_states = (hidden_states + positions).to(hidden_states.dtype)
        for layer in self.layers:
            hidden_states = layer(hidden_states)
        return BaseModelOutput(last_hidden_state=self.layer_norm(hidden_states))

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        """Whisper's keys have no bias; vLLM's joint matrix of query, key and value does."""
        mapper = WeightsMapper(
            orig_to_new_substr={".fc1.": ".mlp.fc1.", ".fc2.": ".mlp.fc2."},
            orig_to_new_stacked={
                ".self_attn.q_proj": (".self_attn.qkv_proj", "q"),
                ".self_attn.k_proj": (".self_attn.qkv_proj", "k"),
                ".self_attn.v_proj": (".self_attn.qkv_proj", "v"),
            },
        )
        weights = _create_fake_bias_for_k_proj(weights, ".k_proj.weight")
        return AutoWeightsLoader(self).load_weights(weights, mapper=mapper)


@MULTIMODAL_REGISTRY.register_processor(
    BorealisMultiModalProcessor,
    info=BorealisProcessingInfo,
    dummy_inputs=BorealisDummyInputsBuilder,
)
class BorealisForConditionalGeneration(
    AudioEncoding,
    nn.Module,
    SupportsMultiModal,
    SupportsPP,
    SupportsLoRA,
    SupportsTranscription,
):
    """The whole model. The adapter is small and stays whole on every device.

    The language model is vLLM's own class for whatever `text_config` names, so its kernels,
    tensor parallelism, quantisation and LoRA are those of vLLM.
    """

    supported_languages: ClassVar[Mapping[str, str]] = {"ru": "Russian", "en": "English"}
    packed_modules_mapping: ClassVar[dict[str, list[str]]] = {
        "qkv_proj": ["q_proj", "k_proj", "v_proj"],
        "gate_up_proj": ["gate_proj", "up_proj"],
    }
    # Other safetensors may lie beside the weights, as the extracted audio tower of `convert` does.
    allow_patterns_overrides: ClassVar[list[str]] = ["model*.safetensors"]
    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_prefix={
            "model.audio_tower.": "audio_tower.",
            "model.adapter.": "adapter.",
            "model.language_model.": "language_model.model.",
            "lm_head.": "language_model.lm_head.",
        }
    )

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config: BorealisConfig = vllm_config.model_config.hf_config
        self.config = config
        self.configure_mm_token_handling(config.text_config.vocab_size, [config.audio_token_id])
        with self._mark_tower_model(vllm_config, "audio"):
            audio_config = vllm_config.with_hf_config(
                config.audio_config, architectures=["BorealisForConditionalGeneration"]
            )
            self.audio_tower = BorealisAudioTower(
                vllm_config=audio_config,
                prefix=maybe_prefix(prefix, "audio_tower"),
                enable_pp=False,
            )
            self.adapter = ADAPTERS[config.adapter_type](config)
        with self._mark_language_model(vllm_config):
            self.language_model = init_vllm_registered_model(
                vllm_config=vllm_config,
                hf_config=config.text_config,
                prefix=maybe_prefix(prefix, "language_model"),
                architectures=config.text_config.architectures or [_causal(config.text_config)],
            )
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors

    def get_mm_mapping(self) -> MultiModelKeys:
        return MultiModelKeys.from_string_field(
            language_model="language_model.", connector="adapter.", tower_model="audio_tower."
        )

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        if modality.startswith("audio"):
            return START_OF_AUDIO + AUDIO_TOKEN + END_OF_AUDIO
        raise ValueError("Borealis takes audio and text only.")

    # ---- audio ----

    def embed_multimodal(self, **kwargs: Any) -> list[torch.Tensor]:
        """Audio tokens of each clip: a list of `[tokens, hidden_size]` in the order of the prompt.

        Args:
            **kwargs: `audio_embeds`, tokens made elsewhere; or `input_features`, of each clip
                `[windows, num_mel_bins, mel_frames]`, and `num_samples` `[windows]`.
        """
        if (ready := kwargs.get("audio_embeds")) is not None:
            return list(ready)
        if kwargs.get("input_features") is None:
            return []
        clips = list(kwargs["input_features"])
        samples = [clip.flatten() for clip in kwargs["num_samples"]]
        # Clips of different length have log-mels of different width.
        widest = max(clip.shape[-1] for clip in clips)
        stacked = torch.cat(
            [nn.functional.pad(clip, (0, widest - clip.shape[-1])) for clip in clips]
        )
        heard = self.hear(stacked, torch.cat(samples))
        counts = [self.config.num_audio_tokens(int(clip.sum())) for clip in samples]
        return list(heard.flat_tokens.split(counts))

    # ---- text ----

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: object,
    ) -> torch.Tensor | IntermediateTensors:
        if intermediate_tensors is not None:
            inputs_embeds = None
        return self.language_model.model(
            input_ids, positions, intermediate_tensors, inputs_embeds=inputs_embeds
        )

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None:
        return self.language_model.compute_logits(hidden_states)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        return AutoWeightsLoader(self).load_weights(weights, mapper=self.hf_to_vllm_mapper)

    # ---- vLLM's own /v1/audio/transcriptions, for `vllm serve` without our front ----

    @classmethod
    def get_speech_to_text_config(
        cls, model_config: ModelConfig, task_type: Literal["transcribe", "translate"]
    ) -> SpeechToTextConfig:
        config: BorealisConfig = model_config.hf_config
        longest = getattr(config, "max_segment_seconds", 30.0)
        return SpeechToTextConfig(
            sample_rate=config.sampling_rate, max_audio_clip_s=int(longest), overlap_chunk_second=1
        )

    @classmethod
    def get_num_audio_tokens(
        cls, audio_duration_s: float, stt_config: SpeechToTextConfig, model_config: ModelConfig
    ) -> int:
        config: BorealisConfig = model_config.hf_config
        return config.num_audio_tokens(max(1, round(audio_duration_s * config.sampling_rate)))

    @classmethod
    def get_generation_prompt(cls, stt_params: SpeechToTextParams) -> PromptType:
        processor = cached_processor_from_config(stt_params.model_config, BorealisProcessor)
        ids = transcription_prompt(processor, stt_params.language, stt_params.request_prompt)
        rate = stt_params.stt_config.sample_rate
        return TokensPrompt(
            prompt_token_ids=ids, multi_modal_data={"audio": (stt_params.audio, rate)}
        )

    @classmethod
    def post_process_output(cls, text: str) -> str:
        return text.strip()


def transcription_prompt(
    processor: BorealisProcessor, language: str | None = None, hint: str = ""
) -> list[int]:
    """Ids of the prompt that asks for a transcript, with one placeholder for the audio.

    Args:
        processor: the checkpoint's.
        language: `ru` or `en`, the language of the prompt.
        hint: text of the user's after it (names, terms); models differ in what they make of it.
    """
    text = TRANSCRIBE_PROMPTS[language if language in TRANSCRIBE_PROMPTS else "ru"]
    content = [{"type": "audio"}, {"type": "text", "text": f"{text} {hint}".strip()}]
    messages = [{"role": "user", "content": content}]
    prompt = render(processor.tokenizer, messages, template=processor.chat_template)
    return encode(processor.tokenizer, prompt)


def _causal(text_config: Any) -> str:
    """Name of the causal class of a language model whose config doesn't say."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[text_config.model_type]
