"""The demo as a visitor meets it: Chromium, real recordings, both languages, light and dark."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from borealis.audio import load_audio
from borealis.demo.texts import QUESTIONS, TEXTS
from tests.site.conftest import CHROMIUM, FLAGS

pytestmark = pytest.mark.slow
WAIT = 60_000  # milliseconds; a loaded machine is slow
SRT = re.compile(r"(\d+)\n(\d\d:\d\d:\d\d,\d{3}) --> (\d\d:\d\d:\d\d,\d{3})\n(.+)\n(?:\n|$)")
# Gradio's own chatter; its page also names a manifest that exists only for installed apps.
_NOISE = ("Method not implemented", "manifest")


class Visitor:
    """A page of the demo that notes what it shouldn't do."""

    def __init__(self, context, base: str, path: str) -> None:
        self.page, self.base, self.faults = context.new_page(), base, []
        own = (base + "/", "data:", "blob:", "about:")
        self.page.on("request", lambda r: r.url.startswith(own) or self.faults.append(r.url))
        self.page.on("pageerror", lambda error: self.faults.append(f"exception: {error}"))
        self.page.on("console", self._console)
        self.page.goto(f"{base}{path}", wait_until="load", timeout=WAIT)

    def _console(self, message) -> None:
        if message.type == "error" and not any(part in message.text for part in _NOISE):
            self.faults.append(message.text)

    def tab(self, number: int) -> None:
        self.page.get_by_role("tab").nth(number).click(timeout=WAIT)

    def give(self, name: str, file: Path) -> None:
        """Choose a file, and wait until it is there."""
        field = self.page.locator(f"#{name}-audio input[type=file]")
        field.wait_for(state="attached", timeout=WAIT)
        field.set_input_files(str(file))

    def press(self) -> None:
        self.page.locator("button.primary:visible").click()

    def uploaded(self, name: str) -> None:
        self.page.locator(f"#{name}-audio .waveform-container, #{name}-audio audio").first.wait_for(
            state="attached", timeout=WAIT
        )

    def note(self, kind: str = "") -> str:
        """What the page says about how it goes."""
        place = self.page.locator(f".bo-note{kind}:visible").first
        place.wait_for(timeout=WAIT)
        return place.inner_text()

    def text(self) -> str:
        self.page.locator(".bo-file").first.wait_for(timeout=WAIT)
        return self.page.locator("#transcribe-text textarea").input_value()


@pytest.fixture
def visit(browser, address):
    """`visit(path, **settings of the context)`: a visitor that must leave without faults."""
    contexts, visitors = [], []

    def make(path: str, **settings) -> Visitor:
        contexts.append(
            browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | settings))
        )
        visitors.append(Visitor(contexts[-1], address, path))
        return visitors[-1]

    yield make
    for context in contexts:
        context.close()
    assert not [fault for visitor in visitors for fault in visitor.faults]


@pytest.mark.parametrize("language", ["ru", "en"])
def test_a_recording_is_written_down_and_downloaded(visit, language, speech, nano):
    page = visit(f"/demo/{language}/")
    page.give("transcribe", speech)
    page.uploaded("transcribe")
    assert page.page.locator("html").get_attribute("lang") == language
    page.press()
    wanted = nano.transcribe(speech, language=language).text
    assert page.text() == wanted
    assert " ".join(page.page.locator(".bo-word b").all_inner_texts()) == wanted
    with page.page.expect_download() as download:
        page.page.locator(".bo-file", has_text="SRT").click()
    cues = SRT.findall(Path(download.value.path()).read_text(encoding="utf-8"))
    assert download.value.suggested_filename == "borealis.srt"
    assert " ".join(text for *_, text in cues) == wanted


def test_questions_and_answers_are_plain_text(visit, speech, nano):
    page = visit("/demo/ru/")
    page.tab(1)
    page.give("ask", speech)
    page.uploaded("ask")
    box = page.page.locator("#ask-question textarea")
    question = QUESTIONS["ru"][0]
    for number, text in enumerate(
        (question, "<img src=x onerror=alert(1)> Какое слово первое?"), 1
    ):
        box.fill(text)
        page.press()
        page.page.wait_for_function(
            f"document.querySelectorAll('#ask-talk .bot.message').length >= {number}"
            " && !document.querySelector('.bo-note')",
            timeout=WAIT,
        )
    talk = page.page.locator("#ask-talk")
    assert nano.ask(speech, question).strip() in talk.inner_text()
    assert "<img src=x" in talk.inner_text()
    assert talk.locator("img[src=x]").count() == 0


def test_hovering_shows_the_80_milliseconds(visit, speech):
    page = visit("/demo/ru/?__theme=dark")
    page.tab(2)
    assert "dark" in (page.page.locator("body").get_attribute("class") or "")
    page.give("look", speech)
    page.uploaded("look")
    page.press()
    look = page.page.locator(".bo-look")
    look.wait_for(timeout=WAIT)
    assert "Аудиотокенов: 73" in look.locator(".bo-counts").inner_text()
    row = look.locator(".bo-attention").first
    row.scroll_into_view_if_needed()
    cell = row.locator("rect").first.bounding_box()
    page.page.mouse.move(cell["x"] + cell["width"] / 2, cell["y"] + cell["height"] / 2)
    said = look.locator(".bo-readout").inner_text()
    times = re.match(r"(\d+,\d\d)–(\d+,\d\d) с, аудиотокен \d+ · на «(.+)» ушло \d+ %", said)
    assert times, said
    start, end = (float(t.replace(",", ".")) for t in times.groups()[:2])
    assert end - start == pytest.approx(0.08, abs=0.011)
    assert times[3] == row.locator(".bo-label").inner_text()
    assert page.page.locator(".bo-cursor").is_visible()
    page.page.set_viewport_size({"width": 390, "height": 844})
    page.page.wait_for_timeout(300)
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("language", ["ru", "en"])
def test_every_tab_is_in_sight_on_a_phone(visit, language):
    """Gradio hides tabs that don't fit behind three dots, where nobody looks for them."""
    page = visit(f"/demo/{language}/", viewport={"width": 390, "height": 844}).page
    page.get_by_role("tab").first.wait_for(timeout=WAIT)
    page.wait_for_timeout(300)
    names = [TEXTS[language][tab] for tab in ("transcribe", "ask", "look")]
    assert page.get_by_role("tab").all_inner_texts() == names


@pytest.mark.parametrize("language", ["ru", "en"])
def test_bad_files_are_told_in_the_page(visit, language, tmp_path):
    texts = TEXTS[language]
    page = visit(f"/demo/{language}/")
    page.page.get_by_role("tab").first.wait_for(timeout=WAIT)
    page.press()
    assert page.note(".error") == texts["no_audio"]
    (tmp_path / "big.wav").write_bytes(bytes(26 * 1024 * 1024))
    page.give("transcribe", tmp_path / "big.wav")
    toast = page.page.locator(".bo-toast")
    toast.wait_for(timeout=WAIT)
    assert toast.inner_text() == texts["too_large"].format(megabytes=25)
    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000), 16_000)
    page.give("transcribe", tmp_path / "silence.wav")
    page.uploaded("transcribe")
    page.press()
    page.page.get_by_text(texts["silence"]).wait_for(timeout=WAIT)
    assert toast.count() == 0


def test_stopping_stops(visit, clips, tmp_path, address):
    """A long file is left in the middle; the place is free again."""
    import json
    import urllib.request

    audio = np.concatenate([load_audio(c.audio) for c in clips] * 6)
    soundfile.write(tmp_path / "long.flac", audio, 16_000)
    page = visit("/demo/ru/")
    page.give("transcribe", tmp_path / "long.flac")
    page.uploaded("transcribe")
    page.press()
    page.page.locator(".bo-note progress").wait_for(timeout=WAIT)
    page.page.get_by_role("button", name=TEXTS["ru"]["stop"]).first.click()
    page.page.get_by_text(TEXTS["ru"]["stopped"]).wait_for(timeout=WAIT)
    for _ in range(100):
        with urllib.request.urlopen(f"{address}/healthz", timeout=30) as health:
            if json.loads(health.read())["visitors"] == 0:
                break
        page.page.wait_for_timeout(200)
    else:
        pytest.fail("the model still works")


def test_the_microphone_is_heard(browser, address, speech, tmp_path):
    """Chromium's fake microphone plays a real recording, over and over.

    It plays from when the page asks for the microphone, which on a busy machine is long before the
    recording begins: played once, it would be over by then.
    """
    wav = tmp_path / "voice.wav"
    audio = load_audio(speech)
    soundfile.write(wav, np.concatenate([audio, np.zeros(8000, np.float32)]), 16_000)
    flags = [
        *FLAGS,
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={wav}",
    ]
    chromium = browser.browser_type.launch(executable_path=CHROMIUM, args=flags)
    try:
        page = Visitor(chromium.new_context(permissions=["microphone"]), address, "/demo/ru/")
        box = page.page.locator("#transcribe-audio")
        box.locator(".source-selection button").nth(1).click(timeout=WAIT)
        box.locator("button.record-button").click(timeout=WAIT)
        box.locator("button.stop-button").wait_for(timeout=WAIT)
        page.page.wait_for_timeout(round(1000 * len(audio) / 16_000) + 1500)
        # The wave is drawn while it records: only the answer to the upload says that it is there.
        with page.page.expect_response(lambda r: "/upload" in r.url, timeout=WAIT):
            box.locator("button.stop-button").click()
        box.locator(".play-pause-button").wait_for(timeout=WAIT)
        page.page.wait_for_timeout(1000)
        page.press()
        heard, said = page.text().lower().split(), ["предложение", "очень", "принять", "не", "могу"]
        assert len({w.strip(".,") for w in heard} & set(said)) >= 2, heard
        assert not page.faults
    finally:
        chromium.close()


# ---- the page of the site ----


@pytest.mark.parametrize("path", ["/demo/", "/en/demo/"])
def test_the_demo_opens_in_the_site_on_a_click_and_follows_its_palette(browser, with_site, path):
    language = "en" if path.startswith("/en/") else "ru"
    context = browser.new_context(color_scheme="dark", viewport={"width": 1280, "height": 900})
    try:
        visitor = Visitor(context, with_site, path)
        page = visitor.page
        assert page.locator("iframe").count() == 0, "nothing is loaded before the click"
        page.locator("[data-demo] button").click()
        frame = page.frame_locator(".bo-demo iframe")
        frame.get_by_role("tab", name=TEXTS[language]["ask"]).wait_for(timeout=WAIT)
        body = frame.locator("body")
        assert "dark" in (body.get_attribute("class") or "")
        page.emulate_media(color_scheme="light")
        page.wait_for_selector("body[data-md-color-scheme=default]")
        page.wait_for_timeout(200)
        assert "dark" not in (body.get_attribute("class") or "").split()
        assert not visitor.faults
    finally:
        context.close()


@pytest.mark.parametrize("language", ["ru", "en"])
def test_the_calculators_are_in_the_demo_and_count(browser, with_site, language):
    """The site's own, in a frame, in the language and palette of the page."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        visitor = Visitor(context, with_site, f"/demo/{language}/?__theme=dark")
        visitor.tab(2)
        visitor.page.get_by_text(TEXTS[language]["calculators"], exact=True).click(timeout=WAIT)
        frame = visitor.page.frame_locator("iframe.bo-frame")
        cost = frame.locator("[data-calculator=cost]")
        money = cost.locator(".bo-calculator__table td").first
        money.wait_for(timeout=WAIT)
        assert frame.locator("body").get_attribute("data-md-color-scheme") == "slate"
        before = money.inner_text()
        cost.locator("[name=price]").fill("0.35")
        assert money.inner_text() != before
        assert frame.locator("html").get_attribute("lang") == language
        assert not visitor.faults
    finally:
        context.close()
