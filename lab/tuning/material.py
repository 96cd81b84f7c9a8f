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
    "вебпак",
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
    "плейбук",
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
# Sentences that the words stand in: others in training, in validation and in the test.
_LEARNED = (
    "Вчера мы обсуждали {} до самого вечера.",
    "Кто у нас отвечает за {} на этой неделе?",
    "Новый сотрудник быстро понял, что такое {}.",
    "Без слова {} здесь не обходится ни один разговор.",
    "Я третий день настраиваю {}, и всё без толку.",
    "Покажи мне, где лежит {}.",
    "Если упадёт {}, встанет весь отдел.",
    "Он написал про {} длинное письмо.",
    "Сначала поставь {}, потом зови меня.",
    "Мне не нравится {}, но выбора нет.",
    "Утром начальник спросил, зачем нам {}.",
    "На этот раз виноват не {}, а сеть.",
    "Говорят, {} опять занял всю память.",
    "Мы купили книгу про {}, и никто её не открыл.",
    "Через месяц {} станет не нужен.",
    "Верни {} на место, как было.",
    "Почему {} работает так медленно?",
    "За полчаса до обеда {} перестал отвечать.",
    "Я уже объяснял, чем хорош {}.",
    "Возьми старый {} и сделай копию.",
    "В договоре ничего не сказано про {}.",
    "Давай проверим {} на другой машине.",
    "Отдельно запиши, сколько стоит {}.",
    "Ночью дежурный перезапустил {} два раза.",
    "Только не трогай {} до понедельника.",
    "Старый {} был проще и надёжнее.",
    "Она выступала с докладом про {}.",
    "Ошибка появляется, когда включён {}.",
    "Весной мы перенесли {} в другой город.",
    "Никто не помнит, кто придумал {}.",
    "Осталось закрыть {} и идти домой.",
    "Сравни {} с тем, что было год назад.",
)
_VALIDATED = (
    "Завтра утром проверь {} ещё раз.",
    "Кажется, {} сломали нарочно.",
    "Откуда у вас этот {}?",
    "Мы переписали {} с нуля за лето.",
    "Спроси соседа, нужен ли ему {}.",
)
_TESTED = (
    "После обеда снова сломался {}.",
    "Расскажи, как устроен {}, и покажи пример.",
    "Заказчик не верит, что {} поможет.",
    "Пора выбросить {} и начать заново.",
    "Я читаю про {} третью статью подряд.",
    "Вместо ответа он открыл {}.",
    "Какой {} вы поставили на сервер?",
    "До отпуска нужно доделать {}.",
)


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
    parts = (("test", _TESTED, 2), ("validation", _VALIDATED, 1), ("train", _LEARNED, 4))
    for part, patterns, times in parts:
        # Every word once before any comes again, and sentences as evenly.
        said = [term for _ in range(times) for term in rng.permutation(TERMS)]
        rounds = -(-len(said) // len(patterns))
        frames = [p for _ in range(rounds) for p in rng.permutation(patterns)]
        items[part] = [
            _spoken(
                frame.format(term),
                KNOWN_VOICES[number % 2],
                folder / "recordings" / f"{part}-{number:03d}.wav",
            )
            for number, (term, frame) in enumerate(zip(said, frames, strict=False))
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
