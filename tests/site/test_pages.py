"""Every page in both languages: fits a phone, asks nobody else, is open to everybody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.site.conftest import Visit

ROOT = Path(__file__).resolve().parents[2]
AXE = Path(__file__).parent / "vendor" / "axe.min.js"


def addresses() -> list[str]:
    """Addresses of all pages, from their sources."""
    found = []
    for source in sorted((ROOT / "docs").glob("*/**/*.md")):
        language, *parts = source.relative_to(ROOT / "docs").with_suffix("").parts
        if language not in ("ru", "en"):
            continue
        parts = parts[:-1] if parts[-1] == "index" else parts
        found.append("/".join([*(["en"] if language == "en" else []), *parts, ""]).lstrip("/"))
    return found


_RUN_AXE = """async (rules) => {
  const options = { resultTypes: ["violations"] };
  if (rules) options.runOnly = { type: "rule", values: rules };
  const { violations } = await axe.run(document, options);
  return violations
    .filter((fault) => ["serious", "critical"].includes(fault.impact))
    .map((fault) => `${fault.id}: ${fault.nodes.map((n) => `${n.target} ${n.html}`.slice(0, 200)).slice(0, 5).join(" | ")}`);
}"""

# What sticks out of the window, cut off or not, and isn't inside something that scrolls.
_STICKING_OUT = """() => {
  const width = document.documentElement.clientWidth;
  const scrolls = (e) => { for (let p = e; p && p !== document.body; p = p.parentElement)
    if (["auto", "scroll"].includes(getComputedStyle(p).overflowX)) return true; return false; };
  return [...document.querySelectorAll("header *, article *, footer *")]
    .filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > width + 1 && !scrolls(e))
    .map((e) => e.outerHTML.slice(0, 160)).slice(0, 5);
}"""


def faults_of_access(page, rules: list[str] | None = None) -> list[str]:
    if not page.evaluate("'axe' in window"):
        page.add_script_tag(path=str(AXE))
    return page.evaluate(_RUN_AXE, rules)


@pytest.fixture(scope="module")
def reader(browser: Any, base: str) -> Iterator[Visit]:
    """A page of the browser that walks through the site: most of a visit's cost is a new one."""
    context = browser.new_context(color_scheme="light", reduced_motion="reduce")
    visit = Visit(context.new_page(), base)
    visit.watch()
    yield visit
    context.close()


@pytest.fixture
def walk(reader: Visit) -> Iterator[Any]:
    """`walk(path)`: the reader goes there, remembers nothing, and must meet no faults."""

    def go(path: str) -> Visit:
        reader.page.set_viewport_size({"width": 1280, "height": 900})
        reader.page.emulate_media(color_scheme="light", reduced_motion="reduce")
        reader.faults.clear()
        reader.go(path)
        return reader

    yield go
    reader.page.evaluate("localStorage.clear(); sessionStorage.clear()")
    assert not reader.faults


@pytest.mark.parametrize("path", addresses())
def test_page_is_sound(walk, path):
    visit = walk(path)
    page = visit.page
    assert page.locator("body").get_attribute("data-md-color-scheme") == "default"
    assert page.locator("html").get_attribute("lang") == ("en" if path.startswith("en/") else "ru")
    assert page.locator("h1").count() == 1
    assert not page.evaluate("[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)")  # fmt: skip
    assert not faults_of_access(page), "light"
    # The other palette changes colours alone.
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    page.wait_for_selector("body[data-md-color-scheme=slate]")
    assert not faults_of_access(page, ["color-contrast"]), "dark"
    page.set_viewport_size({"width": 390, "height": 844})
    assert not page.evaluate(_STICKING_OUT)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("path", ["", "en/reference/api/"])
def test_phone_is_accessible(open_page, path):
    page = open_page(path, viewport={"width": 390, "height": 844}, reduced_motion="reduce").page
    assert not faults_of_access(page)
    menu = page.get_by_role("button", name="Sections" if path else "Разделы")
    assert menu.get_attribute("aria-expanded") == "false"
    for key, state in (("Enter", "true"), ("Space", "false"), ("Space", "true")):
        menu.focus()
        page.keyboard.press(key)
        assert menu.get_attribute("aria-expanded") == state
    page.wait_for_function("document.querySelector('.md-sidebar--primary').getBoundingClientRect().left === 0")  # fmt: skip
    assert not faults_of_access(page)


def test_search_window_and_404_are_accessible(open_page):
    page = open_page("", reduced_motion="reduce").page
    page.keyboard.press("/")
    page.locator(".bo-search__query").fill("модель")
    page.locator(".bo-search__link").first.wait_for()
    assert not faults_of_access(page)
    for scheme in ("light", "dark"):
        visit = open_page("404.html", color_scheme=scheme)
        assert not faults_of_access(visit.page)


def test_the_checks_see_what_they_look_for(open_page):
    page = open_page("install/", viewport={"width": 390, "height": 844}).page
    assert not page.evaluate(_STICKING_OUT)
    page.evaluate("""() => document.querySelector("article").insertAdjacentHTML("beforeend",
        '<p style="color: #ccc; background: #fff">pale</p><button></button><p style="width: 500px">wide</p>')""")
    names = " ".join(fault.split(":")[0] for fault in faults_of_access(page))
    assert "color-contrast" in names and "button-name" in names
    assert page.evaluate(_STICKING_OUT)
