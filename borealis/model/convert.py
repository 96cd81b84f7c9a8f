"""Making checkpoints: join a Whisper and a language model, read other layouts, leave pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from borealis.errors import CheckpointError
from borealis.files import aside, folder_aside
from borealis.model.configuration import BorealisConfig
from borealis.model.modeling import BorealisForConditionalGeneration
from borealis.model.processing import (
    AUDIO_TOKEN,
    CHAT_TEMPLATE,
    END_OF_AUDIO,
    START_OF_AUDIO,
    BorealisProcessor,
)

_LOADING_ERRORS = (OSError, ValueError, KeyError, HfHubHTTPError, HFValidationError)


def assemble(
    audio_tower: str | Path,
    language_model: str | Path,
    *,
    output: str | Path | None = None,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    **config: Any,
) -> tuple[BorealisForConditionalGeneration, BorealisProcessor]:
    """Join a Whisper encoder and a causal language model; the adapter between them is new.

    Args:
        audio_tower: Whisper of any size: hub id, folder, or a `.safetensors` file of encoder
            weights with `<name>.config.json` or `config.json` beside it.
        language_model: hub id or folder of a causal language model with its tokenizer.
        output: folder to save the checkpoint to.
        dtype: of all weights; by default the language model's own.
        seed: of the adapter's first weights.
        **config: keys of `BorealisConfig`, such as `adapter_type` or `encoder_window`.

    Returns:
        The model and its processor. The three audio tokens are added to the vocabulary where they
        are missing; their embeddings begin as the mean of the others.

    Raises:
        CheckpointError: a part can't be found or read, or isn't of the right kind.
    """
    audio_config, encoder_weights = load_encoder(audio_tower)
    tokenizer, text_model = _load_language_model(language_model, dtype)
    _add_audio_tokens(tokenizer, text_model)
    model_config = BorealisConfig(
        audio_config=audio_config,
        text_config=text_model.config,
        audio_token_id=tokenizer.convert_tokens_to_ids(AUDIO_TOKEN),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **config,
    )
    torch.manual_seed(seed)
    model = BorealisForConditionalGeneration(model_config)
    model.model.audio_tower.load_state_dict(encoder_weights)
    # The towers are taken over, not copied: at full size two copies wouldn't fit.
    model.model.language_model = text_model.model
    model.lm_head = text_model.lm_head
    model.tie_weights()
    model.to(dtype or text_model.dtype)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    processor = BorealisProcessor.from_config(
        model_config, WhisperFeatureExtractor(feature_size=audio_config.num_mel_bins), tokenizer
    )
    if output is not None:
        with folder_aside(output) as partial:
            model.save_pretrained(partial)
            processor.save_pretrained(partial)
    return model.eval(), processor


def load_encoder(source: str | Path) -> tuple[WhisperConfig, dict[str, torch.Tensor]]:
    """Config and float32 encoder weights of a Whisper; see `assemble` for what `source` may be.

    Raises:
        CheckpointError: it can't be read or isn't a Whisper.
    """
    path = Path(source)
    if path.suffix == ".safetensors":
        beside = [path.with_suffix(".config.json"), path.parent / "config.json"]
        config_file = next((p for p in beside if p.is_file()), None)
        if not path.is_file() or config_file is None:
            raise CheckpointError(
                f"'{path}' or its config ('{beside[0].name}' beside it) isn't there."
            )
        weights = {k: v.float() for k, v in _read_safetensors(path).items()}
        return WhisperConfig.from_json_file(config_file), _strip(weights, ("model.", "encoder."))
    try:
        config = AutoConfig.from_pretrained(source)
        if config.model_type != "whisper":
            raise CheckpointError(
                f"'{source}' is a {config.model_type} model; a Whisper is wanted as audio tower."
            )
        whisper = WhisperModel.from_pretrained(source, dtype=torch.float32, use_safetensors=True)
    except _LOADING_ERRORS as error:
        raise CheckpointError(f"Whisper '{source}' can't be loaded: {_first(error)}") from None
    return config, whisper.encoder.state_dict()


def _load_language_model(source: str | Path, dtype: torch.dtype | None) -> tuple[Any, Any]:
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype or "auto", use_safetensors=True
        )
    except _LOADING_ERRORS as error:
        raise CheckpointError(
            f"Language model '{source}' can't be loaded: {_first(error)}"
        ) from None
    if not hasattr(model, "lm_head") or not hasattr(model, "model"):
        raise CheckpointError(f"'{source}' ({type(model).__name__}) isn't a plain causal decoder.")
    return tokenizer, model


def _add_audio_tokens(tokenizer: Any, text_model: Any) -> None:
    marks = [START_OF_AUDIO, END_OF_AUDIO, AUDIO_TOKEN]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    # Models often have spare rows; shrinking them would move nothing and break shared files.
    if len(tokenizer) > text_model.get_input_embeddings().num_embeddings:
        text_model.resize_token_embeddings(len(tokenizer), mean_resizing=True)
    if tokenizer.chat_template is None or START_OF_AUDIO not in str(tokenizer.chat_template):
        tokenizer.chat_template = CHAT_TEMPLATE


def load_vikhr(
    source: str | Path,
    *,
    audio_tower: str | Path,
    language_model: str | Path,
) -> tuple[BorealisForConditionalGeneration, BorealisProcessor]:
    """Read a checkpoint in the layout of the published VikhrModels Borealis.

    Its weights are `encoder.*` (Whisper encoder), `llm.*` (Qwen) and `adapter.w_in.weight`,
    `adapter.w_out.weight`; every clip is padded to 30 s and keeps all 375 tokens.

    Args:
        source: folder with one `.safetensors` file, or several with their index. Weights that come
            as pickle are first turned with `convert_pickle`.
        audio_tower: Whisper (hub id or folder) whose config the encoder has.
        language_model: language model (hub id or folder) with config and tokenizer.

    Raises:
        CheckpointError: files are missing, or names or shapes don't fit that layout.
    """
    weights = _read_folder(Path(source))
    known = ("encoder.", "llm.", "adapter.w_in.weight", "adapter.w_out.weight")
    strange = [name for name in weights if not name.startswith(known)]
    if strange:
        raise CheckpointError(
            f"'{source}' has weights that this layout doesn't know, such as '{strange[0]}'."
        )
    if missing := [k for k in known[2:] if k not in weights]:
        raise CheckpointError(f"'{source}' has no '{missing[0]}': it isn't of this layout.")
    try:
        audio_config = AutoConfig.from_pretrained(audio_tower)
        text_config = AutoConfig.from_pretrained(language_model)
        tokenizer = AutoTokenizer.from_pretrained(language_model)
    except _LOADING_ERRORS as error:
        raise CheckpointError(f"Config or tokenizer can't be loaded: {_first(error)}") from None
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [START_OF_AUDIO, END_OF_AUDIO, AUDIO_TOKEN]}
    )
    embeddings = weights["llm.model.embed_tokens.weight"]
    text_config.vocab_size = embeddings.shape[0]
    if len(tokenizer) > embeddings.shape[0]:
        # The placeholder never reaches the embedding table; any row of its own will do.
        text_config.vocab_size = len(tokenizer)
        short = len(tokenizer) - embeddings.shape[0]
        for name in ("llm.model.embed_tokens.weight", "llm.lm_head.weight"):
            if name in weights:
                rows = weights[name].float().mean(0, keepdim=True).to(weights[name].dtype)
                weights[name] = torch.cat([weights[name], rows.expand(short, -1)])
    config = BorealisConfig(
        audio_config=audio_config,
        text_config=text_config,
        audio_token_id=tokenizer.convert_tokens_to_ids(AUDIO_TOKEN),
        adapter_type="mlp",
        adapter_hidden_size=weights["adapter.w_in.weight"].shape[0],
        downsample_factor=weights["adapter.w_in.weight"].shape[1] // audio_config.d_model,
        encoder_window="full",
        keep_padding=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    renamed = {_vikhr_name(name): value for name, value in weights.items()}
    if config.tie_word_embeddings:
        renamed["lm_head.weight"] = renamed["model.language_model.embed_tokens.weight"]
    model = BorealisForConditionalGeneration(config)
    try:
        model.load_state_dict(renamed)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:300]
        raise CheckpointError(f"'{source}' doesn't fit the two configs: {detail}") from None
    extractor = WhisperFeatureExtractor(feature_size=audio_config.num_mel_bins)
    processor = BorealisProcessor.from_config(
        config, extractor, tokenizer, chat_template=CHAT_TEMPLATE
    )
    return model.eval(), processor


def _vikhr_name(name: str) -> str:
    for old, new in (
        ("encoder.", "model.audio_tower."),
        ("adapter.", "model.adapter."),
        ("llm.model.", "model.language_model."),
        ("llm.lm_head.", "lm_head."),
    ):
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def convert_pickle(source: str | Path, output: str | Path) -> int:
    """Write the tensors of a pickle file as safetensors; code in the pickle is not run.

    Args:
        source: a file written by `torch.save` that holds named tensors (or `state_dict` of them).
        output: the `.safetensors` file to write.

    Returns:
        How many tensors were written.

    Raises:
        CheckpointError: the file is missing, holds anything but tensors, or isn't such a file.
    """
    path = Path(source)
    if not path.is_file():
        raise CheckpointError(f"There is no file '{source}'.")
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds; whichever it is, the file is refused
        raise CheckpointError(
            f"'{path.name}' isn't a plain file of tensors and was refused: {_first(error)}"
        ) from None
    if isinstance(data, dict) and isinstance(data.get("state_dict"), dict):
        data = data["state_dict"]
    if not isinstance(data, dict) or not data:
        raise CheckpointError(f"'{path.name}' holds no named tensors.")
    strange = [k for k, v in data.items() if not isinstance(v, torch.Tensor)]
    if strange:
        raise CheckpointError(f"'{path.name}': '{strange[0]}' isn't a tensor.")
    # A copy each: safetensors refuses tensors that share memory.
    copies = {k: v.detach().clone().contiguous() for k, v in data.items()}
    with aside(output) as partial:
        save_file(copies, partial, metadata={"format": "pt"})
    return len(data)


def _read_folder(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder: one file, or the shards that an index names."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        files = [folder / Path(name).name for name in sorted(names)]
    else:
        files = sorted(folder.glob("*.safetensors"))
    if not files:
        hint = ""
        if pickles := sorted(p.name for p in folder.glob("*.bin")):
            hint = f" '{pickles[0]}' is pickle: turn it with 'borealis convert pickle' first."
        raise CheckpointError(f"There are no safetensors weights in '{folder}'.{hint}")
    return {k: v for file in files for k, v in _read_safetensors(file).items()}


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt") as handle:
            if not handle.keys():
                raise CheckpointError(f"'{path.name}' holds no tensors.")
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"'{path}' can't be read: {_first(error)}") from None


def _strip(weights: dict[str, torch.Tensor], prefixes: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Drop `prefixes` from names, and with them everything of a Whisper that isn't encoder."""
    for prefix in prefixes:
        if any(name.startswith(prefix) for name in weights):
            weights = {
                k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)
            }
    return weights


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
