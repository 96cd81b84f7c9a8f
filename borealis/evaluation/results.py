"""Result files: a number together with everything needed to get it again."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from borealis import __version__
from borealis.data.manifest import Utterance
from borealis.evaluation.normalization import NORMALIZER_VERSION
from borealis.files import write_text

_PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "soxr", "jiwer")


def describe(
    name: str,
    *,
    model: Any = None,
    data: Mapping[str, Any] | None = None,
    recipe: str = "",
    batch_size: int | None = None,
) -> dict[str, Any]:
    """What a result file says beside its metrics.

    Args:
        name: what was measured, like `nano-transcription`.
        model: the `Borealis` that was measured; None where none took part (installation).
        data: name of a set -> `describe_manifest` of it.
        recipe: name of the recipe the model was trained by.
        batch_size: parts decoded at once.
    """
    commit, dirty = _commit()
    record: dict[str, Any] = {
        "name": name,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit,
        "dirty": dirty,
        "recipe": recipe,
        "normalizer_version": NORMALIZER_VERSION,
        "data": dict(data or {}),
        "machine": describe_machine(),
        "versions": {"borealis": __version__, "python": platform.python_version()}
        | {package: _version(package) for package in _PACKAGES},
    }
    if model is not None:
        record["model"] = describe_model(model)
        record["decoding"] = describe_decoding(model) | {"batch_size": batch_size}
    return record


def describe_model(model: Any) -> dict[str, Any]:
    """Size, precision and digest of a loaded model's weights."""
    network = model.model
    path = Path(str(network.name_or_path))
    weights = path / "model.safetensors"
    return {
        "name": path.name,
        "sha256": _sha256(weights) if weights.is_file() else "",
        "parameters": sum(p.numel() for p in network.parameters()),
        "dtype": str(network.dtype).removeprefix("torch."),
        "device": str(model.device),
    }


def describe_decoding(model: Any) -> dict[str, Any]:
    """How answers are chosen."""
    from borealis.inference.decoding import Decoding

    config = model.model.config
    decoding = Decoding.choose(config)
    return {
        "strategy": "beam search" if decoding.num_beams > 1 else "greedy",
        **asdict(decoding),
        "max_segment_seconds": getattr(config, "max_segment_seconds", 30.0),
        "encoder_window": getattr(config, "encoder_window", ""),
    }


def describe_manifest(path: str | Path, utterances: Sequence[Utterance]) -> dict[str, Any]:
    """Name, digest and size of the data; no path of this machine.

    Args:
        path: the manifest file.
        utterances: those of it that were used.
    """
    return {
        "manifest": Path(path).name,
        "sha256": _sha256(Path(path)),
        "utterances": len(utterances),
        "seconds": round(sum(u.duration for u in utterances), 1),
    }


def describe_machine() -> dict[str, Any]:
    """Processor, cores, threads that are used, memory and accelerator."""
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": _memory_gib(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "system": f"{platform.system()} {platform.machine()}",
    }


def write(path: str | Path, record: Mapping[str, Any]) -> Path:
    """Write a result file; it appears complete or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    write_text(path, text)
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _commit() -> tuple[str, bool]:
    """The checked-out commit and whether files differ from it; empty outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return "", False
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        return head, bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    except FileNotFoundError:  # no git here: the number is kept without its commit
        return "", False


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
