"""Every block of the README and of both languages runs; both languages say the same."""

from __future__ import annotations

import re
from pathlib import Path
from unittest import SkipTest

import pytest

from tests.docs.blocks import ROOT, examples, expand, language_of

PAGES = sorted(str(p.relative_to(ROOT / "docs/ru")) for p in (ROOT / "docs/ru").rglob("*.md"))
FILES = ["README.md", *(f"docs/{language}/{page}" for page in PAGES for language in ("ru", "en"))]


def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_blocks_run(file, tmp_path, monkeypatch):
    # In a copy of the place a reader stands in, so that nothing is written to the repository.
    for name in ("examples", "README.md", "borealis"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    for example in examples(ROOT / file):
        try:
            example.evaluate()
        except SkipTest as skip:
            assert len(str(skip)) > 8, f"{file}:{example.line}: a skipped block says why"


@pytest.mark.parametrize("file", FILES)
def test_every_fence_is_found_and_has_a_language(file):
    lines = re.findall(r"^```(.*)$", text_of(file), re.M)
    opening = lines[::2]
    assert len(lines) % 2 == 0
    assert all(language_of(info) for info in opening), file
    runnable = [i for i in opening if language_of(i) in ("python", "py", "bash", "sh")]
    found = [e for e in examples(ROOT / file) if "8<" in str(e.parsed) or isinstance(e.parsed, str)]
    assert len(found) >= len(runnable)
    lost = re.findall(r"^-+ *8 *<.*$", expand(text_of(file)), re.M)
    assert not lost, f"{file}: includes that the site would print as they stand: {lost}"


def test_the_same_pages():
    english = sorted(str(p.relative_to(ROOT / "docs/en")) for p in (ROOT / "docs/en").rglob("*.md"))
    assert english == PAGES
    nav = re.findall(r": ([\w/-]+\.md)$", text_of("mkdocs.yml"), re.M)
    assert sorted(nav) == PAGES


def shape(text: str) -> dict[str, list]:
    """What has to be equal in both languages."""
    text = expand(text)
    fences = re.findall(r"^```(\w+)[^\n]*\n(.*?)^```", text, re.M | re.S)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return {
        "headings": re.findall(r"^(#+)[^\n{]*(\{[^\n]*\})?$", prose, re.M),
        "code": [
            (kind, re.sub(r"#[^\n]*|--voice \w+", "", code))
            for kind, code in fences
            if kind != "yaml"
        ],
        "links": re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", prose),
        "marks": re.findall(r"<!-- .*? -->", prose),
        "api": re.findall(r"^::: .*$", prose, re.M),
        "lists": re.findall(r"^(?:- |\d+\. )", prose, re.M),
        "rows": [row.count("|") for row in re.findall(r"^\|.*$", prose, re.M)],
    }


def results_cut(text: str) -> str:
    return re.sub(r"(<!-- results:start -->).*?(<!-- results:end -->)", r"\1\2", text, flags=re.S)


@pytest.mark.parametrize("page", PAGES)
def test_both_languages_have_the_same_shape(page):
    russian = shape(results_cut(text_of(f"docs/ru/{page}")))
    english = shape(results_cut(text_of(f"docs/en/{page}")))
    for part, value in russian.items():
        assert value == english[part], f"{page}: {part}"


@pytest.mark.parametrize("page", PAGES)
def test_russian_is_russian_and_english_is_english(page):
    for language, letters in (("ru", "а-яё"), ("en", "a-z")):
        text = re.sub(r"```.*?```|`[^`]*`|<[^>]*>|^:::.*$", " ", text_of(f"docs/{language}/{page}"), flags=re.S | re.M)  # fmt: skip
        for number, line in enumerate(text.splitlines(), 1):
            if re.match(r"#+ ", line) and not re.match(r"#+ (Borealis|\w+ \{)", line):
                assert re.search(f"[{letters}]", line.split("{")[0], re.I), f"{page}:{number}"
    english = re.sub(r"```.*?```|`[^`]*`", " ", text_of(f"docs/en/{page}"), flags=re.S)
    english = re.sub(r"(<!-- results:start -->).*?(<!-- results:end -->)|→|ё|е", " ", english, flags=re.S)  # fmt: skip
    assert not re.search(r"[а-яё]", english, re.I), page
    straight = re.sub(r"```.*?```|`[^`]*`|<[^>]*>|\{[^}]*\}", " ", text_of(f"docs/ru/{page}"), flags=re.S)  # fmt: skip
    assert '"' not in straight, "Russian quotes are «ёлочки»"


def test_the_hook_shows_what_the_program_prints():
    import runpy

    hook = runpy.run_path(str(Path(ROOT) / "docs" / "hooks.py"))["on_page_markdown"]
    page = hook("a\n<!-- borealis help ask -->\n<!-- borealis recipe -->")
    assert "usage: borealis ask" in page and "max_steps" in page and "<!--" not in page


def test_recorded_sound_of_the_home_page_is_the_example():
    sound = (ROOT / "docs/assets/speech.flac").read_bytes()
    assert sound == (ROOT / "examples/audio/speech.flac").read_bytes()
