"""Speech from sentences: by free engines that this machine has, or by models of transformers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import soundfile

from borealis.data.engines import ENGLISH_VOICES, RUSSIAN_VOICES, SourceError, tts

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


class ModelSpeaker:
    """Text-to-speech models of transformers (VITS and its like), by their pipeline.

    Args:
        models: hub ids or folders; safetensors, without code of their own.

    Raises:
        SourceError: a model can't be loaded.
    """

    def __init__(self, models: Sequence[str]) -> None:
        from transformers import pipeline

        self.pipelines: dict[str, Any] = {}
        self.lock = Lock()  # a model speaks one sentence at a time
        for model in models:
            try:
                self.pipelines[model] = pipeline(
                    "text-to-audio", model=model, model_kwargs={"use_safetensors": True}
                )
            except (OSError, ValueError, KeyError) as error:
                reason = str(error).strip().splitlines()[0]
                raise SourceError(f"'{model}' can't be loaded to speak: {reason}") from None

    def __call__(
        self, text: str, engine: str, voice: str, target: Path, *, speed: float = 1.0
    ) -> None:
        """Write `text` to `target`; a model has a pace of its own, so `speed` isn't used."""
        with self.lock:
            said = self.pipelines[voice](text)
        audio = np.asarray(said["audio"], np.float32).reshape(-1)
        if not audio.size or not np.isfinite(audio).all():
            raise SourceError(f"'{voice}' made no sound of the sentence: {text[:60]}")
        soundfile.write(target, np.clip(audio, -1, 1), said["sampling_rate"], format="WAV")


def synthesize(
    sentences: Sequence[str],
    output: Path,
    *,
    name: str = "synth",
    language: str = "ru",
    engines: Sequence[str] | None = None,
    models: Sequence[str] = (),
    seed: int = 0,
) -> list[Path]:
    """Say every sentence once, by a voice drawn at random; manifests `<name>.train` and `.test`.

    Args:
        sentences: what is said.
        output: data folder.
        name: of the manifests and of the folder of recordings.
        language: `ru` or `en`.
        engines: only these.
        models: text-to-speech models of transformers, hub ids or folders, a voice each; the engines
            then speak only if they are named.
        seed: of the draws.

    Raises:
        SourceError: there are no sentences, or no voice, or a model can't be loaded.
    """
    if not sentences:
        raise SourceError("There are no sentences to say.")
    voices = found_voices(language, engines) if engines or not models else []
    voices += [("transformers", model, "") for model in models]
    speakers = {"transformers": ModelSpeaker(models)} if models else {}
    made = tts(sentences, output, name, language, voices, seed=seed, speakers=speakers)
    return [path for path in made if path.stat().st_size]  # few sentences may leave no test
