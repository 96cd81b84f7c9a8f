"""The model a run begins with: a checkpoint, two models put together, or one made from nothing."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, WhisperFeatureExtractor

from borealis.checkpoints import resolve_checkpoint
from borealis.ctc.ngram import Ngram
from borealis.data.text import CTC_CHARACTERS, read_lines
from borealis.errors import RecipeError
from borealis.files import aside
from borealis.model import BorealisConfig, BorealisForConditionalGeneration, BorealisProcessor
from borealis.model.convert import assemble, load_encoder
from borealis.model.processing import AUDIO_TOKEN
from borealis.training.recipe import ModelSection, Recipe
from borealis.training.start.letters import start_from_letters
from borealis.training.start.ngram import count_ngrams
from borealis.training.start.tokenizer import train_tokenizer
from borealis.training.start.vocabulary import add_speech, codec_of

# A tokenizer needs examples of the language, not all of it.
_TOKENIZER_LINES = 120_000


def make_model(
    recipe: Recipe, data: Path
) -> tuple[BorealisForConditionalGeneration, BorealisProcessor, Ngram | None]:
    """Model, processor and letter n-gram, as `recipe.model` says.

    Args:
        recipe: what they are made of.
        data: data folder, with the corpora.

    Raises:
        RecipeError: a part can't be made; the message names the key.
    """
    section = recipe.model
    ngram = None
    # A mistake in its name should be told before a large model is loaded.
    codec = codec_of(section.speech) if section.speech else None
    if section.checkpoint:
        source = resolve_checkpoint(section.checkpoint)
        model = BorealisForConditionalGeneration.from_pretrained(source, dtype=torch.float32)
        processor = BorealisProcessor.from_pretrained(source)
        ngram = Ngram.of_checkpoint(source)
    elif section.language_model:
        model, processor = assemble(
            _audio_tower(section), section.language_model, seed=recipe.seed, **section.config
        )
    else:
        model, processor = _from_scratch(recipe, data)
    if section.speech:
        add_speech(model, processor, section.speech, codec, seed=recipe.seed)
    if section.ngram:
        settings = section.ngram.model_dump()
        names = settings.pop("corpora") or recipe.data.corpora
        corpora = [data / name for name in names]
        settings["word_corpora"] = [data / name for name in settings["word_corpora"]]
        if not model.config.ctc_labels:
            raise RecipeError("model.ngram needs adapter_type ctc: it counts what CTC spells.")
        ngram = count_ngrams(corpora, model.config.ctc_labels, **settings)
    return model, processor, ngram


def _from_scratch(
    recipe: Recipe, data: Path
) -> tuple[BorealisForConditionalGeneration, BorealisProcessor]:
    section = recipe.model
    if not recipe.data.corpora:
        raise RecipeError("A language model from scratch needs data.corpora to learn from.")
    lines: list[str] = []
    for name in recipe.data.corpora:
        lines += read_lines(data / name)[:_TOKENIZER_LINES]
    tokenizer = train_tokenizer(
        lines, section.tokenizer_vocab_size, single_characters=section.tokenizer_single_characters
    )
    audio_config, weights = load_encoder(_audio_tower(section))
    values = dict(section.text_config or {}, vocab_size=len(tokenizer))
    text_config = AutoConfig.for_model(
        values.pop("model_type", "qwen3"),
        **values,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    config = dict(section.config)
    if config.get("adapter_type") == "ctc":
        config.setdefault("ctc_labels", CTC_CHARACTERS)
    torch.manual_seed(recipe.seed)
    model = BorealisForConditionalGeneration(
        BorealisConfig(
            audio_config=audio_config,
            text_config=text_config,
            audio_token_id=tokenizer.convert_tokens_to_ids(AUDIO_TOKEN),
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **config,
        )
    )
    model.model.audio_tower.load_state_dict(weights)
    if config.get("adapter_type") == "ctc":
        start_from_letters(model, tokenizer, seed=recipe.seed)
    extractor = WhisperFeatureExtractor(feature_size=audio_config.num_mel_bins)
    return model, BorealisProcessor.from_config(model.config, extractor, tokenizer)


def _audio_tower(section: ModelSection) -> str | Path:
    """Where the encoder comes from; the bundled checkpoint's is written out as a Whisper file."""
    assert section.audio_tower is not None
    if section.audio_tower != "nano":
        return section.audio_tower
    from safetensors.torch import load_file, save_file

    source = Path(resolve_checkpoint("nano"))
    target = source / "audio_tower.safetensors"
    if not target.is_file():
        prefix = "model.audio_tower."
        weights = load_file(source / "model.safetensors")
        encoder = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        config = BorealisConfig.from_pretrained(source).audio_config
        config.to_json_file(source / "audio_tower.config.json")
        with aside(target) as partial:
            save_file(encoder, partial, metadata={"format": "pt"})
    return target
