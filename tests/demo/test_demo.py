"""The demo as a visitor meets it: the real server in a process of its own, real uploads."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from borealis.cli import main
from borealis.demo.texts import QUESTIONS, TEXTS, explain
from borealis.errors import (
    AudioEmptyError,
    AudioFormatError,
    AudioTooLargeError,
    AudioTooLongError,
    CheckpointError,
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def address():
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "borealis", "demo", "--port", str(port)],
        env=os.environ | {"no_proxy": "127.0.0.1"},
    )
    base = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 240
    try:
        while True:
            assert process.poll() is None, "the server stopped"
            assert time.monotonic() < deadline, "the server didn't answer"
            try:
                with urllib.request.urlopen(f"{base}/healthz", timeout=2):
                    break
            except OSError:
                time.sleep(0.3)
        yield base
    finally:
        process.terminate()
        process.wait(20)


def get(url: str, **headers: str) -> tuple[str, str]:
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.url, answer.read().decode()


@pytest.mark.slow
def test_home_leads_to_the_language_of_the_browser(address):
    assert get(address + "/")[0] == address + "/demo/ru/"
    accept = {"Accept-Language": "en-GB,en;q=0.9"}
    assert get(address + "/", **accept)[0] == address + "/demo/en/"


@pytest.mark.slow
@pytest.mark.parametrize("language", ["ru", "en"])
def test_an_uploaded_recording_comes_out_as_text(address, language, nano, speech):
    client = Client(f"{address}/demo/{language}/", verbose=False)
    text = client.predict(handle_file(str(speech)), api_name="/transcribe")
    assert text == nano.transcribe(speech, language=language).text
    question = QUESTIONS[language][0]
    answer = client.predict(handle_file(str(speech)), question, api_name="/ask")
    assert answer == nano.ask(speech, question)


@pytest.mark.slow
@pytest.mark.parametrize("language", ["ru", "en"])
def test_mistakes_are_explained_in_the_language_of_the_page(address, language, speech, tmp_path):
    client = Client(f"{address}/demo/{language}/", verbose=False)
    (tmp_path / "notes.wav").write_bytes(b"these are not sounds" * 100)
    texts = TEXTS[language]
    with pytest.raises(AppError, match=re.escape(texts["not_audio"])):
        client.predict(handle_file(str(tmp_path / "notes.wav")), api_name="/transcribe")
    with pytest.raises(AppError, match=re.escape(texts["no_audio"])):
        client.predict(None, api_name="/transcribe")
    with pytest.raises(AppError, match=re.escape(texts["no_question"])):
        client.predict(handle_file(str(speech)), "  ", api_name="/ask")


@pytest.mark.slow
@pytest.mark.parametrize("language", ["ru", "en"])
def test_the_page_asks_nothing_of_other_sites(address, language):
    """Scripts, styles and fonts come from the server itself."""
    _, page = get(f"{address}/demo/{language}/")
    loaded = re.findall(r"<(?:script|link|img|iframe)[^>]+?(?:src|href)=\"(https?://[^\"]+)", page)
    assert not [url for url in loaded if not url.startswith(address)]


@pytest.mark.slow
def test_a_port_in_use_is_told_before_anything_is_loaded(address, capsys):
    port = address.rsplit(":", 1)[1]
    assert main(["demo", "--port", port]) == 2
    error = capsys.readouterr().err
    assert f"can't listen on 127.0.0.1:{port}" in error and "--port" in error


def test_both_languages_have_every_text():
    assert TEXTS["ru"].keys() == TEXTS["en"].keys()
    for key, russian in TEXTS["ru"].items():
        fields = re.findall(r"{\w+}", russian)
        assert fields == re.findall(r"{\w+}", TEXTS["en"][key]), key
    assert len(QUESTIONS["ru"]) == len(QUESTIONS["en"])


def test_errors_are_explained_without_paths():
    kinds = (AudioEmptyError, AudioFormatError, AudioTooLargeError, AudioTooLongError, CheckpointError)  # fmt: skip
    for language in ("ru", "en"):
        said = {explain(kind(str(Path("/secret/a.wav"))), language, megabytes=1, minutes=2) for kind in kinds}  # fmt: skip
        assert len(said) == len(kinds)
        assert not any("secret" in text or "{" in text for text in said)
