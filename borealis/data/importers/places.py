"""Where the recordings lie that a table names."""

from __future__ import annotations

from pathlib import Path

from borealis.data.importers.rows import AUDIO_SUFFIXES, is_audio

# Folders beside a table in which corpora keep their recordings.
_FOLDERS = ("", "wavs", "wav", "clips", "audio", "data", "recordings")


def recording(name: str, folder: Path) -> Path | None:
    """The recording that a table in `folder` calls so; None if there is none.

    The suffix may be missing, the folder may be one that corpora keep recordings in, and the path
    may be written as Windows writes it.
    """
    name = name.strip()
    if not name or "\0" in name:
        return None
    names = [name]
    if "\\" in name:
        names.append(name.replace("\\", "/"))
    for written in names:
        for inner in _FOLDERS:
            place = folder / inner / written
            if _is_file(place) and (is_audio(place) or not inner):
                return place
            for suffix in (".wav", ".flac", ".mp3", *sorted(AUDIO_SUFFIXES)):
                with_suffix = place.with_name(place.name + suffix) if place.name else place
                if _is_file(with_suffix):
                    return with_suffix
    return None


def same_name(path: Path) -> Path | None:
    """The recording that has the name of a file beside it: `talk.mp3` of `talk.ru.srt`."""
    stem = path.name
    while "." in stem:
        stem = stem.rpartition(".")[0]
        for suffix in (".wav", ".flac", ".mp3", *sorted(AUDIO_SUFFIXES)):
            for written in (suffix, suffix.upper()):
                if stem and _is_file(place := path.with_name(stem + written)):
                    return place
        place = path.with_name(stem)  # talk.wav.txt
        if stem and is_audio(place) and _is_file(place):
            return place
    return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False
