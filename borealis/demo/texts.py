"""Every word the demo shows, in both languages."""

from __future__ import annotations

from borealis.errors import (
    AudioEmptyError,
    AudioFormatError,
    AudioNotFoundError,
    AudioTimeoutError,
    AudioTooLargeError,
    AudioTooLongError,
    AudioValueError,
    BorealisError,
    PromptError,
)

TEXTS: dict[str, dict[str, str]] = {
    "ru": {
        "title": "Borealis: модель, которая слышит",
        "lead": "Скажите что-нибудь или приложите файл: модель запишет речь, ответит на вопросы и "
        "покажет, к чему прислушивалась. Считает сервер этой страницы: дальше него запись не "
        "уходит и через {keep} минут удаляется.",
        "links": "Ссылки",
        "other": "English",
        "docs": "Документация",
        "transcribe": "Расшифровать",
        "ask": "Спросить",
        "look": "Внутри",
        "audio": "Запись: микрофон или файл",
        "examples": "Примеры записей",
        "limits": "Запись — до {megabytes} МБ и до {minutes} минут: wav, mp3, ogg, m4a, mp4, "
        "webm и другие. Модель маленькая и ошибается в словах.",
        "stop": "Остановить",
        "stopped": "Остановлено.",
        "waiting": "Модель занята. Перед вами в очереди: {ahead}.",
        "working": "Слушаю… {percent} %",
        "thinking": "Думаю…",
        # Transcribe
        "write": "Расшифровать",
        "text": "Текст",
        "words": "Слова и время",
        "words_help": "Под словом — секунда, когда оно началось. Подчёркнуто то, в чём модель не "
        "уверена; точное число покажет подсказка.",
        "word_title": "{start}–{end} с, уверенность {percent} %",
        "word_title_unknown": "{start}–{end} с, время примерное",
        "download": "Скачать",
        "silence": "Здесь не слышно речи.",
        # Ask
        "chat": "Разговор о записи",
        "chat_empty": "Приложите запись и спросите о ней. Можно задать несколько вопросов подряд.",
        "question": "Вопрос",
        "question_hint": "Например: кто говорит, мужчина или женщина?",
        "send": "Спросить",
        "suggestions": "Примеры вопросов",
        "clear": "Начать заново",
        "no_answer": "Модель промолчала.",
        "ask_too_long": "Для вопросов запись слишком длинная: годится до {ask_minutes} минут.",
        # Look inside
        "show": "Показать",
        "hover": "Наведите указатель на картинку: здесь появится кусочек в 80 мс под ним.",
        "hover_say": "{from}–{to} с, аудиотокен {token}",
        "hover_word": "на «{word}» ушло {share} % внимания к звуку",
        "wave": "волна",
        "mel": "лог-мел",
        "seconds": "секунды",
        "counts": "Отсчётов звука: {samples}. Окон аудиоэнкодера: {windows}. Его кадров: {frames}. "
        "Аудиотокенов: {tokens}, каждый — {ms} мс звука.",
        "shown": "Показаны первые {shown} с из {duration} с: одно окно.",
        "map_help": "Строка — слово ответа, столбец — аудиотокен: чем гуще цвет, тем больше "
        "внимания. Это среднее по четырём головам, которые смотрят на звук острее прочих. Сплошные "
        "линии — границы окон, штриховые — места, где запись разрезана.",
        "map_title": "Внимание слов ответа к аудиотокенам",
        "calculators": "Калькуляторы размера и стоимости",
        # What goes wrong
        "error": "Не получилось",
        "no_audio": "Записи нет: скажите что-нибудь в микрофон или выберите файл. "
        "Если он отправляется, дождитесь конца.",
        "no_question": "Вопрос пуст: напишите, что узнать о записи.",
        "too_large": "Файл слишком большой: принимается до {megabytes} МБ.",
        "too_long": "Запись слишком длинная: принимается до {minutes} минут.",
        "too_slow": "Файл читается слишком долго. Сохраните его как wav или flac.",
        "not_audio": "Этот файл не похож на звук или повреждён. Подойдут wav, mp3, ogg, m4a, mp4, "
        "webm.",
        "empty": "В записи нет звука: она пустая.",
        "bad_value": "Запись испорчена: в ней не звуковые данные.",
        "not_sent": "Здесь принимают только файлы, которые прислали на эту страницу: ни адреса, ни "
        "файлы сервера не читаются.",
        "bad_form": "Такого вида субтитров нет: есть srt, vtt и json.",
        "busy": "Сейчас слишком много желающих. Попробуйте через минуту.",
        "failed": "Не получилось обработать запись.",
    },
    "en": {
        "title": "Borealis: a model that hears",
        "lead": "Say something or drop a file: the model writes the speech down, answers questions "
        "and shows what it listened to. The server of this page does the work: the recording goes "
        "no further and is deleted after {keep} minutes.",
        "links": "Links",
        "other": "Русский",
        "docs": "Documentation",
        "transcribe": "Transcribe",
        "ask": "Ask",
        "look": "Look inside",
        "audio": "Recording: microphone or file",
        "examples": "Example recordings",
        "limits": "Up to {megabytes} MB and {minutes} minutes: wav, mp3, ogg, m4a, mp4, webm "
        "and others. The model is small and makes mistakes in words.",
        "stop": "Stop",
        "stopped": "Stopped.",
        "waiting": "The model is busy. Ahead of you in the queue: {ahead}.",
        "working": "Listening… {percent}%",
        "thinking": "Thinking…",
        "write": "Transcribe",
        "text": "Text",
        "words": "Words and times",
        "words_help": "Below a word is the second at which it began. Underlined is what the model "
        "isn't sure of; hover to see how sure.",
        "word_title": "{start}–{end} s, confidence {percent}%",
        "word_title_unknown": "{start}–{end} s, a rough time",
        "download": "Download",
        "silence": "No speech is heard here.",
        "chat": "A talk about the recording",
        "chat_empty": "Add a recording and ask about it. You may ask several questions in a row.",
        "question": "Question",
        "question_hint": "For example: who speaks, a man or a woman?",
        "send": "Ask",
        "suggestions": "Example questions",
        "clear": "Start over",
        "no_answer": "The model said nothing.",
        "ask_too_long": "The recording is too long for questions: up to {ask_minutes} minutes is "
        "taken.",
        "show": "Show",
        "hover": "Point at the picture: the 80 ms under the pointer will appear here.",
        "hover_say": "{from}–{to} s, audio token {token}",
        "hover_word": "“{word}” gave it {share}% of its attention to the sound",
        "wave": "wave",
        "mel": "log-mel",
        "seconds": "seconds",
        "counts": "Samples of sound: {samples}. Windows of the encoder: {windows}. Its frames: "
        "{frames}. Audio tokens: {tokens}, {ms} ms of sound each.",
        "shown": "Shown are the first {shown} s of {duration} s: one window.",
        "map_help": "A row is a word of the answer, a column is an audio token: the denser the "
        "colour, the more attention. This is the mean of the four heads that look at the sound "
        "most sharply. Solid lines are borders of windows, dashed ones are where the recording "
        "was cut.",
        "map_title": "Attention of the words of the answer to the audio tokens",
        "calculators": "Calculators of size and cost",
        "error": "That didn't work",
        "no_audio": "There is no recording: speak into the microphone or choose a file. "
        "If it is being sent, wait until it is there.",
        "no_question": "The question is empty: write what to find out about the recording.",
        "too_large": "The file is too large: up to {megabytes} MB is taken.",
        "too_long": "The recording is too long: up to {minutes} minutes is taken.",
        "too_slow": "The file takes too long to read. Save it as wav or flac.",
        "not_audio": "This file isn't audio or is damaged. Try wav, mp3, ogg, m4a, mp4 or webm.",
        "empty": "The recording has no sound: it is empty.",
        "bad_value": "The recording is broken: its data isn't sound.",
        "not_sent": "Only files that were sent to this page are taken: neither addresses nor "
        "files of the server are read.",
        "bad_form": "There are no such subtitles: there are srt, vtt and json.",
        "busy": "Too many people are asking right now. Try again in a minute.",
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

# What Gradio says in English whatever the language is, and keys it has no words for; {} is
# anything. Everything else it has in both languages, see static/first.js.
GRADIO = {
    "ru": {
        "More tabs": "Ещё вкладки",
        "Upload file": "Выбрать файл",
        "File upload": "Выбор файла",
        "Record audio": "Записать с микрофона",
        "Select input device": "Выбрать микрофон",
        "Could not start recording from the microphone.": "Не получилось записать с микрофона.",
        "Uploading {} file...": "Файл отправляется…",
        "Uploading {} files...": "Файлы отправляются…",
        "Adjust volume": "Громкость",
        "High volume": "Громко",
        "Low volume": "Тихо",
        "Muted volume": "Без звука",
        "Adjust playback speed to {}x": "Воспроизводить со скоростью {}",
        "Skip backwards by {} seconds": "Назад на {} с",
        "Skip forward by {} seconds": "Вперёд на {} с",
        "Reset audio": "Вернуть запись целиком",
        "Trim audio to selection": "Обрезать",
        "Drag to adjust start time": "Начало отрезка",
        "Drag to adjust end time": "Конец отрезка",
        "Trim": "Обрезать",
        "Cancel": "Отмена",
        "undo": "Отменить",
        "pause": "Пауза",
        "Copy": "Скопировать",
        "Copied": "Скопировано",
        "Close": "Закрыть",
        "chatbot conversation": "Разговор о записи",
        "user's message: {}": "Вы: {}",
        "bot's message: {}": "Модель: {}",
        "common.complete": "Готово",
        "Error": "Ошибка",
        "Warning": "Внимание",
        "Connection Lost": "Нет связи",
        "Connection errored out.": "Нет связи с сервером.",
        "Connection to the server was lost. Attempting reconnection...": "Связь с сервером "
        "пропала, пробую снова…",
        "Reconnected": "Связь есть",
    },
    "en": {"common.complete": "Done"},
}

_ERRORS: list[tuple[type[BorealisError], str]] = [
    (AudioTooLargeError, "too_large"),
    (AudioTooLongError, "too_long"),
    (AudioTimeoutError, "too_slow"),
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


def number(value: float, digits: int, language: str) -> str:
    """A number as the language writes it: a comma in Russian, thin groups of thousands in both."""
    text = f"{value:,.{digits}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return text.replace(".", ",") if language == "ru" else text
