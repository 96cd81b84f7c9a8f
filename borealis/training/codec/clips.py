"""Recordings of a codec's training: decoded once into one file, with the letter of every 20 ms.

A batch is a function of seed and step, so a run that was cut off goes on with the batches it would
have had.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from borealis.audio import SAMPLING_RATE, load_audio
from borealis.data.augment import augment, change_speed
from borealis.data.manifest import Utterance, read_manifest
from borealis.errors import AudioError, RecipeError
from borealis.files import free_bytes, write_text
from borealis.training.codec.recipe import CodecBatchSection, CodecDataSection
from borealis.training.data.distortions import AUGMENTATIONS
from borealis.training.data.level import levelled
from borealis.training.digests import manifest_digest
from borealis.training.loop.checkpoints import room_for

logger = logging.getLogger(__name__)
LETTER = SAMPLING_RATE // 50  # samples that a letter stands for
UNKNOWN = 255  # a letter that nobody told
_AT_ONCE = 8  # recordings whose letters are told together
_SOUND, _LETTERS, _INDEX = "sound.i16", "letters.u8", "clips.json"


class Teacher(Protocol):
    """Tells the letters of recordings."""

    @property
    def classes(self) -> int:
        """Letters and the blank."""

    def __call__(self, clips: Sequence[np.ndarray], texts: Sequence[str]) -> list[np.ndarray]:
        """See `LetterTeacher`."""


class Clips:
    """Recordings of some manifests, of which crops are taken.

    Args:
        folder: that `prepare_clips` wrote.
        manifests: which of its manifests.
        weights: how often a second of each is heard; 1 by default.
    """

    def __init__(
        self, folder: Path, manifests: Sequence[str], weights: Sequence[float] | None = None
    ) -> None:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        by_name = dict(zip(manifests, weights or [1.0] * len(manifests), strict=True))
        self.rows = [row for row in index["clips"] if row["manifest"] in by_name]
        self.classes: int = index["classes"]  # that a teacher told apart; 0 without one
        self.weights = np.array([by_name[r["manifest"]] * r["samples"] for r in self.rows])
        self.sound = np.memmap(folder / _SOUND, np.int16, "r")
        self.letters = np.memmap(folder / _LETTERS, np.uint8, "r")

    def batch(
        self, batch: CodecBatchSection, preset: str, *, hop: int, seed: int, step: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Crops of a step, and their letters.

        Args:
            batch: how many and how long.
            preset: of distortions.
            hop: samples of a frame; crops are whole frames.
            seed: of the stage.
            step: its number.

        Returns:
            float32 `[clips, samples]` and uint8 `[clips, samples / 320]`.
        """
        rng = np.random.default_rng((seed, step))
        length = max(1, round(batch.seconds * SAMPLING_RATE / hop)) * hop
        chosen = rng.choice(len(self.rows), batch.clips, p=self.weights / self.weights.sum())
        crops = [self._crop(self.rows[int(i)], length, preset, rng) for i in chosen]
        return np.stack([sound for sound, _ in crops]), np.stack([told for _, told in crops])

    def _crop(
        self, row: dict, length: int, preset: str, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        config, speed = AUGMENTATIONS[preset], 1.0
        if config is not None and rng.random() < config.speed_probability:
            speed = rng.uniform(*config.speed_range)
        # Crops begin at a letter, so that sound and letters stay side by side.
        wanted = -(-int(np.ceil(length * speed)) // LETTER) * LETTER
        latest = max(0, (row["samples"] - wanted) // LETTER)
        first = int(rng.integers(latest + 1))
        start, letter = row["sound"] + first * LETTER, row["letters"] + first
        have = min(wanted, row["samples"] - first * LETTER)
        sound = self.sound[start : start + have].astype(np.float32) / 32768
        letters = np.asarray(self.letters[letter : letter + -(-have // LETTER)])
        sound = change_speed(sound, speed) if speed != 1 else sound
        if config is not None:
            sound = augment(sound, replace(config, speed_probability=0.0), rng)
        # Shorter recordings stand somewhere in silence, as far as there is room.
        spare = max(0, length - len(sound)) // LETTER
        before = int(rng.integers(spare + 1))
        whole = np.zeros(length, np.float32)
        part = sound[: length - before * LETTER]
        whole[before * LETTER : before * LETTER + len(part)] = part
        told = np.full(length // LETTER, UNKNOWN, np.uint8)
        places = (np.arange(len(told)) - before) * speed
        inside = (places >= 0) & (places < len(letters))
        told[inside] = letters[places[inside].astype(int)]
        return np.clip(whole, -1, 1), told


def clips_digest(section: CodecDataSection, data: Path) -> str:
    """Of all that decoded recordings depend on.

    Args:
        section: which.
        data: folder of the manifests.

    Raises:
        RecipeError: a manifest is missing.
    """
    names = _manifests(section)
    for name in names:
        if not (data / name).is_file():
            raise RecipeError(
                f"The data folder '{data}' has no {name}. For the recipe nano-codec, "
                "'python -m lab.nano.data' in a clone of the repository makes it."
            )
    digests = [manifest_digest(data / name) for name in names]
    return hashlib.sha256(json.dumps([names, digests, section.teacher]).encode()).hexdigest()


def check_clips(section: CodecDataSection, data: Path, folder: Path) -> bool:
    """Whether recordings have to be decoded still; nothing stands in the way of it then.

    Args:
        section: which.
        data: folder of the manifests.
        folder: where the files are kept.

    Raises:
        RecipeError: a manifest is missing, there is no room, or something else stands where the
            files would be.
    """
    key = clips_digest(section, data)
    if (folder / _INDEX).is_file():
        if json.loads((folder / _INDEX).read_text(encoding="utf-8"))["key"] == key:
            return False
    elif folder.exists():
        raise RecipeError(
            f"'{folder}' is where decoded recordings would be kept, and something else is there. "
            "Give another --output."
        )
    heard = [item for name in _manifests(section) for item in read_manifest(data / name)]
    needed = sum(item.duration for item in heard) * SAMPLING_RATE * 2
    free = free_bytes(folder)
    if needed > free:
        raise RecipeError(
            f"Decoded, the recordings need {needed / 1e9:.1f} GB in '{folder}', and "
            f"{free / 1e9:.1f} GB are free. Free some space, or give another --output."
        )
    return True


def _manifests(section: CodecDataSection) -> list[str]:
    names = [*(part.manifest for part in section.train), *section.validation]
    return list(dict.fromkeys(names))


def prepare_clips(
    section: CodecDataSection, data: Path, folder: Path, teacher: Callable[[], Teacher] | None
) -> None:
    """Decode all recordings of a recipe, and have their letters told, unless that is done already.

    Args:
        section: which.
        data: folder of the manifests.
        folder: where the files are kept: two bytes a sample.
        teacher: makes one that tells letters, if it is needed; None where nobody is asked.

    Raises:
        RecipeError: see `check_clips`; or none of the recordings of a manifest can be read.
        TrainingError: the disk became full.
    """
    if not check_clips(section, data, folder):
        return
    if folder.exists():
        logger.warning("the recordings have changed; they are decoded anew")
    key = clips_digest(section, data)
    heard = {n: [i for i in read_manifest(data / n) if i.audio] for n in _manifests(section)}
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with room_for("decoded recordings", folder.parent, partial):
        _decode(heard, partial, key, teacher() if teacher is not None else None)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _decode(
    heard: Mapping[str, Sequence[Utterance]], folder: Path, key: str, teacher: Teacher | None
) -> None:
    rows: list[dict] = []
    with (folder / _SOUND).open("wb") as sound, (folder / _LETTERS).open("wb") as letters:
        for name, items in heard.items():
            # By length: recordings of one length are told at once without much padding.
            items = sorted(items, key=lambda item: item.duration)
            logger.info("decoding %s: %d recordings", name, len(items))
            skipped: list[dict[str, str]] = []
            clips = _readable(items, skipped)
            while read := list(islice(clips, _AT_ONCE)):
                _add(read, name, teacher, rows, sound, letters)
            if skipped:
                logger.warning(
                    "%s: %d recordings can't be read, such as '%s': %s",
                    *(name, len(skipped), skipped[0]["audio"], skipped[0]["reason"]),
                )
            if len(skipped) == len(items):
                raise RecipeError(
                    f"'{name}' has no recording that can be read. "
                    "'borealis data check' lists what is wrong."
                )
    index = {"key": key, "classes": teacher.classes if teacher else 0, "clips": rows}
    write_text(folder / _INDEX, json.dumps(index))


def _readable(
    items: Sequence[Utterance], skipped: list[dict[str, str]]
) -> Iterator[tuple[Utterance, np.ndarray]]:
    """Recordings one after another; those that can't be read are added to `skipped`."""
    for item in items:
        try:
            clip = load_audio(item.audio)
        except AudioError as error:
            skipped.append({"audio": Path(item.audio).name, "reason": str(error)})
        else:
            yield item, levelled(clip, item.kind)


def _add(
    read: Sequence[tuple[Utterance, np.ndarray]],
    name: str,
    teacher: Teacher | None,
    rows: list[dict],
    sound: BinaryIO,
    letters: BinaryIO,
) -> None:
    items, clips = [item for item, _ in read], [clip for _, clip in read]
    if teacher is not None:
        told = teacher(clips, [item.text if item.kind == "speech" else "" for item in items])
    else:
        told = [np.full(-(-len(clip) // LETTER), UNKNOWN, np.uint8) for clip in clips]
    for item, clip, row in zip(items, clips, told, strict=True):
        rows.append(
            {
                "manifest": name,
                "voice": item.voice,
                "samples": len(clip),
                "sound": sound.tell() // 2,
                "letters": letters.tell(),
            }
        )
        sound.write((clip * 32767).round().astype(np.int16).tobytes())
        letters.write(row.tobytes())
