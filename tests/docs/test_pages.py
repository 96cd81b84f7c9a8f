"""Every block of the README, of both languages and of docstrings is run; the pages tell the truth.

DOCS_UPDATE=1 python -m pytest tests/docs/test_pages.py    # rewrite the shown outputs
"""

from __future__ import annotations

import runpy
from collections import Counter

import pytest

from tests.docs import figures, links, parity, words
from tests.docs.arguments import check_block
from tests.docs.blocks import ROOT, missed, read_page
from tests.docs.running import run_docstrings, run_page
from tests.docs.scan import scan
from tools import docs_hash

PAGES = parity.pages()
READMES = ["README.md", "README.ru.md"]
FILES = [*READMES, *(f"docs/{language}/{page}" for page in PAGES for language in ("ru", "en"))]
MODULES = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "borealis").rglob("*.py"))


def report(problems: list[str]) -> None:
    """All problems at once, one a line, without a traceback."""
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


# ---- running ----


# What was run, and how it went: the languages of a page mostly have the same blocks, to the letter.
_ran: dict[tuple[tuple[object, ...], ...], list[str]] = {}


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_blocks_run(file, tmp_path, shell, one_load):
    blocks = read_page(ROOT / file).blocks
    program = tuple((b.kind, b.info, b.source, b.skip is None, b.hidden) for b in blocks)
    if program not in _ran:
        _ran[program] = run_page(ROOT / file, tmp_path, shell=shell).failures
    report(_ran[program])


@pytest.mark.slow
def test_examples_in_docstrings_run(tmp_path, one_load):
    failures = []
    for number, file in enumerate(MODULES):
        folder = tmp_path / str(number)
        folder.mkdir()
        failures += run_docstrings(ROOT / file, folder).failures
    report(failures)


# ---- quick checks of blocks ----


@pytest.mark.parametrize("file", FILES)
def test_every_fence_is_run_or_skipped_with_a_reason(file):
    report([*read_page(ROOT / file).problems, *missed(ROOT / file)])


@pytest.mark.parametrize("file", FILES)
def test_arguments_are_right_even_where_blocks_are_skipped(file):
    report([p for block in read_page(ROOT / file).blocks for p in check_block(block)])


def test_reasons_are_in_the_language_of_the_page():
    problems = []
    for file in FILES[len(READMES) :]:
        for block in read_page(ROOT / file).blocks:
            russian = bool(parity.CYRILLIC.search(block.skip or ""))
            if block.skip is not None and russian != file.startswith("docs/ru/"):
                problems.append(f"{block.where}: the reason '{block.skip}' is in another language")
    report(problems)


def test_every_output_file_is_shown():
    shown = {
        b.include for file in FILES for b in read_page(ROOT / file).blocks if b.kind == "output"
    }
    report(
        [
            f"{p.relative_to(ROOT)}:1: no page shows it"
            for p in sorted((ROOT / "examples/out").glob("*"))
            if p not in shown
        ]
    )


def test_something_of_every_kind_is_run():
    kinds = Counter(
        b.kind for file in FILES for b in read_page(ROOT / file).blocks if b.skip is None
    )
    assert kinds["python"] and kinds["bash"] and kinds["output"], kinds


# ---- parity and truth ----


def test_the_same_pages():
    report(parity.check_pages())


def test_navigation():
    report(parity.check_nav())


def test_both_languages_have_the_same_shape():
    report(parity.check_shapes())


def test_translations_are_up_to_date():
    report(parity.check_stamps())


def test_russian_is_russian_and_english_is_english():
    report(words.check_language())


def test_glossary():
    report(words.check_glossary())


def test_links():
    report(links.check_links())


def test_the_reference_is_whole():
    report(links.check_reference())


def test_tables_come_from_result_files():
    report(figures.check_tables())


def test_pages_type_no_measurements():
    report(figures.check_typed())


@pytest.fixture(scope="module")
def hook():
    """`docs/hooks.py` as mkdocs sees it."""
    return runpy.run_path(str(ROOT / "docs" / "hooks.py"))


def test_the_hook_shows_what_the_program_prints(hook):
    page = hook["on_page_markdown"]("a\n<!-- borealis help ask -->\n<!-- borealis recipe -->")
    assert "usage: borealis ask" in page and "max_steps" in page and "<!--" not in page


def test_the_hook_knows_every_mark(hook):
    problems = []
    for file in FILES[len(READMES) :]:
        page = scan(ROOT / file)
        for item in page.items:
            mark = item.raw[0].strip()
            if (
                item.kind == "mark"
                and "borealis" in mark
                and hook["on_page_markdown"](mark) == mark
            ):
                problems.append(f"{page.at(item.line)}: the hook doesn't know {mark}")
    report(problems)


def test_the_hook_tells_stale_translations(hook):
    digest = docs_hash.source_hash(ROOT / "docs/ru/index.md")
    assert not hook["stale"]({"source_hash": digest}, "en/index.md")
    assert hook["stale"]({"source_hash": "0" * 12}, "en/index.md")


def test_recorded_sound_of_the_home_page_is_the_example():
    sound = (ROOT / "docs/assets/speech.flac").read_bytes()
    assert sound == (ROOT / "examples/audio/speech.flac").read_bytes()
