"""The demo speaks: a tiny model of random weights, so its speech is noise, but all else is real."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
from itertools import pairwise

import av
import numpy as np
import pytest
import soundfile
from gradio_client import Client
from gradio_client.exceptions import AppError

from borealis.demo import desk as desks
from borealis.demo import page as pages
from borealis.demo import pictures
from borealis.demo.desk import CHARACTERS, Desk, Failure, Spoken
from borealis.demo.page import SILENCE, build_page
from borealis.demo.texts import SAYINGS, TEXTS
from borealis.demo.turnstile import Turnstile, Waiting
from borealis.inference.speech import Speech, SpeechPart, SpokenPiece
from borealis.inference.words import Word

NASTY = "<script>alert('&')</script>"
TEXT = "Поезд 25 😀"


@pytest.fixture
def desk(speaking):
    """`desk(language)`, with a line of its own."""
    return lambda language="ru": Desk(speaking, language, Turnstile(pause=0.001))


def steps(stream) -> list:
    async def collect() -> list:
        return [step async for step in stream]

    return asyncio.run(collect())


def complaint(stream) -> str:
    (step,) = steps(stream)
    assert isinstance(step, Failure)
    return step.text


# ---- the desk ----


def test_a_text_is_spoken_as_the_model_speaks_it(desk, speaking):
    *parts, whole = steps(desk().speak(TEXT, "ivan", 1.25))
    wanted = speaking.speak(TEXT, voice="ivan", speed=1.25)
    assert all(isinstance(part, SpeechPart) for part in parts) and len(parts) > 5
    assert isinstance(whole, Spoken) and not whole.cut
    np.testing.assert_array_equal(whole.speech.waveform, wanted.waveform)
    assert whole.speech.words == wanted.words and whole.speech.left_out == ("😀",)
    assert [p.symbols for p in whole.speech.pieces] == [p.symbols for p in wanted.pieces]


def test_without_a_voice_the_language_of_the_text_chooses(desk):
    assert steps(desk().speak("Hello"))[-1].speech.voice == "kate"
    assert steps(desk("en").speak("Привет", ""))[-1].speech.voice == "anna"


@pytest.mark.parametrize("language", ["ru", "en"])
@pytest.mark.parametrize(
    ("text", "key"),
    [
        (None, "no_text"),
        (" \n", "no_text"),
        ("а" * (CHARACTERS + 1), "text_too_long"),
        ("😀🎉", "unsayable"),
        ("—…", "unsayable"),
        ("<speak>да</speak>", "markup"),
        (NASTY, "markup"),
        ("東京", "alphabet"),
        ("მადლობა", "alphabet"),
    ],
)
def test_texts_that_cant_be_said_are_explained(desk, language, text, key):
    known = {"length": CHARACTERS + 1, "characters": CHARACTERS}
    assert complaint(desk(language).speak(text)) == TEXTS[language][key].format(**known)


@pytest.mark.parametrize(
    "speed", [0.4, 2.1, -1, 10**9, None, "fast", True, float("nan"), float("inf")]
)
def test_a_speed_out_of_range_is_told(desk, speed):
    assert complaint(desk().speak("да", None, speed)) == "Скорость — число от 0,5 до 2."


def test_a_voice_that_isnt_there_is_told(desk):
    said = complaint(desk("en").speak("да", "../../etc/passwd"))
    assert said == "There is no such voice. There are: anna, ivan, kate."


def test_hostile_texts_are_spoken_or_refused_but_never_break(desk):
    for text in ("\0", "<|audio|>", "{{7}} ${value}", "\u202eда"):
        last = steps(desk().speak(text, "anna"))[-1]
        failed = TEXTS["ru"]["unspoken"]
        assert isinstance(last, Spoken) or (isinstance(last, Failure) and last.text != failed)


def test_every_example_can_be_said(speaking):
    for saying in [*SAYINGS["ru"], *SAYINGS["en"]]:
        assert len(saying) <= CHARACTERS and not speaking.speaker.order(saying).said.left_out


def test_a_short_text_that_is_long_to_say_is_cut(desk, monkeypatch):
    """Five hundred digits are thousands of letters."""
    monkeypatch.setattr(desks, "SPEAKING_SECONDS", 0.2)
    whole = steps(desk().speak("1" * CHARACTERS))[-1]
    assert whole.cut and len(whole.speech.spoken) > 3 * CHARACTERS


def test_when_time_runs_out_what_was_said_is_kept(desk, monkeypatch):
    monkeypatch.setattr(desks, "SPEAKING_SECONDS", 0)
    now = iter(range(100))
    monkeypatch.setattr(desks.time, "monotonic", lambda: next(now) // 4)
    *parts, whole = steps(desk().speak("Раз, два, три, четыре, пять."))
    assert whole.cut and parts
    assert len(whole.speech.waveform) == sum(len(part.waveform) for part in parts)
    assert "bo-player" in pictures.speech_html(whole.speech, "ru")


def test_speaking_waits_in_the_line_of_all(speaking):
    async def scene():
        turnstile = Turnstile(pause=0.001)
        first = Desk(speaking, "ru", turnstile).speak("раз")
        await anext(first)
        second = Desk(speaking, "en", turnstile).speak("one")
        waiting = await anext(second)
        await first.aclose()
        rest = [step async for step in second]
        return waiting, rest[-1], len(turnstile)

    waiting, last, left = asyncio.run(scene())
    assert waiting == Waiting(1) and isinstance(last, Spoken) and left == 0


# ---- what the page gets ----


def test_the_page_gets_the_sound_in_parts_and_then_whole(desk, speaking):
    def show(speech: Speech) -> str:
        return pictures.speech_html(speech, "ru")

    said = steps(pages._sounding(desk(), TEXT, "anna", 1.0, show=show))
    assert said[0] == (pictures.note(TEXTS["ru"]["speaking"]), SILENCE)
    values = [value for _, value in said[1:]]
    assert len({value["run"] for value in values}) == 1 and said[-1][0] == ""
    for before, after in pairwise(values):  # nothing is told twice
        assert after["parts"][: len(before["parts"])] == before["parts"] and not before["html"]
    sound = b"".join(map(base64.b64decode, values[-1]["parts"]))
    wanted = speaking.speak(TEXT, voice="anna")
    np.testing.assert_array_equal(
        np.frombuffer(sound, "<i2"), np.frombuffer(wanted.encode("pcm"), "<i2")
    )
    json.dumps(values[-1])
    for form, data in values[-1]["files"].items():
        with av.open(io.BytesIO(base64.b64decode(data))) as file:
            assert "Synthetic" in file.metadata["comment"], form


def test_an_answer_is_written_and_then_said(speaking, speech, monkeypatch):
    """Only if that was wished for; the text stays whatever becomes of the sound."""
    monkeypatch.setattr(speaking, "possible_answers", lambda question: ["Да."])
    functions = build_page(speaking, "ru").fns.values()
    (ask,) = {f.fn for f in functions if getattr(f.fn, "__name__", "") == "on_ask"}
    asked = str(speech), "Слышно речь?", []
    quiet = steps(ask(*asked, False, ""))
    assert all(answer[-1] == SILENCE for answer in quiet)
    loud = steps(ask(*asked, True, "ivan"))
    assert [len(answer) for answer in loud] == [5] * len(loud)
    assert loud[len(quiet) - 1][2] == [("Слышно речь?", "Да.")]
    assert loud[-1][0] == "" and "bo-player" in loud[-1][-1]["html"]
    *_, failed = steps(ask(*asked, True, "nobody"))
    assert "Такого голоса нет" in failed[0] and failed[-1]["html"] == ""


def test_a_model_without_voices_has_neither_tab_nor_switch(tiny, speaking):
    """Nor the names for programs."""
    import borealis

    quiet = borealis.Borealis(*tiny)
    assert quiet.voices == []
    for language in ("ru", "en"):
        texts = TEXTS[language]
        shown = {"with": build_page(speaking, language), "without": build_page(quiet, language)}
        labels = {
            name: {getattr(block, "label", None) for block in page.blocks.values()}
            for name, page in shown.items()
        }
        names = {
            name: {function.api_name for function in page.fns.values()}
            for name, page in shown.items()
        }
        assert {texts["speak"], texts["aloud"], texts["voice"]} <= labels["with"]
        assert not {texts["speak"], texts["aloud"], texts["voice"]} & labels["without"]
        assert {"speak", "voices"} <= names["with"] and not {"speak", "voices"} & names["without"]


def test_voices_of_the_pages_language_come_first(speaking):
    (labels,) = {
        tuple(label for label, _ in block.choices)
        for block in build_page(speaking, "en").blocks.values()
        if block.get_block_name() == "dropdown"
    }
    auto = TEXTS["en"]["voice_auto"]
    assert labels == (auto, "An English woman.", "A calm woman.", "A low man's voice.")


# ---- the picture ----


@pytest.fixture
def tone() -> Speech:
    """One second of a tone: "да" with a pause around it, spoken twice as fast."""
    wave = np.sin(np.arange(16_000) / 20).astype(np.float32)
    codes = np.arange(100).reshape(2, 50)
    piece = SpokenPiece(0.0, " да.", np.array([10, 0, 20, 20]), codes, 0.02)
    return Speech(NASTY, NASTY, "anna", wave, 16_000, [Word(0.2, 0.6, NASTY, None)], [piece], (NASTY,))  # fmt: skip


def test_the_picture_shows_words_symbols_and_tokens_at_their_times(tone):
    html = pictures.speech_html(tone, "ru")
    assert "Звука: 1,0 с. Символов: 4. Кадров кодека: 50, каждый — 20 мс звука." in html
    assert 'bo-said" style="left:20.0000%;width:40.0000%"' in html
    symbols = re.findall(r'data-symbol="(.)" data-start="([\d.]+)" data-ms="(\d+)"', html)
    assert symbols == [("·", "0.0000", "200"), ("а", "0.2000", "400"), (".", "0.6000", "400")]
    tokens = re.findall(r'<b class="bo-token".*?data-start="([\d.]+)".*?>(\d+)</b>', html)
    assert [int(token) for _, token in tokens] == list(range(50))  # of the first codebook
    assert tokens[-1][0] == "0.9800"


def test_nothing_of_a_text_becomes_html(tone):
    for language in ("ru", "en"):
        made = pictures.speech_html(tone, language)
        assert "<script" not in made and "alert('" not in made


def test_a_long_speech_is_drawn_to_its_thirtieth_second(tone):
    long = Speech(
        "да", "да", "anna", np.tile(tone.waveform, 40), 16_000,
        [Word(s, s + 0.5, "да", None) for s in range(40)],
        [SpokenPiece(float(s), *("да", np.array([20, 30]), np.zeros((1, 50), int), 0.02)) for s in range(40)],
    )  # fmt: skip
    html = pictures.speech_html(long, "en")
    assert html.count('"bo-said"') == 30 and html.count('"bo-token"') == 30 * 50
    assert "Sound: 40.0 s." in html and "Shown are the first 30 s." in html


# ---- a program ----


@pytest.mark.slow
def test_a_program_gets_a_file_with_its_words(speaking_address, speaking):
    client = Client(f"{speaking_address}/demo/en/", verbose=False)
    voices = client.predict(api_name="/voices")
    assert [voice["name"] for voice in voices] == ["anna", "ivan", "kate"]
    said = client.predict("Поезд 25", "ivan", 1.5, "flac", api_name="/speak")
    wanted = speaking.speak("Поезд 25", voice="ivan", speed=1.5)
    wave, rate = soundfile.read(io.BytesIO(base64.b64decode(said["audio"])), dtype="float32")
    assert rate == wanted.sampling_rate and len(wave) == len(wanted.waveform)
    assert said["spoken"] == wanted.spoken and said["voice"] == "ivan" and not said["cut"]
    assert [word["text"] for word in said["words"]] == ["Поезд", "25"]
    texts = TEXTS["en"]
    for arguments, message in (
        (("", "", 1, "wav"), texts["no_text"]),
        (("да", "nobody", 1, "wav"), "There is no such voice"),
        (("да", "", 9, "wav"), "The speed is a number from 0.5 to 2."),
        (("да", "", 1, "../a"), texts["bad_sound"]),
        (("<speak>да</speak>", "", 1, "wav"), texts["markup"]),
    ):
        with pytest.raises(AppError, match=re.escape(message)):
            client.predict(*arguments, api_name="/speak")
