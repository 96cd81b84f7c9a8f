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
    SpeechAlphabetError,
    SpeechEmptyError,
    SpeechMarkupError,
)

TEXTS: dict[str, dict[str, str]] = {
    "ru": {
        "title": "Borealis: модель, которая слышит",
        "lead": "Скажите что-нибудь или приложите файл: модель запишет речь, ответит на вопросы и "
        "покажет, к чему прислушивалась. Считает сервер этой страницы: дальше него запись не "
        "уходит и через {keep} минут удаляется.",
        "lead_speaks": " А ещё прочитает вслух ваш текст.",
        "links": "Ссылки",
        "other": "English",
        "docs": "Документация",
        "transcribe": "Расшифровать",
        "ask": "Спросить",
        "speak": "Озвучить",
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
        "aloud": "Отвечать вслух",
        # Speak
        "say": "Озвучить",
        "said": "Текст",
        "said_hint": "Что сказать?",
        "said_info": "До {characters} знаков, по-русски или по-английски. Числа и сокращения "
        "читаются словами.",
        "sayings": "Примеры текстов",
        "voice": "Голос",
        "voice_auto": "По языку текста",
        "speed": "Скорость",
        "speaking": "Говорю…",
        "synthetic": "Голос синтетический: звук делает модель, человек этого не произносил. То же "
        "написано в метаданных файлов.",
        "spoken_counts": "Звука: {seconds} с. Символов: {symbols}. Кадров кодека: {frames}, каждый "
        "— {ms} мс звука.",
        "spoken_as": "Прочитано так: «{spoken}»",
        "left_out": "Не прочитано: {left_out}",
        "cut": "Время вышло: озвучено только начало.",
        "spoken_words": "слова",
        "symbols": "символы",
        "tokens": "токены",
        "spoken_hover": "Наведите указатель на картинку: здесь появится кадр кодека под ним. По "
        "щелчку звук заиграет с этого места.",
        "spoken_say": "{from}–{to} с, токен {token}",
        "spoken_symbol": "символ «{symbol}», {ms} мс",
        "spoken_title": "Волна, слова, символы и токены речи",
        "spoken_help": "Символ — буква или пауза (точка посередине — пробел), его ширина — сколько "
        "он звучит. Токен — номер кадра в первой кодовой книге кодека: у одинаковых один цвет.",
        "spoken_shown": "Показаны первые {shown} с.",
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
        "no_text": "Текста нет: напишите, что сказать.",
        "text_too_long": "Текст слишком длинный, знаков: {length}. Озвучивается до {characters}.",
        "unsayable": "Читать здесь нечего: нужна хотя бы одна буква или цифра.",
        "markup": "В тексте есть теги: разметка, например SSML, не читается. Оставьте один текст.",
        "alphabet": "В тексте есть буквы, которые модель не умеет читать. Напишите их русскими или "
        "латинскими — так, как они звучат.",
        "no_voice": "Такого голоса нет. Есть: {voices}.",
        "bad_speed": "Скорость — число от {slowest} до {fastest}.",
        "bad_sound": "В таком виде звук не отдаётся: есть wav, mp3, flac и opus.",
        "unspoken": "Не получилось озвучить текст.",
    },
    "en": {
        "title": "Borealis: a model that hears",
        "lead": "Say something or drop a file: the model writes the speech down, answers questions "
        "and shows what it listened to. The server of this page does the work: the recording goes "
        "no further and is deleted after {keep} minutes.",
        "lead_speaks": " It also reads your text aloud.",
        "links": "Links",
        "other": "Русский",
        "docs": "Documentation",
        "transcribe": "Transcribe",
        "ask": "Ask",
        "speak": "Speak",
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
        "aloud": "Answer aloud",
        "say": "Speak",
        "said": "Text",
        "said_hint": "What shall I say?",
        "said_info": "Up to {characters} characters, in Russian or English. Numbers and "
        "abbreviations are read in words.",
        "sayings": "Example texts",
        "voice": "Voice",
        "voice_auto": "By the text's language",
        "speed": "Speed",
        "speaking": "Speaking…",
        "synthetic": "The voice is synthetic: a model makes the sound, no person has said this. "
        "The metadata of the files says so too.",
        "spoken_counts": "Sound: {seconds} s. Symbols: {symbols}. Frames of the codec: {frames}, "
        "{ms} ms of sound each.",
        "spoken_as": "Read as “{spoken}”",
        "left_out": "Not read: {left_out}",
        "cut": "Time ran out: only the beginning was spoken.",
        "spoken_words": "words",
        "symbols": "symbols",
        "tokens": "tokens",
        "spoken_hover": "Point at the picture: the codec's frame under the pointer will appear "
        "here. A click plays the sound from there.",
        "spoken_say": "{from}–{to} s, token {token}",
        "spoken_symbol": "symbol “{symbol}”, {ms} ms",
        "spoken_title": "Wave, words, symbols and tokens of the speech",
        "spoken_help": "A symbol is a letter or a pause (a dot in the middle is a space), its "
        "width is how long it sounds. A token is the number of a frame in the first codebook "
        "of the codec: equal ones have one colour.",
        "spoken_shown": "Shown are the first {shown} s.",
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
        "no_text": "There is no text: write what to say.",
        "text_too_long": "The text is too long, {length} characters. Up to {characters} are "
        "spoken.",
        "unsayable": "There is nothing to read: at least one letter or digit is needed.",
        "markup": "The text has tags: markup such as SSML isn't read. Leave the text alone.",
        "alphabet": "The text has letters that the model can't read. Write them in Russian or "
        "Latin letters, as they sound.",
        "no_voice": "There is no such voice. There are: {voices}.",
        "bad_speed": "The speed is a number from {slowest} to {fastest}.",
        "bad_sound": "Sound isn't given in this form: there are wav, mp3, flac and opus.",
        "unspoken": "The text couldn't be spoken.",
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

SAYINGS = {
    "ru": [
        "Добрый день! Этот голос синтетический.",
        "Поезд № 25 отправится в 14:30 с 3-го пути.",
        "Билет стоит 1500 ₽, а дорога займёт 2 часа.",
        "Hello! I can read English, too.",
    ],
    "en": [
        "Good afternoon! This voice is synthetic.",
        "Train no. 25 leaves at 14:30 from platform 3.",
        "The ticket costs $15, and the journey takes 2 hours.",
        "Здравствуйте! По-русски я тоже читаю.",
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
        "number input for {}": "{}: число",
        "range slider for {}": "{}: ползунок",
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
    (SpeechEmptyError, "unsayable"),
    (SpeechMarkupError, "markup"),
    (SpeechAlphabetError, "alphabet"),
]


def explain(
    error: BorealisError, language: str, otherwise: str = "failed", /, **numbers: float
) -> str:
    """What went wrong, in the visitor's language and without paths.

    Args:
        error: what was raised.
        language: `ru` or `en`.
        otherwise: the text for an error that has none of its own.
        numbers: for the texts.
    """
    key = next((k for kind, k in _ERRORS if isinstance(error, kind)), otherwise)
    return TEXTS[language][key].format(**numbers)


def number(value: float, digits: int, language: str) -> str:
    """A number as the language writes it: a comma in Russian, thin groups of thousands in both."""
    text = f"{value:,.{digits}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return text.replace(".", ",") if language == "ru" else text
