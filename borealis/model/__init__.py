"""Transformers-native model classes; importing this package registers them with Auto*."""

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForMultimodalLM,
    AutoProcessor,
    WhisperFeatureExtractor,
)

from borealis.model.configuration import BorealisConfig
from borealis.model.modeling import (
    BorealisForConditionalGeneration,
    BorealisModel,
    BorealisPreTrainedModel,
)
from borealis.model.processing import BorealisProcessor

AutoConfig.register("borealis", BorealisConfig, exist_ok=True)
AutoModel.register(BorealisConfig, BorealisModel, exist_ok=True)
AutoModelForMultimodalLM.register(BorealisConfig, BorealisForConditionalGeneration, exist_ok=True)
AutoFeatureExtractor.register(BorealisConfig, WhisperFeatureExtractor, exist_ok=True)
AutoProcessor.register(BorealisConfig, BorealisProcessor, exist_ok=True)

__all__ = [
    "BorealisConfig",
    "BorealisForConditionalGeneration",
    "BorealisModel",
    "BorealisPreTrainedModel",
    "BorealisProcessor",
]
