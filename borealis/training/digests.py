"""What files and folders hold, as digests: a run tells by them whether its data have changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from borealis.checkpoints import bundled, resolve_checkpoint
from borealis.data.importers.rows import AUDIO_SUFFIXES
from borealis.data.manifest import read_manifest
from borealis.data.row_groups import group_of


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_digest(path: Path) -> str:
    """Of a manifest's content and of the sizes of its recordings; reading those would take long.

    Raises:
        ManifestError: it can't be read.
    """
    digest = hashlib.sha256(path.read_bytes())
    digest.update(audio_sizes(item.audio for item in read_manifest(path)).encode())
    return digest.hexdigest()


def folder_digest(folder: Path) -> str:
    """Of names and sizes of a folder's recordings, and of the texts beside them."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (path.suffix == ".txt" or path.suffix.lower() in AUDIO_SUFFIXES):
            told = file_digest(path) if path.suffix == ".txt" else str(path.stat().st_size)
            digest.update(f"{path.relative_to(folder).as_posix()} {told}\n".encode())
    return digest.hexdigest()


def audio_sizes(paths: Iterable[str]) -> str:
    """Digest of the sizes of recordings: one that was made anew nearly always has another."""
    digest = hashlib.sha256()
    for path in paths:
        found = group_of(path)
        try:
            size = os.stat(found[0].file if found else path).st_size if path else 0
        except OSError:
            size = -1
        digest.update(f"{size} ".encode())
    return digest.hexdigest()


def weights_digest(folder: Path) -> str:
    """Of the weights of a checkpoint folder, whatever their files are called."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        if not path.name.startswith("bad-step"):
            digest.update(file_digest(path).encode())
    return digest.hexdigest()


def local_path(name: str) -> Path | None:
    """Where a checkpoint, an encoder or a language model lies, if it is on this machine."""
    path = Path(name)
    return path if name not in bundled() and path.exists() else None


def weights_of(name: str) -> str:
    """Digest of what a key of `model` names; empty for a hub id or where nothing is left."""
    if name in bundled():
        return Path(resolve_checkpoint(name)).name  # carries the digest
    path = local_path(name)
    if path is None:
        return ""
    if path.is_file():
        return file_digest(path)
    files = sorted(p for p in path.iterdir() if p.suffix in (".safetensors", ".bin", ".json"))
    return hashlib.sha256("".join(map(file_digest, files)).encode()).hexdigest()
