"""Feature cache: a frozen audio tower is run once over every clip, and its frames are kept.

A cache is a folder with `frames.npy` (float16 `[total_frames, d_model]`, read as a memory map)
and `index.jsonl` (one clip a line: the utterance, `offset` and `frames` into the array). `key.json`
says what it was made from.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from borealis.audio import SAMPLING_RATE, load_audio
from borealis.data.manifest import Utterance, read_manifest
from borealis.errors import AudioError, RecipeError
from borealis.training.data.distortions import AUGMENTATIONS, distorted
from borealis.training.data.loading import at_row

if TYPE_CHECKING:
    from borealis.model import BorealisConfig
    from borealis.model.audio_tower import BorealisAudioTower

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureSource:
    """One pass over a manifest.

    Args:
        manifest: file name, relative to the data folder or absolute.
        augment: `none`, `light` or `rough`.
        fraction: share of the utterances taken, chosen at random.
        join_probability: chance that an utterance is followed by others of the same voice, so
            that the model meets long clips too.
        max_joined_seconds: longest joined clip.
        voices: only utterances of these voices; all if empty.
    """

    manifest: str
    augment: str = "none"
    fraction: float = 1.0
    join_probability: float = 0.0
    max_joined_seconds: float = 20.0
    voices: Sequence[str] = ()


@dataclass
class Clip:
    """What one cache entry is made of: utterances to join, and how to distort them."""

    parts: list[Utterance]
    augment: str
    seed: int
    duration: float = field(init=False)

    def __post_init__(self) -> None:
        self.duration = sum(p.duration for p in self.parts)


def plan_clips(sources: Sequence[FeatureSource], folder: Path, *, seed: int) -> list[Clip]:
    """List the clips of all sources, the same for the same seed.

    Raises:
        RecipeError: a distortion or voice that a source names doesn't exist.
    """
    clips: list[Clip] = []
    for number, source in enumerate(sources):
        if source.augment not in AUGMENTATIONS:
            raise RecipeError(
                f"augment is {source.augment!r}; it must be one of {', '.join(AUGMENTATIONS)}."
            )
        rng = np.random.default_rng([seed, number])
        items = read_manifest(folder / source.manifest)
        if source.voices:
            items = _spoken_by(source, items)
        kept = rng.permutation(len(items))[: max(1, round(len(items) * source.fraction))]
        by_voice: dict[str, list[Utterance]] = {}
        for item in items:
            by_voice.setdefault(item.voice, []).append(item)
        for i in kept:
            parts, seconds = [items[i]], items[i].duration
            while rng.random() < source.join_probability:
                mates = by_voice[items[i].voice]
                mate = mates[int(rng.integers(len(mates)))]
                if seconds + mate.duration > source.max_joined_seconds:
                    break
                parts.append(mate)
                seconds += mate.duration
            clips.append(Clip(parts, source.augment, int(rng.integers(2**31))))
    return clips


def _spoken_by(source: FeatureSource, items: Sequence[Utterance]) -> list[Utterance]:
    known = sorted({item.voice for item in items if item.voice})
    if unknown := [voice for voice in source.voices if voice not in known]:
        raise RecipeError(
            f"'{source.manifest}' has no utterance of the voice '{unknown[0]}'; "
            f"it has {', '.join(known) or 'no voices'}."
        )
    return [item for item in items if item.voice in source.voices]


def clip_audio(clip: Clip) -> np.ndarray:
    """Load, join and distort a clip: float32 `[num_samples]` at 16 kHz."""
    rng = np.random.default_rng(clip.seed)
    pieces: list[np.ndarray] = []
    for part in clip.parts:
        if pieces:
            pieces.append(np.zeros(int(rng.uniform(0.05, 0.6) * SAMPLING_RATE), np.float32))
        pieces.append(load_audio(part.audio))
    audio = np.concatenate(pieces)
    return distorted(audio, clip.augment, clip.parts[0].kind, rng)


def build_features(
    clips: Sequence[Clip],
    output: Path,
    *,
    audio_tower: BorealisAudioTower,
    feature_extractor: Any,
    config: BorealisConfig,
    batch_seconds: float = 64.0,
) -> dict[str, float]:
    """Encode `clips` into a cache folder.

    Args:
        clips: what to encode; clips over one encoder window (30 s) are left out and counted.
        output: folder of the cache; an existing one is written again, one that was cut off is
            gone on with.
        audio_tower: the frozen encoder.
        feature_extractor: Whisper's feature extractor.
        config: gives the window arithmetic.
        batch_seconds: audio given to the encoder at once.

    Returns:
        `clips`, `hours`, `too_long` and `unreadable`.
    """
    output.mkdir(parents=True, exist_ok=True)
    order = sorted(range(len(clips)), key=lambda i: clips[i].duration)
    counts = {"clips": 0, "hours": 0.0, "too_long": 0, "unreadable": 0}
    capacity = sum(
        config.num_encoder_frames(int(min(c.duration * 1.35 + 4, 30) * SAMPLING_RATE))
        for c in clips
    )
    width = config.audio_config.d_model
    scratch = output / "frames.partial"
    index_file = output / "index.jsonl"
    kept = _rows_before(index_file) if _size(scratch) == capacity * width * 2 else []
    frames = np.memmap(
        scratch, dtype=np.float16, mode="r+" if kept else "w+", shape=(capacity, width)
    )
    offset = place = 0
    with index_file.open("r+b" if kept else "wb") as index:
        for batch, lost in _batches(clips, order, config, batch_seconds):
            for key, value in lost.items():
                counts[key] += value
            if not batch:
                continue
            done = int(counts["clips"])
            if done + len(batch) <= len(kept):
                for row, length in kept[done : done + len(batch)]:
                    offset, place = row["offset"] + row["frames"], place + length
                    counts["hours"] += row["duration"] / 3600
                counts["clips"] += len(batch)
                continue
            if kept:  # a batch that was cut off is encoded again
                logger.info("%s: going on after %d clips", output.name, done)
                index.seek(place)
                index.truncate()
                kept = []
            encoded = encode_windows(
                [audio for _, audio in batch], audio_tower, feature_extractor, config
            )
            lines = []
            for (clip, audio), hidden in zip(batch, encoded, strict=True):
                frames[offset : offset + len(hidden)] = hidden
                row = asdict(clip.parts[0]) | {
                    "text": " ".join(p.text for p in clip.parts),
                    "duration": round(len(audio) / SAMPLING_RATE, 2),
                    "offset": offset,
                    "frames": len(hidden),
                }
                lines.append(json.dumps(row, ensure_ascii=False) + "\n")
                offset += len(hidden)
                counts["clips"] += 1
                counts["hours"] += len(audio) / SAMPLING_RATE / 3600
            frames.flush()
            index.write("".join(lines).encode())
            index.flush()
            if counts["clips"] % 512 < len(batch):
                logger.info("%s: %d of %d clips", output.name, counts["clips"], len(clips))
    partial = output / "frames.npy.partial"
    saved = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=(offset, width))
    saved[:] = frames[:offset]
    saved.flush()
    del frames, saved
    # The name appears last: a cache that has it is complete.
    partial.rename(output / "frames.npy")
    scratch.unlink()
    return counts


def cache_key(
    sources: Sequence[FeatureSource],
    folder: Path,
    audio_tower: BorealisAudioTower,
    config: BorealisConfig,
    feature_extractor: Any,
    *,
    seed: int,
) -> str:
    """What a cache depends on, as a digest.

    That is the encoder, the log-mel features, the window arithmetic, the distortions, the passes,
    what the manifests hold, and the seed.

    Args:
        sources: passes over manifests.
        folder: data folder.
        audio_tower: the encoder; sums of its weights stand for them.
        config: gives the window arithmetic.
        feature_extractor: Whisper's feature extractor.
        seed: of the distortions.
    """
    from borealis.model.processing import arithmetic_of

    # By what a manifest holds, not by where it lies. Where no voices are named the key isn't
    # counted: caches of before it existed stay good.
    passes = [
        {key: value for key, value in asdict(source).items() if key != "voices" or value}
        | {"manifest": hashlib.sha256((folder / source.manifest).read_bytes()).hexdigest()}
        | {"distortions": _distortions(source.augment)}
        for source in sources
    ]
    weights = {
        name: [list(p.shape), float(p.detach().double().sum()), float(p.detach().double().norm())]
        for name, p in audio_tower.named_parameters()
    }
    said = [passes, weights, arithmetic_of(config), _settings(feature_extractor), seed]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _distortions(name: str) -> dict[str, Any] | None:
    preset = AUGMENTATIONS.get(name)
    return None if preset is None else asdict(preset)


def _settings(feature_extractor: Any) -> dict[str, Any]:
    """What log-mel features depend on; how they are padded is the window arithmetic's affair."""
    names = ("feature_size", "sampling_rate", "hop_length", "n_fft", "dither", "padding_value")
    return {name: getattr(feature_extractor, name) for name in names}


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _rows_before(index: Path) -> list[tuple[dict[str, Any], int]]:
    """Complete rows of a cache that was cut off, each with its length in bytes."""
    if not index.is_file():
        return []
    lines = index.read_bytes().splitlines(keepends=True)
    return [(json.loads(line), len(line)) for line in lines if line.endswith(b"\n")]


def _batches(
    clips: Sequence[Clip], order: Sequence[int], config: BorealisConfig, batch_seconds: float
) -> Iterator[tuple[list[tuple[Clip, np.ndarray]], dict[str, int]]]:
    """Batches of clips whose encoder windows have equal length, and what was dropped on the way."""
    groups: dict[int, list[tuple[Clip, np.ndarray]]] = {}
    for i in order:
        try:
            with at_row(clips[i].parts[0]):
                audio = clip_audio(clips[i])
        except AudioError as error:
            logger.warning("dropped %s: %s", clips[i].parts[0].audio, error)
            yield [], {"unreadable": 1}
            continue
        if len(audio) > config.window_length:
            yield [], {"too_long": 1}
            continue
        size = config.encoder_samples(len(audio))
        group = groups.setdefault(size, [])
        group.append((clips[i], audio))
        if len(group) * size >= batch_seconds * SAMPLING_RATE:
            yield groups.pop(size), {}
    for group in groups.values():
        yield group, {}


def encode_windows(
    audios: Sequence[np.ndarray],
    audio_tower: BorealisAudioTower,
    feature_extractor: Any,
    config: BorealisConfig,
) -> list[np.ndarray]:
    """Encode clips of at most one window each; frames of the padding are dropped.

    All clips must have the same `config.encoder_samples`. Returns float16 `[frames, d_model]` each.
    """
    import torch

    from borealis.training.weights.precision import use_bfloat16

    size = config.encoder_samples(len(audios[0]))
    features = feature_extractor(
        list(audios),
        sampling_rate=config.sampling_rate,
        padding="max_length",
        max_length=size,
        return_tensors="pt",
    )["input_features"]
    weight = audio_tower.conv1.weight
    device = weight.device.type
    # Frames are kept in float16 anyway, so the encoder may compute in bfloat16 where it is fast.
    fast = use_bfloat16("auto", use_cpu=device == "cpu")
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=fast):
        hidden = audio_tower(features.to(weight.device, weight.dtype)).last_hidden_state
    hidden = hidden.to(torch.float16).cpu().numpy()
    return [
        h[: config.num_encoder_frames(len(audio))] for h, audio in zip(hidden, audios, strict=True)
    ]


@dataclass
class CachedClip:
    """A clip of a cache: the utterance and where its frames lie."""

    utterance: Utterance
    offset: int
    frames: int
    shard: int


class FeatureCache:
    """Read one or several cache folders as one list of clips."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.arrays: list[np.ndarray] = []
        self.clips: list[CachedClip] = []
        names = {f.name for f in fields(Utterance)}
        for shard, folder in enumerate(folders):
            if not (folder / "frames.npy").is_file():
                raise RecipeError(
                    f"There is no feature cache at '{folder}'. "
                    "'borealis train' makes it from the recipe's data.features."
                )
            self.arrays.append(np.load(folder / "frames.npy", mmap_mode="r"))
            for line in (folder / "index.jsonl").read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                utterance = Utterance(**{k: v for k, v in row.items() if k in names})
                self.clips.append(CachedClip(utterance, row["offset"], row["frames"], shard))

    def __len__(self) -> int:
        return len(self.clips)

    def frames(self, clip: CachedClip) -> np.ndarray:
        """Encoder frames of a clip, float16 `[frames, d_model]`."""
        return self.arrays[clip.shard][clip.offset : clip.offset + clip.frames]
