"""Sizes from shapes: parameters, operations and bytes of every part, without building the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from borealis.checkpoints import bundled
from borealis.errors import BorealisError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from borealis.model import BorealisConfig


class PlanError(BorealisError):
    """A plan was asked for something that the planner doesn't know or that makes no sense."""


# d_model, layers, attention heads, log-mel channels of the published Whisper encoders (their
# config.json). The encoder of large-v3-turbo has the shape of large-v3's: only its decoder is
# smaller, and Borealis has no use for a decoder.
_WHISPERS = {
    "tiny": (384, 4, 6, 80),
    "base": (512, 6, 8, 80),
    "small": (768, 12, 12, 80),
    "medium": (1024, 24, 16, 80),
    "large-v3": (1280, 32, 20, 128),
    "large-v3-turbo": (1280, 32, 20, 128),
}
# hidden_size, layers, intermediate_size, attention heads of Qwen3 (its config.json). All have 8
# key-value heads of 128 and share the embedding matrix with the output layer.
_QWEN3 = {
    "qwen3-0.6b": (1024, 28, 3072, 16),
    "qwen3-1.7b": (2048, 28, 6144, 16),
    "qwen3-4b": (2560, 36, 9728, 32),
}
_QWEN3_VOCABULARY = 151_936
_QWEN3_TOKENS = 151_669  # that its tokenizer has; the other rows are spare
# Codes in a codebook of the codecs of the hub (their config.json).
_CODEBOOK_SIZES = {
    "encodec_24khz": 1024,
    "encodec_32khz": 2048,
    "mimi": 2048,
    "dac_16khz": 1024,
    "dac_24khz": 1024,
    "dac_44khz": 1024,
}
NANO = "nano"

ENCODERS = tuple(_WHISPERS)
LANGUAGE_MODELS = (NANO, *_QWEN3)
# How audio shorter than a window is padded, as settings of BorealisConfig.
PADDINGS: dict[str, dict[str, Any]] = {
    "none": {"encoder_window": "cut"},
    "encoder": {"encoder_window": "full"},
    "all": {"encoder_window": "full", "keep_padding": True},
}


@dataclass(frozen=True)
class Part:
    """A part of the model, as the arithmetic sees it.

    Args:
        parameters: numbers in its weights.
        linear: operations of the forward pass for one position: two for each weight that a matrix
            product uses.
        attention: operations of attention scores and sums, for each pair of positions.
        lora: numbers of a LoRA update of rank 1, for each kind of linear layer, all layers
            together.
        kept: numbers that one position keeps for the backward pass, all layers together.
        kept_recomputed: the same if layers are computed again in the backward pass: the input of
            each and everything of one.
        cache: numbers of keys and values of one position.
        vocabulary: size of the output layer, 0 where there is none.
        layers: equal layers.
        matrices: numbers in the linear layers of all of them: what 4 bits can hold.
    """

    parameters: int
    linear: int
    attention: int = 0
    lora: Mapping[str, int] = field(default_factory=dict)
    kept: int = 0
    kept_recomputed: int = 0
    cache: int = 0
    vocabulary: int = 0
    layers: int = 0
    matrices: int = 0

    def forward(self, positions: float, row: float | None = None) -> float:
        """Operations of the forward pass over a sequence of `positions`, alone or in a row."""
        pairs = positions * (positions if row is None else row)
        return self.linear * positions + self.attention * pairs


def nano_config() -> dict[str, Any]:
    """`config.json` of the bundled checkpoint: nano's own shapes."""
    return json.loads((bundled()[NANO] / "config.json").read_text(encoding="utf-8"))


def encoder_config(name: str) -> PreTrainedConfig:
    """Config of a Whisper by size (`large-v3`), hub id of OpenAI's or folder; `nano` is nano's.

    Raises:
        PlanError: none of these.
    """
    from transformers import WhisperConfig

    if name == NANO:
        return WhisperConfig(**nano_config()["audio_config"])
    if (size := _short(name).removeprefix("whisper-")) in _WHISPERS:
        width, layers, heads, channels = _WHISPERS[size]
        return WhisperConfig(
            d_model=width,
            encoder_layers=layers,
            encoder_attention_heads=heads,
            encoder_ffn_dim=4 * width,
            num_mel_bins=channels,
        )
    path = Path(name)
    beside = [path.with_suffix(".config.json"), path.parent / "config.json"]
    file = beside if path.suffix == ".safetensors" else [path / "config.json"]
    config = _local_config(file)
    if config is None or config.model_type != "whisper":
        raise PlanError(
            f"There is no Whisper '{name}'. The planner knows {', '.join(ENCODERS)}, or give a "
            "folder with its config.json."
        )
    return config


def text_config(name: str) -> PreTrainedConfig:
    """Config of a language model by name (`qwen3-4b`), hub id of Qwen's or folder.

    Raises:
        PlanError: none of these.
    """
    from transformers import Qwen3Config

    if name == NANO:
        return Qwen3Config(**nano_config()["text_config"])
    if (size := _short(name)) in _QWEN3:
        width, layers, inner, heads = _QWEN3[size]
        return Qwen3Config(
            vocab_size=_QWEN3_VOCABULARY,
            hidden_size=width,
            intermediate_size=inner,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=8,
            head_dim=128,
            tie_word_embeddings=True,
        )
    config = _local_config([Path(name) / "config.json"])
    if config is None:
        raise PlanError(
            f"There is no language model '{name}'. The planner knows {', '.join(LANGUAGE_MODELS)}, "
            "or give a folder with its config.json."
        )
    return config


def qwen3_tokens(name: str) -> int | None:
    """Tokens in the tokenizer of a Qwen3 by name or hub id; None for others."""
    return _QWEN3_TOKENS if _short(name) in _QWEN3 else None


def codebook_size(name: str) -> int:
    """Codes in a codebook of a codec by name or folder.

    Raises:
        PlanError: none of these.
    """
    from borealis.codec.loading import DEFAULT, HUB, bundled

    short = {place: key for key, place in HUB.items()}.get(name, name)
    if short in _CODEBOOK_SIZES:
        return _CODEBOOK_SIZES[short]
    if name == DEFAULT and name not in bundled():  # a codec of our own in its usual size
        from borealis.codec.nano import BorealisCodecConfig

        return BorealisCodecConfig().codebook_size
    file = bundled().get(name, Path(name)) / "config.json"
    try:
        return int(json.loads(file.read_text(encoding="utf-8"))["codebook_size"])
    except (OSError, ValueError, KeyError, TypeError):
        known = ", ".join([DEFAULT, *_CODEBOOK_SIZES])
        raise PlanError(
            f"The planner can't see the codec '{name}'; give {known}, or a folder with its "
            "config.json."
        ) from None


def model_config(
    encoder: str, language_model: str, adapter: str, padding: str = "none"
) -> BorealisConfig:
    """Config of a whole model put together from named parts.

    The adapters `mlp` and `deep` take their width from the language model; `ctc` is built as in
    nano: as many blocks of the same width, reading the same letters.

    Raises:
        PlanError: a part isn't known.
    """
    from borealis.model import BorealisConfig
    from borealis.model.configuration import ADAPTER_TYPES

    known(adapter, ADAPTER_TYPES, "adapter")
    known(padding, PADDINGS, "padding")
    settings: dict[str, Any] = {}
    if adapter == "ctc":
        nano = nano_config()
        settings = {k: v for k, v in nano.items() if k.startswith(("adapter_", "ctc_labels"))}
    return BorealisConfig(
        audio_config=encoder_config(encoder),
        text_config=text_config(language_model),
        **settings | {"adapter_type": adapter} | PADDINGS[padding],
    )


def known(name: str, names: Any, what: str) -> None:
    """Raise PlanError unless `name` is one of `names`."""
    if name not in names:
        raise PlanError(f"{what} is '{name}'; it must be one of {', '.join(names)}.")


def parts(config: BorealisConfig) -> dict[str, Part]:
    """The three parts: `encoder` (positions are 50 Hz frames), `adapter` and `language_model`.

    Positions of the adapter are audio tokens, those of the language model all tokens.

    Raises:
        PlanError: somebody's own adapter, whose numbers aren't counted here.
    """
    if config.adapter_type not in _ADAPTERS:
        raise PlanError(f"The planner can't count the adapter '{config.adapter_type}'.")
    return {
        "encoder": encoder_part(config.audio_config),
        "adapter": _ADAPTERS[config.adapter_type](config),
        "language_model": language_model_part(config.text_config),
    }


def encoder_part(config: Any) -> Part:
    """Whisper's encoder: two convolutions, a table of positions, transformer layers.

    A layer of width d and feed-forward width f has 4d² + 2df weights, 7d + f biases less d (keys
    have none) and two norms of 2d.
    """
    d, f, layers = config.d_model, config.encoder_ffn_dim, config.encoder_layers
    matrices = 4 * d * d + 2 * d * f
    small = 3 * d + (f + d) + 4 * d  # biases of q, v, o; of the feed-forward; two norms
    convolutions = 3 * config.num_mel_bins * d + 3 * d * d
    table = config.max_source_positions * d
    return Part(
        parameters=layers * (matrices + small) + convolutions + 2 * d + table + 2 * d,
        # The first convolution runs at 100 Hz, twice for each frame.
        linear=2 * (layers * matrices + 2 * 3 * config.num_mel_bins * d + 3 * d * d),
        attention=4 * layers * d,
        lora={name: layers * 2 * d for name in ("q_proj", "k_proj", "v_proj", "out_proj")}
        | {name: layers * (d + f) for name in ("fc1", "fc2")},
        # Inputs of both norms and of what follows them, queries, keys, values and their sum; the
        # feed-forward layer before and after its activation.
        kept=layers * (8 * d + 2 * f),
        kept_recomputed=layers * d + 8 * d + 2 * f,
        layers=layers,
        matrices=layers * matrices,
    )


def language_model_part(config: Any) -> Part:
    """A causal decoder with grouped-query attention and a gated feed-forward layer.

    For Qwen3 the numbers come from its shapes: q and o have h·q weights, k and v h·kv, gate, up and
    down h·i each. Other families are counted on torch's meta device, which takes no memory.
    """
    try:
        h, layers, heads = config.hidden_size, config.num_hidden_layers, config.num_attention_heads
        size = getattr(config, "head_dim", None) or h // heads
        q, kv, i = heads * size, config.num_key_value_heads * size, config.intermediate_size
        vocabulary, tied = config.vocab_size, config.tie_word_embeddings
    except AttributeError:
        raise PlanError(f"A {config.model_type} model isn't a plain causal decoder.") from None
    output = 0 if tied else vocabulary * h
    if config.model_type == "qwen3" and not config.attention_bias:
        matrices = layers * (2 * h * q + 2 * h * kv + 3 * h * i)
        # Two norms a layer, one each for queries and keys of a head, one at the end.
        parameters = matrices + layers * (2 * h + 2 * size) + h + vocabulary * h
    else:
        matrices, parameters = _count_on_meta(config)
    sides = {"q": (h, q), "k": (h, kv), "v": (h, kv), "o": (q, h)}
    sides |= {"gate": (h, i), "up": (h, i), "down": (i, h)}
    # Norms compute in float32: their inputs count double.
    kept = 8 * h + 5 * q + 5 * kv + 4 * i
    return Part(
        parameters=parameters + output,
        linear=2 * (matrices + vocabulary * h),
        attention=4 * layers * q,
        lora={f"{name}_proj": layers * sum(pair) for name, pair in sides.items()},
        kept=layers * kept,
        kept_recomputed=layers * h + kept,
        cache=2 * layers * kv,
        vocabulary=vocabulary,
        layers=layers,
        matrices=matrices,
    )


def _count_on_meta(config: Any) -> tuple[int, int]:
    """Weights of linear layers and of everything, of a model without its output layer."""
    import torch
    from transformers import AutoModel

    with torch.device("meta"):
        model = AutoModel.from_config(config)
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    return sum(m.weight.numel() for m in linear), sum(p.numel() for p in model.parameters())


def _mlp(config: BorealisConfig) -> Part:
    """Two matrices: 4d x w and w x h."""
    wide, w, h = _widths(config)
    weights = wide * w + w * h
    return Part(parameters=weights, linear=2 * weights, kept=wide + 2 * w)


def _deep(config: BorealisConfig) -> Part:
    """An input projection, residual layers w -> e -> w with a norm, an output matrix."""
    wide, w, h = _widths(config)
    e, layers = int(w * config.adapter_expansion), config.adapter_num_layers
    matrices = wide * w + layers * 2 * w * e + w * h
    small = w + layers * (e + w + 2 * w) + 2 * w
    kept = wide + 2 * w + layers * 2 * (w + e)
    return Part(parameters=matrices + small, linear=2 * matrices, kept=kept)


def _ctc(config: BorealisConfig) -> Part:
    """Blocks at 50 Hz / stack with a head for letters, embedded letters, and an `mlp` beside them.

    A block of width w: a gated convolution of kernel k (3w² + kw), attention (4w²), a residual
    layer w -> e -> w (2we).
    """
    wide, w, h = _widths(config)
    d, stack, factor = (
        config.audio_config.d_model,
        config.adapter_frame_stack,
        config.downsample_factor,
    )
    classes = len(config.ctc_labels or "") + 1
    e, layers = int(w * config.adapter_expansion), config.adapter_num_layers
    kernel = config.adapter_conv_kernel_size
    block = 3 * w * w + kernel * w + 4 * w * w + 2 * w * e
    small = (2 * w + w + w) + (3 * w + w) + (e + w) + 3 * 2 * w  # biases, three norms
    stem = d * stack * w
    head = w * stack * classes
    letters = factor * classes * h
    sound = wide * h + h * h
    biases = 2 * d + w + 2 * w + stack * classes + h
    ratio = factor // stack  # positions of the blocks in an audio token
    return Part(
        parameters=layers * (block + small) + stem + head + letters + sound + biases,
        linear=2 * (ratio * (stem + layers * block + head) + letters + sound),
        attention=4 * layers * w * ratio**2,
        kept=ratio * (2 * stack * d + layers * (15 * w + 2 * e) + 2 * w)
        + 3 * factor * classes
        + wide
        + 2 * h,
    )


_ADAPTERS = {"mlp": _mlp, "deep": _deep, "ctc": _ctc}


def _widths(config: BorealisConfig) -> tuple[int, int, int]:
    """Width of the concatenated frames, inside the adapter, of the language model."""
    h = config.text_config.hidden_size
    wide = config.audio_config.d_model * config.downsample_factor
    return wide, config.adapter_hidden_size or h, h


def _short(name: str) -> str:
    """`openai/whisper-large-v3` and `Qwen/Qwen3-4B` without their owners; folders stay as is."""
    owner, _, last = name.rpartition("/")
    return last.lower() if owner in ("", "openai", "Qwen") else name


def _local_config(files: list[Path]) -> PreTrainedConfig | None:
    """A transformers config from the first of `files` that exists."""
    from transformers.models.auto import CONFIG_MAPPING

    file = next((f for f in files if f.is_file()), None)
    if file is None:
        return None
    try:
        values: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        kind = values["model_type"]
        return CONFIG_MAPPING[kind](**{k: v for k, v in values.items() if k != "model_type"})
    except (ValueError, KeyError, TypeError):
        raise PlanError(f"'{file}' isn't a config that transformers knows.") from None
