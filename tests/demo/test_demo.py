"""The demo as a program meets it: the real server in a process of its own, real uploads."""

from __future__ import annotations

import json
import re
import shutil
import socket
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import av
import httpx
import numpy as np
import pytest
import soundfile
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from borealis.audio import load_audio
from borealis.cli import main
from borealis.demo.texts import QUESTIONS, TEXTS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(address):
    """`client(language)`, connected once."""
    clients = {}

    def connect(language: str) -> Client:
        if language not in clients:
            clients[language] = Client(f"{address}/demo/{language}/", verbose=False)
        return clients[language]

    return connect


def get(url: str, **headers: str) -> tuple[str, str]:
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.url, answer.read().decode()


def test_home_leads_to_the_language_of_the_browser(address):
    assert get(address + "/")[0] == address + "/demo/ru/"
    accept = {"Accept-Language": "en-GB,en;q=0.9"}
    assert get(address + "/", **accept)[0] == address + "/demo/en/"


def test_health_is_told(address):
    assert json.loads(get(address + "/healthz")[1]) == {"status": "ok", "visitors": 0}


@pytest.mark.parametrize("language", ["ru", "en"])
def test_an_uploaded_recording_comes_out_as_words(client, language, nano, speech):
    heard = client(language).predict(handle_file(str(speech)), api_name="/transcribe")
    assert heard == nano.transcribe(speech, words=True).to_dict()
    assert heard["segments"][0]["words"]


def test_text_streams_as_it_is_made(client, nano, speech, tmp_path):
    """Segment by segment."""
    clip = load_audio(speech)
    long = np.concatenate(
        [clip, np.zeros(40_000, np.float32), clip, np.zeros(40_000, np.float32), clip]
    )
    soundfile.write(tmp_path / "long.wav", long, 16_000)
    job = client("ru").submit(
        handle_file(str(tmp_path / "long.wav")), api_name="/transcribe_stream"
    )
    assert job.result() == nano.transcribe(tmp_path / "long.wav").text
    pieces = job.outputs()
    assert len(set(pieces)) > 1 and [len(p) for p in pieces] == sorted(len(p) for p in pieces)


def test_subtitles_of_every_kind(client, speech):
    texts = {
        form: client("ru").predict(handle_file(str(speech)), form, api_name="/subtitles")
        for form in ("srt", "vtt", "json")
    }
    assert re.match(r"1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\n\S", texts["srt"])
    assert texts["vtt"].startswith("WEBVTT\n")
    assert json.loads(texts["json"])["segments"][0]["words"]


def test_a_conversation(client, nano, speech):
    """A follow-up is answered as the model answers it with what was said before."""
    first, second = QUESTIONS["ru"][0], QUESTIONS["ru"][2]
    answer = client("ru").predict(handle_file(str(speech)), first, [], api_name="/ask")
    assert answer == nano.ask(speech, first).strip()
    after = client("ru").predict(
        handle_file(str(speech)), second, [[first, answer]], api_name="/ask"
    )
    audio = {"type": "audio", "audio": speech}
    messages = [
        {"role": "user", "content": [audio, {"type": "text", "text": first}]},
        {"role": "assistant", "content": answer},
        {"role": "user", "content": second},
    ]
    assert after == nano.chat(messages).strip()


@pytest.mark.parametrize("language", ["ru", "en"])
def test_what_the_model_was_not_taught_is_refused_at_once(client, language, nano, speech):
    question = {"ru": "Какое у него настроение?", "en": "Translate it into English."}[language]
    file, refusal = handle_file(str(speech)), nano.scope.refusal[language]
    assert client(language).predict(file, question, [], api_name="/ask") == refusal
    # The talk goes on as if it had not been asked.
    after = [[question, refusal]]
    answer = client(language).predict(file, QUESTIONS[language][0], after, api_name="/ask")
    assert answer == nano.ask(speech, QUESTIONS[language][0])


def test_looking_inside_counts_as_the_config_does(client, nano, speech):
    seen = client("en").predict(handle_file(str(speech)), api_name="/look")
    samples = len(load_audio(speech))
    assert seen["audio_tokens"] == nano.model.config.num_audio_tokens(samples)
    assert len(seen["attention"]) == len(seen["text"].split())
    assert all(len(row["weights"]) == seen["audio_tokens"] for row in seen["attention"])


def test_what_a_browser_records_is_read(client, nano, speech, tmp_path):
    """Stereo Opus in WebM at 48 kHz, as MediaRecorder writes it."""
    audio, target = load_audio(speech), tmp_path / "voice.webm"
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(audio[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        resampler = av.AudioResampler(format="flt", layout="stereo", rate=48_000)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    heard = client("ru").predict(handle_file(str(target)), api_name="/transcribe")
    assert heard["text"] == nano.transcribe(target).text


# ---- what goes wrong ----


@pytest.mark.parametrize("language", ["ru", "en"])
def test_mistakes_are_explained_in_the_language_of_the_page(client, language, speech, tmp_path):
    texts = TEXTS[language]

    def refused(message: str, *arguments, api_name: str) -> None:
        with pytest.raises(AppError, match=re.escape(message)):
            client(language).predict(*arguments, api_name=api_name)

    (tmp_path / "notes.wav").write_bytes(b"these are not sounds" * 100)
    refused(texts["not_audio"], handle_file(str(tmp_path / "notes.wav")), api_name="/transcribe")
    cut = tmp_path / "cut.wav"
    soundfile.write(cut, np.zeros(16_000), 16_000)
    cut.write_bytes(cut.read_bytes()[:10_000])
    refused(texts["not_audio"], handle_file(str(cut)), api_name="/look")
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), 16_000)
    refused(texts["empty"], handle_file(str(tmp_path / "nothing.wav")), api_name="/transcribe")
    soundfile.write(tmp_path / "long.flac", np.zeros(31 * 60 * 8000, np.int16), 8000)
    too_long = texts["too_long"].format(minutes=30)
    refused(too_long, handle_file(str(tmp_path / "long.flac")), api_name="/transcribe")
    refused(texts["no_audio"], None, api_name="/transcribe")
    refused(texts["no_question"], handle_file(str(speech)), "  ", [], api_name="/ask")
    refused(texts["bad_form"], handle_file(str(speech)), "exe", api_name="/subtitles")


def test_silence_has_no_words(client, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(32_000), 16_000)
    heard = client("ru").predict(handle_file(str(tmp_path / "silence.wav")), api_name="/transcribe")
    assert (heard["text"], heard["segments"], heard["duration"]) == ("", [], 2.0)


def test_a_file_over_the_limit_is_refused_while_it_is_sent(address):
    big = {"files": ("big.wav", bytes(26 * 1024 * 1024))}
    answer = httpx.post(f"{address}/demo/ru/gradio_api/upload", files=big, timeout=120)
    assert answer.status_code == 413


def test_files_of_the_server_stay_there(address):
    """By the file route, which would send them."""
    for path in ("/etc/passwd", "../../../../etc/passwd", "borealis/cli.py"):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            get(f"{address}/demo/ru/gradio_api/file={path}")
        assert refusal.value.code in (403, 404)


@pytest.mark.parametrize("language", ["ru", "en"])
@pytest.mark.parametrize("route", ["call/transcribe", "run/predict", "queue/join"])
def test_a_file_is_named_only_by_who_sent_it(address, language, route, speech, tmp_path):
    """Neither a recording of the server nor an address is read, whatever input names it.

    Gradio itself copies the one into its cache and fetches the other, for any input at all.
    """
    own = shutil.copy(speech, tmp_path / "own.flac")
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/a.wav"
        for path in (str(own), f"/proc/self/../..{own}", url, "https://example.com/a.wav", 3):
            file = {"path": path, "meta": {"_type": "gradio.FileData"}}
            for data in ([file], [{"a": [file]}], [None, file]):
                said = httpx.post(
                    f"{address}/demo/{language}/gradio_api/{route}",
                    json={"data": data, "fn_index": 0, "session_hash": "guest"},
                    timeout=60,
                )
                assert (said.status_code, said.text) == (400, TEXTS[language]["not_sent"])
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_routes_of_gradio_that_nobody_needs_are_closed(address):
    """A recorder that runs FFmpeg, an editor of code, saved states, a proxy, keys."""
    video = {"video": ("a.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n")}
    answer = httpx.post(f"{address}/demo/ru/gradio_api/process_recording", files=video, timeout=60)
    assert answer.status_code == 404
    for route in (
        "vibe-code", "vibe-edit", "dev/reload", "deep_link?session_hash=a", "monitoring", "token",
        "proxy=https://example.com", "stream/a/b/0/playlist.m3u8", "component_server", "runs",
        "call/v2/transcribe", "file/etc/passwd", "openapi.json", "../gradio_api/token",
    ):  # fmt: skip
        for method in ("GET", "POST"):
            url = f"{address}/demo/en/gradio_api/{route}"
            assert httpx.request(method, url, timeout=60).status_code == 404, route


def test_a_request_that_is_no_json_or_too_long_is_refused(address):
    join = f"{address}/demo/ru/gradio_api/queue/join"
    for body in (b"", b"{", b"[" * 100_000):
        assert httpx.post(join, content=body, timeout=60).status_code == 400
    assert httpx.post(join, content=b" " * (1 << 20) + b"{}", timeout=60).status_code == 413


def test_everybody_of_a_crowd_is_answered(address, nano, clips):
    """Twenty visitors at once, half of them on the other page: nobody is lost or mixed up."""
    files = [clip.audio for clip in clips]
    wanted = [nano.transcribe(file).text for file in files]

    def visit(number: int) -> tuple[str, str]:
        language = ("ru", "en")[number % 2]
        client = Client(f"{address}/demo/{language}/", verbose=False)
        heard = client.predict(handle_file(str(files[number % 6])), api_name="/transcribe")
        return heard["text"], wanted[number % 6]

    with ThreadPoolExecutor(20) as crowd:
        for got, expected in crowd.map(visit, range(20)):
            assert got == expected
    assert json.loads(get(address + "/healthz")[1])["visitors"] == 0


@pytest.mark.parametrize("language", ["ru", "en"])
def test_the_page_is_ours_from_its_first_line(address, language):
    """Its name, no manifest that isn't there, no pictures of Gradio's for who shares a link."""
    _, page = get(f"{address}/demo/{language}/", **{"Accept-Encoding": "br, gzip"})
    assert re.search("<title>(.*?)</title>", page)[1] == TEXTS[language]["title"]
    assert f'"language": "{language}"' in page
    for foreign in ('rel="manifest"', "og:", "twitter:", "@Gradio"):
        assert foreign not in page.partition("<script>window.gradio_config")[0]
    assert httpx.head(f"{address}/demo/{language}/", timeout=60).status_code == 200


@pytest.mark.parametrize("language", ["ru", "en"])
def test_the_page_asks_nothing_of_other_sites(address, language):
    """Scripts, styles and fonts come from the server itself."""
    _, page = get(f"{address}/demo/{language}/")
    loaded = re.findall(r"<(?:script|link|img|iframe)[^>]+?(?:src|href)=\"(https?://[^\"]+)", page)
    assert not [url for url in loaded if not url.startswith(address)]


def test_a_port_in_use_is_told_before_anything_is_loaded(address, capsys):
    port = address.rsplit(":", 1)[1]
    assert main(["demo", "--no-site", "--port", port]) == 2
    error = capsys.readouterr().err
    assert f"can't listen on 127.0.0.1:{port}" in error and "--port" in error


def test_a_folder_that_is_no_site_is_told(capsys, tmp_path):
    assert main(["demo", "--site", str(tmp_path)]) == 2
    assert "isn't a built site" in capsys.readouterr().err
