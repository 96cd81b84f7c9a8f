"""Runs the code blocks of a Markdown page, as Sybil finds them and as the page shows them.

Python blocks of a page share one namespace, bash blocks are run by bash. The first word of a
fence decides, whatever follows it on the line; `--8<--` includes are expanded with the extension
that the site uses. A block that can't run here carries a comment with the reason before it:
`<!--- skip: next "reason" -->`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import markdown
from pymdownx.snippets import SnippetExtension, SnippetPreprocessor
from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown import SkipParser
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

ROOT = Path(__file__).resolve().parents[2]
_INFO = re.compile(r"[ \t]*(?P<info>[^\n]*)\n", re.MULTILINE)


def language_of(info: str) -> str:
    """`python` from `python title="x"` or `{ .python .annotate }`."""
    found = re.match(r"[{\s.]*([\w+-]*)", info)
    return found[1] if found else ""


def expand(text: str) -> str:
    """Put included files in place, as the site does."""
    if "8<" not in text:
        return text
    extension = SnippetExtension(base_path=[str(ROOT)], check_paths=True)
    lines = SnippetPreprocessor(extension.getConfigs(), markdown.Markdown()).run(text.splitlines())
    return "\n".join(lines) + "\n"


def run_python(example: Example) -> str | None:
    code = compile(expand(str(example.parsed)), f"{example.path}:{example.line}", "exec")
    exec(code, example.namespace)
    return None


def run_bash(example: Example) -> str | None:
    folder = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", expand(str(example.parsed))],
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    return f"exit code {done.returncode}\n{done.stderr}" if done.returncode else None


RUNNERS = {"python": run_python, "py": run_python, "bash": run_bash, "sh": run_bash}


class Blocks:
    """Sybil parser: a region for every fence in a language that can be run."""

    lexer = RawFencedCodeBlockLexer(_INFO)

    def __call__(self, document: Document) -> Iterator[Region]:
        for region in self.lexer(document):
            runner = RUNNERS.get(language_of(region.lexemes["info"]))
            if runner is not None:
                yield Region(region.start, region.end, region.lexemes["source"], runner)


def examples(path: Path) -> list[Example]:
    """The blocks of a page in order, skip marks included."""
    document = Sybil([Blocks(), SkipParser()], path=str(ROOT)).parse(path)
    return list(document.examples())
