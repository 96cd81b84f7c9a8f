"""Builders of manifests from the corpora that borealis-nano is trained on.

Each builder takes a folder (or archive) of the source and an output folder, writes manifests there
and returns their paths. Nothing is downloaded from a hub: the recordings come from Debian packages
and, where given, an archive of synthetic speech.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from borealis.audio import SAMPLING_RATE, load_audio
from borealis.data.augment import coloured_noise
from borealis.data.engines import (
    ENGLISH_VOICES,
    RUSSIAN_VOICES,
    SourceError,
    held_out,
    run_program,
    tts,
)
from borealis.data.manifest import Utterance, write_manifest
from borealis.data.text import clean_transcript

FESTVOX_TEST = 60
FESTVOX_VALIDATION = 60

# RHVoice voices of the synthetic corpus.
_GENDERS = {"aleksandr": "male", "anna": "female", "elena": "female", "irina": "female"}

# Those and more timbres, the recorded voices of flite more often than what espeak-ng computes.
MORE_ENGLISH_VOICES = (
    *(("flite", "slt", "female"),) * 4,
    *(("flite", name, "male") for name in ("rms", "awb", "kal16", "kal16") for _ in range(2)),
    *(("espeak-ng", f"en-us+{name}", "female") for name in ("f1", "f2", "f3", "f4", "Annie")),
    *(("espeak-ng", f"en-gb+{name}", "female") for name in ("f2", "f5", "anika", "Belinda")),
    *(("espeak-ng", name, "male") for name in ("en-us", "en-us+m2", "en-gb+m3", "en-gb+Andy")),
)


def unpack_debian_package(name: str, folder: Path) -> Path:
    """Download a Debian package and unpack it without installing; returns the folder.

    Raises:
        SourceError: apt-get or dpkg-deb is missing or fails (the message has their last line).
    """
    target = folder / name
    if target.is_dir():
        return target
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise SourceError(
                f"'{tool}' isn't here. On another system unpack the Debian package '{name}' "
                f"into '{target}' yourself and run the command again."
            )
    folder.mkdir(parents=True, exist_ok=True)
    run_program(["apt-get", "download", name], cwd=folder)
    package = next(iter(sorted(folder.glob(f"{name}_*.deb"))), None)
    if package is None:
        raise SourceError(f"apt-get downloaded no package '{name}'. Run 'apt-get update' first.")
    partial = target.with_suffix(".partial")
    run_program(["dpkg-deb", "-x", str(package.resolve()), str(partial.resolve())])
    partial.rename(target)
    return target


def festvox_ru(source: Path, output: Path) -> list[Path]:
    """One man reading prose (Debian `festvox-ru`), 620 utterances, 99.5 minutes.

    The split is fixed: by file name, the last 60 are test, the 60 before them validation.
    """
    root = source / "usr/share/festival/voices/russian/msu_ru_nsh_clunits"
    listing = root / "etc/txt.done.data"
    if not listing.is_file():
        raise SourceError(f"No 'etc/txt.done.data' under '{source}': is it festvox-ru unpacked?")
    items = []
    for line in listing.read_text(encoding="utf-8").splitlines():
        match = re.match(r'\(\s*(\S+)\s+"(.*)"\s*\)', line.strip())
        if not match or not (wav := root / "wav" / f"{match[1]}.wav").is_file():
            continue
        info = soundfile.info(wav)
        # Commas mark the reader's pauses there, far more of them than the language wants.
        text = clean_transcript(match[2].replace(",", "").replace(" - ", " "))
        items.append(
            Utterance(
                audio=str(wav.resolve()),
                text=text,
                duration=round(info.duration, 2),
                voice="festvox",
                gender="male",
            )
        )
    items.sort(key=lambda item: item.audio)
    cut, end = len(items) - FESTVOX_TEST - FESTVOX_VALIDATION, len(items) - FESTVOX_TEST
    parts = {"train": items[:cut], "validation": items[cut:end], "test": items[end:]}
    return [write_manifest(output / f"festvox-ru.{k}.jsonl", v) for k, v in parts.items()]


def asterisk_ru(sounds: Path, texts: Path, output: Path) -> list[Path]:
    """Telephone prompts of a woman who is in no training data (Debian `asterisk-core-sounds-ru`).

    For measuring only. Prompts of fewer than three words are left out, and those whose text has
    digits or remarks, or whose length doesn't fit the text.

    Args:
        sounds: `asterisk-core-sounds-ru-wav`, unpacked.
        texts: `asterisk-core-sounds-ru`, unpacked; it has the list of texts.
        output: folder for the manifest.
    """
    listing = texts / "usr/share/doc/asterisk-core-sounds-ru/core-sounds-ru.txt.gz"
    root = next(iter(sorted((sounds / "usr/share/asterisk/sounds").glob("ru*"))), None)
    if root is None or not listing.is_file():
        raise SourceError(f"'{sounds}' or '{texts}' isn't asterisk-core-sounds-ru unpacked.")
    items = []
    for line in gzip.decompress(listing.read_bytes()).decode("utf-8").splitlines():
        name, _, text = line.strip().partition(":")
        text = clean_transcript(text)
        if (
            name.startswith(";")
            or len(text.split()) < 3
            or re.search(r"[^А-Яа-яЁё ,.!?:;—-]", text)
        ):
            continue
        wav = root / f"{name}.wav"
        if not wav.is_file():
            continue
        seconds = round(soundfile.info(wav).duration, 2)
        if not 4 < len(text) / max(seconds, 0.1) < 30:
            continue
        items.append(Utterance(str(wav.resolve()), text, seconds, voice="ivr", gender="female"))
    return [write_manifest(output / "asterisk-ru.unseen.jsonl", items)]


def unpack(archive: Path, folder: Path) -> None:
    """Write the files of a tar under `folder`, and nothing but files.

    `extractall(filter="data")` would do that, but Python has it only from 3.11.4 on.

    Raises:
        SourceError: it is no tar, or holds a link, a device or a name that leads out of the folder.
    """
    root = folder.resolve()
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                target = (root / member.name).resolve()
                if not target.is_relative_to(root) or not (member.isfile() or member.isdir()):
                    raise SourceError(
                        f"'{archive.name}' holds '{member.name}', which isn't a file inside it: "
                        "nothing more is taken from it."
                    )
                if member.isdir():
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                stream = tar.extractfile(member)
                assert stream is not None  # a file has content
                with stream, target.open("wb") as out:
                    shutil.copyfileobj(stream, out)
    except (tarfile.TarError, EOFError) as error:
        raise SourceError(f"'{archive.name}' is no tar, or is cut off: {error}.") from None


def synthetic_ru(source: Path, output: Path, *, test_percent: int = 3) -> list[Path]:
    """The synthetic Russian corpus: Opus files and `manifest.jsonl`, a folder or a tar."""
    if source.is_file():
        folder = output / "synthetic-ru"
        if not folder.is_dir():
            partial = output / "synthetic-ru.partial"
            unpack(source, partial)
            partial.rename(folder)
    else:
        folder = source
    listing = next(iter(sorted(folder.rglob("manifest.jsonl"))), None)
    if listing is None:
        raise SourceError(f"No 'manifest.jsonl' in '{source}'.")
    parts: dict[str, list[Utterance]] = {"train": [], "test": []}
    for line in listing.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        item = Utterance(
            audio=str((listing.parent / row["audio"]).resolve()),
            text=clean_transcript(row["text"]),
            duration=row["duration"],
            voice=row["voice"],
            gender=_GENDERS.get(row["voice"], ""),
        )
        parts["test" if held_out(row["text"], test_percent) else "train"].append(item)
    return [write_manifest(output / f"synthetic-ru.{k}.jsonl", v) for k, v in parts.items()]


def english_tts(sentences: Iterable[str], output: Path, **options: Any) -> list[Path]:
    """English sentences spoken by the free voices of flite and espeak-ng; see `tts`."""
    return tts(sentences, output, "english-tts", "en", ENGLISH_VOICES, **options)


def more_english_tts(sentences: Iterable[str], output: Path) -> list[Path]:
    """More English sentences in more timbres, for training only; see `tts`."""
    options: dict[str, Any] = {"seed": 1, "test_percent": 0}
    train, test = tts(sentences, output, "english-more", "en", MORE_ENGLISH_VOICES, **options)
    test.unlink()  # nothing is in it
    return [train]


def russian_tts(sentences: Iterable[str], output: Path, **options: Any) -> list[Path]:
    """Russian sentences in the many timbres of espeak-ng; see `tts`.

    Unlike Festival's Russian voice, it isn't glued together from the recordings that are the test.
    """
    return tts(sentences, output, "russian-tts", "ru", RUSSIAN_VOICES, **options)


def sounds(
    packages: Sequence[Path], output: Path, *, seed: int = 0, silence: int = 120, noise: int = 200
) -> list[Path]:
    """Clips without speech: music and effects of Debian's packages, made noise, and silence.

    Music is cut into pieces of 2-10 s; every fifth piece goes to the test split. Folders named
    `moh` (music on hold) hold music, everything else counts as noise.
    """
    rng = np.random.default_rng(seed)
    folder = output / "sounds"
    folder.mkdir(parents=True, exist_ok=True)
    items: list[Utterance] = []

    def keep(audio: np.ndarray, kind: str) -> None:
        target = folder / f"{kind}-{len(items):05d}.flac"
        soundfile.write(target, np.clip(audio, -1, 1), SAMPLING_RATE)
        seconds = round(len(audio) / SAMPLING_RATE, 2)
        items.append(
            Utterance(str(target.resolve()), duration=seconds, language="", voice=kind, kind=kind)
        )

    for package in packages:
        files = [p for p in sorted(package.rglob("*")) if p.suffix in (".wav", ".oga", ".ogg")]
        for path in files:
            if path.is_symlink() or not path.is_file():
                continue
            audio = load_audio(path)
            kind = "music" if "moh" in path.parts else "noise"
            start = 0
            while len(audio) - start >= SAMPLING_RATE // 2 and start < 300 * SAMPLING_RATE:
                length = int(rng.uniform(2, 10) * SAMPLING_RATE)
                piece = audio[start : start + length]
                if np.abs(piece).max() > 0.01:
                    keep(piece, kind)
                start += length
    for _ in range(noise):
        length = int(rng.uniform(1, 10) * SAMPLING_RATE)
        made = coloured_noise(length, rng) * 10 ** (rng.uniform(-40, -8) / 20)
        if rng.random() < 0.3:  # noise that comes and goes
            made *= np.clip(np.sin(np.arange(length) / SAMPLING_RATE * rng.uniform(1, 8)), 0, 1)
        keep(made, "noise")
    for _ in range(silence):
        length = int(rng.uniform(0.5, 10) * SAMPLING_RATE)
        level = 0.0 if rng.random() < 0.3 else 10 ** (rng.uniform(-90, -65) / 20)
        keep(coloured_noise(length, rng) * level, "silence")
    order = rng.permutation(len(items))
    test = {int(i) for i in order[: len(items) // 5]}
    parts = {
        "train": [x for i, x in enumerate(items) if i not in test],
        "test": [x for i, x in enumerate(items) if i in test],
    }
    return [write_manifest(output / f"sounds.{k}.jsonl", v) for k, v in parts.items()]
