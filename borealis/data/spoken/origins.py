"""Where the words that a library wrote came from: its output laid against its input."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from borealis.data.spoken.traced import Span, Traced

_INPUT = re.compile(r"\d+(?:[.,:/]\d+)*|[^\W\d_]+|[%‰№§°±×÷=<>≈≤≥$€£₽¥¢&@#/*^~−+-]")
_OUTPUT = re.compile(r"[^\W\d_]+|\d+|[%‰№§°±×÷=<>≈≤≥$€£₽¥¢&@#/*^~−+]")
_NUMERAL = re.compile(
    r"ноль|нол[яюе]|од(?:ин|н)|дв[аеуо]|дву|тр[иеё]|четыр|четв[её]рт|пят|шест|сед?ьм|сем|вос[еь]м|"
    r"девя|десят|\w+надцат|сорок|ст[ао]$|сот|\w+ст[аи]$|тысяч|миллион|миллиард|цел|перв|втор|"
    r"полтор|половин|минус"
)
# Words of a number that don't show its digits.
_SCALE = re.compile(r"цел|десят|сот|тысяч|миллион|миллиард|минус|половин|полтор")
_ROMAN = re.compile(r"[IVXLCDMХ]+")
_SIGN_WORDS = {
    "%": "процент",
    "‰": "промилле",
    "№": "номер",
    "§": "параграф",
    "°": "градус",
    "±": "плюс минус",
    "×": "умножить на",
    "÷": "разделить на",
    "=": "равно",
    "<": "меньше",
    ">": "больше",
    "$": "доллар",
    "€": "евро",
    "£": "фунт",
    "₽": "рубл",
    "+": "плюс",
    "−": "минус",
    "/": "в на дробь слэш",
    "&": "и",
}
# An input that says nothing costs as much; words cost more than signs.
_SKIPPED_WORD, _SKIPPED_SIGN = 0.7, 0.15


def trace(source: Traced, written: str) -> Traced:
    """Give every character of what was written from `source` the stretch that it came from.

    Words that stayed are kept to the letter. Between them, words are laid against what stands
    there in the input: numerals to digits and Roman numbers, other words to those they begin
    like. Whatever fits nothing comes from its neighbour, so spans stay in order.

    Args:
        source: what the library was given.
        written: what it made of that.

    Returns:
        `written`, traced.
    """
    given = list(_INPUT.finditer(source.text))
    words = list(_OUTPUT.finditer(written))
    if not source.text:
        return Traced("", [])
    before = [_fold(match[0]) for match in given]
    after = [_fold(match[0]) for match in words]
    origin: list[int | None] = [None] * len(words)
    last_in = last_out = 0
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    for start_in, start_out, size in blocks:
        gap_in, gap_out = range(last_in, start_in), range(last_out, start_out)
        for place, found in zip(gap_out, _assign(given, words, gap_in, gap_out), strict=True):
            origin[place] = found
        for step in range(size):
            origin[start_out + step] = start_in + step
        last_in, last_out = start_in + size, start_out + size
    return _spread(source, written, given, words, origin)


def _spread(
    source: Traced,
    written: str,
    given: Sequence[re.Match[str]],
    words: Sequence[re.Match[str]],
    origin: Sequence[int | None],
) -> Traced:
    """Spans of all characters, from the origins of the words; those between lie where words end."""
    spans: list[Span] = []
    edge: Span = source.spans[0]
    for word, found in zip(words, origin, strict=True):
        spans += [edge] * (word.start() - len(spans))
        if found is None:
            spans += [edge] * len(word[0])
            continue
        match = given[found]
        if _fold(match[0]) == _fold(word[0]) and len(match[0]) == len(word[0]):
            spans += source.spans[match.start() : match.end()]
        else:
            spans += [source.span(match.start(), match.end())] * len(word[0])
        edge = spans[-1]
    return Traced(written, spans + [edge] * (len(written) - len(spans)))


def _assign(
    given: Sequence[re.Match[str]],
    words: Sequence[re.Match[str]],
    inputs: range,
    outputs: range,
) -> list[int | None]:
    """The cheapest way to give each output an input, in order; None where there is no input."""
    if not inputs or not outputs:
        return [None] * len(outputs)
    texts = [given[i][0] for i in inputs]
    skipped = [_SKIPPED_WORD if t[0].isalnum() else _SKIPPED_SIGN for t in texts]
    # best[j]: the least cost with the last output at input j, and the way there.
    sums = [0.0]
    for cost in skipped:
        sums.append(sums[-1] + cost)
    best = [sums[j] + _cost(texts[j], words[outputs[0]][0]) for j in range(len(texts))]
    ways: list[list[int]] = []
    for place in outputs[1:]:
        word = words[place][0]
        step: list[float] = []
        way: list[int] = []
        # The least of best[k] - sums[k + 1] over inputs before j: all between are skipped.
        least, least_at = float("inf"), 0
        for j, text in enumerate(texts):
            stay, come = best[j], least + sums[j]
            # On a tie the word before stays with the input before: numbers come whole.
            way.append(j if stay < come else least_at)
            step.append(min(stay, come) + _cost(text, word))
            if best[j] - sums[j + 1] < least:
                least, least_at = best[j] - sums[j + 1], j
        best = step
        ways.append(way)
    ends = [best[j] + sums[-1] - sums[j + 1] for j in range(len(texts))]
    at = min(range(len(ends)), key=ends.__getitem__)
    chosen = [at]
    for way in reversed(ways):
        at = way[at]
        chosen.append(at)
    return [inputs[j] for j in reversed(chosen)]


def _cost(given: str, word: str) -> float:
    """How badly a word fits an input, 0 to 1."""
    given_folded, word = _fold(given), _fold(word)
    numeral = _NUMERAL.match(word) is not None
    if given[0].isdigit():
        if not numeral:
            return 0.6
        return 0.02 if word[:2] in _stems(given) else 0.1 if _SCALE.match(word) else 0.35
    if not given[0].isalpha():
        known = _SIGN_WORDS.get(given, "")
        return 0.05 if known and any(word.startswith(k) for k in known.split()) else 0.7
    if numeral and _ROMAN.fullmatch(given):
        return 0.05
    same = 0
    while same < min(len(given_folded), len(word)) and given_folded[same] == word[same]:
        same += 1
    return 0.5 - 0.1 * min(same, 4) if same else 0.9


@lru_cache(maxsize=4096)
def _stems(digits: str) -> frozenset[str]:
    """How the words of a number begin, whatever their case: its digits, tens and hundreds."""
    stems = set()
    for group in re.findall(r"\d+", digits):
        for place, digit in enumerate(reversed(group)):
            stems |= _BEGINNINGS[digit]
            if digit == "1" and place % 3 == 2:
                stems |= {"ст"}
            if digit == "4" and place % 3 == 1:
                stems |= {"со"}
            if digit == "9" and place % 3 == 1:
                stems |= {"де"}
        if "1" in group:
            stems |= {"де"} | _BEGINNINGS[group[group.index("1") + 1 :][:1] or "1"]
    return frozenset(stems)


_BEGINNINGS = {
    "0": {"но"},
    "1": {"од", "пе"},
    "2": {"дв", "вт"},
    "3": {"тр"},
    "4": {"че"},
    "5": {"пя"},
    "6": {"ше"},
    "7": {"се"},
    "8": {"во"},
    "9": {"де"},
}


def _fold(word: str) -> str:
    return word.lower().replace("ё", "е")
