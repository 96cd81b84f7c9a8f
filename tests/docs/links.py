"""Every link of the pages leads somewhere: pages, anchors, files, documented Python names."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import borealis
from borealis.cli import build_parser
from tests.docs.blocks import ROOT, relative
from tests.docs.scan import Scan, Target, scan

# Parts of the running site that aren't files: the demo is served beside the pages.
_SERVED = ("/demo/",)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.I)
_LOADED = ("image", "src")


def sources(root: Path = ROOT) -> list[Path]:
    """The Markdown files whose links are checked."""
    found = [root / name for name in ("README.md", "README.ru.md", "examples/README.md")]
    found += sorted((root / "docs").rglob("*.md"))
    return [path for path in found if path.is_file()]


def check_links(root: Path = ROOT) -> list[str]:
    """All links of all pages that lead nowhere."""
    return [problem for path in sources(root) for problem in check_page(path, root)]


def check_page(path: Path, root: Path = ROOT) -> list[str]:
    """The links of a page that lead nowhere."""
    page = _scan(path, root)
    problems = []
    for target in page.targets():
        if problem := _problem(page, target):
            problems.append(f"{page.at(target.line)}: {problem}")
    return problems


def _scan(path: Path, root: Path) -> Scan:
    return _scanned(path, root, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _scanned(path: Path, root: Path, changed: int) -> Scan:
    return scan(path, root)


def _problem(page: Scan, target: Target) -> str | None:
    address = target.address
    if target.kind == "image" and not target.text.strip():
        return f"the image '{address}' has no text for those who can't see it"
    if target.kind == "reference":
        return _reference_problem(page, target)
    if not address:
        return "a link without an address"
    if _SCHEME.match(address) or address.startswith("//"):
        if target.kind in _LOADED and not address.startswith("data:"):
            return f"'{address}' is loaded from elsewhere; the site loads nothing from outside"
        return None
    file, _, anchor = address.partition("#")
    if file.startswith("/"):
        return None if file.startswith(_SERVED) else f"'{address}' is absolute; make it relative"
    if not file:
        return _anchor_problem(page, anchor, page)
    path = _resolved(page, target, file.partition("?")[0])
    if path is None:
        return f"'{address}' leads to nothing"
    if target.kind == "link" and path.is_dir() and page.path.is_relative_to(page.root / "docs"):
        return f"'{address}' leads to a folder; link to a page"
    if anchor and path.suffix == ".md":
        return _anchor_problem(page, anchor, _scan(path, page.root))
    return None


def _resolved(page: Scan, target: Target, file: str) -> Path | None:
    """The file that a relative address names."""
    docs = page.root / "docs"
    path = (page.path.parent / file).resolve()
    if target.kind in ("link", "image"):
        inside = not page.path.is_relative_to(docs) or path.is_relative_to(docs)
        return path if path.exists() and inside else None
    if path.exists():
        return path
    # mkdocs leaves addresses in tags alone, so they may be written as the browser sees them.
    if not page.path.is_relative_to(docs):
        return None
    parts = page.path.relative_to(docs).with_suffix("").parts
    url = [*parts[1:]] if parts[0] == "ru" else [*parts]
    folder = docs.joinpath(*(url[:-1] if url[-1] == "index" else url))
    path = Path(os.path.normpath(folder / file))
    if not path.is_relative_to(docs):
        return None
    language = docs / parts[0]
    written = path if path.is_relative_to(language) else language / path.relative_to(docs)
    found = (path, written.with_suffix(".md"), written / "index.md")
    return next((candidate for candidate in found if candidate.is_file()), None)


def _anchor_problem(page: Scan, anchor: str, target: Scan) -> str | None:
    if not anchor or anchor in anchors(target):
        return None
    if anchor.startswith("borealis.") and documented(anchor, [target]):
        return None
    place = "this page" if target is page else relative(target.path, target.root)
    return f"{place} has no anchor #{anchor}"


def anchors(page: Scan) -> set[str]:
    """The ids of a page; outside of docs those that GitHub makes of headings."""
    found = {name for _, name in page.ids()}
    if not page.path.is_relative_to(page.root / "docs"):
        for item in page.headings():
            title = re.sub(r"^#+\s*|\s*\{[^{}]*\}\s*$", "", item.raw[0]).lower()
            found.add(re.sub(r"[^\w\- ]", "", title).replace(" ", "-"))
    return found


def _reference_problem(page: Scan, target: Target) -> str | None:
    defined = re.findall(r"^\s*\[([^\]^]+)\]:", page.path.read_text(encoding="utf-8"), re.M)
    if target.address.lower() in (name.lower() for name in defined):
        return None
    folder = page.root / "docs" / page.path.relative_to(page.root / "docs").parts[0]
    same_language = [_scan(path, page.root) for path in sorted(folder.rglob("*.md"))]
    if documented(target.address, same_language):
        return None
    if any(target.address in anchors(other) for other in same_language):
        return None
    return f"nothing is called [{target.address}]"


def documented(name: str, pages: list[Scan]) -> bool:
    """Whether the API marks of the pages document a Python name that exists."""
    return any(
        (name == top or name.startswith(f"{top}.")) and _exists(name)
        for page in pages
        for top in _api(page)
    )


def _api(page: Scan) -> Iterator[str]:
    for item in page.items:
        if item.kind == "api":
            yield item.raw[0].split()[1]


@lru_cache(maxsize=1024)
def _exists(name: str) -> bool:
    parts = name.split(".")
    for size in range(len(parts), 0, -1):
        try:
            value: Any = import_module(".".join(parts[:size]))
        except ModuleNotFoundError:
            continue
        for part in parts[size:]:
            fields = getattr(value, "__dataclass_fields__", {}) | getattr(
                value, "__annotations__", {}
            )
            if not hasattr(value, part):
                return part in fields and part == parts[-1]
            value = getattr(value, part)
        return True
    return False


# ---- the reference is whole ----


def check_reference(root: Path = ROOT) -> list[str]:
    """Public names and commands that the reference of a language leaves out."""
    problems: list[str] = []
    for language in ("ru", "en"):
        folder = root / "docs" / language / "reference"
        api, cli = _scan(folder / "api.md", root), _scan(folder / "cli.md", root)
        shown = [_object(name) for name in _api(api)]
        for name in borealis.__all__:
            value = getattr(borealis, name)
            if not any(value is top or import_module(value.__module__) is top for top in shown):
                problems.append(f"{api.at(1)}: borealis.{name} isn't documented")
        marks = {item.raw[0].strip() for item in cli.items if item.kind == "mark"}
        for command in _commands():
            if f"<!-- borealis help {command} -->" not in marks:
                problems.append(f"{cli.at(1)}: 'borealis {command}' isn't documented")
    return problems


def _object(name: str) -> Any:
    parts = name.split(".")
    try:
        return import_module(name)
    except ModuleNotFoundError:
        return getattr(import_module(".".join(parts[:-1])), parts[-1])


def _commands() -> list[str]:
    """The commands that the command line has, those of two words too."""
    return list(_subcommands(build_parser(), ""))


def _subcommands(parser: argparse.ArgumentParser, prefix: str) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield prefix + name
                yield from _subcommands(child, f"{prefix}{name} ")
