"""Fixtures shared by all tests: tiny random models, the bundled model, real recordings."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections import Counter
from pathlib import Path
from types import ModuleType

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# The user's own cache is never touched; this folder stays between runs.
os.environ.setdefault("BOREALIS_CACHE", str(Path(tempfile.gettempdir()) / "borealis-tests"))

import numpy as np
import pytest
import torch
from transformers import (
    Qwen3Config,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

import borealis
from borealis.checkpoints import resolve_checkpoint
from borealis.data.manifest import read_manifest
from borealis.data.text import CTC_CHARACTERS
from borealis.model import (
    BorealisConfig,
    BorealisForConditionalGeneration,
    BorealisProcessor,
)
from borealis.model.processing import AUDIO_TOKEN
from borealis.training.start.tokenizer import train_tokenizer
from tests.skips import (  # noqa: F401  # pytest calls them
    pytest_addoption,
    pytest_sessionfinish,
    pytest_terminal_summary,
)

ROOT = Path(__file__).resolve().parent.parent
AUDIO = ROOT / "examples" / "audio"

LINES = [
    "Мороз и солнце, день чудесный!",
    "Ещё ты дремлешь, друг прелестный.",
    "Запиши речь. Кто говорит? Сколько слов?",
    "The quick brown fox jumps over the lazy dog.",
]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with many slow tests come first: with several workers, all end at about the same time."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def load_script(path: str) -> ModuleType:
    """A file of the repository that isn't in a package (a benchmark, a hook) as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer(LINES * 20, 400, single_characters=True)


def tiny_text_config(tokenizer, **changes) -> Qwen3Config:
    """Settings of a tiny language model for `tokenizer`."""
    settings = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "tie_word_embeddings": True,
        "max_position_embeddings": 4096,
    }
    return Qwen3Config(vocab_size=len(tokenizer), **(settings | changes))


def save_tiny_whisper(folder: Path) -> None:
    """A Whisper checkpoint of random weights whose encoder has one layer."""
    torch.manual_seed(0)
    WhisperForConditionalGeneration(
        WhisperConfig(
            d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, vocab_size=10,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        )
    ).save_pretrained(folder)  # fmt: skip


@pytest.fixture(scope="session")
def make_tiny(tokenizer):
    """A factory of tiny random models: `make_tiny(adapter_type="ctc", text_config=..., ...)`."""
    tokenizer_of_lines = tokenizer

    def make(
        adapter_type: str = "mlp", *, text_config=None, seed: int = 0, own=None, **config
    ) -> tuple[BorealisForConditionalGeneration, BorealisProcessor]:
        tokenizer = own or tokenizer_of_lines
        torch.manual_seed(seed)
        audio_config = WhisperConfig(
            d_model=32,
            encoder_layers=2,
            encoder_attention_heads=4,
            encoder_ffn_dim=64,
            num_mel_bins=80,
            max_source_positions=1500,
        )
        text_config = text_config or tiny_text_config(tokenizer)
        settings = {"adapter_type": adapter_type, "encoder_window": "cut"}
        if adapter_type == "ctc":
            settings |= {
                "ctc_labels": CTC_CHARACTERS,
                "adapter_hidden_size": 32,
                "adapter_num_layers": 1,
            }
        elif adapter_type == "deep":
            settings |= {"adapter_num_layers": 2}
        model_config = BorealisConfig(
            audio_config=audio_config,
            text_config=text_config,
            audio_token_id=tokenizer.convert_tokens_to_ids(AUDIO_TOKEN),
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **(settings | config),
        )
        model = BorealisForConditionalGeneration(model_config).eval()
        if adapter_type == "ctc":
            # The sound path begins closed; tests want every path to matter.
            torch.nn.init.normal_(model.model.adapter.sound[-1].weight, std=0.05)
        extractor = WhisperFeatureExtractor(feature_size=80)
        return model, BorealisProcessor.from_config(model_config, extractor, tokenizer)

    return make


@pytest.fixture(scope="session")
def tiny(make_tiny):
    """One tiny `mlp` model and its processor."""
    return make_tiny()


@pytest.fixture(scope="session")
def tiny_model(tiny):
    return tiny[0]


@pytest.fixture(scope="session")
def tiny_processor(tiny):
    return tiny[1]


@pytest.fixture(scope="session")
def tiny_config(tiny):
    return tiny[0].config


@pytest.fixture(scope="session")
def speaking_folder(make_tiny, tmp_path_factory) -> Path:
    """A checkpoint that speaks, of random weights: what it says is noise, but it says it all."""
    from borealis.codec.nano import BorealisCodec, BorealisCodecConfig
    from borealis.training.recipe import SpeechSection
    from borealis.training.start.vocabulary import add_speech

    folder = tmp_path_factory.mktemp("speaking")
    torch.manual_seed(0)
    codec = BorealisCodec(
        BorealisCodecConfig(
            num_codebooks=2, codebook_size=32, latent_size=8, hidden_size=32,
            intermediate_size=48, encoder_layers=1, decoder_layers=1,
        )
    )  # fmt: skip
    codec.save_pretrained(folder / "codec")
    # The tokenizer of the other tiny models lacks letters.
    own = BorealisProcessor.from_pretrained(resolve_checkpoint("nano")).tokenizer
    text_config = tiny_text_config(own, head_dim=32)  # vLLM has none smaller on a CPU
    model, processor = make_tiny("ctc", text_config=text_config, own=own)
    voices = [
        {"name": name, "language": language, "gender": gender, "description": about}
        for name, language, gender, about in (
            ("anna", "ru", "female", {"en": "A calm woman.", "ru": "Спокойный женский голос."}),
            ("ivan", "ru", "male", {"en": "A low man's voice.", "ru": "Низкий мужской голос."}),
            ("kate", "en", "female", {"en": "An English woman.", "ru": "Англичанка."}),
        )
    ]
    section = SpeechSection(codec=str(folder / "codec"), num_codebooks=2, voices=voices)
    add_speech(model, processor, section)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def speaking(speaking_folder):
    """A loaded model that speaks, of random weights."""
    return borealis.load(speaking_folder)


@pytest.fixture(scope="session")
def nano():
    """The bundled model."""
    return borealis.load("nano")


@pytest.fixture(scope="session")
def clips():
    """The real recordings of examples/audio, with what is said in them."""
    return read_manifest(AUDIO / "manifest.jsonl")


@pytest.fixture(scope="session")
def speech(clips) -> Path:
    """Path of a real recording of a few seconds."""
    return Path(clips[0].audio)


@pytest.fixture
def noise():
    """`noise(seconds)`: quiet white noise, float32, 16 kHz."""

    def make(seconds: float, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return (0.05 * rng.standard_normal(round(seconds * 16_000))).astype(np.float32)

    return make
