"""Result files: a number together with everything needed to get it again."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from borealis import __version__
from borealis.data.manifest import Utterance
from borealis.evaluation.normalization import NORMALIZER_VERSION
from borealis.files import write_text

if TYPE_CHECKING:
    from borealis.inference.decoding import Decoding

_PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "soxr", "jiwer")
_ROOT = Path(__file__).resolve().parents[2]
# Since 2 a file tells which checkpoint was measured, and `decoding` is what the measurement used;
# before, it was what the checkpoint's settings said.
FORMAT = 2
# About when this process began, for how long a measurement took.
_STARTED = time.monotonic()
# Files that measurements themselves write.
_WRITTEN = ("results", "README.md", "README.ru.md")


def describe(
    name: str,
    *,
    model: Any = None,
    decoding: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    recipe: str = "",
    threads: int | None = None,
) -> dict[str, Any]:
    """What a result file says beside its metrics.

    Args:
        name: what was measured, like `nano-transcription`.
        model: the `Borealis` that was measured; None where none took part (installation).
        decoding: how it decoded in this measurement, see `describe_decoding`; tables show no
            figure of a model without it.
        data: name of a set -> `describe_manifest` of it.
        recipe: name of the recipe the model was trained by.
        threads: of the processor; by default what PyTorch uses in this process.
    """
    dirty = checkout()[1]
    record: dict[str, Any] = {
        "name": name,
        "format": FORMAT,
        **now(),
        "dirty": dirty,
        "took_seconds": round(time.monotonic() - _STARTED, 1),
        "recipe": recipe,
        "normalizer_version": NORMALIZER_VERSION,
        "data": dict(data or {}),
        "machine": describe_machine(threads),
        "versions": {"borealis": __version__, "python": platform.python_version()}
        | {package: _version_of(package) for package in _PACKAGES},
    }
    if model is not None:
        record["model"] = describe_model(model)
    if decoding is not None:
        record["decoding"] = dict(decoding)
    return record


def now() -> dict[str, str]:
    """Day and commit of a measurement."""
    return {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "commit": checkout()[0]}


def describe_model(model: Any) -> dict[str, Any]:
    """Size and precision of a loaded model, digests of its checkpoint and of its weights."""
    from borealis.checkpoints import checkpoint_digest

    network = model.model
    path = Path(str(network.name_or_path))
    weights = path / "model.safetensors"
    return {
        "name": path.name,
        "checkpoint": checkpoint_digest(path),
        "sha256": file_digest(weights) if weights.is_file() else "",
        "parameters": sum(p.numel() for p in network.parameters()),
        "dtype": str(network.dtype).removeprefix("torch."),
        "device": str(model.device),
    }


def describe_decoding(
    model: Any,
    *,
    batch_size: int,
    language: str | None = None,
    max_segment_seconds: float | None = None,
    decoding: Decoding | None = None,
) -> dict[str, Any]:
    """How `model.transcribe` writes when it is called with these arguments.

    Give the very arguments of the call: what is left out is resolved as `transcribe` resolves it.
    """
    from borealis.inference.decoding import choose
    from borealis.inference.decoding import describe as describe_settings

    config = model.model.config
    return {
        **describe_settings(choose(config, decoding)),
        "max_segment_seconds": max_segment_seconds or getattr(config, "max_segment_seconds", 30.0),
        "encoder_window": getattr(config, "encoder_window", ""),
        "language": language or "as it sounds",
        "batch_size": batch_size,
    }


def describe_manifest(path: str | Path, utterances: Sequence[Utterance]) -> dict[str, Any]:
    """Name, digest and size of the data; no path of this machine.

    Args:
        path: the manifest file.
        utterances: those of it that were used.
    """
    return {
        "manifest": Path(path).name,
        "sha256": file_digest(Path(path)),
        "utterances": len(utterances),
        "seconds": round(sum(u.duration for u in utterances), 1),
    }


def describe_machine(threads: int | None = None) -> dict[str, Any]:
    """Processor, cores, threads in use (PyTorch's here, if not told), memory, accelerator."""
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads or torch.get_num_threads(),
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


def read(path: str | Path) -> dict[str, Any]:
    """A result file as it is; empty where there is none, or none that can be read."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def checkout() -> tuple[str, bool]:
    """The checked-out commit and whether files differ from it; empty outside a checkout.

    What measurements write themselves, the result files and the table of the README, may differ.
    """
    if not (_ROOT / ".git").exists():
        return "", False
    except_written = [f":(exclude){name}" for name in _WRITTEN]
    status = ["status", "--porcelain", "--untracked-files=no", "--", ".", *except_written]
    try:
        return _git("rev-parse", "--short=12", "HEAD"), bool(_git(*status))
    except FileNotFoundError:  # no git here: the number is kept without its commit
        return "", False


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(_ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _version_of(package: str) -> str:
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
