"""Russian: numbers in their case, abbreviations, Latin words by sound."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml

from borealis.data.spoken import latin
from borealis.data.spoken.addresses import said_address
from borealis.data.spoken.libraries import in_words, normalizer
from borealis.data.spoken.origins import trace
from borealis.data.spoken.traced import Traced

Match = re.Match[str]
_ABC = "абвгдеёжзийклмнопрстуфхцчшщъыьэюя"
_NAMES = (
    "а,бэ,вэ,гэ,дэ,е,ё,жэ,зэ,и,и краткое,ка,эль,эм,эн,о,пэ,эр,эс,тэ,у,эф,ха,цэ,че,ша,ща,"
    "твёрдый знак,ы,мягкий знак,э,ю,я"
)
_LETTERS = dict(zip(_ABC, _NAMES.split(","), strict=True))
_SIGNS = {
    "%": "процентов",
    "‰": "промилле",
    "№": "номер",
    "§": "параграф",
    "°": "градусов",
    "±": "плюс-минус",
    "×": "умножить на",
    "÷": "разделить на",
    "=": "равно",
    "<": "меньше",
    ">": "больше",
    "≈": "примерно",
    "≤": "не больше",
    "≥": "не меньше",
    "$": "долларов",
    "€": "евро",
    "£": "фунтов",
    "₽": "рублей",
    "¥": "иен",
    "¢": "центов",
    "&": "и",
    "@": "собака",
    "#": "решётка",
    "+": "плюс",
    "−": "минус",
    "²": "в квадрате",
    "³": "в кубе",
}
_MICRO = {"m": "м", "g": "г", "s": "с", "l": "л"}
_MONTHS = "января|февраля|марта|апреля|мая|июня|июля|августа|сентября|октября|ноября|декабря"
_NOT_LETTER_BEFORE, _NOT_LETTER_AFTER = r"(?<![^\W_])", r"(?![^\W_])"
# Words without a vowel that are said as they are: prepositions, particles, interjections.
_VOWELLESS = re.compile(r"[вксбж]|ль|г+м+|х+м+|кх+м+|м{2,}|т+с{2,}|б+р{2,}|ш{2,}|пст|т{2,}|с{2,}")
# What a text has that needs the library: digits, capitals, signs, dotted abbreviations.
_WRITTEN = re.compile(
    r"[0-9A-ZА-ЯЁ%‰№§°±×÷=<>≈≤≥$€£₽¥¢&#+−²³]|"
    r"(?<![^\W\d_])(?:т|др|пр|г|гг|вв|н|ст|тыс|млн|млрд|руб|коп)\."
)
# Latin letters typed for the Russian ones that look alike.
_ALIKE = str.maketrans("ABCEHKMOPTXaceopxy", "АВСЕНКМОРТХасеорху")
_ROMAN = re.compile(r"(?=[IVXLC])X{0,3}(?:IX|IV|V?I{0,3})|L?X{0,3}(?:IX|IV|V?I{0,3})|[XIVLCDM]")
_LATIN_UNITS = re.compile(
    r"(?:[kcmµ]?m|[km]?g|m?l|[KMGTkmgt]?(?:B|b|bit|byte)s?|[kMG]?Hz|[KMGT]B|[mk]?[VWA]|C|F|K|h|s|min|"
    r"km/h|m/s|mm|cm|px|dpi|fps|USD|EUR|RUB)"
)


@dataclass(frozen=True)
class Lists:
    """The lists of `russian.yaml`."""

    acronyms: Mapping[str, str]
    abbreviations: Mapping[str, str]
    dative: Mapping[str, str]
    units: Mapping[str, str]
    names: Mapping[str, str]


@cache
def lists() -> Lists:
    """What the rules read out of `russian.yaml`."""
    file = resources.files("borealis.data.spoken").joinpath("russian.yaml")
    return Lists(**yaml.safe_load(file.read_text(encoding="utf-8")))


def say(text: Traced) -> Traced:
    """What is said of a Russian text, in words and marks; letters aren't folded yet."""
    for pattern, write in BEFORE:
        text = text.sub(pattern, write)
    if _WRITTEN.search(text.text):
        written = normalizer().normalize(text.text)
        if not text.text.rstrip().endswith("."):
            written = written.rstrip().removesuffix(".")  # one that it adds after initials
        text = trace(text, written)
    for pattern, write in AFTER:
        text = text.sub(pattern, write)
    return text


def number(digits: str) -> str:
    """A group of digits in the nominative; zeros before it are said one by one."""
    rest = digits.lstrip("0")
    zeros = ["ноль"] * (len(digits) - len(rest))
    return " ".join([*zeros, in_words(int(rest), "ru")] if rest else zeros)


def ordinal(value: int, ending: str) -> str:
    """An ordinal whose last word ends as `ending`, given for hard stems: ый, ом or ое."""
    said = in_words(value, "ru", "ordinal")
    if said.endswith("третий"):
        return said[:-2] + {"ый": "ий", "ом": "ьем", "ое": "ье"}[ending]
    return said if ending == "ый" else said[:-2] + ending


def _look_alikes(match: Match) -> str:
    word = match[0]
    latin_letters = [c for c in word if c.isascii()]
    if len(latin_letters) == len(word) or not latin_letters:
        return word
    if all(c.translate(_ALIKE) != c for c in latin_letters):
        return word.translate(_ALIKE)
    return re.sub(r"(?<=[A-Za-z])(?=[А-Яа-яЁё])|(?<=[А-Яа-яЁё])(?=[A-Za-z])", " ", word)


_ADDRESS_PARTS = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)*|[А-Яа-яЁё]+|\d+|[^\w\s]|_")


def _address(match: Match) -> str:
    """A site or a mail address, part by part; the scheme isn't said."""
    return said_address(
        match["rest"], _ADDRESS_PARTS, _ADDRESS_SIGNS, word=_address_word, number=number
    )


def _address_word(word: str) -> str:
    return "вэ вэ вэ" if word.lower() == "www" else _domain(word)


_ADDRESS_SIGNS = {
    ".": "точка",
    "@": "собака",
    "/": "слэш",
    "-": "дефис",
    "_": "подчёркивание",
    ":": "двоеточие",
    "?": "вопрос",
    "=": "равно",
    "&": "амперсанд",
    "%": "процент",
    "#": "решётка",
    "+": "плюс",
    "~": "тильда",
}


def _domain(part: str) -> str:
    special = {"ya": "я", "me": "мэ", "t": "тэ", "net": "нет", "io": "ай о", "su": "су"}
    return special.get(part.lower()) or latin.say(part.lower(), lists().names)


def _phone(match: Match) -> str:
    """Groups of digits, each a number, with a pause between."""
    country, *groups = [g for g in match.groups() if g]
    first = country.replace("+", "плюс ")
    first = re.sub(r"\d+", lambda m: number(m[0]), first)
    return ", ".join([first, *(number(group) for group in groups)])


def _international(match: Match) -> str:
    groups = re.findall(r"\d+", match[0])
    return "плюс " + ", ".join(number(group) for group in groups)


def _local(match: Match) -> str:
    return ", ".join(number(group) for group in match[0].split("-"))


def _version(match: Match) -> str:
    return match[1] + " точка ".join(number(part) for part in match[2].split("."))


def _roman(match: Match) -> str:
    """A century in digits, as a Roman number: the library knows its case then."""
    value = int(match[1])
    tens, ones = divmod(value, 10)
    return "X" * tens + ["", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"][ones]


def _abbreviation(match: Match) -> str:
    name = match["name"].lower().replace(" ", "")
    known = lists()
    by = match["by"] or ""
    full = known.dative.get(name) if by else None
    return f"{by}{full or known.abbreviations[name]}"


def _latin_word(match: Match) -> str:
    word = match[1]
    if _ROMAN.fullmatch(word) and word.lower() not in lists().names:
        return match[0]
    after_number = re.search(r"\d\s?$", match.string[max(0, match.start() - 3) : match.start()])
    if after_number and _LATIN_UNITS.fullmatch(word):
        return match[0]
    return f" {latin.say(word, lists().names)} "


def _letters(match: Match) -> str:
    """A word that can't be said because it has no vowel, letter by letter."""
    word = match[0].lower()
    if _VOWELLESS.fullmatch(word):
        return match[0]
    return " ".join(_LETTERS[letter] for letter in word)


def _latin_left(match: Match) -> str:
    return f" {latin.say(match[0], lists().names)} "


def _digits_left(match: Match) -> str:
    """Digits that the library left, mostly too many of them: one by one."""
    return f" {' '.join(number(digit) for digit in match[0])} "


def _sign(match: Match) -> str:
    return f" {_SIGNS[match[0]]} "


def _any(words: Mapping[str, str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


def _pattern(text: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(text, flags)


# Abbreviations of places and titles stand before a name, those of a page before a number; the rest
# needs a dot only.
_BEFORE_NAME = "ш|им|пр|р|о"
_BEFORE_NUMBER = "доб|илл|макс|мин|св"
_ANYWHERE = (
    r"акад|проф|доц|тов|гражд|т\. ?н|т\. ?наз|в т\. ?ч|и пр|букв|тел|моб|пн|вт|чт|пт|сб|вс|ср"
)
_TLD = "ru|com|org|net|me|io|su|info|ai|dev|app|tv|edu|gov|uk|de|рф|by|kz|biz|online|site|pro"

BEFORE: list[tuple[re.Pattern[str], Callable[[Match], str]]] = [
    (_pattern(r"(?<=мк)[mgsl](?![^\W_])"), lambda m: _MICRO[m[0]]),
    (_pattern(r"[A-Za-zА-Яа-яЁё]+"), _look_alikes),
    (
        _pattern(
            r"(?:https?://|ftp://|mailto:)?(?P<rest>[A-Za-zА-Яа-яЁё0-9_.+-]{1,64}@[A-Za-z0-9-]+"
            rf"(?:\.[A-Za-z0-9-]+)*|(?<![\w.])(?:www\.)?(?:[A-Za-z0-9-]+\.)+(?:{_TLD})"
            r"(?![\w-])(?:[/?#][A-Za-z0-9_./?=&%#+~-]*[A-Za-z0-9_=&%#+~/-]|/)?)"
        ),
        _address,
    ),
    (_pattern(r"https?://(?=\S)"), lambda m: ""),
    (_pattern(r"(?<=[а-яёА-ЯЁ])\.(?=[а-яёА-ЯЁ])"), lambda m: ". "),
    (
        _pattern(
            r"(?<![\d+])(\+?[78])[ -]{0,3}\(?(\d{3})\)?[ -]{0,3}"
            r"(\d{3})[ -]?(\d{2})[ -]?(\d{2})(?!\d)"
        ),
        _phone,
    ),
    (_pattern(r"\+\d{1,3}(?:[ -]{0,2}\(?\d{2,4}\)?){2,5}(?!\d)"), _international),
    (_pattern(r"(?<![\d.,-])\d{3}-\d{2}-\d{2}(?![\d-])"), _local),
    (_pattern(r"([Вв]ерси[а-яё]+ |[Рр]елиз[а-я]* )(\d+\.\d+)(?![\d.])"), _version),
    (_pattern(r"(?<![\d.,-])([1-9]|[12]\d)(?=(?:-м)? век(?:а|у|е|ом|и|ов)?\b)"), _roman),
    # The library takes a price for what the price is of: "цена пяти рублей".
    (
        _pattern(
            r"(?<![^\W\d_])((?:[Цц]ена|[Сс]тоимость|[Сс]умма|[Тт]ариф|[Пп]лата|[Оо]плата) )"
            r"(\d{1,9})(?= ?(?:руб|коп|доллар|евро|тыс|млн|[₽р]))"
        ),
        lambda m: m[1] + number(m[2]),
    ),
    (
        _pattern(r"(\b[ВвОо]б? |\b[Нн]а |\b[Пп]ри )(\d{1,4})-м(?![\w-])( км\b)?"),
        lambda m: m[1] + ordinal(int(m[2]), "ом") + (" километре" if m[3] else ""),
    ),
    (
        _pattern(r"(?<![^\W_])(\d{1,4})-й км\b"),
        lambda m: f"{ordinal(int(m[1]), 'ый')} километр",
    ),
    (_pattern(r"(?<=кг)/м[³3](?![^\W_])"), lambda m: " на кубический метр"),
    (_pattern(r"(?<![^\W_])д\. ?(?=\d)"), lambda m: "дом "),
    (_pattern(r"(?<=[Дд]ом )(\d{1,4})/(\d{1,3})(?![\d/])"), lambda m: f"{m[1]} дробь {m[2]}"),
    (
        _pattern(r"((?:[Дд]ом|корп\.|к\.) ?\d[\w ]{0,12}, ?)стр\. ?(?=\d)"),
        lambda m: m[1] + "строение ",
    ),
    (_pattern(r"(?<![^\W_])(?<!\d )м\.(?= ?[А-ЯЁ\"])"), lambda m: "метро"),
    (_pattern(r"(?<=[^\W_])_(?=[^\W_])"), lambda m: " подчёркивание "),
    (
        _pattern(rf"(?<=по )(\d{{1,2}})(?= (?:{_MONTHS})\b)"),
        lambda m: ordinal(int(m[1]), "ое"),
    ),
    (
        _pattern(r"(?<![\w.,:/−+-])(?<!\d )0\d{1,5}(?!\d|[.,:/-]\d)"),
        lambda m: number(m[0]),
    ),
    (
        _pattern(r"(?<!\d)(?<!\d )\b([A-Za-z]|\d+)([²³])(?!\w)"),
        lambda m: f"{m[1]} {_SIGNS[m[2]]}",
    ),
    # "за 200 г" would be a year to the library, "за 5 с" the preposition.
    (_pattern(r"(?<=[Зз]а )(\d{1,3}) ?г(?![^\W_])\.?"), lambda m: f"{m[1]} гр."),
    (
        _pattern(r"((?:[Зз]а|[Чч]ерез|[Кк]аждые) \d+) ?с(?![^\W_])\.?"),
        lambda m: f"{m[1]} сек.",
    ),
    (
        _pattern(
            rf"(?P<by>\b[Пп]о )?(?<![^\W\d_])(?P<name>(?:{_BEFORE_NAME})(?=\. ?[А-ЯЁ\"])|"
            rf"(?i:{_BEFORE_NUMBER})(?=\. ?[\d№])|(?i:{_ANYWHERE})(?=\.))\."
        ),
        _abbreviation,
    ),
    (_pattern(r"(?<![^\W_])[2345][GD](?![^\W_])"), lambda m: lists().units.get(m[0], m[0])),
    (_pattern(r"(?<=[\wа-яё)]) = (?=[\w−+-])"), lambda m: " равно "),
    (
        _pattern(rf"{_NOT_LETTER_BEFORE}([БГДЖЗЙКЛМНПРТФХЦЧШЩ])-(?=\d)"),
        lambda m: _LETTERS[m[1].lower()] + " ",
    ),
    (
        _pattern(r"(?<![^\W\d_])[А-ЯЁ]{2,5}(?![^\W\d_])"),
        lambda m: lists().acronyms.get(m[0], m[0]),
    ),
    (
        _pattern(r"([A-Za-z]+(?:['-][A-Za-z]+)*)(-(?=\d))?"),
        _latin_word,
    ),
]
AFTER: list[tuple[re.Pattern[str], Callable[[Match], str]]] = [
    (_pattern(r"[A-Za-z]+(?:'[A-Za-z]+)*"), _latin_left),
    (_pattern(r"\d+"), _digits_left),
    (_pattern("[" + re.escape("".join(_SIGNS)) + "]"), _sign),
    (
        _pattern(
            r"(?<![^\W\d_])(?<![^\W\d_]')[бвгджзйклмнпрстфхцчшщъь]+(?!'?[^\W\d_])",
            re.IGNORECASE,
        ),
        _letters,
    ),
]
