"""What a reader does: changes the language and the palette, searches, copies, prints."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.docs.blocks import read_page

ROOT = Path(__file__).resolve().parents[2]


# ---- languages ----


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("", "en/"),
        ("install/#package", "en/install/#package"),
        ("en/story/architecture/", "story/architecture/"),
        ("en/reference/cli/#train", "reference/cli/#train"),
    ],
)
def test_language_link_keeps_page_and_place(open_page, here, there):
    visit = open_page(here)
    visit.page.locator("a.bo-language").click()
    visit.page.wait_for_url(f"{visit.base}/{there}")
    visit.page.locator("a.bo-language").click()
    visit.page.wait_for_url(f"{visit.base}/{here}")


def test_language_link_follows_a_place_chosen_on_the_page(open_page):
    visit = open_page("install/")
    visit.page.locator(".md-sidebar--secondary a[href='#package']").click()
    visit.page.locator("a.bo-language").click()
    visit.page.wait_for_url(f"{visit.base}/en/install/#package")
    assert visit.page.locator("#package").is_visible()


def test_pages_name_each_other_for_search_engines(site):
    address = "https://borealis.invalid/docs/"
    for path in ("install/", "en/install/"):
        text = (site / path / "index.html").read_text(encoding="utf-8")
        links = re.findall(r'<link rel="alternate " href="([^"]*)" hreflang="([^"]*)">', text)
        assert {language: link for link, language in links} == {
            "ru": f"{address}install/",
            "en": f"{address}en/install/",
            "x-default": f"{address}install/",
        }
        assert f'<link rel="canonical" href="{address}{path}">' in text


def test_site_map_has_every_page_in_both_languages(site):
    name = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
    tree = ElementTree.parse(site / "sitemap.xml")
    listed = {loc.text.removeprefix("https://borealis.invalid/docs/") for loc in tree.iter(f"{name}loc")}  # fmt: skip
    pages = {p.parent.relative_to(site).as_posix() + "/" for p in site.rglob("index.html")}
    assert listed == {"" if page == "./" else page for page in pages}
    assert {page.removeprefix("en/") for page in listed if page.startswith("en/")} == {
        page for page in listed if not page.startswith("en/")
    }


def test_unknown_address_answers_in_both_languages(browser, base, site):
    page = browser.new_page()
    answer = page.goto(f"{base}/no/such/page/")
    assert answer.status == 404
    assert page.get_by_role("heading", name="Такой страницы нет").is_visible()
    assert page.get_by_role("heading", name="There is no such page").is_visible()
    links = page.locator("a").evaluate_all("all => all.map(a => new URL(a.href).pathname)")
    assert len(links) >= 6
    for link in links:
        assert (site / link.removeprefix("/docs/") / "index.html").is_file(), link
    page.close()


# ---- search ----


def found(page, query: str) -> list[str]:
    """Titles of the pages that search finds."""
    if not page.locator(".bo-search").is_visible():
        page.locator(".bo-open-search").click()
    page.locator(".bo-search__query").fill(query)
    page.locator(".bo-search__results[aria-busy=false]").wait_for(state="attached")
    return page.locator(".bo-search__results > li > a strong").all_inner_texts()


def marked(page) -> str:
    return " ".join(page.locator(".bo-search mark").all_inner_texts()).lower()


def test_search_finds_russian_words_in_other_forms(open_page):
    page = open_page("").page
    assert found(page, "распознать") and "распозна" in marked(page)
    assert found(page, "записями") and re.search(r"запис[иь]", marked(page))
    assert found(page, "обучать") and "обуч" in marked(page)
    # Not a form of the same word, but its near relative.
    assert found(page, "расшифровать") and "расшифр" in marked(page)


def test_search_reads_e_for_yo(open_page):
    page = open_page("").page
    for query in ("еще", "ещё"):
        assert found(page, query) and "ещё" in marked(page), query
    assert found(page, "счет") and "счёт" in marked(page)


def test_search_stays_in_the_language_of_the_page(open_page):
    visit = open_page("en/story/")
    assert found(visit.page, "transcribing") and "transcri" in marked(visit.page)
    links = visit.page.locator(".bo-search__link").evaluate_all("all => all.map(a => a.href)")
    assert links and all(link.startswith(f"{visit.base}/en/") for link in links)
    assert found(visit.page, "zzyzx") == []
    assert "Nothing found" in visit.page.locator(".bo-search__status").inner_text()


def test_search_works_by_keyboard_and_opens_the_place(open_page):
    visit = open_page("install/")
    page = visit.page
    page.keyboard.press("/")
    assert page.locator(".bo-search__query").evaluate("e => e === document.activeElement")
    assert found(page, "load_audio")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    place = page.locator(":focus").evaluate("link => link.href")
    assert place.startswith(visit.base) and "#" in place
    page.keyboard.press("Enter")
    page.wait_for_url(place)
    page.keyboard.press("Control+k")
    page.keyboard.press("Escape")
    assert not page.locator(".bo-search").is_visible()


# ---- copying ----


def test_copy_button_copies_exactly_the_tested_code(open_page):
    """Of every block of two pages, in the order of the page."""
    for path, source in (
        ("tutorial/first-transcript/", "docs/ru/tutorial/first-transcript.md"),
        ("en/install/", "docs/en/install.md"),
    ):
        page = open_page(path, permissions=["clipboard-read", "clipboard-write"]).page
        kinds = ("python", "bash", "console")
        blocks = [b for b in read_page(ROOT / source).blocks if b.kind in kinds and not b.hidden]
        shown = page.locator(", ".join(f"div.language-{kind}" for kind in kinds))
        assert shown.count() == len(blocks) > 0
        for number, block in enumerate(blocks):
            code = block.code
            if block.kind == "console":
                code = "\n".join(re.findall(r"^\$ (.*)$", code, re.M))
            fence = shown.nth(number)
            fence.hover()
            fence.locator("button[data-md-type=copy]").click()
            copied = page.evaluate("navigator.clipboard.readText()")
            assert copied == code.strip(), block.where


def test_outputs_have_no_copy_button(open_page):
    page = open_page("").page
    page.locator("button[data-md-type=copy]").first.wait_for()
    assert page.locator(".output").count() >= 1
    assert page.locator(".output button").count() == 0


# ---- looks ----


def background(page) -> int:
    colour = page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor")
    return sum(int(part) for part in re.findall(r"\d+", colour)[:3])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_palette_follows_the_system_and_the_choice_is_kept(open_page, scheme):
    visit = open_page("", color_scheme=scheme, reduced_motion="reduce")
    page = visit.page

    def dark() -> bool:
        return background(page) < 200

    assert dark() == (scheme == "dark")
    seen = []
    for _ in range(3):  # light, dark, back to the system; by keyboard
        page.locator("form[data-md-component=palette] input:has(+ label:not([hidden]))").focus()
        page.keyboard.press("Enter")
        page.wait_for_timeout(100)
        seen.append(dark())
    assert seen == [False, True, scheme == "dark"]
    page.keyboard.press("Enter")
    visit.go("en/install/")
    assert not dark(), "the choice holds in the other language, too"


def test_reference_speaks_the_language_of_the_page(site):
    russian = (site / "reference/api/index.html").read_text(encoding="utf-8")
    english = (site / "en/reference/api/index.html").read_text(encoding="utf-8")
    assert "Параметры:" in russian and "Parameters:" not in russian
    assert "Parameters:" in english and "Параметры:" not in english


def test_skip_link_leads_past_the_menu(open_page):
    page = open_page("install/").page
    page.keyboard.press("Tab")
    assert "md-skip" in page.locator(":focus").get_attribute("class")
    page.keyboard.press("Enter")
    assert page.url.endswith("#install")


def test_print_shows_the_text_alone(open_page):
    page = open_page("install/").page
    page.emulate_media(media="print")
    assert page.locator("article h1").is_visible()
    for part in (".md-header", ".md-sidebar--primary", ".md-footer"):
        assert not page.locator(part).is_visible()


# ---- what is loaded ----


def test_large_scripts_are_loaded_only_where_used(site):
    for path in site.rglob("index.html"):
        text = path.read_text(encoding="utf-8")
        assert ("mermaid.tiny.js" in text) == ('class="mermaid"' in text), path
        assert ("katex.min.js" in text) == ('class="arithmatex"' in text), path
        assert ("calculators.js" in text) == ("data-calculator" in text), path


def test_diagrams_and_formulas_come_from_the_site(open_page, site):
    """On a page of its own, so that it holds whether or not a page has a diagram today."""
    text = (site / "install" / "index.html").read_text(encoding="utf-8")
    vendor = "../assets/vendor"
    text = text.replace(
        '<script id="__config"',
        f'<script src="{vendor}/mermaid/mermaid.tiny.js"></script><script id="__config"',
    )
    body = (
        '<pre class="mermaid"><code>graph LR\n  A[Звук] --> B[Текст]</code></pre>'
        '<p><span class="arithmatex">\\(\\mathrm{WER} = \\frac{S + D + I}{N}\\)</span></p>'
    )
    text = re.sub(r"(<article[^>]*>)", lambda match: match[1] + body, text, count=1)
    scripts = (
        f'<link rel="stylesheet" href="{vendor}/katex/katex.min.css">'
        f'<script defer src="{vendor}/katex/katex.min.js"></script>'
        '<script defer src="../assets/js/formulas.js"></script></body>'
    )
    page_file = site / "trial" / "index.html"
    page_file.parent.mkdir()
    page_file.write_text(text.replace("</body>", scripts), encoding="utf-8")
    try:
        page = open_page("trial/").page
        page.locator(".arithmatex .katex math").first.wait_for(state="attached")
        page.wait_for_function("document.querySelector('div.mermaid')?.getBoundingClientRect().width > 50")  # fmt: skip
    finally:
        page_file.unlink()
        page_file.parent.rmdir()


def test_tabs_are_seen_at_the_top_of_a_page(open_page):
    for path in ("", "en/story/"):
        tabs = open_page(path).page.locator(".md-tabs__link")
        assert tabs.count() >= 5
        for tab in tabs.all():
            assert tab.evaluate("e => getComputedStyle(e).opacity") == "1"
            assert tab.bounding_box()["y"] < 120
