"""Written text made speakable: what is said, where it came from, what is refused."""

from __future__ import annotations

import sys
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.spoken_text import DATA, errors, read
from borealis.data.spoken import MAX_CHARACTERS, speakable
from borealis.data.spoken.libraries import normalizer
from borealis.data.spoken.speakable import LETTERS
from borealis.errors import BorealisError, SpeechError
from borealis.evaluation.normalization import normalize

RUSSIAN = [
    ("Цена 5 рублей.", "цена пять рублей."),
    ("Скидка с 5 до 7 часов.", "скидка с пяти до семи часов."),
    ("В 1995 году", "в тысяча девятьсот девяносто пятом году"),
    ("2-й этаж, 5-го подъезда", "второй этаж, пятого подъезда"),
    ("в XXI веке и в 21 веке", "в двадцать первом веке и в двадцать первом веке"),
    ("Пётр I, т. е. царь", "пётр первый, то есть царь"),
    ("120 км/ч и −5 °C", "сто двадцать километров в час и минус пять градусов цельсия"),
    ("с 28 октября по 5 ноября", "с двадцать восьмого октября по пятое ноября"),
    ("№ 7, скидка 10 %", "номер семь, скидка десять процентов"),
    ("США, МЧС и НАТО", "сэ шэ а, эм чэ эс и нато"),
    ("А. С. Пушкин", "а эс пушкин"),
    ("Borealis, Wi-Fi и GPT-4", "бореалис, вай фай и джи пи ти четыре"),
    ("Mосква", "москва"),
    ("ivan@mail.ru, www.ya.ru", "иван собака мейл точка ру, вэ вэ вэ точка я точка ру"),
    ("ё-моё", "ё моё"),
    ("на 43-м км МКАД", "на сорок третьем километре мкад"),
    ("м. Киевская, д. 12/3, стр. 1", "метро киевская, дом двенадцать дробь три, строение один"),
    ("«Да», — сказал он… (тихо)", "да — сказал он. тихо"),
    ("<|audio|> 5", "аудио пять"),
]
ENGLISH = [
    ("It costs $5.50.", "it costs five dollars fifty cents."),
    ("on July 16, 1969", "on july sixteenth, nineteen sixty nine"),
    ("the 1990s, the 21st", "the nineteen nineties, the twenty first"),
    ("at 10:30 a.m.", "at ten thirty a m"),
    ("Dr. Smith, 42nd St.", "doctor smith, forty second street"),
    ("120 km/h, -5 °C", "one hundred twenty kilometers per hour, minus five degrees celsius"),
    ("Henry VIII, World War II", "henry the eighth, world war two"),
    ("NASA and the BBC", "nasa and the b b c"),
    ("1,250,000 people", "one million two hundred fifty thousand people"),
    ("john@mail.com", "john at mail dot com"),
    ("We sat. Then the sun.", "we sat. then the sun."),
]


@pytest.mark.parametrize(("written", "spoken"), RUSSIAN)
def test_russian_is_written_out(written, spoken):
    assert speakable(written).text == spoken


@pytest.mark.parametrize(("written", "spoken"), ENGLISH)
def test_english_is_written_out(written, spoken):
    assert speakable(written, "en").text == spoken


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        (
            "8 (495) 777-00-09",
            "восемь, четыреста девяносто пять, семьсот семьдесят семь, ноль ноль",
        ),
        ("+7 916 123-45-67", "плюс семь, девятьсот шестнадцать, сто двадцать три"),
        ("89261234567", "восемь, девятьсот двадцать шесть, сто двадцать три"),
    ],
)
def test_phone_numbers_are_said_in_groups(written, spoken):
    assert speakable(written).text.startswith(spoken)


@pytest.mark.parametrize("language", ["ru", "en"])
@pytest.mark.parametrize(("part", "accuracy"), [("develop", 0.97), ("measure", 0.94)])
def test_real_sentences_are_said_as_people_say_them(part, accuracy, language):
    rows = [row for row in read(DATA / f"{part}.jsonl") if row["language"] == language]
    scores = [
        errors(normalize(speakable(row["written"], language).text), row["spoken"]) for row in rows
    ]
    assert 1 - sum(wrong for wrong, _ in scores) / sum(words for _, words in scores) > accuracy


def test_words_say_which_characters_they_came_from():
    text = "Купили 25 кг, т. е. много."
    said = speakable(text)
    assert [(w.text, text[w.start : w.end]) for w in said.words] == [
        ("купили", "Купили"),
        ("двадцать", "25"),
        ("пять", "25"),
        ("килограмм", "кг"),
        ("то", "т"),
        ("есть", "е"),
        ("много", "много"),
    ]


def test_stress_marks_are_kept_or_dropped():
    text = "З+амок, зам+ок, +улица, за\u0301мок"
    assert speakable(text).text == "замок, замок, улица, замок"
    kept = speakable(text, stress=True)
    assert kept.text == "з+амок, зам+ок, +улица, з+амок"
    assert text[kept.words[-1].start :] == "за\u0301мок"


def test_a_plus_between_numbers_or_single_letters_is_said():
    assert speakable("2+2 и а+б").text == "два плюс два и а плюс б"


def test_what_is_not_said_is_told():
    said = speakable("Привет 😀 мир\x07 ▲ 😀")
    assert said.text == "привет мир"
    assert said.left_out == ("😀", "U+0007", "▲")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("😀 …", "Nothing of the text"),
        ("你好", "letters that can't be said: 你, 好"),
        ("мир и سلام", "letters that can't be said"),
        ("<speak>Да</speak>", "a tag, <speak>"),
        ('Да <break time="1s"/> нет', "a tag, <break"),
        ("<!-- да -->", "a tag"),
        ("а" * (MAX_CHARACTERS + 1), f"more than {MAX_CHARACTERS}"),
    ],
)
def test_what_cannot_be_said_is_refused_in_a_sentence(text, reason):
    with pytest.raises(SpeechError, match=reason) as raised:
        speakable(text)
    assert "\n" not in str(raised.value)


def test_other_languages_are_refused():
    with pytest.raises(SpeechError, match="'fr'"):
        speakable("Bonjour", "fr")


@pytest.mark.parametrize(
    ("module", "package", "language"),
    [("ru_normalizr", "ru-normalizr", "ru"), ("num2words", "num2words", "en")],
)
def test_a_missing_library_is_named(monkeypatch, module, package, language):
    normalizer.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SpeechError, match=f"pip install {package}"):
        speakable("5 kg", language)


LONG = ["а", "1", "слово и 5 рублей. ", "+", "т. е. ", "(", "я.ру/", "A1-", "1 ", "a.", "<a "]


@pytest.mark.slow
@pytest.mark.parametrize("language", ["ru", "en"])
@pytest.mark.parametrize("text", LONG)
def test_no_text_takes_a_time_that_grows_faster_than_its_length(text, language):
    text = ("да " + text * 10_000)[:10_000]
    began = time.process_time()
    speakable(text, language)
    assert time.process_time() - began < 60  # a time that grows with its square takes hours


@pytest.mark.slow
def test_the_longest_text_is_said():
    text = ("Слово и 5 рублей. " * MAX_CHARACTERS)[:MAX_CHARACTERS]
    assert len(speakable(text).words) > MAX_CHARACTERS / 5


# What rules look for, so that texts of it meet them, and a few characters from everywhere.
_LETTERS = "абвгжкмнстуфэюяАВГКМСХ abcdegikmstvxyzABCDIVXM 0123456789.,:;!?—–-+%№°$€₽&@#/*()\"'²½\n"
_RUSSIAN_PIECES = (
    "т. е.| и т. д.| г.| гг.| в.| н. э.| ул. | им. |руб.|км/ч| кг| млн |века| году |-й|-го|XIX|ya.ru|"
    "США|ё|й|+7 |8 800 | тел. | ст. | цена | версия "
)
_ENGLISH_PIECES = "Dr. | St.| a.m.| No. |World War | May |th|1990s| ft| km|Mr. |<|>|😀|\u0301|://"
_PIECES = [*_LETTERS, *_RUSSIAN_PIECES.split("|"), *_ENGLISH_PIECES.split("|")]
TEXTS = st.lists(st.sampled_from(_PIECES), max_size=25).map("".join) | st.text(max_size=30)


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.sampled_from(["ru", "en"]), st.booleans())
@example("в конце г. 5 вв.", "ru", False)
@example("0Dr. ", "en", False)
@example("руб.а", "ru", False)
@example("руб..а", "ru", False)
@example("а\u0301", "ru", True)
@example("'бб", "ru", False)
@example("т. е.Mr. ", "en", False)
def test_every_text_is_said_or_refused(text, language, stress):
    try:
        said = speakable(text, language, stress=stress)
    except BorealisError as error:
        assert str(error).endswith(".")
        return
    place = 0
    for word in said.words:
        assert place <= word.start < word.end <= len(text)
        place = word.start
        assert LETTERS.fold(word.text) == word.text.replace("+", "")
    bare = said.text
    for mark in ",.!?:;—":
        bare = bare.replace(mark, " ")
    assert bare.split() == [word.text for word in said.words]
    assert "  " not in said.text and said.text == said.text.strip()
    again = speakable(said.text, language, stress=stress)
    assert again.text == said.text
    assert not again.left_out
