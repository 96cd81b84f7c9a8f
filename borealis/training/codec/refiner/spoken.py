"""Recordings of a refiner's training: symbols, durations and codes of each, made once and kept.

How long symbols last and which codes a recording has are kept apart: with another codec of the same
frame rate only the codes are made anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from borealis.audio import SAMPLING_RATE, load_audio
from borealis.codec.codes import num_frames
from borealis.codec.protocol import Codec
from borealis.data.manifest import Utterance, read_manifest
from borealis.data.spoken import speakable
from borealis.errors import AudioError, PromptError, RecipeError, SpeechError
from borealis.files import write_text
from borealis.speech.symbols import durations, spell
from borealis.training.codec.clips import levelled
from borealis.training.codec.refiner.recipe import RefinerDataSection
from borealis.training.codec.teacher import LetterTeacher
from borealis.training.digests import manifest_digest
from borealis.training.loop.checkpoints import room_for

logger = logging.getLogger(__name__)
_ALIGNED, _CODES, _INDEX = "aligned.json", "codes.u16", "codes.json"
_AT_ONCE = 8  # recordings that are laid under their texts together
_TOLD_EVERY = 1000  # recordings


class Aligner(Protocol):
    """Lays texts over recordings."""

    def __call__(self, clips: Sequence[np.ndarray], spellings: Sequence[str]) -> list[Any]:
        """Durations of each, None where it can't be done; see `SymbolAligner`."""


class SymbolAligner:
    """Tells how many frames of a codec each symbol of a recording lasts.

    Args:
        name: Borealis model whose adapter is of the kind `ctc`.
        frame: seconds of a frame.

    Raises:
        RecipeError: the model hears no letters.
    """

    def __init__(self, name: str, frame: float) -> None:
        self.teacher, self.frame = LetterTeacher(name), frame

    def __call__(
        self, clips: Sequence[np.ndarray], spellings: Sequence[str]
    ) -> list[np.ndarray | None]:
        """Durations of symbols.

        Args:
            clips: float32 at 16 kHz `[num_samples]` each.
            spellings: what is said in them, in symbols.

        Returns:
            int32 `[symbols]` each; None where the symbols can't be laid over the recording.
        """
        teacher = self.teacher
        told: list[np.ndarray | None] = [None] * len(clips)
        short = [i for i, clip in enumerate(clips) if len(clip) <= teacher.longest]
        for i, log_probs in zip(short, teacher.hear([clips[i] for i in short]), strict=True):
            told[i] = durations(
                spellings[i],
                log_probs,
                teacher.alphabet,
                step=teacher.step,
                frame=self.frame,
                num_frames=num_frames(len(clips[i]), round(self.frame * SAMPLING_RATE)),
                delay=teacher.delay,
            )
        return told


@dataclass(frozen=True)
class SpokenClip:
    """A recording whose text is laid over it.

    Args:
        manifest: that it is of.
        symbols: what is said.
        durations: frames of each symbol, `[symbols]`.
        codes: int64 `[num_codebooks, frames]`.
        voice: as it will be called.
    """

    manifest: str
    symbols: str
    durations: np.ndarray
    codes: np.ndarray
    voice: str

    @property
    def num_frames(self) -> int:
        """How many frames there are."""
        return int(self.codes.shape[1])


def read_spoken(folder: Path, manifests: Sequence[str]) -> list[SpokenClip]:
    """Recordings of some manifests, as `prepare_spoken` kept them."""
    index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    rows = json.loads((folder / _ALIGNED).read_text(encoding="utf-8"))["clips"]
    codes = np.fromfile(folder / _CODES, np.uint16).reshape(-1, index["num_codebooks"])
    clips, at = [], 0
    for row in rows:
        lasting = np.array(row["durations"], np.int64)
        own = codes[at : at + int(lasting.sum())].T.astype(np.int64)
        at += own.shape[1]
        if row["manifest"] in manifests:
            clips.append(SpokenClip(row["manifest"], row["symbols"], lasting, own, row["voice"]))
    return clips


def spoken_digest(section: RefinerDataSection, data: Path, symbols: str, frame: float) -> str:
    """Of all that symbols and durations depend on.

    Args:
        section: which recordings.
        data: folder of the manifests.
        symbols: that can be spoken.
        frame: seconds of a frame of the codec.

    Raises:
        RecipeError: a manifest is missing.
    """
    names = _manifests(section)
    for name in names:
        if not (data / name).is_file():
            raise RecipeError(
                f"The data folder '{data}' has no {name}. For the recipe nano-refiner, "
                "'python -m lab.nano.data' in a clone of the repository makes it."
            )
    digests = [manifest_digest(data / name) for name in names]
    told = [names, digests, section.voices, section.aligner, symbols, frame]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _manifests(section: RefinerDataSection) -> list[str]:
    return list(dict.fromkeys([*(part.manifest for part in section.train), *section.validation]))


def codec_digest(codec: Any, *, decoder: bool = False) -> str:
    """Of a codec's weights that codes depend on.

    Args:
        codec: a network.
        decoder: of its decoder, too.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(codec.model.state_dict().items()):
        if decoder or not name.startswith("decoder."):
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def prepare_spoken(
    section: RefinerDataSection,
    data: Path,
    folder: Path,
    codec: Codec,
    symbols: str,
    aligner: Callable[[], Aligner],
) -> None:
    """Lay the texts over the recordings and encode these, unless that is done already.

    Args:
        section: which.
        data: folder of the manifests.
        folder: where the files are kept.
        codec: that encodes.
        symbols: that can be spoken.
        aligner: makes what tells durations, if it is needed.

    Raises:
        RecipeError: a manifest is missing, none of its recordings can be used, or something else
            stands where the files would be.
        TrainingError: the disk became full.
    """
    frame = codec.hop_length / codec.sampling_rate
    key = spoken_digest(section, data, symbols, frame)
    if folder.exists() and any(folder.iterdir()) and not (folder / _ALIGNED).is_file():
        raise RecipeError(
            f"'{folder}' is where prepared recordings would be kept, and something else is there. "
            "Give another --output."
        )
    if _key(folder / _ALIGNED) != key:
        if (folder / _ALIGNED).is_file():
            logger.warning("the recordings have changed; their texts are laid over them anew")
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with room_for("prepared recordings", folder.parent, partial):
            rows = _aligned(section, data, symbols, aligner())
            write_text(partial / _ALIGNED, json.dumps({"key": key, "clips": rows}))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    own = f"{key} {codec_digest(codec)}"
    if _key(folder / _INDEX) != own:
        (folder / _INDEX).unlink(missing_ok=True)
        with room_for("codes of recordings", folder.parent, folder / f"{_CODES}.partial"):
            _encode(data, folder, codec)
            told = {"key": own, "num_codebooks": codec.num_codebooks}
            write_text(folder / _INDEX, json.dumps(told))


def _key(file: Path) -> str | None:
    return json.loads(file.read_text(encoding="utf-8"))["key"] if file.is_file() else None


def _aligned(
    section: RefinerDataSection, data: Path, symbols: str, aligner: Aligner
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name in _manifests(section):
        heard = [item for item in read_manifest(data / name) if item.voice in section.voices]
        items = sorted(heard, key=lambda item: item.duration)
        logger.info("laying texts over %s: %d recordings", name, len(items))
        without: Counter[str] = Counter()  # recordings left out, by why
        before = len(rows)
        clips = _spoken(items, symbols, without)
        while read := list(islice(clips, _AT_ONCE)):
            told = aligner([clip for _, clip, _ in read], [spelled for *_, spelled in read])
            for (item, _, spelled), lasting in zip(read, told, strict=True):
                if lasting is None:
                    without["the text doesn't fit"] += 1
                    continue
                rows.append(
                    {
                        "manifest": name,
                        "audio": os.path.relpath(item.audio, data),
                        "voice": section.voices[item.voice],
                        "symbols": spelled,
                        "durations": lasting.tolist(),
                    }
                )
                if (len(rows) - before) % _TOLD_EVERY == 0:
                    logger.info("%s: %d of %d", name, len(rows) - before, len(items))
        if without:
            told_why = ", ".join(f"{why}: {count}" for why, count in without.items())
            logger.warning("%s: %d are left out (%s)", name, without.total(), told_why)
        if len(rows) == before:
            raise RecipeError(
                f"'{name}' has no recording of {', '.join(section.voices)} whose text can be laid "
                "over it. Check data.voices and the texts."
            )
    return rows


def _spoken(
    items: Sequence[Utterance], symbols: str, without: Counter[str]
) -> Iterator[tuple[Utterance, np.ndarray, str]]:
    """Recordings at 16 kHz and their texts in symbols; others are counted in `without`."""
    for item in items:
        # Of a number nobody knows how it was said.
        if any(c.isdigit() for c in item.text):
            without["numbers"] += 1
            continue
        try:
            spelled = spell(speakable(item.text, item.language or "ru").text, symbols).symbols
            clip = load_audio(item.audio)
        except AudioError:
            without["can't be read"] += 1
        except (SpeechError, PromptError):
            without["nothing to say"] += 1
        else:
            yield item, levelled(clip, item.kind), spelled


def _encode(data: Path, folder: Path, codec: Codec) -> None:
    rows = json.loads((folder / _ALIGNED).read_text(encoding="utf-8"))["clips"]
    logger.info("encoding %d recordings with '%s'", len(rows), codec.name)
    with (folder / _CODES).open("wb") as out:
        for number, row in enumerate(rows, 1):
            clip = load_audio(data / row["audio"], output_rate=codec.sampling_rate)
            codes = codec.encode(levelled(clip, "speech")).codes
            wanted = sum(row["durations"])
            # A frame more or less may come of another sampling rate.
            codes = np.pad(codes, ((0, 0), (0, max(0, wanted - codes.shape[1]))), "edge")
            out.write(codes[:, :wanted].T.astype(np.uint16).tobytes())
            if number % _TOLD_EVERY == 0:
                logger.info("%d of %d", number, len(rows))
