"""The language of the pages: Russian is Russian, English is English, terms are those agreed on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.docs.blocks import ROOT
from tests.docs.scan import Item, Scan, scan

GLOSSARY = "reference/glossary.md"

# A paragraph with more Latin than Cyrillic letters and at least so many ordinary English words
# (in lower case, so no names) wasn't translated.
_ENGLISH_WORDS = 4
_LATIN = re.compile(r"[A-Za-z]")
_CYRILLIC = re.compile(r"[А-Яа-яЁё]")
_LOWER = re.compile(r"(?<![\w/.@-])[a-z][a-z']*(?![\w/@-])")
_QUOTES = re.compile(r"«[^«»]*(?:«[^«»]*»[^«»]*)*»", re.S)

# Cyrillic that an English page may hold outside of code and of elements with lang="ru".
ALLOWED_CYRILLIC = ("ё", "е", "Ё", "Е", "Русский", "Н. В. Шмырёв")

# Words that are always written with ё; without it they are misspelt on our pages.
_YO = {
    "еще": "ещё",
    "ее": "её",
    "нее": "неё",
    "своем": "своём",
    "твое": "твоё",
    "мое": "моё",
    "свое": "своё",
    "нем": "нём",
    "чье": "чьё",
    "идет": "идёт",
    "найдет": "найдёт",
    "пойдет": "пойдёт",
    "придет": "придёт",
    "пройдет": "пройдёт",
    "дает": "даёт",
    "задает": "задаёт",
    "создает": "создаёт",
    "берет": "берёт",
    "ведет": "ведёт",
    "несет": "несёт",
    "учтен": "учтён",
    "счет": "счёт",
    "расчет": "расчёт",
    "отсчет": "отсчёт",
    "подсчет": "подсчёт",
    "звездочка": "звёздочка",
    "причем": "причём",
    "вперед": "вперёд",
    "объем": "объём",
    "прием": "приём",
    "подъем": "подъём",
    "шепот": "шёпот",
    "зеленый": "зелёный",
    "черный": "чёрный",
    "трех": "трёх",
    "четырех": "четырёх",
    "днем": "днём",
    "твердый": "твёрдый",
}


@dataclass(frozen=True)
class Calque:
    """A word that Russian pages avoid, and the term to use.

    Args:
        pattern: regular expression, matched from the beginning of a word.
        term: what to write.
        glossary: whether the glossary has to explain the term.
    """

    pattern: str
    term: str
    glossary: bool = False


CALQUES = (
    Calque(r"энкодер\w* (?:аудио|звука)\b", "аудиоэнкодер", glossary=True),
    Calque(r"аудио[ -]энкодер", "аудиоэнкодер", glossary=True),
    Calque(r"аудио[ -]токен", "аудиотокен", glossary=True),
    Calque(r"кодек[ -]токен", "токен кодека", glossary=True),
    Calque(r"мел[ -]спектрограмм", "лог-мел-спектрограмма", glossary=True),
    Calque(r"токенайзер", "токенизатор"),
    Calque(r"че[кх]по[ий]нт", "контрольная точка", glossary=True),
    Calque(r"фреймворк", "библиотека"),
    Calque(r"пром(?:п)?т(?:ы|а|у|е|ом|ов|ами|инг\w*)?\b", "запрос", glossary=True),
    Calque(r"дата[ -]?сет", "набор данных", glossary=True),
    Calque(r"лосс", "функция потерь, потери", glossary=True),
    Calque(r"инференс", "работа модели, запуск модели"),
    Calque(r"файн[ -]?тюн", "дообучение", glossary=True),
    Calque(r"вложени(?:е|я|й|ю|ям|ями|ем|ях) (?:токен|слов|букв)", "эмбеддинг", glossary=True),
    Calque(r"пайплайн", "цепочка, конвейер"),
    Calque(r"сосед\w+ по пакету", "батч", glossary=True),
    Calque(r"с[эе]мпл(?!-)", "отсчёт, пример"),
    Calque(r"ресемпл", "передискретизация"),
    Calque(r"чанк", "кусок, окно"),
    Calque(r"пер[фт]ор?манс", "скорость, качество"),
    Calque(r"стейдж", "этап", glossary=True),
    Calque(r"микс(?:чур)?\w* данных", "смесь данных", glossary=True),
    Calque(r"транскри(?:бац|пц|бир)", "расшифровка", glossary=True),
    Calque(r"аугментац", "искажения"),
    Calque(r"спикер", "диктор"),
    Calque(r"лейбл", "метка"),
    Calque(r"таргет", "цель, ответ"),
    Calque(r"бенчмарк", "замер, набор тестов"),
    Calque(r"оверфит", "переобучение"),
    Calque(r"оптимайзер", "оптимизатор"),
    Calque(r"юзер", "пользователь"),
    Calque(r"дефолт", "по умолчанию"),
    Calque(r"релиз", "выпуск"),
    Calque(r"фич[аиуе]\b", "возможность, признак"),
    Calque(r"репозитари", "репозиторий"),
    Calque(r"имплементац", "реализация"),
    Calque(r"кастомн", "свой, особый"),
    Calque(r"осуществля", "глагол самого действия"),
    Calque(r"в рамках\b", "в, при, на"),
    Calque(r"посредством\b", "творительный падеж"),
    Calque(r"в целях\b", "чтобы"),
    Calque(
        r"данн(?:ый|ая|ое|ого|ому|ую) (?:модель|метод|подход|раздел|страниц|рецепт|пример)",
        "этот, эта",
    ),
    Calque(r"на текущий момент", "сейчас"),
    Calque(r"является\b", "тире или «это»"),
)


def check_language(root: Path = ROOT) -> list[str]:
    """Everything wrong with the words of the pages of both languages."""
    problems: list[str] = []
    for path in sorted((root / "docs/ru").rglob("*.md")):
        page = scan(path, root)
        for check in (untranslated, typography, spelling, calques):
            problems += check(page)
    for path in sorted((root / "docs/en").rglob("*.md")):
        problems += cyrillic(scan(path, root))
    return problems


def _is_glossary(page: Scan) -> bool:
    return page.name.endswith(GLOSSARY)


# ---- Russian ----


def untranslated(page: Scan) -> Iterator[str]:
    """Paragraphs, rows and headings that are still in English."""
    for item in page.items:
        for line, text in _units(item):
            text = _QUOTES.sub(" ", text)
            words = _LOWER.findall(text)
            latin, cyrillic = len(_LATIN.findall(text)), len(_CYRILLIC.findall(text))
            if latin > cyrillic and len(words) >= _ENGLISH_WORDS:
                yield f"{page.at(line)}: not translated: '{_short(text)}'"


def _units(item: Item) -> Iterator[tuple[int, str]]:
    """The pieces of which each is in one language: a paragraph, a cell of a table."""
    prose = list(item.prose())
    if item.kind == "row":
        for cell in prose[0][1].split("|"):
            yield item.line, cell
    elif prose:
        yield item.line, " ".join(text for _, text in prose)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


_TYPOGRAPHY = (
    (re.compile(r"[\"“”„]"), "quotes are «ёлочки» („лапки“ inside them aren't used)"),
    (re.compile(r"(?<=\S) (?:-|--|---) (?=\S)"), "a dash is —"),
    (re.compile(r"(?<=[^\s|]) – (?=[^\s|])"), "a dash is —, not –"),
    (re.compile(r"(?<=[а-яё»])—|—(?=[а-яё«])", re.I), "spaces stand around a dash"),
    (re.compile(r"(?<=[а-яё])\.\.\.", re.I), "three dots are …"),
)


def typography(page: Scan) -> Iterator[str]:
    """Straight quotes and hyphens in the place of dashes."""
    for item in page.items:
        if item.kind == "html" or item.kind == "rule":
            continue
        for line, text in item.prose():
            if item.kind in ("admonition", "tab"):
                text = text.replace('"', " ")
            for pattern, rule in _TYPOGRAPHY:
                if found := pattern.search(text):
                    start = max(0, found.start() - 15)
                    yield f"{page.at(line)}: {rule}: '{text[start : found.end() + 15].strip()}'"


def spelling(page: Scan) -> Iterator[str]:
    """Words that lack their ё."""
    for item in page.items:
        for line, text in item.prose():
            for word in re.findall(r"[а-яё]+", text.lower()):
                if word in _YO:
                    yield f"{page.at(line)}: '{word}' is written '{_YO[word]}'"


def calques(page: Scan) -> Iterator[str]:
    """Words with a Russian term of their own."""
    for item in page.items:
        if _is_glossary(page) and item.kind == "row":
            continue
        for line, text in item.prose():
            for calque in CALQUES:
                if found := re.search(rf"(?<![\w-]){calque.pattern}\w*", text, re.I):
                    yield f"{page.at(line)}: '{found[0]}': write {calque.term}"


# ---- English ----


def cyrillic(page: Scan) -> Iterator[str]:
    """Russian words on an English page."""
    allowed = re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in ALLOWED_CYRILLIC))
    for item in page.items:
        if _is_glossary(page) and item.kind == "row":
            continue
        for line, text in item.prose():
            if found := re.search(r"[А-Яа-яЁё][А-Яа-яЁё\s]*", allowed.sub(" ", text)):
                yield f"{page.at(line)}: Russian on an English page: '{_short(found[0])}'"


# ---- glossary ----


def check_glossary(root: Path = ROOT) -> list[str]:
    """The tables of terms: three full columns, equal terms, every term of `CALQUES` explained."""
    problems: list[str] = []
    terms: dict[str, dict[tuple[str, str], int]] = {}
    for language in ("ru", "en"):
        path = root / "docs" / language / GLOSSARY
        if not path.is_file():
            return [f"docs/{language}/{GLOSSARY}:1: there is no glossary"]
        page = scan(path, root)
        terms[language] = {}
        for item in _terms(page):
            cells = [re.sub(r"[*`_]", "", cell) for cell in item.cells()]
            if len(cells) != 3 or not all(cells):
                problems.append(f"{page.at(item.line)}: a term has three cells, none of them empty")
            else:
                terms[language][cells[0], cells[1]] = item.line
    russian, english = terms["ru"], terms["en"]
    for language, own, other in (("ru", russian, english), ("en", english, russian)):
        for pair, line in own.items():
            if pair not in other:
                problems.append(
                    f"docs/{language}/{GLOSSARY}:{line}: only here is '{pair[0]}' '{pair[1]}'"
                )
    known = " ".join(cell.lower() for pair in russian for cell in pair)
    for calque in CALQUES:
        for term in calque.term.split(", ") if calque.glossary else ():
            if term.lower() not in known:
                problems.append(f"docs/ru/{GLOSSARY}:1: the term '{term}' isn't explained")
    return sorted(set(problems))


def _terms(page: Scan) -> Iterator[Item]:
    """The rows of the page without heads, which stand before a row of dashes."""
    items = [*page.items, Item(0, "end")]
    for item, following in pairwise(items):
        if item.kind == "row" and not _is_rule(item) and not _is_rule(following):
            yield item


def _is_rule(item: Item) -> bool:
    return item.kind == "row" and all(re.fullmatch(r":?-+:?", cell) for cell in item.cells())
