"""English: numbers, dates, money, units, abbreviations, addresses in words."""

from __future__ import annotations

import re
from collections.abc import Callable

from borealis.data.spoken.addresses import said_address
from borealis.data.spoken.libraries import in_words
from borealis.data.spoken.traced import Traced

Match = re.Match[str]
_MONTH_NAMES = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_MONTHS = {name[:3]: name for name in _MONTH_NAMES} | {"sept": "september"}
_DAYS = {
    "mon": "monday",
    "tue": "tuesday",
    "tues": "tuesday",
    "wed": "wednesday",
    "thu": "thursday",
    "thur": "thursday",
    "thurs": "thursday",
    "fri": "friday",
    "sat": "saturday",
    "sun": "sunday",
}
_SIGNS = {
    "%": "percent",
    "‰": "per mille",
    "№": "number",
    "§": "section",
    "°": "degrees",
    "±": "plus minus",
    "×": "times",
    "÷": "divided by",
    "=": "equals",
    "<": "less than",
    ">": "greater than",
    "≈": "about",
    "≤": "at most",
    "≥": "at least",
    "$": "dollars",
    "€": "euros",
    "£": "pounds",
    "₽": "rubles",
    "¥": "yen",
    "¢": "cents",
    "&": "and",
    "@": "at",
    "#": "number",
    "+": "plus",
    "−": "minus",
    "²": "squared",
    "³": "cubed",
}
# One, many, and the hundredth part of a currency.
_CURRENCIES = {
    "$": ("dollar", "dollars", "cent"),
    "€": ("euro", "euros", "cent"),
    "£": ("pound", "pounds", "penny"),
    "₽": ("ruble", "rubles", "kopeck"),
    "¥": ("yen", "yen", ""),
}
_SCALES = {"k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion"}
# What one is called; more of it ends in s unless the second says otherwise.
_UNITS = {
    "km/h": ("kilometer per hour", "kilometers per hour"),
    "kph": ("kilometer per hour", "kilometers per hour"),
    "mph": ("mile per hour", "miles per hour"),
    "m/s": ("meter per second", "meters per second"),
    "Mbps": ("megabit per second", "megabits per second"),
    "Gbps": ("gigabit per second", "gigabits per second"),
    "°C": ("degree celsius", "degrees celsius"),
    "°F": ("degree fahrenheit", "degrees fahrenheit"),
    "sq ft": ("square foot", "square feet"),
    "km²": ("square kilometer", "square kilometers"),
    "m²": ("square meter", "square meters"),
    "m³": ("cubic meter", "cubic meters"),
    "km": ("kilometer", ""),
    "cm": ("centimeter", ""),
    "mm": ("millimeter", ""),
    "nm": ("nanometer", ""),
    "m": ("meter", ""),
    "mi": ("mile", ""),
    "ft": ("foot", "feet"),
    "yd": ("yard", ""),
    "kg": ("kilogram", ""),
    "g": ("gram", ""),
    "mg": ("milligram", ""),
    "lb": ("pound", ""),
    "lbs": ("pound", ""),
    "oz": ("ounce", ""),
    "tbsp": ("tablespoon", ""),
    "tsp": ("teaspoon", ""),
    "L": ("liter", ""),
    "l": ("liter", ""),
    "ml": ("milliliter", ""),
    "h": ("hour", ""),
    "hr": ("hour", ""),
    "hrs": ("hour", ""),
    "min": ("minute", ""),
    "mins": ("minute", ""),
    "sec": ("second", ""),
    "s": ("second", ""),
    "ms": ("millisecond", ""),
    "Hz": ("hertz", "hertz"),
    "kHz": ("kilohertz", "kilohertz"),
    "MHz": ("megahertz", "megahertz"),
    "GHz": ("gigahertz", "gigahertz"),
    "kB": ("kilobyte", ""),
    "KB": ("kilobyte", ""),
    "MB": ("megabyte", ""),
    "GB": ("gigabyte", ""),
    "TB": ("terabyte", ""),
    "V": ("volt", ""),
    "W": ("watt", ""),
    "kW": ("kilowatt", ""),
    "kWh": ("kilowatt hour", ""),
    "A": ("amp", ""),
}
_ABBREVIATIONS = {
    "dr": "doctor",
    "mr": "mister",
    "mrs": "missis",
    "ms": "miss",
    "prof": "professor",
    "gen": "general",
    "capt": "captain",
    "sgt": "sergeant",
    "mt": "mount",
    "ave": "avenue",
    "blvd": "boulevard",
    "rd": "road",
    "apt": "apartment",
    "dept": "department",
    "approx": "approximately",
    "est": "established",
    "etc": "et cetera",
    "vs": "versus",
    "tsp": "teaspoon",
    "tbsp": "tablespoon",
    "inc": "incorporated",
    "ltd": "limited",
    "corp": "corporation",
    "jr": "junior",
    "sr": "senior",
    "e.g": "for example",
    "i.e": "that is",
    "a.m": "a m",
    "p.m": "p m",
}
# Capitals that are said as a word; others without a vowel, and those of SPELLED, letter by letter.
_SPELLED = (
    " USA UK US EU UN UAE AI AR IT IBM IMF API CIA USB FBI CEO CFO CTO ID UFO ATM IQ IP IOS URL AC "
    "DIY FAQ EV GPU CPU IPO ISO LED OLED MIT UCLA NBA NFL ETA ATP DNA RNA IEEE IEC HIV AM EDT EST "
    "VIP "
)
_PARTS = {"fig": "figure ", "vol": "volume ", "ch": "chapter ", "sec": "section "}
_ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
_RULERS = (
    "Henry|Louis|Charles|Richard|Edward|George|William|James|Elizabeth|Mary|Philip|Napoleon|Peter|"
    "Catherine|Alexander|Nicholas|Ivan|Paul|John|Benedict|Francis|Frederick|Leo|Pius|Rameses|Ramses"
)
_YEAR_BEFORE = (
    r"(?:in|since|by|from|until|till|before|after|during|around|circa|year|of|early|late|mid|"
    + "|".join(_MONTH_NAMES)
    + r"),? "
)


def say(text: Traced) -> Traced:
    """What is said of an English text, in words and marks; letters aren't folded yet."""
    # What a rule writes may lay bare what another looks for: "5Dr." is "five Dr." first.
    before = ""
    while text.text != before:
        before = text.text
        for pattern, write in RULES:
            text = text.sub(pattern, write)
    return text


def _words(value: str | int, kind: str = "cardinal") -> str:
    said = in_words(int(value), "en", kind)
    return re.sub(r"[,-]| and\b", " ", said).replace("  ", " ")


def _each(digits: str) -> str:
    """Digits one by one."""
    return " ".join(_words(digit) for digit in digits)


def _cardinal(digits: str) -> str:
    digits = digits.replace(",", "")
    # Beyond that nobody counts, and no library has a word.
    if len(digits) > 15 or (len(digits) > 1 and digits[0] == "0"):
        return _each(digits)
    return _words(digits)


def _decimal(number: str) -> str:
    whole, _, rest = number.partition(".")
    return _cardinal(whole or "0") + (f" point {_each(rest)}" if rest else "")


def _year(year: str | int) -> str:
    value = int(year)
    if value % 1000 < 10:
        return _words(value)
    century, rest = divmod(value, 100)
    if not rest:
        return f"{_words(century)} hundred"
    return f"{_words(century)} {'oh ' if rest < 10 else ''}{_words(rest)}"


def _month(name: str) -> str:
    return _MONTHS.get(name.lower().rstrip("."), name.lower())


def _slash_date(match: Match) -> str:
    """Month first as in America, unless only the second can be a month."""
    first, second, year = int(match[1]), int(match[2]), match[3]
    month, day = (first, second) if first <= 12 else (second, first)
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0]
    year = year if len(year) == 4 else "20" + year
    return f"{_MONTH_NAMES[month - 1]} {_words(day, 'ordinal')}, {_year(year)}"


def _iso_date(match: Match) -> str:
    year, month, day = (int(part) for part in match.groups())
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0]
    return f"{_MONTH_NAMES[month - 1]} {_words(day, 'ordinal')}, {_year(year)}"


def _month_day(match: Match) -> str:
    day = int(match["day"])
    if not 1 <= day <= 31:
        return match[0]
    year = f", {_year(match['year'])}" if match["year"] else ""
    return f"{_month(match['month'])} {_words(day, 'ordinal')}{year}"


def _day_month(match: Match) -> str:
    day = int(match["day"])
    if not 1 <= day <= 31:
        return match[0]
    year = f" {_year(match['year'])}" if match["year"] else ""
    return f"the {_words(day, 'ordinal')} of {_month(match['month'])}{year}"


def _money(match: Match) -> str:
    one, many, part = _CURRENCIES[match["sign"]]
    number, scale = match["number"].replace(",", ""), (match["scale"] or "").strip()
    if scale:
        return f"{_decimal(number)} {_SCALES.get(scale.lower(), scale.lower())} {many}"
    whole, _, rest = number.partition(".")
    said = f"{_cardinal(whole)} {one if whole == '1' else many}"
    if not rest.strip("0"):
        return said
    if len(rest) != 2 or not part:
        return f"{_decimal(number)} {many}"
    parts = "pence" if part == "penny" else f"{part}s"
    return f"{said} {_words(rest)} {part if rest == '01' else parts}"


def _time(match: Match) -> str:
    hour, minute, half = int(match[1]), match[2], match[3]
    if hour > 24 or int(minute) > 59:
        return match[0]
    said = _words(hour)
    if minute != "00":
        said += f" {'oh ' if minute[0] == '0' else ''}{_words(minute)}"
    elif not half:
        said += " o'clock" if 0 < hour <= 12 else " hundred"
    return said + (f" {half[0].lower()} m" if half else "")


def _unit(match: Match) -> str:
    one, many = _UNITS[match["unit"]]
    number = match["number"].replace(",", "")
    sign = "minus " if match["minus"] else ""
    return f" {sign}{_decimal(number)} {one if number == '1' else many or one + 's'}"


def _fraction(match: Match) -> str:
    whole, top, bottom = match[1], int(match[2]), int(match[3])
    if not (0 < top < bottom <= 100):
        return match[0]
    name = {2: "half", 4: "quarter"}.get(bottom) or _words(bottom, "ordinal")
    parts = name if top == 1 else name + "s"
    before = f"{_cardinal(whole.strip())} and " if whole else ""
    return before + (f"a {parts}" if whole and top == 1 else f"{_words(top)} {parts}")


def _roman(text: str) -> int:
    values = [_ROMAN[letter] for letter in text]
    after = [*values[1:], 0]
    return sum(v if v >= n else -v for v, n in zip(values, after, strict=True))


def _decade(match: Match) -> str:
    year = int(match[1])
    century, rest = divmod(year, 100)
    if not rest:
        return f"{_words(century)} hundreds" if year % 1000 else f"{_words(year)}s"
    tens = _words(rest)
    return f"{_words(century)} {tens[:-1]}ies"


_ADDRESS_PARTS = re.compile(r"[A-Za-z]+|\d+|[^\w\s]|_")


def _address(match: Match) -> str:
    return said_address(
        match["rest"], _ADDRESS_PARTS, _ADDRESS_SIGNS, word=_address_word, number=_cardinal
    )


def _address_word(word: str) -> str:
    return " ".join("www") if word.lower() == "www" else word.lower()


_ADDRESS_SIGNS = {
    ".": "dot",
    "@": "at",
    "/": "slash",
    "-": "dash",
    "_": "underscore",
    ":": "colon",
    "?": "question mark",
    "=": "equals",
    "&": "and",
    "%": "percent",
    "#": "hash",
    "+": "plus",
    "~": "tilde",
}


def _phone(match: Match) -> str:
    groups = re.findall(r"\d+", match[0])
    start = "plus " if match[0].startswith("+") else ""
    return start + ", ".join(_each(group) for group in groups)


def _capitals(match: Match) -> str:
    word, plural = match[1], match[2]
    if f" {word} " in _SPELLED or not set(word) & set("AEIOUY"):
        return " ".join(word.lower()) + ("'s" if plural else "")
    return match[0]


def _pattern(text: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(text, flags)


_MONTH = r"(?P<month>(?:" + "|".join([*_MONTH_NAMES, *_MONTHS]) + r")\b\.?)"
_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_TLD = "com|org|net|edu|gov|io|ai|dev|app|info|me|tv|co|uk|us|ru|de|online|site"
_UNIT_NAMES = "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True))
_ABBREVIATED = "|".join(re.escape(a) for a in sorted(_ABBREVIATIONS, key=len, reverse=True))

RULES: list[tuple[re.Pattern[str], Callable[[Match], str]]] = [
    (
        _pattern(
            r"(?:https?://|ftp://|mailto:)?(?P<rest>[A-Za-z0-9_.+-]{1,64}@[A-Za-z0-9-]+"
            rf"(?:\.[A-Za-z0-9-]+)*|(?<![\w.])(?:www\.)?(?:[A-Za-z0-9-]+\.)+(?:{_TLD})"
            r"(?![\w-])(?:[/?#][A-Za-z0-9_./?=&%#+~-]*[A-Za-z0-9_=&%#+~/-]|/)?)"
        ),
        _address,
    ),
    (_pattern(r"https?://(?=\S)"), lambda m: ""),
    (
        _pattern(r"(?<=[^\W\d_]{2})\.(?=[^\W\d_])|(?<=[^\W\d_])\.(?=[^\W\d_]{2})"),
        lambda m: ". ",
    ),
    (
        _pattern(
            r"\+\d{1,3}(?:[ -]?\(?\d{2,4}\)?){2,5}(?!\d)|"
            r"(?<![\d.,-])\(?\d{3}\)?[ -]\d{3}-\d{4}(?!\d)|"
            r"(?<![\d.,-])\d{3}-\d{4}(?![\d-])"
        ),
        _phone,
    ),
    (_pattern(r"(?<![\w/.])(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})(?![\w/])"), _slash_date),
    (_pattern(r"(?<![\w-])(\d{4})-(\d{2})-(\d{2})(?![\w-])"), _iso_date),
    (
        _pattern(
            rf"\b{_MONTH} (?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:,? (?P<year>[12]\d{{3}}))?"
            r"(?![\d:.]\d|\d)\b",
            re.IGNORECASE,
        ),
        _month_day,
    ),
    (
        _pattern(
            rf"\b(?:the )?(?P<day>\d{{1,2}})(?:st|nd|rd|th)? (?:of )?{_MONTH}"
            r"(?:,? (?P<year>[12]\d{3})\b)?",
            re.IGNORECASE,
        ),
        _day_month,
    ),
    (
        _pattern(
            rf"(?P<sign>[$€£₽¥])\s?(?P<number>{_NUMBER})"
            r"(?P<scale>\s?(?:thousand|million|billion|trillion|[kKmMbB]n?)\b)?"
        ),
        _money,
    ),
    (_pattern(r"(?<=[a-z])/(?=month|year|week|day|hour|night|person|kg|lb)"), lambda m: " per "),
    (
        _pattern(r"(?<![\d:])(\d{1,2}):(\d{2})(?![\d:])(?:\s?([aApP]\.?[mM]\b)\.?)?"),
        _time,
    ),
    (
        _pattern(r"(?<![\d.,])(\d{1,2})\s?([ap])\.?m\b\.?", re.IGNORECASE),
        lambda m: f"{_words(m[1])} {m[2].lower()} m",
    ),
    (_pattern(r"(?<![\w.,])(1[1-9]\d0|20\d0)'?s\b"), _decade),
    (
        _pattern(r"(?<![\w.,])'?([2-9]0)'?s\b"),
        lambda m: _words(m[1])[:-1] + "ies",
    ),
    (
        _pattern(
            rf"(?:(?P<minus>(?<![\w)])[-−])|(?<![\w.,/]))(?P<number>{_NUMBER})\s?"
            rf"(?P<unit>{_UNIT_NAMES})(?![\w/²³])"
        ),
        _unit,
    ),
    (
        _pattern(r"(?<![\d/.,])(\d+ )?(\d{1,2})/(\d{1,3})(?![\d/]|\.\d)"),
        _fraction,
    ),
    (
        _pattern(r"(?<![\d.,])(\d{1,3}(?:,\d{3})+|\d{1,12})(?:st|nd|rd|th)\b"),
        lambda m: _words(m[1].replace(",", ""), "ordinal"),
    ),
    (
        _pattern(
            rf"\b({_YEAR_BEFORE})((?:1[1-9]|20)\d\d)(?![\w,]\d|[\w%])(?! (?:people|men|women))",
            re.IGNORECASE,
        ),
        lambda m: m[1] + _year(m[2]),
    ),
    (
        _pattern(rf"\b({_RULERS}) ([IVXL]+)(?![\w'])"),
        lambda m: f"{m[1]} the {_words(_roman(m[2]), 'ordinal')}",
    ),
    (
        _pattern(
            r"\b(World War|Chapter|Part|Volume|Vol\.|Act|Scene|Section|Book|Phase|Type|Class|"
            r"Title|Article|Appendix|Episode|Level|Stage|Super Bowl) ([IVXLC]+)(?!\w)"
        ),
        lambda m: f"{m[1]} {_words(_roman(m[2]))}",
    ),
    (_pattern(r"\bNo\. ?(?=\d)", re.IGNORECASE), lambda m: "number "),
    (_pattern(r"\bpp?\. ?(?=\d)"), lambda m: "pages " if m[0][1] == "p" else "page "),
    (
        _pattern(r"\b(?:fig|vol|ch|sec)\. ?(?=\d)", re.IGNORECASE),
        lambda m: _PARTS[m[0][:2].lower()],
    ),
    (_pattern(r"\bSt\.(?= [A-Z][a-z])(?<!\w [A-Z]t\.)"), lambda m: "saint"),
    (_pattern(r"\bSt\.", re.IGNORECASE), lambda m: "street"),
    (
        _pattern(r"\b(" + "|".join(d.title() for d in _DAYS) + r")\.([-—–] ?(?=[A-Z]))?"),
        lambda m: _DAYS[m[1].lower()] + (" to " if m[2] else ""),
    ),
    (
        _pattern(r"\b(" + "|".join(m.title() for m in _MONTHS) + r")\."),
        lambda m: _MONTHS[m[1].lower()],
    ),
    (
        _pattern(rf"(?<![\w.])({_ABBREVIATED})\.", re.IGNORECASE),
        lambda m: _ABBREVIATIONS[m[1].lower()],
    ),
    (
        _pattern(r"(?<![\w.])[A-Za-z](?:\.[A-Za-z])+\."),
        lambda m: " ".join(m[0].lower().replace(".", " ").split()),
    ),
    (_pattern(r"(?<![\w.'])[A-Z]\.(?= ?[A-Z])"), lambda m: m[0][0]),
    (_pattern(r"(?<=\d)[-—](?=\d)"), lambda m: " to "),
    (
        _pattern(r"(?<=[Cc]all )(\d)11\b|(?<=or )911\b"),
        lambda m: _each(m[0]),
    ),
    (_pattern(r"(?:(?<=\s)|(?<=^)|(?<=\())[-−](?=\d)"), lambda m: "minus "),
    (_pattern(r"(?<=\d) [-−] (?=\d)"), lambda m: " minus "),
    (
        _pattern(r"(?<![\d.])(\d+(?:\.\d+){2,})(?![\d])"),
        lambda m: " point ".join(_cardinal(part) for part in m[1].split(".")),
    ),
    (_pattern(r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"), lambda m: f" {_decimal(m[0])} "),
    (_pattern(r"(?<![\w'])([A-Z]{2,5})(s|'s)?(?![\w'])"), _capitals),
    (_pattern(r"(?<=[^\W_])_(?=[^\W_])"), lambda m: " underscore "),
    (_pattern("[" + re.escape("".join(_SIGNS)) + "]"), lambda m: f" {_SIGNS[m[0]]} "),
]
