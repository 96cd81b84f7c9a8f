"""Hook of mkdocs: puts into pages what the program and its files say themselves.

A page writes one of these marks, and the text comes from its source, so that it can't fall behind:

    <!-- borealis help [command] -->   help of the command line
    <!-- borealis recipe [KIND] -->    keys of a recipe: of a language model, a codec, a refiner
    <!-- borealis results [which] -->  tables from results/*.json: all, `headline` (the short one),
                                       one group, or `minutes`, which each took; sentences
                                       `compared` and `answers`
    <!-- borealis training TABLE -->   speed, counted, losses, options, gain, terms or
                                        picture of training
    <!-- borealis nano TABLE -->       training, ablation or scaling of nano
    <!-- borealis spoken -->           who says written texts right
    <!-- borealis changelog -->        CHANGELOG.md
    <!-- borealis notice -->           NOTICE

It also says on a page that its translation is older than the Russian original.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).parent.parent
COLUMNS = 84  # what fits a page without sideways scrolling on a laptop

_MARK = re.compile(r"^<!-- borealis (\w+)(?: (\w[\w -]*?))? -->$", re.M)
_STALE = (
    '\n!!! warning "This translation is older than its original"\n\n'
    "    The Russian page has changed since. Until the translation catches up, the Russian text"
    " is the right one.\n"
)


def on_page_markdown(markdown: str, page: Any = None, **_: Any) -> str:
    """Replace the marks of a page and say if the page is a stale translation."""
    language = "en"
    if page is not None:
        language = page.file.src_uri.partition("/")[0]
        if stale(page.meta, page.file.src_uri):
            markdown = re.sub(r"^(# .*\n)", lambda m: m[1] + _STALE, markdown, count=1, flags=re.M)

    def text(match: re.Match[str]) -> str:
        if match[1] not in _SOURCES:
            known = ", ".join(_SOURCES)
            raise ValueError(f"{match[0]}: there is no such mark; there are {known}")
        return _SOURCES[match[1]](language, match[2])

    return _MARK.sub(text, markdown)


def stale(meta: dict[str, Any], uri: str) -> bool:
    """Whether the page at `uri` keeps the hash of another version of its Russian original."""
    if "source_hash" not in meta:
        return False
    path = ROOT / "tools" / "docs_hash.py"
    spec = importlib.util.spec_from_file_location("docs_hash", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"can't load {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    original = ROOT / "docs" / "ru" / uri.partition("/")[2]
    return str(meta["source_hash"]) != module.source_hash(original)


def help_text(language: str, command: str | None) -> str:
    """What `borealis [command] --help` prints, as a block."""
    from borealis.cli import main

    out = io.StringIO()
    with (
        mock.patch.dict(os.environ, COLUMNS=str(COLUMNS)),
        contextlib.redirect_stdout(out),
        contextlib.suppress(SystemExit),
    ):
        main([*(command or "").split(), "--help"])
    return _fence(out.getvalue())


def recipe_text(language: str, kind: str | None) -> str:
    """Every key of a recipe, as a block; `kind` is `codec`, `refiner` or nothing."""
    from borealis.training.codec.recipe import CodecRecipe
    from borealis.training.codec.refiner.recipe import RefinerRecipe
    from borealis.training.recipe import Recipe, recipe_help

    kinds = {None: Recipe, "codec": CodecRecipe, "refiner": RefinerRecipe}
    return _fence(recipe_help(kinds[kind]))


def results_text(language: str, which: str | None) -> str:
    """All tables of results, the short one, the one of a group, or a sentence with numbers."""
    from tools.site import report
    from tools.site.tables import detail

    results = report.load_results(ROOT / "results")
    whole = {None: report.table, "headline": report.headline, "minutes": report.minutes}
    if which in report.SENTENCES:
        return report.sentence(results, which, language)
    text = whole[which](results, language) if which in whole else detail(results, which, language)
    return f'<div class="bo-results" markdown>\n\n{text}\n\n</div>'


def training_text(language: str, which: str | None) -> str:
    """A table of the training benchmarks."""
    from tools.site.training_tables import table

    return table(which or "", ROOT / "results", language)


def nano_text(language: str, which: str | None) -> str:
    """A table of nano's training."""
    from tools.site.nano_tables import table

    return table(which or "", ROOT / "results", language)


def spoken_text(language: str, _: str | None) -> str:
    """The table of how written texts are said."""
    from tools.site.spoken_table import table

    return table(ROOT / "results", language)


def changelog_text(language: str, _: str | None) -> str:
    """CHANGELOG.md without its title, every heading with an id."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    body = "\n".join(_with_ids(text.splitlines())).strip()
    return body if language == "en" else f'<div lang="en" markdown="1">\n\n{body}\n\n</div>'


def notice_text(language: str, _: str | None) -> str:
    """NOTICE as it is, as a block whose long lines wrap."""
    return _fence((ROOT / "NOTICE").read_text(encoding="utf-8"), "notice")


def _with_ids(lines: list[str]) -> Iterator[str]:
    version = ""
    for line in lines:
        if not (match := re.match(r"(#+) (.*?)(?: \{.*\})?$", line)):
            yield line
        elif len(match[1]) > 1:
            slug = re.sub(r"[^a-z0-9]+", "-", match[2].lower()).strip("-")
            if len(match[1]) == 2:
                version = slug = f"v{slug}".removesuffix("-unreleased")
            else:
                slug = f"{version}-{slug}"
            yield f"{match[1]} {match[2]} {{ #{slug} }}"


def _fence(text: str, *classes: str) -> str:
    info = " ".join(f".{name}" for name in ("text", "no-copy", *classes))
    return f"```{{ {info} }}\n{text.rstrip()}\n```"


_SOURCES: dict[str, Callable[[str, str | None], str]] = {
    "help": help_text,
    "recipe": recipe_text,
    "results": results_text,
    "training": training_text,
    "spoken": spoken_text,
    "nano": nano_text,
    "changelog": changelog_text,
    "notice": notice_text,
}
