"""The hooks of mkdocs: marks that become text, stale translations, what a page loads."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.conftest import ROOT, load_script
from tools.site.report import load_results, table


@pytest.fixture(scope="module")
def marks() -> ModuleType:
    return load_script("docs/hooks.py")


@pytest.fixture(scope="module")
def site_hooks() -> ModuleType:
    pytest.importorskip("mkdocs", reason="mkdocs isn't installed")
    return load_script("tools/site_hooks.py")


def page(uri: str, **meta: str) -> SimpleNamespace:
    return SimpleNamespace(meta=meta, file=SimpleNamespace(src_uri=uri))


def test_marks_become_what_the_program_says(marks):
    text = marks.on_page_markdown("<!-- borealis help ask -->\n\n<!-- borealis recipe -->")
    assert "usage: borealis ask" in text and "max_steps" in text and "<!--" not in text
    assert max(map(len, marks.help_text("en", "train").splitlines())) <= marks.COLUMNS


def test_results_are_the_table_of_the_page_language(marks):
    for language in ("ru", "en"):
        text = marks.on_page_markdown("<!-- borealis results -->", page(f"{language}/a.md"))
        assert table(load_results(ROOT / "results"), language) in text
        assert text.startswith('<div class="bo-results" markdown>\n\n')


def test_changelog_has_ids_and_is_marked_as_english(marks):
    russian = marks.on_page_markdown("<!-- borealis changelog -->", page("ru/reference/a.md"))
    english = marks.on_page_markdown("<!-- borealis changelog -->", page("en/reference/a.md"))
    assert "## 0.1.0" in english and "{ #v0-1-0 }" in english and "# Changelog" not in english
    assert russian == f'<div lang="en" markdown="1">\n\n{english}\n\n</div>'
    lines = ["# Changelog", "## 1.2.0", "### Added", "text"]
    assert list(marks._with_ids(lines)) == [
        "## 1.2.0 { #v1-2-0 }",
        "### Added { #v1-2-0-added }",
        "text",
    ]


def test_notice_is_shown_whole(marks):
    text = marks.on_page_markdown("<!-- borealis notice -->")
    assert (ROOT / "NOTICE").read_text(encoding="utf-8").rstrip() in text


def test_unknown_mark_is_an_error(marks):
    with pytest.raises(ValueError, match="there are help, recipe"):
        marks.on_page_markdown("<!-- borealis nonsense -->")


def test_page_says_that_its_translation_is_old(marks):
    text = "# Install { #install }\n\nText.\n"
    digest = load_script("tools/docs_hash.py").source_hash(ROOT / "docs/ru/install.md")
    fresh = page("en/install.md", source_hash=digest)
    assert marks.on_page_markdown(text, fresh) == text
    stale = marks.on_page_markdown(text, page("en/install.md", source_hash="0" * 12))
    title, _, rest = stale.partition("\n")
    assert title == "# Install { #install }"
    assert rest.startswith('\n!!! warning "This translation is older') and rest.endswith("Text.\n")


def test_every_page_has_its_twin(site_hooks):
    assert site_hooks.twins("./") == {"ru": "./", "en": "en/"}
    assert site_hooks.twins("en/") == {"ru": "./", "en": "en/"}
    for url in ("story/adapter/", "en/story/adapter/"):
        assert site_hooks.twins(url) == {"ru": "story/adapter/", "en": "en/story/adapter/"}


@pytest.mark.parametrize(
    ("body", "loaded"),
    [
        ("<p>plain</p>", set()),
        ('<pre class="mermaid">', {"mermaid.tiny.js"}),
        ('<span class="arithmatex">', {"katex.min.js", "katex.min.css", "formulas.js"}),
        ('<div data-calculator="size">', {"calculators.js"}),
    ],
)
def test_page_loads_what_it_uses(site_hooks, body, loaded):
    html = f'<head></head><body>{body}<script id="__config"></script><script src="bundle"></script></body>'
    config: Any = SimpleNamespace(site_url="http://127.0.0.1:8000/")
    out = site_hooks.on_post_page(html, page=SimpleNamespace(url="en/story/"), config=config)
    everything = {"mermaid.tiny.js", "katex.min.js", "katex.min.css", "formulas.js", "calculators.js"}  # fmt: skip
    assert {name for name in everything if f"../../assets/{folder(name)}{name}" in out} == loaded
    if "mermaid.tiny.js" in loaded:  # before the theme's bundle, which would fetch another one
        assert out.index("mermaid.tiny.js") < out.index("__config") < out.index("bundle")


def folder(name: str) -> str:
    if "katex" in name:
        return "vendor/katex/"
    return "vendor/mermaid/" if "mermaid" in name else "js/"


def test_only_code_has_a_copy_button(site_hooks):
    config: Any = SimpleNamespace(theme={"language": "ru"})
    html = '<div class="language-text output highlight"><div class="language-python highlight">'
    out = site_hooks.on_page_content(html, page=None, config=config)
    assert out == html.replace("output highlight", "output no-copy highlight")


@pytest.mark.parametrize(("url", "link"), [
    ("./", "assets/a.flac"),
    ("en/", "../assets/a.flac"),
    ("story/data/", "../../assets/a.flac"),
])  # fmt: skip
def test_audio_is_found_under_any_address(site_hooks, url, link):
    html = '<audio controls title="t" src="../assets/a.flac"></audio> <img src="../assets/b.png">'
    linked = site_hooks.asset_links(html, url)
    assert f'src="{link}"' in linked and 'src="../assets/b.png"' in linked


def test_help_of_a_command_of_two_words(marks):
    text = marks.on_page_markdown("<!-- borealis help data check -->")
    assert "usage: borealis data check" in text
