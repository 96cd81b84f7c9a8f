"""Free engines of speech, which are commands (flite, espeak-ng, Festival), and what they say."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

from borealis.data.manifest import Utterance, write_manifest
from borealis.data.text import clean_transcript
from borealis.errors import BorealisError
from borealis.files import aside

# Engine, voice and gender; flite and espeak-ng are free and in Debian.
ENGLISH_VOICES = (
    ("flite", "slt", "female"),
    ("flite", "rms", "male"),
    ("flite", "awb", "male"),
    ("flite", "kal16", "male"),
    ("espeak-ng", "en-us", "male"),
    ("espeak-ng", "en-us+f3", "female"),
    ("espeak-ng", "en-gb+m3", "male"),
)

_RUSSIAN_TIMBRES = {
    "male": ("ru", "ru+m2", "ru+m3", "ru+m5", "ru+m7", "ru+Andy", "ru+Max", "ru+Lee"),
    "female": ("ru+f1", "ru+f2", "ru+f4", "ru+Annie", "ru+anika", "ru+Belinda"),
}
RUSSIAN_VOICES = tuple(
    ("espeak-ng", voice, gender) for gender, names in _RUSSIAN_TIMBRES.items() for voice in names
)


class SourceError(BorealisError):
    """What data is to be made of is missing, or isn't what is expected."""


def run_program(command: Sequence[str], cwd: Path | None = None, stdin: str | None = None) -> None:
    """Run a command to its end, with `stdin` as its input.

    Raises:
        SourceError: it fails; the message has the last line that it printed.
    """
    done = subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SourceError(f"'{command[0]}' failed: {last}")


def held_out(text: str, percent: int) -> bool:
    """Whether a sentence belongs to the test split: by its words, so that copies go together."""
    digest = hashlib.sha256(re.sub(r"\W+", " ", text.lower()).encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < percent


def speak(text: str, engine: str, voice: str, target: Path, *, speed: float = 1.0) -> None:
    """Say `text` into a WAV file with flite, espeak-ng or festival (which has one speed)."""
    if engine == "flite":
        # flite stretches durations, so the factor is inverted.
        command = ["flite", "-voice", voice, "--setf", f"duration_stretch={1 / speed:.2f}"]
        run_program([*command, "-t", text, "-o", str(target)])
    elif engine == "festival":
        command = ["text2wave", "-eval", f"(voice_{voice})", "-o", str(target)]
        run_program(command, stdin=text)
    else:
        command = ["espeak-ng", "-v", voice, "-s", str(round(160 * speed)), "-w", str(target)]
        run_program([*command, text])


def tts(
    sentences: Iterable[str],
    output: Path,
    name: str,
    language: str,
    voices: Sequence[tuple[str, str, str]],
    *,
    seed: int = 0,
    test_percent: int = 5,
    workers: int = 2,
    speakers: Mapping[str, Callable[..., None]] | None = None,
) -> list[Path]:
    """Sentences spoken by free voices at varied speed, split into train and test.

    Args:
        sentences: what is said, each once.
        output: folder of the manifests; the recordings get a folder there.
        name: of that folder and the first part of the manifests' names.
        language: of the sentences.
        voices: engine, voice and gender of each voice; every sentence draws one.
        seed: of the draws.
        test_percent: share of the test split, chosen by the words of a sentence.
        workers: sentences spoken at once.
        speakers: functions with the arguments of `speak` for engines that aren't commands.
    """
    speakers = speakers or {}
    engines = sorted({engine for engine, _, _ in voices} - set(speakers))
    missing = [tool for tool in engines if shutil.which(tool) is None]
    if missing:
        raise SourceError(f"Install {' and '.join(missing)} (Debian packages of that name).")
    rng = np.random.default_rng(seed)
    folder = output / name
    folder.mkdir(parents=True, exist_ok=True)
    jobs = []
    for number, sentence in enumerate(sentences):
        engine, voice, gender = voices[int(rng.integers(len(voices)))]
        target = folder / f"{number:05d}.wav"
        jobs.append((sentence, engine, voice, gender, target, float(rng.uniform(0.85, 1.2))))

    def make(job: tuple[str, str, str, str, Path, float]) -> Utterance:
        sentence, engine, voice, gender, target, speed = job
        if not target.is_file():
            # Aside first: a recording that is there is taken as it is by the next run.
            with aside(target) as partial:
                speakers.get(engine, speak)(sentence, engine, voice, partial, speed=speed)
        return Utterance(
            audio=str(target.resolve()),
            text=clean_transcript(sentence),
            duration=round(soundfile.info(target).duration, 2),
            language=language,
            voice=f"{engine}:{voice}",
            gender=gender,
        )

    with ThreadPoolExecutor(workers) as pool:
        items = list(pool.map(make, jobs))
    parts: dict[str, list[Utterance]] = {"train": [], "test": []}
    for item in items:
        parts["test" if held_out(item.text, test_percent) else "train"].append(item)
    return [write_manifest(output / f"{name}.{k}.jsonl", v) for k, v in parts.items()]
