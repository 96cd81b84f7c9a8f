"""The demo as a visitor meets it: Chromium, real recordings, both languages, light and dark."""

from __future__ import annotations

import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from playwright.sync_api import TimeoutError

from borealis.audio import load_audio
from borealis.demo.texts import QUESTIONS, SAYINGS, TEXTS
from tests.demo.contrast import contrasts, faint
from tests.site.conftest import CHROMIUM, FLAGS

pytestmark = pytest.mark.slow
WAIT = 180_000  # milliseconds; a loaded machine is slow
_JOIN = re.compile("/queue/join")
SRT = re.compile(
    r"(\d+)\n(\d\d:\d\d:\d\d,\d{3}) --> (\d\d:\d\d:\d\d,\d{3})\n(.+(?:\n.+)?)\n(?:\n|$)"
)
# Gradio's own chatter; the second is about files that the browser can't play and the model can hear.
_NOISE = ("Method not implemented", "Waveform load error")


_WORDS = """() => {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const {data, parentElement} = walker.currentNode;
    const nobody = "script, style, noscript, option, [data-testid=status-tracker].hide";
    if (!parentElement.closest(nobody)) found.push(data.trim());
  }
  const names = ["aria-label", "title", "placeholder", "alt"];
  for (const element of document.querySelectorAll(names.map((name) => `[${name}]`).join())) {
    if (element.closest("script, style")) continue;
    found.push(...names.map((name) => element.getAttribute(name) ?? ""));
  }
  return found.filter(Boolean);
}"""
# Latin letters in the Russian page: names, and a link to the page in English.
_NAMES = re.compile(
    r"Borealis|English|wav, mp3, ogg, m4a, mp4, webm|SRT|VTT|JSON|WAV|MP3|\d+x"
    r"|Hello! I can read English, too\."
)
TABS = ("transcribe", "ask", "speak", "look")


def foreign(words: set[str], language: str) -> list[str]:
    """Words of the other language."""
    if language == "ru":
        return sorted(word for word in words if re.search("[A-Za-z]", _NAMES.sub("", word)))
    # How the example recordings begin, and the link to the page in Russian.
    own = re.compile(f"«.*»|Русский|{re.escape(SAYINGS['en'][-1])}")
    return sorted(w for w in words if re.search("[А-Яа-яЁё]", w) and not own.fullmatch(w))


class Visitor:
    """A page of the demo that notes what it shouldn't do."""

    def __init__(self, context, base: str, path: str) -> None:
        self.page, self.base, self.faults = context.new_page(), base, []
        own = (base + "/", "data:", "blob:", "about:")
        self.page.on("request", lambda r: r.url.startswith(own) or self.faults.append(r.url))
        self.page.on("pageerror", lambda error: self.faults.append(f"exception: {error}"))
        self.page.on("console", self._console)
        # The page looks at every file that is chosen, and asks the server what to think of it.
        self.looks = self.looks_before = 0
        self.page.on("requestfinished", self._count)
        self.page.goto(f"{base}{path}", wait_until="load", timeout=WAIT)

    def _console(self, message) -> None:
        if message.type == "error" and not any(part in message.text for part in _NOISE):
            self.faults.append(message.text)

    def _count(self, request) -> None:
        self.looks += "/run/predict" in request.url

    def tab(self, name: str) -> None:
        self.page.locator(f"[role=tab][data-tab-id={name}]:visible").click(timeout=WAIT)

    def give(self, name: str, file: Path) -> None:
        """Choose a file, and wait until it is there."""
        field = self.page.locator(f"#{name}-audio input[type=file]")
        field.wait_for(state="attached", timeout=WAIT)
        self.looks_before = self.looks
        field.set_input_files(str(file))

    def press(self) -> None:
        self.page.locator("button.primary:visible").click()

    def uploaded(self, name: str) -> None:
        self.page.locator(f"#{name}-audio .waveform-container, #{name}-audio audio").first.wait_for(
            state="attached", timeout=WAIT
        )
        # A press before the look has ended would be cancelled by it, as another file's work is.
        deadline = time.monotonic() + WAIT / 1000
        while self.looks == self.looks_before:
            assert time.monotonic() < deadline, "nobody looked at the file"
            self.page.wait_for_timeout(20)

    def note(self, kind: str = "") -> str:
        """What the page says about how it goes."""
        place = self.page.locator(f".bo-note{kind}:visible").first
        place.wait_for(timeout=WAIT)
        return place.inner_text()

    def toast(self) -> str:
        """What Gradio says over the page; it should leave that to us."""
        return "".join(self.page.locator(".toast-wrap").all_inner_texts()).strip()

    def ask(self, question: str) -> None:
        """Send a question."""
        self._send("#ask-question", question)

    def say(self, text: str) -> None:
        """Have a text spoken."""
        self._send("#speak-text", text)

    def _send(self, box: str, text: str) -> None:
        """Gradio takes nothing until it has noticed the end of the last answer."""
        for _ in range(20):
            self.page.locator(f"{box} textarea").fill(text)
            with suppress(TimeoutError), self.page.expect_request(_JOIN, timeout=3000):
                self.press()
                return
        pytest.fail("the text wasn't sent")

    def answered(self, number: int) -> None:
        """Wait until so many answers are whole."""
        self.page.wait_for_function(
            f"document.querySelectorAll('#ask-talk .bot.message').length >= {number}"
            " && !document.querySelector('.bo-note')",
            timeout=WAIT,
        )

    def clear(self, name: str) -> None:
        """Take the recording away."""
        self.page.locator(f"#{name}-audio .icon-button-wrapper button").last.click()
        self.page.locator(f"#{name}-audio input[type=file]").wait_for(
            state="attached", timeout=WAIT
        )

    def words(self) -> set[str]:
        """Every text and label of the page, seen or read aloud."""
        return set(self.page.evaluate(_WORDS))

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
    wanted = nano.transcribe(speech).text
    assert page.text() == wanted
    assert " ".join(page.page.locator(".bo-word b").all_inner_texts()) == wanted
    with page.page.expect_download() as download:
        page.page.locator(".bo-file", has_text="SRT").click()
    cues = SRT.findall(Path(download.value.path()).read_text(encoding="utf-8"))
    assert download.value.suggested_filename == "borealis.srt"
    assert " ".join(text for *_, text in cues).replace("\n", " ") == wanted


def test_questions_and_answers_are_plain_text(visit, speech, nano):
    page = visit("/demo/ru/")
    page.tab("ask")
    page.give("ask", speech)
    page.uploaded("ask")
    question = QUESTIONS["ru"][0]
    for number, text in enumerate(
        (question, "<img src=x onerror=alert(1)> Какое слово первое?"), 1
    ):
        page.ask(text)
        page.answered(number)
    talk = page.page.locator("#ask-talk")
    assert page.page.locator("#ask-question textarea").input_value() == ""
    assert nano.ask(speech, question).strip() in talk.inner_text()
    assert "<img src=x" in talk.inner_text()
    assert talk.locator("img[src=x]").count() == 0


def test_hovering_shows_the_80_milliseconds(visit, speech):
    page = visit("/demo/ru/?__theme=dark")
    page.tab("look")
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
def test_every_tab_is_in_sight_on_a_phone(visit, language, nano):
    """Gradio hides tabs that don't fit behind three dots, where nobody looks for them."""
    page = visit(f"/demo/{language}/", viewport={"width": 390, "height": 844}).page
    page.get_by_role("tab").first.wait_for(timeout=WAIT)
    page.wait_for_timeout(300)
    names = [TEXTS[language][tab] for tab in TABS if tab != "speak" or nano.voices]
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


def write(path: Path, codec: str, audio: np.ndarray) -> Path:
    """A file of any container that FFmpeg writes, at 48 kHz."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(audio[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        form = "s16" if codec.startswith("pcm") else stream.codec_context.format.name
        resampler = av.AudioResampler(
            format=form, layout="mono", rate=48_000, frame_size=stream.codec_context.frame_size
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def test_every_file_that_holds_sound_is_taken(visit, speech, nano, tmp_path):
    """Whatever the browser thinks of its name: webm and mp4 are video for it, txt is text."""
    audio = load_audio(speech)
    files = [
        write(tmp_path / name, codec, audio)
        for name, codec in (
            ("a.webm", "libopus"),
            ("a.mkv", "libopus"),
            ("a.m4a", "aac"),
            ("a.aiff", "pcm_s16be"),
            ("a.mp4", "aac"),
        )
    ]
    for name in ("speech.txt", "no-suffix"):
        files.insert(0, shutil.copy(speech, tmp_path / name))
    page = visit("/demo/ru/", locale="de-DE")
    for number, file in enumerate(files):
        if number:
            page.clear("transcribe")
        page.give("transcribe", file)
        page.uploaded("transcribe")
        assert page.toast() == ""
        assert page.page.locator(".bo-note.error").count() == 0, file
    page.press()
    assert page.text() == nano.transcribe(files[-1], language="ru").text


@pytest.mark.parametrize("language", ["ru", "en"])
def test_a_file_without_sound_is_refused_when_it_is_chosen(visit, language, speech, tmp_path):
    """In the words of the page, whatever the browser's language; and the place is free again."""
    (tmp_path / "notes.txt").write_text("это не звук\n" * 100, encoding="utf-8")
    (tmp_path / "torn.wav").write_bytes(b"these are not sounds" * 100)
    page = visit(f"/demo/{language}/", locale="en-US" if language == "ru" else "ru-RU")
    for name in ("transcribe", "ask", "look"):
        page.tab(name)
        page.give(name, tmp_path / ("notes.txt" if name == "transcribe" else "torn.wav"))
        assert page.note(".error") == TEXTS[language]["not_audio"]
        page.page.locator(f"#{name}-audio input[type=file]").wait_for(state="attached")
        assert page.toast() == ""
        page.give(name, speech)
        page.uploaded(name)
        page.page.locator(".bo-note.error:visible").wait_for(state="detached", timeout=WAIT)


def test_a_file_is_chosen_and_dropped_whatever_its_type(visit, speech):
    page = visit("/demo/ru/")
    field = page.page.locator("#transcribe-audio input[type=file]")
    field.wait_for(state="attached", timeout=WAIT)
    with page.page.expect_file_chooser():
        page.page.locator("#transcribe-audio .upload-container").click()
    assert field.get_attribute("accept") is None, "the window would hide what isn't called audio"
    field.evaluate(
        """(field, bytes) => {
          const given = new DataTransfer();
          given.items.add(new File([new Uint8Array(bytes)], "voice.webm", {type: "video/webm"}));
          const drop = {bubbles: true, cancelable: true, dataTransfer: given};
          field.parentElement.dispatchEvent(new DragEvent("drop", drop));
        }""",
        list(speech.read_bytes()),
    )
    page.uploaded("transcribe")
    assert page.toast() == ""


def test_an_example_is_heard(visit, speech, nano):
    """It lies on the server and wasn't sent to it, but is no foreign file."""
    page = visit("/demo/ru/")
    page.page.get_by_text("«За ваши предложения").first.click(timeout=WAIT)
    page.uploaded("transcribe")
    page.press()
    assert page.text() == nano.transcribe(speech, language="ru").text


@pytest.mark.parametrize("language", ["ru", "en"])
def test_everything_is_said_in_the_language_of_the_page(visit, language, speech):
    """Labels for screen readers too, and whatever language the browser speaks."""
    page = visit(f"/demo/{language}/", locale="en-US" if language == "ru" else "ru-RU")
    assert page.page.evaluate("navigator.language") == language
    for name in ("transcribe", "ask", "look"):
        page.tab(name)
        assert foreign(page.words(), language) == []
        page.give(name, speech)
        page.uploaded(name)
        page.page.locator(f"#{name}-audio .play-pause-button").wait_for(timeout=WAIT)
        assert foreign(page.words(), language) == []
    page.tab("ask")
    page.page.locator("#ask-question textarea").fill("?!")
    page.press()
    page.page.locator("#ask-talk .bot.message").wait_for(timeout=WAIT)
    page.page.locator(".bo-note").wait_for(state="detached", timeout=WAIT)
    if language == "ru":  # the other page writes down Russian speech
        assert foreign(page.words(), language) == []


def test_the_page_in_the_other_language_is_a_click_away(visit):
    page = visit("/demo/ru/").page
    page.locator(".bo-links a").click(timeout=WAIT)
    page.wait_for_url("**/demo/en/")
    page.get_by_role("link", name=TEXTS["en"]["other"]).wait_for(timeout=WAIT)
    assert page.locator(".bo-links a").count() == 1, "there is no site to lead to"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_what_is_behind_it(visit, scheme, speech):
    """4.5 to 1 at least, as WCAG asks; in every tab, empty and full, pointed at and not."""
    page = visit("/demo/ru/", color_scheme=scheme, viewport={"width": 1280, "height": 1700})
    page.page.get_by_role("tab").first.wait_for(timeout=WAIT)

    def look(*pointed: str) -> None:
        for selector in ("h1", *pointed):
            page.page.locator(selector).first.hover()
            assert faint(page.page) == [], selector

    page.press()
    page.note(".error")
    look("[data-tab-id=look]:visible", "button.secondary:visible", ".gallery-item:visible")
    assert len(contrasts(page.page)) > 10
    for name, done in {
        "transcribe": ".bo-file",
        "ask": "#ask-talk .bot.message",
        "look": ".bo-look",
    }.items():
        page.tab(name)
        look("button.primary:visible")
        page.give(name, speech)
        page.uploaded(name)
        page.page.locator(f"#{name}-audio .play-pause-button").wait_for(timeout=WAIT)
        if name == "ask":
            page.page.locator("#ask-question textarea").fill(QUESTIONS["ru"][0])
        page.press()
        page.page.locator(done).first.wait_for(timeout=WAIT)
        page.page.locator(".bo-note:visible").wait_for(state="detached", timeout=WAIT)
        look()
    # The check itself sees what it looks for.
    style = "position: fixed; top: 0; left: 0; color: #999; background: linear-gradient(#777, #888)"
    page.page.evaluate(
        "html => document.body.insertAdjacentHTML('beforeend', html)",
        f'<p style="{style}">pale</p>',
    )
    assert [text.split(": ")[1] for text in faint(page.page)] == ["pale"]


# ---- a model that speaks ----


@pytest.fixture
def hear(browser, speaking_address):
    """`hear(path, **settings of the context)`: a visitor of the demo that speaks."""
    contexts, visitors = [], []

    def make(path: str, **settings) -> Visitor:
        contexts.append(browser.new_context(**settings))
        # Every moment of sound that the page plays while more is made.
        contexts[-1].add_init_script(
            "window.played = []; const start = AudioBufferSourceNode.prototype.start;"
            "AudioBufferSourceNode.prototype.start = function (at) {"
            "  played.push([at, this.buffer.duration]); return start.call(this, at); };"
        )
        visitors.append(Visitor(contexts[-1], speaking_address, path))
        visitors[-1].tab("speak")
        return visitors[-1]

    yield make
    for context in contexts:
        context.close()
    assert not [fault for visitor in visitors for fault in visitor.faults]


@pytest.mark.parametrize(
    ("language", "scheme", "width"), [("ru", "light", 1280), ("en", "dark", 390)]
)
def test_a_text_is_heard_seen_and_downloaded(hear, language, scheme, width):
    page = hear(f"/demo/{language}/", color_scheme=scheme, viewport={"width": width, "height": 1700})  # fmt: skip
    tabs = page.page.locator("[role=tab]:visible").all_inner_texts()
    assert tabs == [TEXTS[language][tab] for tab in TABS]
    page.press()
    assert page.note(".error") == TEXTS[language]["no_text"]
    page.say("<speak>Да</speak>")
    page.page.get_by_text(TEXTS[language]["markup"]).wait_for(timeout=WAIT)
    word = {"ru": "Да", "en": "Yes"}[language]
    page.say(f"{word} 25 😀")
    look = page.page.locator("#speak-sound .bo-speech")
    look.wait_for(timeout=WAIT)
    # It was played while it was made, without a gap in time and whole.
    played = page.page.evaluate("window.played")
    length = page.page.wait_for_function(
        "document.querySelector('#speak-sound audio').duration", timeout=WAIT
    ).json_value()
    assert sum(part for _, part in played) == pytest.approx(length, abs=0.01)
    assert look.locator(".bo-said").all_inner_texts() == [word, "25"]
    assert look.locator(".bo-token").count() == pytest.approx(length * 25, abs=1)
    look.locator(".bo-token").nth(3).hover()
    assert re.match(r"0[.,]12–0[.,]16 \w, \w+ \d+ · ", look.locator(".bo-readout").inner_text())
    # What is still to be heard is silenced, and nothing runs over the picture any more.
    page.page.locator(".bo-stop:visible").click()
    page.page.get_by_text(TEXTS[language]["stopped"]).wait_for(timeout=WAIT)
    look.locator(".bo-cursor").wait_for(state="hidden", timeout=WAIT)
    assert faint(page.page) == [] and foreign(page.words(), language) == []
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    for form in ("WAV", "MP3"):
        with page.page.expect_download() as download:
            look.locator(".bo-file", has_text=form).click()
        assert download.value.suggested_filename == f"borealis.{form.lower()}"
        with av.open(str(download.value.path())) as file:
            assert "Synthetic" in file.metadata["comment"]
            assert file.duration / av.time_base == pytest.approx(length, abs=0.2)


def test_an_answer_is_said_when_it_is_written(hear, speech):
    page = hear("/demo/ru/")
    page.tab("ask")
    page.give("ask", speech)
    page.uploaded("ask")
    page.page.locator("#ask-aloud input").check()
    page.ask("Какое у него настроение?")
    page.page.locator("#ask-talk .bot.message").wait_for(timeout=WAIT)
    page.page.wait_for_function("!document.querySelector('.bo-note')", timeout=WAIT)
    answer = page.page.locator("#ask-talk .bot.message").inner_text().strip()
    if answer != TEXTS["ru"]["no_answer"]:
        page.page.locator("#ask-sound audio[src]").wait_for(state="attached", timeout=WAIT)
    else:  # there is nothing to say
        assert page.page.locator("#ask-sound audio").count() == 0


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
        assert foreign(page.words(), "ru") == []
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
        assert not frame.locator(".bo-links").is_visible(), "the site's links are around it"
        page.emulate_media(color_scheme="light")
        page.wait_for_selector("body[data-md-color-scheme=default]")
        page.wait_for_timeout(200)
        assert "dark" not in (body.get_attribute("class") or "").split()
        assert not visitor.faults
    finally:
        context.close()


@pytest.mark.parametrize(("language", "home"), [("ru", "/"), ("en", "/en/")])
def test_the_demo_leads_to_the_documentation(browser, with_site, language, home):
    context = browser.new_context()
    try:
        visitor = Visitor(context, with_site, f"/demo/{language}/")
        visitor.page.locator(".bo-links").get_by_text(TEXTS[language]["docs"]).click(timeout=WAIT)
        visitor.page.wait_for_url(with_site + home)
        assert visitor.page.locator("html").get_attribute("lang") == language
        assert not visitor.faults
    finally:
        context.close()


@pytest.mark.parametrize("language", ["ru", "en"])
def test_the_calculators_are_in_the_demo_and_count(browser, with_site, language):
    """The site's own, in a frame, in the language and palette of the page."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        visitor = Visitor(context, with_site, f"/demo/{language}/?__theme=dark")
        visitor.tab("look")
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
