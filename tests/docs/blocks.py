"""The code blocks of a Markdown page or of docstrings, as Sybil finds them and the site shows them.

The first word of a fence decides what it is, whatever follows on the line: `python title="x"`,
`{ .python .annotate }` and ` py` are all Python. `--8<--` includes are expanded by the extension
that the site uses, with the options of `mkdocs.yml`. A block that can't run here has the reason
before it: `<!--- skip: next "reason" -->`. One that needs a bundled model with voices has
`<!--- skip: next until nano speaks "reason" -->`, and runs as soon as there is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import markdown
import yaml
from pymdownx.snippets import SnippetExtension, SnippetMissingError, SnippetPreprocessor
from sybil import Document, Example, Region
from sybil.document import PythonDocStringDocument
from sybil.parsers.doctest import DocTestParser
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, RawFencedCodeBlockLexer

ROOT = Path(__file__).resolve().parents[2]

RUNNABLE = {
    "python": "python",
    "python3": "python",
    "py": "python",
    "pycon": "pycon",
    "bash": "bash",
    "sh": "bash",
    "shell": "bash",
    "zsh": "bash",
    "console": "console",
    "shell-session": "console",
}
# A reason tells a reader something: "GPU" doesn't, "needs a GPU" does.
REASON_WORDS = 3

_INFO = re.compile(r"[ \t]*(?P<info>[^\n]*)\n", re.MULTILINE)
_BRACES = re.compile(r"\{(.*)\}\s*$")
_SKIP = re.compile(r"^[ \t]*(?P<mark><!--+[ \t]*skip:[ \t]*(?P<what>.*?)[ \t]*--+>)", re.M)
_NEXT = re.compile(r"next(?P<until>[ \t]+until nano speaks)?[ \t]+[\"'](?P<reason>.*)[\"']$")
_INCLUDE = re.compile(
    r"^[ \t]*-+8<-+[ \t]+[\"'](?P<path>[^\"':\n]+)(?::(?P<section>[^\"'\n]+))?[\"']"
)
_SECTION = re.compile(r"-+8<-+[ \t]+\[[ \t]*(start|end)[ \t]*:[ \t]*([\w-]+)[ \t]*\]")


@dataclass(frozen=True)
class Line:
    """A line of code as it is shown, and the file and line it comes from."""

    text: str
    file: Path
    number: int


@dataclass(frozen=True)
class Block:
    """One fence of a page.

    Args:
        page: the file it stands in.
        line: line of the opening fence.
        kind: `python`, `pycon`, `bash`, `console`, `output`, or the language if it can't be run.
        info: what follows the backticks.
        source: the content, includes not expanded, common indent removed.
        indent: what was removed from every line.
        skip: the reason why it isn't run here.
        root: folder that includes are relative to.
        hidden: an invisible setup block.
    """

    page: Path
    line: int
    kind: str
    info: str
    source: str
    indent: str = ""
    skip: str | None = None
    root: Path = ROOT
    hidden: bool = False

    @property
    def where(self) -> str:
        """`docs/ru/page.md:12`."""
        return f"{relative(self.page, self.root)}:{self.line}"

    @property
    def runnable(self) -> bool:
        return self.kind in RUNNABLE.values()

    @property
    def code(self) -> str:
        """What the page shows; raises SnippetMissingError."""
        return expand(self.source, self.root)

    @property
    def include(self) -> Path | None:
        """The included file, where an include is all that the block holds."""
        found = _INCLUDE.match(self.source)
        return self.root / found["path"] if found and self.source.count("\n") <= 1 else None

    def lines(self) -> list[Line]:
        """The lines that the page shows, each with its origin."""
        shown: list[Line] = []
        for offset, text in enumerate(self.source.splitlines(), 1):
            here = Line(text, self.page, self.line + offset)
            found = _INCLUDE.match(text)
            shown += _included(found, here, self.root) if found else [here]
        return shown


@dataclass
class Page:
    """The blocks of a page in order, and what is wrong with its marks."""

    blocks: list[Block] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def relative(path: Path, root: Path) -> str:
    """`path` as messages name it."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def parse_info(info: str) -> tuple[str, set[str]]:
    """`("python", {"annotate"})` from `python title="x"` or `{ .python .annotate }`."""
    info = info.strip()
    if braces := _BRACES.match(info):
        classes = re.findall(r"(?<![\w\"])\.([\w+-]+)", re.sub(r"\"[^\"]*\"", '""', braces[1]))
        return (classes[0] if classes else "", set(classes[1:]))
    word = re.match(r"\.?([\w+-]*)", info)
    return (word[1] if word else "", set())


def kind_of(info: str) -> str:
    """What a fence is: one of the kinds that can be run, `output`, or its language."""
    language, classes = parse_info(info)
    return "output" if "output" in classes else RUNNABLE.get(language.lower(), language)


def language_of(info: str) -> str:
    """`python` from `python title="x"` or `{ .python .annotate }`."""
    return parse_info(info)[0]


# ---- includes ----


class _Loader(yaml.SafeLoader):
    """YAML that may name Python objects and environment variables; they are read as None."""


_Loader.add_multi_constructor("", lambda loader, suffix, node: None)


@lru_cache(maxsize=16)
def site_config(root: Path) -> dict[str, Any]:
    """`mkdocs.yml`, or nothing where there is none."""
    path = root / "mkdocs.yml"
    text = path.read_text(encoding="utf-8") if path.is_file() else "{}"
    return yaml.load(text, _Loader) or {}


@lru_cache(maxsize=16)
def _preprocessor(root: Path) -> SnippetPreprocessor:
    options: dict[str, Any] = {}
    for extension in site_config(root).get("markdown_extensions") or []:
        if isinstance(extension, dict) and "pymdownx.snippets" in extension:
            options = dict(extension["pymdownx.snippets"] or {})
    base = options.get("base_path", ".")
    base = [base] if isinstance(base, str) else base
    options |= {"base_path": [str(root / folder) for folder in base], "check_paths": True}
    return SnippetPreprocessor(SnippetExtension(**options).getConfigs(), markdown.Markdown())


def expand(text: str, root: Path = ROOT) -> str:
    """Put included files in place, as the site does; raises SnippetMissingError."""
    if "8<" not in text:
        return text
    lines = _preprocessor(root).run(text.splitlines())
    return "\n".join(lines) + "\n"


def _included(found: re.Match[str], here: Line, root: Path) -> list[Line]:
    """The lines of one include; those that can't be traced point to the include itself."""
    shown = expand(here.text, root).rstrip("\n").split("\n")
    file = root / found["path"]
    lines = file.read_text(encoding="utf-8").split("\n")
    inside = found["section"] is None or not re.fullmatch(r"[A-Za-z][\w-]*", found["section"])
    numbers: list[int] = []
    for number, line in enumerate(lines, 1):
        if mark := _SECTION.search(line):
            if mark[2] == found["section"]:
                inside = mark[1] == "start"
        elif inside:
            numbers.append(number)
    by_content = [n for n in numbers if lines[n - 1].strip()]
    wanted = [text for text in shown if text.strip()]
    if not wanted or [lines[n - 1].strip() for n in by_content] != [t.strip() for t in wanted]:
        return [Line(text, here.file, here.number) for text in shown]
    traced, position = [], iter(by_content)
    number = numbers[0] - 1
    for text in shown:
        number = next(position) if text.strip() else number + 1
        traced.append(Line(text, file, number))
    return traced


# ---- finding ----


@lru_cache
def nano_speaks() -> bool:
    """Whether the bundled model has voices."""
    import borealis

    return bool(borealis.load().voices)


class Fences:
    """Sybil parser: a region for every fence and every invisible block.

    Args:
        root: folder that includes are relative to.
        evaluate: called with each example of a kind that can be run, and with output blocks.
    """

    lexer = RawFencedCodeBlockLexer(_INFO)
    hidden = DirectiveInHTMLCommentLexer(directive=r"invisible-code-block", arguments="python")

    def __init__(self, root: Path, evaluate: Callable[[Example], str | None] | None = None) -> None:
        self.root = root
        self.evaluate = evaluate
        self.problems: list[str] = []

    def __call__(self, document: Document) -> Iterator[Region]:
        found = [(region, False) for region in self.lexer(document)]
        found += [(region, True) for region in self.hidden(document)]
        # The outermost first: a fence shown inside a longer fence is text, not code.
        found.sort(key=lambda pair: (pair[0].start, -pair[0].end))
        skips = list(_SKIP.finditer(document.text))
        end = 0
        for region, hidden in found:
            if region.start < end:
                continue
            end = region.end
            skips = [s for s in skips if not region.start <= s.start() < region.end]
            block = self._block(document, region, hidden, skips)
            wanted = block.runnable or block.kind == "output"
            yield Region(region.start, region.end, block, self.evaluate if wanted else None)
        for mark in skips:
            line = document.text.count("\n", 0, mark.end()) + 1
            self.problems.append(
                f"{relative(Path(document.path), self.root)}:{line}: the mark '{mark['mark']}' skips "
                'nothing; write <!--- skip: next "reason" --> right before a block'
            )

    def _block(
        self, document: Document, region: Region, hidden: bool, skips: list[re.Match[str]]
    ) -> Block:
        text, start = document.text, region.start
        line = text.count("\n", 0, start) + 1
        info = "python" if hidden else region.lexemes["info"].strip()
        reason, over = None, False
        before = text[:start].rstrip()
        for mark in skips:
            reading = _NEXT.match(mark["what"])
            if mark.end() == len(before) and reading:
                reason = reading["reason"].strip()
                over = reading["until"] and nano_speaks()
                skips.remove(mark)
                break
        block = Block(
            page=Path(document.path),
            line=line,
            kind=kind_of(info),
            info=info,
            source=str(region.lexemes["source"]),
            indent=re.match(r"[ \t]*", text[start:])[0],  # type: ignore[index]
            skip=None if over else reason,
            root=self.root,
            hidden=hidden,
        )
        if reason is not None and len(reason.split()) < REASON_WORDS:
            self.problems.append(
                f'{block.where}: "{reason}" isn\'t a reason; say in {REASON_WORDS} words or more '
                "why the block isn't run"
            )
        return block


class Sessions:
    """Sybil parser: the `>>>` examples of docstrings that stand outside of fences."""

    def __call__(self, document: Document) -> Iterator[Region]:
        fences = [(r.start, r.end) for r in Fences.lexer(document)]
        for region in DocTestParser()(document):
            if not any(start <= region.start < end for start, end in fences):
                yield region


def read_page(path: Path, root: Path = ROOT) -> Page:
    """The blocks of a page, without running anything."""
    parser = Fences(root)
    document = Document.parse(str(path), parser)
    problems = list(parser.problems)
    blocks = [example.parsed for example in document.examples()]
    for block in blocks:
        file = block.include
        if block.kind == "output" and file is not None and not file.is_file():
            name = relative(file, root)
            problems.append(f"{block.where}: there is no {name}; make it by DOCS_UPDATE=1")
            continue
        try:
            block.lines()
        except (SnippetMissingError, OSError) as error:
            problems.append(f"{block.where}: {error}")
    return Page(blocks, problems)


def fences_of(text: str) -> list[tuple[int, str]]:
    """(line, info) of every opening fence, found without Sybil: the check of `read_page`."""
    found: list[tuple[int, str]] = []
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        # Behind a list mark or a quote mark, too.
        bare = re.sub(r"^(\s*(>|[-*+]|\d+[.)])\s)*\s*", "", line)
        mark = re.match(r"(`{3,}|~{3,})(.*)", bare)
        if not mark:
            continue
        if not fence:
            fence = mark[1]
            found.append((number, mark[2].strip()))
        elif mark[1].startswith(fence) and not mark[2].strip():
            fence = ""
    return found


def missed(path: Path, root: Path = ROOT) -> list[str]:
    """Fences that could be run but weren't found, and fences without a language."""
    name = relative(path, root)
    found = {block.line for block in read_page(path, root).blocks}
    problems = []
    for line, info in fences_of(path.read_text(encoding="utf-8")):
        if not kind_of(info):
            problems.append(f"{name}:{line}: a fence says which language it is in")
        elif line not in found:
            problems.append(f"{name}:{line}: the fence '{info}' is neither run nor skipped")
    return problems


def docstrings(path: Path, root: Path, evaluate: Callable[[Example], str | None]) -> list[Example]:
    """The examples in the docstrings of a Python file, fenced or with `>>>`."""
    parsers = (Fences(root, evaluate), Sessions())
    document = PythonDocStringDocument.parse(str(path), *parsers)
    return [e for e in document.examples() if e.region.evaluator is not None]
