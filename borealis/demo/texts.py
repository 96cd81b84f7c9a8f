"""Every word the demo shows, in both languages."""

from __future__ import annotations

from borealis.errors import (
    AudioEmptyError,
    AudioFormatError,
    AudioNotFoundError,
    AudioTooLargeError,
    AudioTooLongError,
    AudioValueError,
    BorealisError,
    PromptError,
)

TEXTS: dict[str, dict[str, str]] = {
    "ru": {
        "title": "Borealis: модель, которая слышит",
        "lead": "Скажите что-нибудь или приложите файл: модель запишет речь и ответит на вопрос. "
        "Всё считается на этом компьютере, запись никуда не уходит.",
        "other": "English",
        "transcribe": "Записать речь",
        "ask": "Спросить",
        "audio": "Запись: микрофон или файл",
        "text": "Текст",
        "write": "Записать",
        "question": "Вопрос",
        "question_hint": "Например: кто говорит, мужчина или женщина?",
        "answer": "Ответ",
        "send": "Спросить",
        "examples": "Примеры записей",
        "suggestions": "Примеры вопросов",
        "silence": "Здесь не слышно речи.",
        "limits": "До {megabytes} МБ и до {minutes} минут. Модель маленькая и ошибается в словах.",
        "no_audio": "Записи нет: скажите что-нибудь в микрофон или выберите файл.",
        "no_question": "Вопрос пуст: напишите, что узнать о записи.",
        "too_large": "Файл слишком большой: принимается до {megabytes} МБ.",
        "too_long": "Запись слишком длинная: принимается до {minutes} минут.",
        "not_audio": "Этот файл не похож на звук или повреждён. Подойдут wav, mp3, ogg, m4a, webm.",
        "empty": "В записи нет звука: она пустая.",
        "bad_value": "Запись испорчена: в ней не звуковые данные.",
        "failed": "Не получилось обработать запись.",
    },
    "en": {
        "title": "Borealis: a model that hears",
        "lead": "Say something or drop a file: the model writes the speech down and answers a "
        "question. Everything runs on this computer, the recording goes nowhere.",
        "other": "Русский",
        "transcribe": "Transcribe",
        "ask": "Ask",
        "audio": "Recording: microphone or file",
        "text": "Text",
        "write": "Transcribe",
        "question": "Question",
        "question_hint": "For example: who speaks, a man or a woman?",
        "answer": "Answer",
        "send": "Ask",
        "examples": "Example recordings",
        "suggestions": "Example questions",
        "silence": "No speech is heard here.",
        "limits": "Up to {megabytes} MB and {minutes} minutes. The model is small and makes "
        "mistakes in words.",
        "no_audio": "There is no recording: speak into the microphone or choose a file.",
        "no_question": "The question is empty: write what to find out about the recording.",
        "too_large": "The file is too large: up to {megabytes} MB is taken.",
        "too_long": "The recording is too long: up to {minutes} minutes is taken.",
        "not_audio": "This file isn't audio or is damaged. Try wav, mp3, ogg, m4a or webm.",
        "empty": "The recording has no sound: it is empty.",
        "bad_value": "The recording is broken: its data isn't sound.",
        "failed": "The recording couldn't be processed.",
    },
}

QUESTIONS = {
    "ru": [
        "Кто говорит: мужчина или женщина?",
        "На каком языке говорят?",
        "Какое слово первое?",
        "Сколько слов сказано?",
        "Что слышно?",
    ],
    "en": [
        "Who speaks: a man or a woman?",
        "What language is spoken?",
        "What is the first word?",
        "How many words are said?",
        "What do you hear?",
    ],
}

_ERRORS: list[tuple[type[BorealisError], str]] = [
    (AudioTooLargeError, "too_large"),
    (AudioTooLongError, "too_long"),
    (AudioEmptyError, "empty"),
    (AudioNotFoundError, "no_audio"),
    (AudioFormatError, "not_audio"),
    (AudioValueError, "bad_value"),
    (PromptError, "failed"),
]


def explain(error: BorealisError, language: str, **numbers: float) -> str:
    """What went wrong, in the visitor's language and without paths."""
    key = next((k for kind, k in _ERRORS if isinstance(error, kind)), "failed")
    return TEXTS[language][key].format(**numbers)
