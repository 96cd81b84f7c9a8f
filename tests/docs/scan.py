"""Reads a Markdown page into items with line numbers: headings, paragraphs, rows, fences, tags.

It knows the Markdown that the site uses (admonitions, tabs, attributes, hook marks, API marks) and
is the common ground of the checks of parity, links, words and figures.
"""

from __future__ import annotations

import html.parser
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.docs.blocks import ROOT, kind_of, parse_info, relative

_CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.S)
_IMAGE = re.compile(
    r"!\[((?:[^\[\]]|\[[^\]]*\])*)\]\(\s*([^()\s]*(?:\([^()]*\)[^()\s]*)*)(?:\s+\"[^\"]*\")?\s*\)"
)
_LINK = re.compile(r"\]\(\s*([^()\s]*(?:\([^()]*\)[^()\s]*)*)(?:\s+\"[^\"]*\")?\s*\)")
_REFERENCE = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])+)\]\[([^\]]*)\]")
_FOOTNOTE = re.compile(r"\[(\^[\w-]+)\](?!:)")
_DEFINITION = re.compile(r"\[(?!\^)([^\]]+)\]:\s*(\S+)")
_MATH = re.compile(
    r"\$\$(.+?)\$\$|(?<![\\\w$])\$(?=\S)([^$\n]+?)(?<=\S)\$(?![\w$])|\\\((.+?)\\\)", re.S
)
_ATTRIBUTES = re.compile(r"\{:?[ ]*(?:[#.][\w-]+|[\w-]+=(?:\"[^\"]*\"|[\w-]+))(?:[ ]+[^{}\n]*)?\}")
_AUTOLINK = re.compile(r"<(https?://[^>\s]+)>")
_COMMENT = re.compile(r"<!--.*?-->", re.S)
_LANG = re.compile(r"<(\w+)\b[^>]*\blang=\"(\w+)[^\"]*\"[^>]*>.*?</\1>", re.S)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_HTML_START = re.compile(r"\s*</?[A-Za-z][\w-]*(?:[\s>/]|$)")
_WHOLE = re.compile(r"\s*<(script|style|svg|pre)\b", re.I)
_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*$")
_ID = re.compile(r"\{[^{}]*#([\w.-]+)[^{}]*\}\s*$")
_ITEM = re.compile(r"(\s*)([-*+]|\d+[.)])\s+(.*)$")
_MARKED = re.compile(r"\s*(!!!|\?\?\?\+?|===[!+]?)\s*(.*)$")
_ROW = re.compile(r"\s*\|.*\|\s*$")


@dataclass(frozen=True)
class Target:
    """A link, an image, or an address in a tag."""

    line: int
    kind: str  # link, image, reference, src, href
    address: str
    text: str = ""


@dataclass
class Item:
    """A piece of a page.

    Args:
        line: where it begins in the file.
        kind: what it is.
        key: what has to be equal in both languages.
        parts: pieces that are equal or translated, in order (strings of code, titles).
        raw: the lines as they stand in the file.
    """

    line: int
    kind: str
    key: str = ""
    parts: tuple[str, ...] = ()
    raw: tuple[str, ...] = ()
    targets: list[Target] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def prose(self) -> Iterator[tuple[int, str]]:
        """(line, text) without code, formulas, tags, addresses and text in another language."""
        if self.kind in ("fence", "mark", "api", "math", "front", "include", "definition"):
            return
        text = "\n".join(self.raw)
        for pattern in (_COMMENT, _CODE, _LANG, _MATH, _AUTOLINK):
            text = pattern.sub(lambda m: " " + "\n" * m[0].count("\n"), text)
        text = _IMAGE.sub(lambda m: f" {m[1]} ", text)
        text = _LINK.sub("] ", text)
        text = _REFERENCE.sub(lambda m: f" {m[1]} ", text)
        text = _ATTRIBUTES.sub(" ", _TAG.sub(" ", text))
        for offset, line in enumerate(text.split("\n")):
            yield self.line + offset, line

    def cells(self) -> list[str]:
        """The cells of a table row."""
        line = _CODE.sub(lambda m: m[0].replace("|", "\0"), self.raw[0].strip())
        cells = re.split(r"(?<!\\)\|", line.strip("|"))
        return [cell.strip().replace("\0", "|") for cell in cells]


@dataclass
class Scan:
    """A page in items."""

    path: Path
    root: Path
    items: list[Item]
    front: dict[str, object] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return relative(self.path, self.root)

    def at(self, line: int) -> str:
        return f"{self.name}:{line}"

    def ids(self) -> Iterator[tuple[int, str]]:
        for item in self.items:
            for name in item.ids:
                yield item.line, name

    def targets(self) -> Iterator[Target]:
        for item in self.items:
            yield from item.targets

    def headings(self) -> list[Item]:
        return [item for item in self.items if item.kind == "heading"]


class _Tags(html.parser.HTMLParser):
    """Tags of a piece of HTML with their lines."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((self.getpos()[0], tag, {name: value or "" for name, value in attrs}))


def scan(path: Path, root: Path = ROOT) -> Scan:
    """Read a page."""
    lines = path.read_text(encoding="utf-8").splitlines()
    result = Scan(path, root, [])
    start = 0
    if lines and lines[0] == "---" and "---" in lines[1:]:
        start = lines.index("---", 1) + 1
        result.front = yaml.safe_load("\n".join(lines[1 : start - 1])) or {}
    for item in _blocks(lines, start):
        _finish(item)
        result.items.append(item)
    return result


def _blocks(lines: list[str], start: int) -> Iterator[Item]:
    """Cut the lines into items."""
    number, text = start, ""
    paragraph: list[str] = []

    def flush() -> Iterator[Item]:
        if paragraph:
            first = number - len(paragraph) + 1
            kind = "item" if _ITEM.match(paragraph[0]) else "paragraph"
            yield Item(first, kind, raw=tuple(paragraph))
            paragraph.clear()

    while number < len(lines):
        text = lines[number]
        taken = _taken(lines, number, bool(paragraph))
        if taken is None and text.strip():
            if _ITEM.match(text) or text.lstrip().startswith(":   "):
                yield from flush()
            paragraph.append(text)
            number += 1
            continue
        yield from flush()
        if taken is None:
            number += 1
            continue
        kind, size = taken
        yield Item(number + 1, kind, raw=tuple(lines[number : number + size]))
        number += size
    yield from flush()


def _taken(lines: list[str], number: int, inside: bool) -> tuple[str, int] | None:
    """Kind and number of lines of the item that begins here; None for text and blank lines."""
    text = lines[number]
    bare = text.strip()
    fence = re.match(r"(?:\s*(?:[-*+]|\d+[.)])\s+|[\s>]*)(`{3,}|~{3,})", text)
    if fence and bare.count(fence[1]) == 1:
        return "fence", _until(lines, number, lambda s: _closes(s, fence[1]))
    if bare.startswith("<!--"):
        return "mark", _until(lines, number, lambda s: "-->" in s, itself="-->" in text)
    if bare.startswith("$$"):
        alone = bare.count("$$") >= 2
        return "math", _until(lines, number, lambda s: "$$" in s, itself=alone)
    if found := _WHOLE.match(text):
        end = f"</{found[1].lower()}>"
        return "html", _until(lines, number, lambda s: end in s.lower(), itself=end in text.lower())
    if _HTML_START.match(text) and not inside:
        return "html", _while(lines, number, lambda s: bool(s.strip()))
    if _HEADING.match(text):
        return "heading", 1
    if bare.startswith("::: "):
        return "api", _while(lines, number, lambda s: bool(s.strip()))
    if re.match(r"-+8<-+\s", bare):
        return "include", 1
    if _MARKED.match(text):
        return ("tab" if bare.startswith("===") else "admonition"), 1
    if _ROW.match(text):
        return "row", 1
    if re.fullmatch(r"[-*_]{3,}", bare):
        return "rule", 1
    if re.match(r"\[\^[\w-]+\]:", bare):
        return "footnote", _while(lines, number, lambda s: bool(s.strip()))
    if re.match(r"(\[[^\]]+\]:\s*\S+|\*\[[^\]]+\]:\s)", bare) and not inside:
        return "definition", 1
    return None


def _closes(line: str, fence: str) -> bool:
    bare = line.strip().lstrip("> ")
    return bare.startswith(fence) and not bare.strip(fence[0])


def _until(lines: list[str], number: int, ends: object, *, itself: bool = False) -> int:
    """Lines from `number` to the one on which `ends`, that one included."""
    if itself:
        return 1
    for offset, line in enumerate(lines[number + 1 :], 2):
        if ends(line):  # type: ignore[operator]
            return offset
    return len(lines) - number


def _while(lines: list[str], number: int, goes_on: object) -> int:
    size = 1
    while number + size < len(lines) and goes_on(lines[number + size]):  # type: ignore[operator]
        size += 1
    return size


# ---- what has to be equal ----


def _finish(item: Item) -> None:
    """Fill in key, parts, targets and ids."""
    text = "\n".join(item.raw)
    if item.kind == "heading":
        marks, title = _HEADING.match(text).groups()  # type: ignore[union-attr]
        found = _ID.search(title)
        item.ids = [found[1]] if found else []
        item.key = f"{marks} {{ #{found[1]} }}" if found else marks
        _inline(item, title)
    elif item.kind == "fence":
        item.key = re.sub(r"title=\"[^\"]*\"", "title", item.raw[0].strip().lstrip("`~-*+ "))
    elif item.kind == "mark":
        item.key = _mark(text)
    elif item.kind == "math":
        item.key = _formula(text)
    elif item.kind in ("admonition", "tab"):
        mark, rest = _MARKED.match(text).groups()  # type: ignore[union-attr]
        title = re.search(r"\"(.*)\"", rest)
        item.key = f"{mark} {rest.split(chr(34))[0]}".strip() + (" title" if title else "")
    elif item.kind == "api":
        item.key = text.strip()
    elif item.kind == "include":
        item.key = re.sub(r"docs/(ru|en)/", "docs/*/", text.strip())
    elif item.kind == "row":
        cells = item.cells()
        if all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            item.key = text.replace(" ", "")
        else:
            _inline(item, text)
            item.key = f"{len(cells)} cells {item.key}".strip()
    elif item.kind == "definition":
        if found := _DEFINITION.match(text.strip()):
            item.targets = [Target(item.line, "link", found[2])]
            item.key = _address(found[2])
    elif item.kind in ("paragraph", "item", "html", "footnote"):
        _inline(item, text)
        if mark := _ITEM.match(item.raw[0]):
            ordered = mark[2][0].isdigit()
            item.key = f"{len(mark[1]) // 4 * '>'}{'1.' if ordered else '-'} {item.key}".strip()
        elif text.lstrip().startswith(">"):
            item.key = f"> {item.key}".strip()
        elif mark := re.match(r"\[(\^[\w-]+)\]:", text.strip()):
            item.key = f"{mark[1]}: {item.key}".strip()


def _mark(text: str) -> str:
    """A comment as both languages have it: reasons and setups may differ in words only."""
    if re.match(r"\s*<!--+\s*skip:", text):
        return "skip"
    if re.match(r"\s*<!--+\s*invisible-code-block", text):
        return text.strip()
    found = re.match(r"\s*(<!-- (?:borealis|results)\b.*?-->)", text)
    return found[1] if found else "comment"


def _formula(text: str) -> str:
    return re.sub(r"\\(text|mathrm)\{[^}]*\}", r"\\\1{}", "".join(text.split()))


def _address(address: str) -> str:
    """An address without the part that names the language."""
    address = re.sub(r"(^|/)(ru|en)/", r"\1*/", address)
    return re.sub(r"https?://(ru|en)\.", "https://*.", address)


def _inline(item: Item, text: str) -> None:
    """Links, images, formulas and tags of a piece of text."""
    found: list[str] = []
    text = _COMMENT.sub(_blank, text)
    text = _CODE.sub(lambda m: re.sub(r"[^\n]", "\x01", m[0]), text)

    def line_of(match: re.Match[str]) -> int:
        return item.line + match.string.count("\n", 0, match.start())

    def take(kind: str, match: re.Match[str], address: str, title: str = "") -> None:
        item.targets.append(Target(line_of(match), kind, address, title))

    for match in _MATH.finditer(text):
        found.append(f"math {_formula(match[1] or match[2] or match[3])}")
    text = _MATH.sub(_blank, text)
    for match in _IMAGE.finditer(text):
        take("image", match, match[2], match[1])
        found.append(f"image {_address(match[2])}")
    text = _IMAGE.sub(_blank, text)
    for match in _LINK.finditer(text):
        take("link", match, match[1])
        found.append(f"link {_address(match[1])}")
    for match in _AUTOLINK.finditer(text):
        take("link", match, match[1])
        found.append(f"link {_address(match[1])}")
    text = _AUTOLINK.sub(_blank, text)
    for match in _REFERENCE.finditer(text):
        # The name of `[text][]` is its text, whatever code marks stand in it.
        name = match[2] or match[1]
        if "\x01" not in name:
            take("reference", match, name)
            found.append(f"link [{name}]" if match[2] else "link []")
    found += [f"footnote {match[1]}" for match in _FOOTNOTE.finditer(text)]
    if "<" in text:
        tags = _Tags()
        tags.feed(text)
        for line, tag, attributes in tags.found:
            found.append(f"<{' '.join((tag, *sorted(attributes)))}>")
            item.parts += tuple(_address(attributes[name]) for name in sorted(attributes))
            for name in ("src", "href", "poster"):
                if name in attributes:
                    kind = "href" if name == "href" else "src"
                    item.targets.append(Target(item.line + line - 1, kind, attributes[name]))
            if attributes.get("id"):
                item.ids.append(attributes["id"])
    if item.kind != "heading":
        item.ids += re.findall(r"\{[^{}]*#([\w.-]+)[^{}]*\}", text)
        item.key = "; ".join(sorted(found))


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def code_of(item: Item) -> tuple[str, str, str]:
    """(kind, class, source) of a fence: its lines without the indent of the first one."""
    indent = len(item.raw[0]) - len(item.raw[0].lstrip())
    info = item.raw[0].strip().lstrip("`~-*+ ")
    closed = len(item.raw) > 1 and _closes(item.raw[-1], item.raw[0].strip()[:3])
    body = item.raw[1:-1] if closed else item.raw[1:]
    source = "".join(f"{line[indent:] if not line[:indent].strip() else line}\n" for line in body)
    return kind_of(info), parse_info(info)[0], source
