"""Speech from sentences by the free engines that this machine has."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from borealis.data.sources import (
    ENGLISH_VOICES,
    RUSSIAN_VOICES,
    SourceError,
    tts,
)

# Festival's voices are folders of Debian packages; text2wave is its command.
_FESTIVAL = {
    "ru": (("festival", "msu_ru_nsh_clunits", "male"),),
    "en": (("festival", "kal_diphone", "male"),),
}
_FESTIVAL_FOLDERS = (Path("/usr/share/festival/voices"), Path("/usr/lib/festival/voices"))
ENGINES = {"espeak-ng": "espeak-ng", "flite": "flite", "festival": "text2wave"}


def found_voices(language: str, engines: Sequence[str] | None = None) -> list[tuple[str, str, str]]:
    """Engine, voice and gender of every voice of a language that can speak here.

    Args:
        language: `ru` or `en`.
        engines: only these; all that are found by default.

    Raises:
        SourceError: an engine is unknown or missing, or none has a voice of the language.
    """
    for engine in engines or ():
        if engine not in ENGINES:
            raise SourceError(f"There is no engine '{engine}'; known are {', '.join(ENGINES)}.")
        if shutil.which(ENGINES[engine]) is None:
            raise SourceError(f"'{engine}' isn't installed (Debian package of that name).")
    listed = RUSSIAN_VOICES if language == "ru" else ENGLISH_VOICES
    voices = [
        voice
        for voice in (*listed, *_FESTIVAL[language])
        if voice[0] in (engines or ENGINES) and _speaks(voice)
    ]
    if not voices:
        raise SourceError(
            f"Nothing here speaks '{language}': install one of {', '.join(ENGINES)}, and for "
            "Festival a voice (festvox-ru)."
        )
    return voices


def _speaks(voice: tuple[str, str, str]) -> bool:
    engine, name, _ = voice
    if shutil.which(ENGINES[engine]) is None:
        return False
    if engine != "festival":
        return True
    return any(any(root.glob(f"*/{name}")) for root in _FESTIVAL_FOLDERS)


def synthesize(
    sentences: Sequence[str],
    output: Path,
    *,
    name: str = "synth",
    language: str = "ru",
    engines: Sequence[str] | None = None,
    seed: int = 0,
) -> list[Path]:
    """Say every sentence once, by a voice drawn at random; manifests `<name>.train` and `.test`.

    Args:
        sentences: what is said.
        output: data folder.
        name: of the manifests and of the folder of recordings.
        language: `ru` or `en`.
        engines: only these.
        seed: of the draws.

    Raises:
        SourceError: there are no sentences, or no voice.
    """
    if not sentences:
        raise SourceError("There are no sentences to say.")
    voices = found_voices(language, engines)
    made = tts(sentences, output, name, language, voices, seed=seed)
    return [path for path in made if path.stat().st_size]  # few sentences may leave no test
