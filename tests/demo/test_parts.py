"""Parts of the demo without a server: the line, words of errors, HTML."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from borealis.demo import pictures
from borealis.demo.desk import _conversation
from borealis.demo.gate import Gate, begin
from borealis.demo.page import build_page
from borealis.demo.texts import QUESTIONS, TEXTS, explain, number
from borealis.demo.turnstile import BusyError, Turnstile, Waiting
from borealis.demo.uploads import KEEP_MINUTES, SWEEP_SECONDS, folder_of_uploads, sweep
from borealis.errors import (
    AudioEmptyError,
    AudioFormatError,
    AudioTimeoutError,
    AudioTooLargeError,
    AudioTooLongError,
    CheckpointError,
)
from borealis.inference.inspection import Inspection, WordAttention
from borealis.inference.transcript import Segment, Transcript
from borealis.inference.words import Word

ROOT = Path(__file__).resolve().parents[2]
NASTY = "<script>alert('&')</script>"


# ---- the gate ----


def test_when_the_disk_is_full_nothing_more_is_taken(tmp_path):
    """A stranger can't fill it with recordings; there is room again when they are deleted."""

    async def taken(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def status(gate: Gate) -> int:
        sent = []

        async def send(message):
            sent.append(message)

        path = "/demo/en/gradio_api/upload"
        await gate({"type": "http", "method": "POST", "path": path}, None, send)
        return sent[0]["status"]

    gate = Gate(taken, language="en", head="", uploads=tmp_path, full=1000)
    assert asyncio.run(status(gate)) == 200
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "voice.wav").write_bytes(bytes(1001))
    assert asyncio.run(status(gate)) == 503
    (tmp_path / "a" / "voice.wav").unlink()
    assert asyncio.run(status(gate)) == 200


def test_what_is_no_page_is_let_alone():
    assert begin(b'{"detail": "Not Found"}', b"ours") == b'{"detail": "Not Found"}'
    page = b'<html><head>\n<meta\n property="og:title" content="Gradio" /><style></style></head>'
    assert begin(page, b"ours") == b"<html><head>ours\n<style></style></head>"


# ---- the line ----


def steps(log: list, name: str, count: int = 3):
    def work():
        log.append(f"{name} begins")
        try:
            yield from range(count)
        finally:
            log.append(f"{name} ends")

    return work


async def collect(stream) -> list:
    return [step async for step in stream]


def test_visitors_are_served_one_after_another_in_order():
    async def scene():
        log: list[str] = []
        line = Turnstile(pause=0.001)
        visits = [collect(line.serve(steps(log, name))) for name in "abc"]
        results = await asyncio.gather(*visits)
        return log, results, len(line)

    log, results, left = asyncio.run(scene())
    assert log == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]
    assert [[s for s in r if not isinstance(s, Waiting)] for r in results] == [[0, 1, 2]] * 3
    assert results[0][0] == 0
    assert results[1][0] == Waiting(1)
    assert results[2][:1] == [Waiting(2)] and Waiting(1) in results[2]
    assert left == 0


def test_two_places_serve_two():
    async def scene():
        line = Turnstile(places=2, pause=0.001)
        first, second = line.serve(steps([], "a")), line.serve(steps([], "b"))
        return await anext(first), await anext(second)

    assert asyncio.run(scene()) == (0, 0)


def test_a_full_line_refuses_and_forgets():
    async def scene():
        line = Turnstile(line=1, pause=0.001)
        first = line.serve(steps([], "a"))
        await anext(first)
        second = line.serve(steps([], "b"))
        assert await anext(second) == Waiting(1)
        with pytest.raises(BusyError):
            await anext(line.serve(steps([], "c")))
        await second.aclose()
        await first.aclose()
        return len(line), await collect(line.serve(steps([], "d")))

    assert asyncio.run(scene()) == (0, [0, 1, 2])


def test_who_is_cancelled_leaves_and_stops_the_work():
    async def scene():
        log: list[str] = []
        line = Turnstile(pause=0.001)
        stream = line.serve(steps(log, "a", 10**9))
        task = asyncio.create_task(collect(stream))
        while not log:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await stream.aclose()
        return log, len(line)

    assert asyncio.run(scene()) == (["a begins", "a ends"], 0)


def test_an_error_of_the_work_frees_the_place():
    def broken():
        yield 1
        raise ValueError("broken")

    async def scene():
        line = Turnstile(pause=0.001)
        with pytest.raises(ValueError, match="broken"):
            await collect(line.serve(broken))
        return len(line)

    assert asyncio.run(scene()) == 0


# ---- words ----


def test_both_languages_have_every_text():
    assert TEXTS["ru"].keys() == TEXTS["en"].keys()
    for key, russian in TEXTS["ru"].items():
        fields = sorted(re.findall(r"{\w+}", russian))
        assert fields == sorted(re.findall(r"{\w+}", TEXTS["en"][key])), key
    assert len(QUESTIONS["ru"]) == len(QUESTIONS["en"])


def test_errors_are_explained_without_paths():
    kinds = (AudioEmptyError, AudioFormatError, AudioTimeoutError, AudioTooLargeError, AudioTooLongError, CheckpointError)  # fmt: skip
    for language in ("ru", "en"):
        said = {explain(kind(str(Path("/secret/a.wav"))), language, megabytes=1, minutes=2) for kind in kinds}  # fmt: skip
        assert len(said) == len(kinds)
        assert not any("secret" in text or "{" in text for text in said)


def test_numbers_are_written_as_the_language_does():
    assert number(1234.5, 1, "ru") == "1\N{NARROW NO-BREAK SPACE}234,5"
    assert number(1234.5, 1, "en") == "1\N{NARROW NO-BREAK SPACE}234.5"


def test_a_conversation_shows_the_recording_once_and_the_latest_turns():
    clip = np.zeros(10, np.float32)
    history = [(f"q{i}", f"a{i}") for i in range(10)]
    messages = _conversation(clip, "now", history, None)
    assert [m["role"] for m in messages] == ["user", "assistant"] * 5 + ["user"]
    parts = [part["type"] for m in messages if m["role"] == "user" for part in m["content"]]
    assert parts.count("audio") == 1 and parts[0] == "audio"
    assert messages[0]["content"][1]["text"] == "q5"
    assert messages[-1]["content"][-1]["text"] == "now"
    # A transcript stands before all that, and the recording in front of it.
    first, written, *rest = _conversation(clip, "now", history, "Снег.")
    assert [part["type"] for part in first["content"]] == ["audio", "text"]
    assert written == {"role": "assistant", "content": "Снег."}
    assert rest[1:] == messages[1:] and len(rest[0]["content"]) == 1


# ---- recordings of visitors ----


def test_unfinished_uploads_are_deleted_when_their_time_is_over(tmp_path):
    """What Gradio keeps track of, and what is being sent right now, is let alone."""
    now = time.time()
    finished, emptied = tmp_path / ("a" * 64), tmp_path / ("b" * 64)
    for folder in (finished, emptied, tmp_path / "history"):
        folder.mkdir()
    for path in (finished / "voice.wav", tmp_path / "tmpold", tmp_path / "tmpnew"):
        path.write_bytes(b"sound")
    for path in (*tmp_path.rglob("*"),):
        age = 0 if path.name == "tmpnew" else 60 * KEEP_MINUTES + 1
        os.utime(path, (now - age, now - age))
    sweep(tmp_path, before=now - 60 * KEEP_MINUTES)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert left == {finished.name, f"{finished.name}/voice.wav", "history", "tmpnew"}


def test_an_upload_that_breaks_off_leaves_nothing_behind():
    with folder_of_uploads() as folder:
        (folder / "tmpabc").write_bytes(b"half a recording")
        assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
    assert not folder.exists()


def test_gradio_deletes_what_was_sent_after_the_same_time(nano):
    page = build_page(nano, "ru")
    assert page.delete_cache == (SWEEP_SECONDS, KEEP_MINUTES * 60)


def test_nothing_is_written_by_two_answers_to_one_act_of_a_visitor(nano):
    """Either may come last: a refusal of a file was wiped off now and then by "start anew"."""
    same_act = {"upload": "input", "change": "input", "stop_recording": "input"}
    writers: dict[tuple, list[int]] = {}
    page = build_page(nano, "ru")
    for index, function in page.fns.items():
        if function.api_visibility == "public":  # for programs: no button of the page
            continue
        acts = {(part, same_act.get(event, event)) for part, event in function.targets}
        for act in acts:
            for written in function.outputs:
                writers.setdefault((*act, written._id), []).append(index)
    assert writers
    assert not {key: indices for key, indices in writers.items() if len(indices) > 1}


@pytest.mark.parametrize("language", ["ru", "en"])
def test_all_pages_name_the_same_time_for_deletion(language):
    """The demo's own page, and those of the site that speak of recordings of visitors."""
    pages = ["demo.md", "tutorial/spaces.md", "story/limits.md", "how/security.md"]
    texts = [(ROOT / "docs" / language / page).read_text(encoding="utf-8") for page in pages]
    texts.append(TEXTS[language]["lead"].format(keep=KEEP_MINUTES))
    said = r"(\d+) минут" if language == "ru" else r"(\d+) minutes"
    gone = r"удаля|удалён" if language == "ru" else r"\bdelet"
    for text in texts:
        sentences = [s for s in re.split(r"(?<=[.;!?])\s", text) if re.search(gone, s)]
        named = {
            int(n) for sentence in sentences for n in re.findall(said, " ".join(sentence.split()))
        }
        assert named == {KEEP_MINUTES}
        loose = r"полчаса|пар[уы] часов|half an hour|hours"
        assert not [s for s in sentences if re.search(loose, s)]


# ---- HTML ----


def test_nothing_of_a_model_or_visitor_becomes_html():
    words = [Word(0.0, 0.5, NASTY, 0.95), Word(0.5, 1.0, "да", None)]
    transcript = Transcript(NASTY, 1.0, [Segment(0.0, 1.0, NASTY, words)])
    audio = np.sin(np.arange(16_000) / 20).astype(np.float32)
    seen = Inspection(
        1.0, 16_000, [(0.0, 1.0)], 50, 13, 0.08, 1.0, [0.5], audio, np.random.default_rng(0).random((80, 100)),
        [WordAttention(NASTY, 0.0, np.full(13, 1 / 13))], NASTY,
    )  # fmt: skip
    for made in (
        pictures.note(NASTY),
        pictures.words_html(words, "ru"),
        pictures.downloads_html(transcript, "en"),
        pictures.inspection_html(seen, "ru"),
    ):
        assert "<script" not in made and "alert('" not in made.replace("alert(&#x27;", "")


def test_downloads_hold_the_files_themselves():
    words = [Word(0.1, 0.5, "Да.", 0.9)]
    html = pictures.downloads_html(Transcript("Да.", 1.0, [Segment(0, 1, "Да.", words)]), "ru")
    files = {
        name: unquote(body)
        for name, body in re.findall(r'download="borealis\.(\w+)" href="data:[^,]+,([^"]*)"', html)
    }
    assert files["srt"] == "1\n00:00:00,100 --> 00:00:01,000\nДа.\n"
    assert files["vtt"].startswith("WEBVTT")
    assert json.loads(files["json"])["segments"][0]["words"][0]["text"] == "Да."
    assert pictures.downloads_html(Transcript("", 1.0), "ru") == ""


def test_unsure_words_look_unsure():
    html = pictures.words_html(
        [Word(0, 1, "раз", 0.95), Word(1, 2, "два", 0.7), Word(2, 3, "три", 0.2)], "ru"
    )
    assert re.findall(r'bo-word (\w+)"', html) == ["sure", "half", "low"]
    assert "уверенность 20 %" in html and "2,00–3,00 с" in html


def test_errors_are_read_aloud_at_once():
    assert 'role="alert"' in pictures.note("нет", kind="error")
    assert '<progress max="1" value="0.250">' in pictures.note("идёт", done=0.25)
    assert pictures.note("") == ""


def test_the_picture_shows_windows_cuts_and_every_word():
    weights = np.zeros(375)
    weights[100] = 0.8
    seen = Inspection(
        42.0, 672_000, [(0.0, 30.0), (30.0, 42.0)], 2100, 525, 0.08, 30.0, [14.5],
        np.zeros(480_000, np.float32), np.zeros((80, 3000)), [WordAttention("слово", 14.5, weights)], "слово",
    )  # fmt: skip
    html = pictures.inspection_html(seen, "ru")
    assert html.count("bo-line window") == 4 and html.count("bo-line cut") == 2
    assert "Аудиотокенов: 525" in html and "первые 30 с из 42,0 с" in html
    row = re.search(r'data-word="слово" data-start="14.5000" data-shares="([^"]*)"', html)
    assert row and row[1].split()[100] == "100" and len(row[1].split()) == 375
    assert html.count("<rect") == 1
