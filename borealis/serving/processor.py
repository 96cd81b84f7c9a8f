"""How vLLM prepares audio for Borealis: the processor of transformers, one clip at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import BatchFeature
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.parse import MultiModalDataParser
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    PromptReplacement,
    PromptUpdate,
)

from borealis.errors import PromptError
from borealis.model import BorealisConfig, BorealisProcessor

# Room for the text around the audio when the longest clip that fits is looked for.
_TEXT_TOKENS = 64


class BorealisProcessingInfo(BaseProcessingInfo):
    """What vLLM must know of the model before it sees any audio."""

    def get_hf_config(self) -> BorealisConfig:
        return self.ctx.get_hf_config(BorealisConfig)

    def get_hf_processor(self, **kwargs: object) -> BorealisProcessor:
        # Options of a request aren't for it.
        return self.ctx.get_hf_processor(BorealisProcessor)

    def get_data_parser(self) -> MultiModalDataParser:
        return MultiModalDataParser(
            target_sr=self.get_hf_config().sampling_rate,
            target_channels=1,
            # The default, torchaudio, has no CPU build on PyPI.
            audio_resample_method="soxr",
            expected_hidden_size=self._get_expected_hidden_size(),
        )

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        return {"audio": None}

    def get_mm_max_tokens_per_item(
        self, seq_len: int, mm_counts: Mapping[str, int]
    ) -> Mapping[str, int]:
        return {"audio": self.get_hf_config().num_audio_tokens(self.longest_clip())}

    def longest_clip(self) -> int:
        """Samples of the longest clip that fits the context: the worst case, for memory."""
        config = self.get_hf_config()
        room = max(1, self.ctx.model_config.max_model_len - _TEXT_TOKENS)
        low, high = 1, round(config.max_audio_seconds * config.sampling_rate)
        while low < high:  # the count never falls as the clip grows
            middle = (low + high + 1) // 2
            low, high = (
                (middle, high) if config.num_audio_tokens(middle) <= room else (low, middle - 1)
            )
        return low


class BorealisDummyInputsBuilder(BaseDummyInputsBuilder[BorealisProcessingInfo]):
    """Silence, with which vLLM measures memory at its start."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        return self.info.get_hf_processor().audio_token * mm_counts.get("audio", 0)

    def get_dummy_mm_data(
        self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        audios = self._get_dummy_audios(
            length=self.info.longest_clip(),
            num_audios=mm_counts.get("audio", 0),
            overrides=mm_options.get("audio"),
        )
        return {"audio": audios}


class BorealisMultiModalProcessor(BaseMultiModalProcessor[BorealisProcessingInfo]):
    """Clips -> log-mel windows and the number of placeholders each needs."""

    def _call_hf_processor(
        self, hf_data: Mapping[str, Any], hf_kwargs: Mapping[str, Any]
    ) -> BatchFeature:
        """Features of every clip by itself: vLLM's cache puts clips together anew."""
        processor = self.info.get_hf_processor()
        clips = hf_data.get("audio", [])
        try:
            features = [processor(audio=[clip]) for clip in clips]
        except PromptError as error:
            raise ValueError(str(error)) from None  # vLLM's kind of a user's mistake
        dtype = self.info.ctx.model_config.dtype
        return BatchFeature(
            {
                "input_features": [f["input_features"].to(dtype) for f in features],
                "num_samples": [f["num_samples"] for f in features],
            }
        )

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        return {
            "input_features": MultiModalFieldConfig.batched("audio"),
            "num_samples": MultiModalFieldConfig.batched("audio", keep_on_cpu=True),
            "audio_embeds": MultiModalFieldConfig.batched("audio"),
        }

    def _get_prompt_updates(
        self,
        mm_items: Any,
        hf_processor_mm_kwargs: Mapping[str, object],
        out_mm_kwargs: Any,
    ) -> Sequence[PromptUpdate]:
        config = self.info.get_hf_config()
        placeholder = config.audio_token_id

        def replacement(index: int) -> list[int]:
            item = out_mm_kwargs["audio"][index]
            if "audio_embeds" in item:
                return [placeholder] * len(item["audio_embeds"].data)
            return [placeholder] * config.num_audio_tokens(int(item["num_samples"].data.sum()))

        return [PromptReplacement(modality="audio", target=[placeholder], replacement=replacement)]
