"""Both languages say the same: pages, skeletons of pages, navigation, age of translations.

    python -m tests.docs.parity                     # everything that differs, with file and line
    python -m tests.docs.parity --stamp             # all translations are up to date now
    python -m tests.docs.parity --stamp story/data.md

Russian is the source. `--stamp` writes the hash of the Russian page into the front matter of the
English one; do it after reading both.
"""

from __future__ import annotations

import argparse
import difflib
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pymdownx.snippets import SnippetMissingError

from tests.docs.blocks import ROOT, expand, relative, site_config
from tests.docs.scan import Item, Scan, code_of, scan
from tools import docs_hash

LANGUAGES = ("ru", "en")
CYRILLIC = re.compile(r"[А-Яа-яЁё]")
# Front matter that is translated or concerns one language only.
_OWN_KEYS = {"title", "description", docs_hash.KEY}
_QUOTED = re.compile(r"(\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|«[^»\n]*»)")


def pages(root: Path = ROOT, language: str = "ru") -> list[str]:
    """Pages of a language, relative to its folder."""
    folder = root / "docs" / language
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.md"))


def check_pages(root: Path = ROOT) -> list[str]:
    """Pages that one language lacks."""
    russian, english = (set(pages(root, language)) for language in LANGUAGES)
    problems = [f"docs/ru/{p}:1: docs/en has no such page" for p in sorted(russian - english)]
    problems += [f"docs/en/{p}:1: docs/ru has no such page" for p in sorted(english - russian)]
    return problems


# ---- navigation ----


def check_nav(root: Path = ROOT) -> list[str]:
    """Pages that the navigation lacks or invents, and titles without a translation."""
    config = site_config(root)
    text = (root / "mkdocs.yml").read_text(encoding="utf-8").splitlines()

    def line_of(piece: str) -> int:
        return next((n for n, line in enumerate(text, 1) if piece in line), 1)

    listed, titles = Counter[str](), []
    for title, page in _nav(config.get("nav") or []):
        titles += [title] if title else []
        listed.update([page] if page else [])
    problems = []
    for page in sorted(set(pages(root)) - set(listed)):
        problems.append(f"mkdocs.yml:{line_of('nav:')}: the navigation doesn't list {page}")
    for page, times in listed.items():
        if not (root / "docs/ru" / page).is_file():
            problems.append(f"mkdocs.yml:{line_of(page)}: there is no page {page}")
        elif times > 1:
            problems.append(f"mkdocs.yml:{line_of(page)}: {page} stands {times} times")
    translations = _translations(config)
    for title in titles:
        if CYRILLIC.search(title) and title not in translations:
            where = line_of(f"{title}:")
            problems.append(f"mkdocs.yml:{where}: '{title}' has no English title")
    for title in translations:
        if title not in titles:
            problems.append(f"mkdocs.yml:{line_of(title)}: '{title}' isn't in the navigation")
    return problems


def _nav(entries: Sequence[object]) -> Iterator[tuple[str, str]]:
    """(title, page) of the entries; a section has no page."""
    for entry in entries:
        if isinstance(entry, str):
            yield "", entry
        elif isinstance(entry, dict):
            for title, value in entry.items():
                yield str(title), value if isinstance(value, str) else ""
                if isinstance(value, list):
                    yield from _nav(value)


def _translations(config: dict[str, object]) -> dict[str, str]:
    for plugin in config.get("plugins") or []:  # type: ignore[attr-defined]
        if isinstance(plugin, dict) and "i18n" in plugin:
            for language in plugin["i18n"].get("languages", []):
                if language.get("locale") == "en":
                    return dict(language.get("nav_translations") or {})
    return {}


# ---- skeletons ----


def skeleton(page: Scan) -> list[Item]:
    """The items of a page with what has to be equal, code included."""
    items = []
    for item in page.items:
        if item.kind == "mark" and item.key == "comment":
            continue
        if item.kind == "fence":
            item = _fence(item, page.root)
        elif item.kind == "row":
            item = replace(item, key=f"{item.key} {_numbers(item, page)}".strip())
        items.append(item)
    front = {k: v for k, v in page.front.items() if k not in _OWN_KEYS}
    return [Item(1, "front", repr(sorted(front.items()))), *items] if front else items


def _numbers(item: Item, page: Scan) -> str:
    """The numbers of a table row, as English writes them."""
    text = " ".join(line for _, line in item.prose())
    text = re.sub(r"(?<=\d)[\u00a0\u202f ](?=\d{3}(?!\d))", "", text)
    if page.name.startswith("docs/en/"):
        text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    else:
        text = re.sub(r"(?<=\d),(?=\d)", ".", text)
    return " ".join(re.findall(r"\d+(?:\.\d+)*", text))


def _fence(item: Item, root: Path) -> Item:
    """A fence with its code; comments are left out and strings may be translated."""
    kind, language, source = code_of(item)
    try:
        code = expand(source, root)
    except (SnippetMissingError, OSError):
        # Whoever runs the block reports that; here the include itself is compared.
        code = source
    if kind == "output" or language == "text":
        # An included output is one file for both; what stands in place may be in two languages.
        body = source if "8<" in source else f"{len(source.splitlines())} lines"
        return replace(item, key=f"{item.key}\n{body}")
    if kind == "mermaid":
        code = re.sub(r"\[[^\]\n]*\]|\{[^}\n]*\}|\([^)\n]*\)|\|[^|\n]*\|", "[]", code)
    else:
        code = without_comments(kind, code)
    pieces = _QUOTED.split(code)
    key = f"{item.key}\n{'«»'.join(pieces[::2])}"
    return replace(item, key=key, parts=tuple(pieces[1::2]))


def without_comments(kind: str, code: str) -> str:
    """Code without its comments and the blank lines they leave."""
    if kind == "python":
        code = _python_without_comments(code)
    elif kind in ("bash", "console", "yaml", "yml", "toml", "ini"):
        code = re.sub(r"(^|(?<=\s))#(?!>)[^\n]*", "", code, flags=re.M)
    lines = (line.rstrip() for line in code.splitlines())
    return "\n".join(line for line in lines if line)


def _python_without_comments(code: str) -> str:
    lines = code.splitlines()
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            if token.type == tokenize.COMMENT and not token.string.startswith("#>"):
                row, column = token.start
                lines[row - 1] = lines[row - 1][:column]
    except (tokenize.TokenError, IndentationError):
        # Not whole Python, a session with >>> perhaps: compared as it is.
        return code
    return "\n".join(lines)


def check_shape(page: str, root: Path = ROOT) -> list[str]:
    """Where the skeletons of a page in both languages differ."""
    russian, english = (scan(root / "docs" / language / page, root) for language in LANGUAGES)
    left, right = skeleton(russian), skeleton(english)
    problems = []
    for side in (russian, english):
        problems += _heading_problems(side)
    matcher = difflib.SequenceMatcher(
        None, [(i.kind, i.key) for i in left], [(i.kind, i.key) for i in right], autojunk=False
    )
    for operation, a, b, c, d in matcher.get_opcodes():
        if operation == "equal":
            for one, other in zip(left[a:b], right[c:d], strict=True):
                problems += _part_problems(russian, one, english, other)
            continue
        paired = min(b - a, d - c)
        for one, other in zip(left[a : a + paired], right[c : c + paired], strict=True):
            problems.append(
                f"{russian.at(_line(one, other))}: {_describe(one, other)}; "
                f"{english.at(_line(other, one))}: {_describe(other, one)}"
            )
        for one in left[a + paired : b]:
            near = right[min(d, len(right) - 1)].line if right else 1
            problems.append(f"{russian.at(one.line)}: {_describe(one)} isn't in {english.at(near)}")
        for other in right[c + paired : d]:
            near = left[min(b, len(left) - 1)].line if left else 1
            problems.append(
                f"{english.at(other.line)}: {_describe(other)} isn't in {russian.at(near)}"
            )
    return problems


def _heading_problems(page: Scan) -> Iterator[str]:
    """Headings without an id, ids that stand twice."""
    seen: dict[str, int] = {}
    for item in page.headings():
        if not item.ids:
            yield f"{page.at(item.line)}: the heading '{item.raw[0]}' needs an id: {{ #id }}"
    for line, name in page.ids():
        if name in seen:
            yield f"{page.at(line)}: the id #{name} stands in line {seen[name]} already"
        seen.setdefault(name, line)


def _part_problems(russian: Scan, one: Item, english: Scan, other: Item) -> Iterator[str]:
    for a, b in zip(one.parts, other.parts, strict=False):
        if a != b and not (CYRILLIC.search(a) and not CYRILLIC.search(b)):
            yield (
                f"{russian.at(_line_with(one, a))}: {one.kind} has {a!r}; "
                f"{english.at(_line_with(other, b))}: {other.kind} has {b!r}"
            )


def _line_with(item: Item, piece: str) -> int:
    return next((item.line + n for n, raw in enumerate(item.raw) if piece in raw), item.line)


def _differing(item: Item, other: Item | None) -> list[str]:
    """The lines of an item that the other doesn't have."""
    lines = item.key.splitlines()
    if other is None or other.kind != item.kind or len(lines) < 2:
        return lines
    return [line for line in lines if line not in set(other.key.splitlines())]


def _line(item: Item, other: Item) -> int:
    """Where an item differs from the other: a line of a fence, else its first line."""
    differing = {line.strip() for line in _differing(item, other)}
    for offset, raw in enumerate(item.raw[1:], 1):
        pieces = _QUOTED.split(without_comments("bash", raw).strip())
        if "«»".join(pieces[::2]) in differing:
            return item.line + offset
    return item.line


def _describe(item: Item, other: Item | None = None) -> str:
    """An item in a message; of long ones only what differs from the other."""
    text = " / ".join(_differing(item, other)) or "fewer lines" if item.key else ""
    return f"{item.kind} {text[:160]}".strip()


def check_shapes(root: Path = ROOT) -> list[str]:
    """All differences of all pages."""
    common = sorted(set(pages(root)) & set(pages(root, "en")))
    return [problem for page in common for problem in check_shape(page, root)]


# ---- age of translations ----


def check_stamps(root: Path = ROOT) -> list[str]:
    """English pages that were made from another version of their Russian page."""
    problems = []
    for page in sorted(set(pages(root)) & set(pages(root, "en"))):
        path = root / "docs/en" / page
        stamp = docs_hash.stamp_of(path.read_text(encoding="utf-8"))
        digest = docs_hash.source_hash(docs_hash.source_of(path))
        if stamp is None:
            problems.append(
                f"docs/en/{page}:1: no {docs_hash.KEY}; stamp the page when it is ready"
            )
        elif stamp != digest:
            problems.append(
                f"docs/en/{page}:1: translated from another docs/ru/{page} ({stamp}, now {digest}); "
                "bring it up to date, then stamp it"
            )
    return problems


def stamp(names: Iterable[str] = (), root: Path = ROOT) -> list[str]:
    """Write the present hashes into English pages (all by default); returns the changed ones."""
    changed = []
    chosen = [re.sub(r"^(\./)?docs/(ru|en)/", "", name) for name in names]
    for page in chosen or sorted(set(pages(root)) & set(pages(root, "en"))):
        path = root / "docs/en" / page
        text = path.read_text(encoding="utf-8")
        fresh = docs_hash.stamped(text, docs_hash.source_hash(docs_hash.source_of(path)))
        if fresh != text:
            path.write_text(fresh, encoding="utf-8")
            changed.append(relative(path, root))
    return changed


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 1 when something differs."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.docs.parity", description="Compare the languages of the site."
    )
    parser.add_argument("pages", nargs="*", help="with --stamp: pages, such as story/data.md (all)")
    parser.add_argument(
        "--stamp", action="store_true", help="note that translations are up to date"
    )
    args = parser.parse_args(argv)
    if args.stamp:
        for name in stamp(args.pages):
            print(f"{name}: stamped")
        return 0
    problems = [*check_pages(), *check_nav(), *check_shapes(), *check_stamps()]
    print("\n".join(problems) or "Both languages say the same.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
