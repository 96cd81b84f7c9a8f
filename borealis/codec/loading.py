"""The one door to codecs: a name, a folder or a hub id -> a codec.

What a folder holds is told by `model_type` of its `config.json`. Weights are read from safetensors
and nothing else, and no code comes with them; see `borealis.codec.packed` for the small form.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from borealis import checkpoints
from borealis.codec.packed import BUNDLE, unpacked
from borealis.errors import CodecError

if TYPE_CHECKING:
    import torch

    from borealis.codec.nano import CodeRefiner
    from borealis.codec.protocol import Codec

# Short names and where the weights are on the hub.
HUB = {
    "encodec_24khz": "facebook/encodec_24khz",
    "encodec_32khz": "facebook/encodec_32khz",
    "mimi": "kyutai/mimi",
    "dac_16khz": "descript/dac_16khz",
    "dac_24khz": "descript/dac_24khz",
    "dac_44khz": "descript/dac_44khz",
}
DEFAULT = "nano"
REFINER = "refiner"  # folder of a refiner inside that of its codec
_BUNDLED = Path(checkpoints.__file__).parent / "codec"


@dataclass(frozen=True)
class Kind:
    """Codecs of one `model_type`.

    Args:
        model: `module:class` of the network, a `PreTrainedModel`.
        codec: `module:class` of the codec, made of the network and a name.
    """

    model: str
    codec: str = "borealis.codec.windowed:WindowedCodec"


KINDS: dict[str, Kind] = {
    "encodec": Kind("transformers:EncodecModel", "borealis.codec.encodec:EncodecCodec"),
    "mimi": Kind("transformers:MimiModel", "borealis.codec.encodec:MimiCodec"),
    "dac": Kind("transformers:DacModel", "borealis.codec.dac:DacCodec"),
    "borealis_codec": Kind("borealis.codec.nano:BorealisCodec"),
}


def bundled() -> dict[str, Path]:
    """Codecs that come with the package, by name."""
    return {p.parent.name: p.parent for p in sorted(_BUNDLED.glob("*/config.json"))}


def names() -> list[str]:
    """Names that `load_codec` knows."""
    return [*bundled(), *HUB]


def load_codec(
    name_or_path: str | os.PathLike[str] = DEFAULT, *, device: str | torch.device | None = None
) -> Codec:
    """Load a codec.

    Args:
        name_or_path: `encodec_24khz`, `encodec_32khz`, `mimi`, `dac_16khz`, `dac_24khz` or
            `dac_44khz` of the hub; a bundled one (`nano`); a folder; or a hub id `owner/name`.
        device: `cpu`, `cuda`, ...; by default CUDA where there is one.

    Raises:
        CodecError: there is no such codec, it isn't there without a network, or it is damaged.
    """
    name = os.fspath(name_or_path)
    source = _source(name)
    kind = _kind(source, name)
    try:
        model_class, codec_class = _named(kind.model), _named(kind.codec)
    except ImportError as error:
        raise CodecError(f"'{name}' needs what isn't installed: {error}.") from None
    return codec_class(_network(model_class, source, name, device), name)


def load_refiner(
    name_or_path: str | os.PathLike[str] = DEFAULT, *, device: str | torch.device | None = None
) -> CodeRefiner:
    """Load what completes the codes of a codec; it lies in the codec's folder `refiner`.

    Args:
        name_or_path: of the codec, as `load_codec` takes it.
        device: see `load_codec`.

    Raises:
        CodecError: there is no such codec, it has no refiner, or that is damaged.
    """
    from borealis.codec.nano import CodeRefiner

    name = os.fspath(name_or_path)
    source = _source(name)
    if not _has_refiner(source):
        raise CodecError(
            f"'{name}' has no refiner, so all of its codebooks have to be written; "
            "'borealis train nano-refiner' makes one."
        )
    return _network(CodeRefiner, source, name, device, REFINER).eval()


def _has_refiner(source: str) -> bool:
    """Whether a folder or hub id holds a refiner, as far as it can be seen from here."""
    from transformers.utils import cached_file

    found = cached_file(
        source,
        f"{REFINER}/config.json",
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return found is not None


def _source(name: str) -> str:
    """A folder or hub id.

    Raises:
        CodecError: neither that nor a name.
    """
    if name in bundled():
        return str(bundled()[name])
    if name in HUB:
        return HUB[name]
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise CodecError(f"'{name}' is a folder without config.json: it holds no codec.")
        return name
    if name.count("/") == 1 and not name.startswith((".", "/", "~")) and not path.exists():
        return name
    raise CodecError(
        f"There is no codec '{name}'. Give {', '.join(names())}, a folder, or a hub id like "
        "'owner/name'."
    )


def _kind(source: str, name: str) -> Kind:
    from transformers.utils import cached_file

    try:
        file = cached_file(source, "config.json")
        config = json.loads(Path(str(file)).read_text(encoding="utf-8"))
        model_type = config.get("model_type")
    except OSError as error:
        raise _unreachable(source, name, error) from None
    except (ValueError, AttributeError):
        raise CodecError(f"config.json of '{name}' isn't a JSON object: it is damaged.") from None
    if model_type not in KINDS:
        raise CodecError(
            f"'{name}' is a model of type '{model_type}'; a codec of type {', '.join(KINDS)} is "
            "wanted."
        )
    return KINDS[model_type]


def _network(model_class: Any, source: str, name: str, device: Any, folder: str = "") -> Any:
    """A network from a folder or hub id, or from `folder` in it; packed or not."""
    import torch
    from safetensors import SafetensorError

    how: dict[str, Any] = {"dtype": torch.float32, "output_loading_info": True}
    packed = Path(source) / folder / BUNDLE
    try:
        if packed.is_file():
            config = model_class.config_class.from_pretrained(packed.parent)
            model, found = model_class.from_pretrained(
                None, config=config, state_dict=unpacked(packed), **how
            )
            model.config.name_or_path = source
        else:
            model, found = model_class.from_pretrained(
                source, subfolder=folder, use_safetensors=True, **how
            )
    except OSError as error:
        raise _unreachable(source, name, error) from None
    except (SafetensorError, ValueError, TypeError, RuntimeError, KeyError) as error:
        raise CodecError(f"The codec '{name}' can't be loaded: {_first(error)}.") from None
    for key in ("missing_keys", "mismatched_keys"):
        if found.get(key):
            raise CodecError(
                f"The weights of '{name}' don't fit its config.json: {len(found[key])} tensors are "
                f"missing or have another shape, such as '{sorted(map(str, found[key]))[0]}'."
            )
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise CodecError(f"device is '{device}', which can't be used: {_first(error)}.") from None


def _unreachable(source: str, name: str, error: Exception) -> CodecError:
    """Why a config or weights aren't there: of a folder, or of the hub."""
    if Path(source).is_dir():
        return CodecError(f"The codec '{name}' can't be loaded: {_first(error)}.")
    from huggingface_hub.constants import HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return CodecError(
            f"The codec '{source}' isn't in the hub's cache, and the variable HF_HUB_OFFLINE is "
            "set; unset it, or give a folder."
        )
    return CodecError(
        f"The codec '{source}' can't be fetched from the hub: {_first(error)}. Check the name and "
        "the network, or give a folder."
    )


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")


def _named(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
