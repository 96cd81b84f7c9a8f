"""The bundled checkpoint: packed small in the package, unpacked once into the user's cache.

`bundle.safetensors` holds large matrices as int8 with one float16 scale a row and the rest as
float16, but for the encoder's position embeddings, which are sines and made anew;
`ngram.safetensors` and `questions.safetensors`, where there are such, are small as they are; the
other files are those of any transformers checkpoint.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import logging
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from borealis.errors import CheckpointError
from borealis.files import aside, usual_permissions

BUNDLE = "bundle.safetensors"
WEIGHTS = "model.safetensors"
NGRAM = "ngram.safetensors"  # see borealis.ctc.ngram
SCOPE = "questions.safetensors"  # see borealis.inference.scope
logger = logging.getLogger(__name__)

_HERE = Path(__file__).parent
SCALE = ".int8_scale"  # behind the name of a tensor whose rows it scales
_SINUSOIDS = ".sinusoids"  # the shape of position embeddings that are not stored


def bundled() -> dict[str, Path]:
    """Bundled checkpoints by name."""
    return {p.parent.name: p.parent for p in sorted(_HERE.glob(f"*/{BUNDLE}"))}


def cache_folder() -> Path:
    """Where checkpoints are unpacked: `BOREALIS_CACHE`, else the platform's cache folder."""
    if folder := os.environ.get("BOREALIS_CACHE"):
        return Path(folder)
    from platformdirs import user_cache_path

    return user_cache_path("borealis", appauthor=False)


def resolve_checkpoint(name_or_path: str | os.PathLike[str]) -> Path | str:
    """A folder (or hub id) that `from_pretrained` loads.

    Args:
        name_or_path: name of a bundled checkpoint (`nano`), a folder, or a hub id `owner/name`.

    Raises:
        CheckpointError: none of these, or a bundled one can't be unpacked.
    """
    name = os.fspath(name_or_path)
    if name in bundled():
        return _unpack_once(bundled()[name])
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise CheckpointError(
                f"'{name}' is a folder without config.json: it holds no checkpoint."
            )
        return path
    looks_like_hub = name.count("/") == 1 and not name.startswith((".", "/", "~"))
    if looks_like_hub and not path.exists():
        return name
    known = ", ".join(bundled()) or "none"
    raise CheckpointError(
        f"There is no checkpoint '{name}'. Give a bundled name ({known}), a checkpoint folder, or "
        "a hub id like 'owner/model'."
    )


def checkpoint_digest(path: str | os.PathLike[str]) -> str:
    """Sixteen hexadecimal digits of all that a checkpoint folder holds: weights, n-gram, settings.

    A bundle and the folder that it was unpacked into have the same: the folder is named after it.
    Empty where no checkpoint is (a hub id).
    """
    folder = Path(path)
    name, _, digits = folder.name.rpartition("-")
    if name in bundled() and folder.parent == cache_folder():
        return digits
    if not (folder / "config.json").is_file():
        return ""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix in (".json", ".safetensors", ".jinja"):
            digest.update(file.name.encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def checkpoint_file(name_or_path: str | os.PathLike[str], file: str) -> str | None:
    """Path of a file of a checkpoint folder or hub id; None if it has none.

    Args:
        name_or_path: where a model was loaded from; empty for one that was never saved.
        file: its name.
    """
    from transformers.utils import cached_file

    if not name_or_path:
        return None
    return cached_file(
        os.fspath(name_or_path),
        file,
        _raise_exceptions_for_missing_entries=False,
        # Offline, a hub checkpoint in the cache has the file there or has none.
        _raise_exceptions_for_connection_errors=False,
    )


def _unpack_once(source: Path) -> Path:
    """Unpack into the cache; the name carries the content, so a new version gets a new folder.

    The folder appears by one rename of a finished one. Two processes that start together both
    unpack, and the second finds its work done. What was damaged since is put right file by file.
    """
    target = cache_folder() / f"{source.name}-{checkpoint_digest(source)}"
    if _is_whole(target, source):
        return target
    try:
        damaged = target.exists()
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
        partial.mkdir()
    except OSError as error:
        raise CheckpointError(
            f"The cache folder '{target.parent}' can't be written ({error.strerror}). "
            "Set BOREALIS_CACHE to a folder that can."
        ) from None
    if damaged:
        logger.warning("The unpacked checkpoint '%s' is damaged and is unpacked anew.", target)
    try:
        unpack(source, partial)
        _publish(partial, target)
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint can't be unpacked into '{target}' ({error.strerror or error}). Make "
            "room there, delete that folder, or set BOREALIS_CACHE to another place."
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _publish(partial: Path, target: Path) -> None:
    """Give an unpacked folder its name, or its files to a folder of that name that lacks some."""
    usual_permissions(partial)
    try:
        partial.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        # Another process was faster, or the folder is damaged: whoever reads it keeps its files.
        for file in partial.iterdir():
            file.replace(target / file.name)


def _is_whole(folder: Path, source: Path) -> bool:
    """Whether an unpacked folder has all that `unpack` writes: the same files, whole weights."""
    try:
        small = [file for file in source.iterdir() if _is_small(file)]
        if not all(filecmp.cmp(file, folder / file.name, shallow=False) for file in small):
            return False
        with (folder / WEIGHTS).open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            size = os.fstat(file.fileno()).st_size
            # A file of zeros, which a crash may leave, has no header either.
            header = json.loads(file.read(length)) if 0 < length < size else {}
        ends = [value["data_offsets"][1] for key, value in header.items() if key != "__metadata__"]
        return bool(ends) and size == 8 + length + max(ends)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # missing, or no header
        return False


def pack(source: Path, target: Path, *, int8_min_numel: int = 1 << 14) -> int:
    """Pack a checkpoint folder for shipping; returns the size of the weights in bytes.

    Args:
        source: folder with `model.safetensors` and its configs.
        target: folder of the bundle.
        int8_min_numel: smallest matrix stored as int8. Embeddings stay float16: they are small and
            the most sensitive.
    """
    import torch
    from safetensors.torch import load_file, save_file

    out: dict[str, torch.Tensor] = {}
    for name, value in load_file(source / WEIGHTS).items():
        matrix = value.ndim == 2 and value.numel() >= int8_min_numel
        if matrix and "embed" not in name:
            out[name], out[name + SCALE] = to_int8(value)
        elif name.endswith("embed_positions.weight") and _are_whisper_positions(value):
            out[name + _SINUSOIDS] = torch.tensor(value.shape)
        else:
            out[name] = value.to(torch.float16).contiguous()
    target.mkdir(parents=True, exist_ok=True)
    with aside(target / BUNDLE) as partial:
        save_file(out, partial, metadata={"format": "pt"})
    for file in source.iterdir():
        if _is_small(file) and "index" not in file.name:
            shutil.copy(file, target / file.name)
    return sum(file.stat().st_size for file in target.glob("*.safetensors"))


def to_int8(rows: Any) -> tuple[Any, Any]:
    """Rows `[n, width]` as int8, and a float16 scale of each, `[n]`."""
    import torch

    rows = rows.float()
    scale = (rows.abs().amax(1).clamp(min=1e-8) / 127).to(torch.float16).float()
    scale = scale.clamp(min=6e-8)  # the smallest float16
    whole = (rows / scale[:, None]).round().clamp(-127, 127).to(torch.int8)
    return whole, scale.to(torch.float16)


def from_int8(rows: Any, scale: Any) -> Any:
    """What `to_int8` made, back in float32 `[n, width]`."""
    return rows.float() * scale.float()[:, None]


def unpack(source: Path, target: Path) -> None:
    """Write a standard float16 checkpoint from a bundle.

    Raises:
        CheckpointError: the bundle is damaged.
        OSError: `target` can't be written.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    try:
        packed = load_file(source / BUNDLE)
    except SafetensorError as error:
        raise CheckpointError(f"The bundled checkpoint is damaged ({error}). Reinstall.") from None
    out = {}
    for name, value in packed.items():
        if name.endswith(SCALE):
            continue
        if name.endswith(_SINUSOIDS):
            name = name.removesuffix(_SINUSOIDS)
            value = _whisper_positions(*value.tolist())
        elif name + SCALE in packed:
            value = from_int8(value, packed[name + SCALE]).to(torch.float16)
        out[name] = value
    try:
        save_file(out, target / WEIGHTS, metadata={"format": "pt"})
    except SafetensorError as error:  # a full disk
        raise OSError(str(error)) from None
    for file in source.iterdir():
        if _is_small(file):
            shutil.copy(file, target / file.name)


def _are_whisper_positions(value: Any) -> bool:
    return bool((value.float() - _whisper_positions(*value.shape).float()).abs().max() < 1e-3)


def _whisper_positions(length: int, width: int) -> Any:
    """The fixed position embeddings of a Whisper encoder, in float16."""
    import torch
    from transformers.models.whisper.modeling_whisper import sinusoids

    return sinusoids(length, width).to(torch.float16)


def _is_small(file: Path) -> bool:
    """A file that a bundle and a checkpoint have alike."""
    return file.suffix in (".json", ".jinja") or file.name in (NGRAM, SCOPE)
