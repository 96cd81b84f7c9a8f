"""Fingerprint of a Russian page, by which an English page tells which version it was made from.

Only the standard library, so that the hook of mkdocs and the tests can both use it. The hash
covers what a translator reads: the page and the Markdown it includes. Included code and all that a
program printed are no text to translate and don't make a translation old; nor does a moved line
break.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

KEY = "source_hash"

_FRONT = re.compile(r"\A---\n(.*?\n)?---\n", re.DOTALL)
_STAMP = re.compile(rf"^{KEY}:[ \t]*[\"']?([0-9a-f]*)[\"']?[ \t]*$\n?", re.MULTILINE)
_INCLUDE = re.compile(r"^[ \t]*-+8<-+[ \t]+[\"']([^\"'\n]+\.md)[\"'][ \t]*$", re.MULTILINE)
_RESULTS = re.compile(r"(<!-- results:start \w+ -->).*?(<!-- results:end -->)", re.DOTALL)
_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})([^\n]*)\n(.*?)^\1\2[ \t]*$", re.DOTALL | re.MULTILINE)


def source_hash(path: Path | str) -> str:
    """Twelve hexadecimal digits that change when the page has to be translated anew.

    Args:
        path: a Russian page, `docs/ru/....md`.
    """
    path = Path(path).resolve()
    text = _expanded(path, _root(path))
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:12]


def stamp_of(text: str) -> str | None:
    """The hash that the front matter of an English page holds, if it holds one."""
    front = _FRONT.match(text)
    found = _STAMP.search(front[0]) if front else None
    return found[1] if found else None


def stamped(text: str, digest: str) -> str:
    """The English page with `digest` in its front matter."""
    # In quotes: twelve digits would be read as a number.
    line = f'{KEY}: "{digest}"\n'
    front = _FRONT.match(text)
    if not front:
        return f"---\n{line}---\n\n{text}"
    rest = _STAMP.sub("", front[0])
    return f"{rest.removesuffix('---' + chr(10))}{line}---\n{text[front.end() :]}"


def source_of(page: Path | str) -> Path:
    """The Russian page of an English one: `docs/en/a/b.md` -> `docs/ru/a/b.md`."""
    parts = list(Path(page).parts)
    last = len(parts) - 1 - parts[::-1].index("en")
    return Path(*parts[:last], "ru", *parts[last + 1 :])


def _root(path: Path) -> Path:
    """The folder that includes are relative to: the nearest one with `mkdocs.yml`."""
    return next((p for p in path.parents if (p / "mkdocs.yml").is_file()), path.parent)


def _expanded(path: Path, root: Path) -> str:
    text = _STAMP.sub("", path.read_text(encoding="utf-8"))
    text = _FENCE.sub(_unprinted, _RESULTS.sub(r"\1\2", text))
    return _INCLUDE.sub(lambda found: _expanded(root / found[1], root), text)


def _unprinted(fence: re.Match[str]) -> str:
    """A fence without what was printed: outputs, lines below a command, `#>` comments."""
    info, lines = fence[3], fence[4].splitlines()
    if ".output" in info:
        # An include stays: another file is another output.
        lines = [line for line in lines if "8<" in line]
    elif "console" in info:
        commands = ("$ ", "> ")
        lines = [line for line in lines if line.lstrip().startswith(commands)]
    else:
        lines = [line for line in lines if not line.lstrip().startswith("#>")]
    return "\n".join((fence[2] + info, *lines, fence[2]))
