"""Recordings of the fine-tuning experiment: a stranger on the telephone, and words of a trade.

    python -m lab.tuning.material --sentences data/synthetic-ru.test.jsonl --output data

`stranger/`: a woman's voice of ru_tts, which nano never heard, through a telephone (8 kHz, G.711);
sentences that no corpus of nano has. `terms/`: forty words of programmers that nano doesn't know,
in sentences by two voices of espeak-ng that it does know. Each has `train-10`, `train-40` and
`train-160`, `validation` and `test`, and no sentence is in two of them.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from borealis.data.manifest import Utterance, read_manifest, write_manifest
from lab.tuning import ru_tts

SIZES = (10, 40, 160)
TELEPHONE = 8000
KNOWN_VOICES = (("ru", "male"), ("ru+f2", "female"))
TERMS = [
    "кубернетис",
    "докер",
    "постгрес",
    "терраформ",
    "ансибл",
    "графана",
    "прометеус",
    "дженкинс",
    "гитлаб",
    "редис",
    "кликхаус",
    "эластик",
    "нгинкс",
    "хелм",
    "пайторч",
    "джанго",
    "тайпскрипт",
    "вебхук",
    "бэкенд",
    "фронтенд",
    "деплой",
    "пайплайн",
    "бэкап",
    "роутер",
    "хостинг",
    "дебаг",
    "мердж",
    "коммит",
    "докерфайл",
    "лямбда",
    "спринт",
    "бэклог",
    "стендап",
    "рефакторинг",
    "линтер",
    "фреймворк",
    "токенизатор",
    "эмбеддинг",
    "датасет",
    "чекпойнт",
]
_LEARNED = (
    "Вчера мы обсуждали {} до самого вечера.",
    "Кто у нас отвечает за {} на этой неделе?",
    "Новый сотрудник быстро понял, что такое {}.",
    "Без слова {} здесь не обходится ни один разговор.",
)
_VALIDATED = ("Завтра утром проверь {} ещё раз.",)
_TESTED = ("После обеда снова сломался {}.", "Расскажи, как устроен {}, и покажи пример.")


def stranger(sentences: Sequence[str], folder: Path, seed: int = 0) -> None:
    """Write the recordings of the stranger and their manifests.

    Args:
        sentences: 250 or more, none of them known to the model.
        folder: to write into.
        seed: of their order, and of rate, pitch and loudness.
    """
    rng = np.random.default_rng(seed)
    texts = [sentences[i] for i in rng.permutation(len(sentences))]
    items = []
    for number, text in enumerate(texts[:250]):
        rate, pitch = int(rng.integers(85, 121)), int(rng.integers(90, 111))
        audio = ru_tts.speak(text, "female", rate=rate, pitch=pitch)
        heard = resample_poly(audio, TELEPHONE, ru_tts.SAMPLING_RATE)
        heard *= rng.uniform(0.2, 0.8) / np.abs(heard).max()
        path = folder / "recordings" / f"{number:03d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, heard, TELEPHONE, subtype="ULAW")
        seconds = round(len(heard) / TELEPHONE, 2)
        items.append(Utterance(str(path.resolve()), text, seconds, voice="ru_tts", gender="female"))
    _split(folder, items[:50], items[50:90], items[90:])


def terms(folder: Path, seed: int = 0) -> None:
    """Write the recordings of the trade's words and their manifests.

    Args:
        folder: to write into.
        seed: of the order, so that few recordings hold many of the words.
    """
    rng, items = np.random.default_rng(seed), {}
    for part, patterns in (("test", _TESTED), ("validation", _VALIDATED), ("train", _LEARNED)):
        made = [
            (pattern.format(term), KNOWN_VOICES[(number + place) % 2])
            for place, pattern in enumerate(patterns)
            for number, term in enumerate(rng.permutation(TERMS))
        ]
        items[part] = [
            _spoken(text, voice, folder / "recordings" / f"{part}-{number:03d}.wav")
            for number, (text, voice) in enumerate(made)
        ]
    _split(folder, items["test"], items["validation"], items["train"])


def _spoken(text: str, voice: tuple[str, str], path: Path) -> Utterance:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "said.wav"
        subprocess.run(["espeak-ng", "-v", voice[0], "-w", str(raw), text], check=True)
        audio, rate = soundfile.read(raw, dtype="float32")
    soundfile.write(path, audio, rate, subtype="PCM_16")
    seconds = round(len(audio) / rate, 2)
    return Utterance(str(path.resolve()), text, seconds, voice=voice[0], gender=voice[1])


def _split(
    folder: Path,
    test: Iterable[Utterance],
    validation: Iterable[Utterance],
    train: Sequence[Utterance],
) -> None:
    write_manifest(folder / "test.jsonl", test)
    write_manifest(folder / "validation.jsonl", validation)
    for size in SIZES:
        write_manifest(folder / f"train-{size}.jsonl", train[:size])


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sentences", type=Path, required=True, help="manifest with 250 texts")
    parser.add_argument("--output", type=Path, default=Path("data"), help="data folder (data)")
    args = parser.parse_args()
    stranger([item.text for item in read_manifest(args.sentences)], args.output / "stranger")
    terms(args.output / "terms")


if __name__ == "__main__":
    main()
