"""The server over HTTP: what clients get, what bad requests get, and what the server survives."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import borealis
from borealis import Borealis
from tests.conftest import AUDIO, ROOT
from tests.serving.conftest import needs_vllm
from tests.serving.server import KEY, Server

pytestmark = [needs_vllm, pytest.mark.slow]

httpx = pytest.importorskip("httpx")

ASK = "Какое слово первое?"
MAX_SECONDS = 600


@pytest.fixture(scope="module")
def tuned(tmp_path_factory) -> tuple[Path, Borealis]:
    """A folder with a LoRA of the bundled model, and the model with that LoRA merged into it."""
    peft = pytest.importorskip("peft")
    folder = tmp_path_factory.mktemp("lora")
    base = borealis.load("nano")
    settings = peft.LoraConfig(
        r=4, lora_alpha=4, target_modules=r".*language_model.*\.(o_proj|down_proj)"
    )
    model = peft.get_peft_model(base.model, settings)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=1.0)
    model.save_pretrained(folder)
    return folder, Borealis(model.merge_and_unload(), base.processor)


@pytest.fixture(scope="module")
def server(tmp_path_factory, tuned) -> Iterator[Server]:
    """`borealis serve` with the bundled model, a LoRA and small limits."""
    log = tmp_path_factory.mktemp("server") / "log.txt"
    options = ("--max-megabytes", "4", "--max-seconds", str(MAX_SECONDS))
    options += ("--lora", f"ours={tuned[0]}")
    running = Server(log, *options)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def http(server) -> Iterator[Any]:
    """A client with the key."""
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=300) as client:
        yield client


@pytest.fixture(scope="module")
def client(server) -> Any:
    """OpenAI's own client."""
    openai = pytest.importorskip("openai")
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=300)


@pytest.fixture(scope="module")
def long(recordings) -> bytes:
    """All recordings joined, half a minute and more, as FLAC."""
    return encoded(np.concatenate(recordings))


def encoded(audio: np.ndarray, rate: int = 16_000, kind: str = "FLAC", **options: Any) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, rate, format=kind, **options)
    return buffer.getvalue()


def audio_part(data: bytes, kind: str = "flac") -> dict[str, Any]:
    value = {"data": base64.b64encode(data).decode(), "format": kind}
    return {"type": "input_audio", "input_audio": value}


def chat(*parts: dict[str, Any] | str, **options: Any) -> dict[str, Any]:
    """The body of a chat request; strings are text parts."""
    content = [{"type": "text", "text": p} if isinstance(p, str) else p for p in parts]
    return {"model": "nano", "messages": [{"role": "user", "content": content}]} | options


# ---- transcription ----


def test_words_are_those_of_transcribe(client, clips, nano) -> None:
    expected = nano.transcribe([clip.audio for clip in clips], num_beams=1)
    for clip, transcript in zip(clips, expected, strict=True):
        with open(clip.audio, "rb") as file:
            answer = client.audio.transcriptions.create(model="nano", file=file)
        assert answer.text == transcript.text
        assert answer.usage.seconds == int(np.ceil(transcript.duration))


def test_long_file_loses_and_doubles_nothing(http, long, recordings, nano) -> None:
    expected = nano.transcribe(np.concatenate(recordings), num_beams=1)
    form = {"model": "nano", "response_format": "verbose_json", "language": "ru"}
    answer = http.post("/v1/audio/transcriptions", files={"file": long}, data=form).json()
    assert answer["text"] == expected.text
    times = [(s["start"], s["end"], s["text"]) for s in answer["segments"]]
    assert times == [(s.start, s.end, s.text) for s in expected.segments]
    assert len(times) > 1
    assert answer["duration"] == expected.duration
    assert all(s["avg_logprob"] < 0 for s in answer["segments"])


def test_formats(http, recordings) -> None:
    two_parts = encoded(np.concatenate(recordings[:3]))

    def post(wanted: str) -> Any:
        form = {"model": "nano", "response_format": wanted, "temperature": "0"}
        answer = http.post("/v1/audio/transcriptions", files={"file": two_parts}, data=form)
        assert answer.status_code == 200
        return answer

    text = post("json").json()["text"]
    plain = post("text")
    assert plain.text == text
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"
    srt, vtt = post("srt").text, post("vtt").text
    assert srt.count("-->") == vtt.count("-->") > 1
    assert srt.startswith("1\n00:00:00,000 --> ")
    assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> ")
    for subtitles in (srt, vtt):
        spoken = [line for line in subtitles.splitlines() if line[:1].isalpha()]
        assert " ".join(line for line in spoken if line != "WEBVTT") == text


def test_stream_of_a_transcript(client, long) -> None:
    whole = client.audio.transcriptions.create(model="nano", file=("a.flac", long)).text
    events = list(
        client.audio.transcriptions.create(model="nano", file=("a.flac", long), stream=True)
    )
    deltas = [event.delta for event in events[:-1]]
    assert {event.type for event in events[:-1]} == {"transcript.text.delta"}
    assert events[-1].type == "transcript.text.done"
    assert len(deltas) > 10
    assert "".join(deltas).split() == whole.split()
    assert events[-1].text == whole


def test_silence_and_a_hint(http, noise) -> None:
    silence = encoded(np.zeros(16_000, np.float32))
    answer = http.post("/v1/audio/transcriptions", files={"file": silence})
    assert (answer.status_code, answer.json()["text"]) == (200, "")
    form = {"prompt": "Пушкин, мороз.", "temperature": "0.5"}
    answer = http.post("/v1/audio/transcriptions", files={"file": encoded(noise(0.5))}, data=form)
    assert answer.status_code == 200


# ---- chat ----


def test_chat_answers_as_ask_does(client, http, speech, nano) -> None:
    expected = nano.ask(speech, ASK)
    data = speech.read_bytes()
    body = chat(audio_part(data), ASK)
    answer = client.chat.completions.create(model="nano", messages=body["messages"])
    assert answer.choices[0].message.content.strip() == expected
    # The same as a data: URL, streamed.
    url = "data:audio/flac;base64," + base64.b64encode(data).decode()
    part = {"type": "audio_url", "audio_url": {"url": url}}
    stream = client.chat.completions.create(
        model="nano", messages=chat(part, ASK)["messages"], stream=True
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert len(pieces) > 2
    assert "".join(pieces).strip() == expected


def test_lora_is_a_model_of_its_own(client, clips, tuned, nano) -> None:
    paths = [clip.audio for clip in clips[:3]]
    asked = {"question": "Запиши речь.", "max_new_tokens": 48}
    merged, plain = tuned[1].ask(paths, **asked), nano.ask(paths, **asked)
    assert merged != plain
    for path, ours, base in zip(paths, merged, plain, strict=True):
        body = chat(audio_part(Path(path).read_bytes()), asked["question"])
        for name, expected in (("ours", ours), ("nano", base)):
            answer = client.chat.completions.create(
                model=name, messages=body["messages"], max_tokens=asked["max_new_tokens"]
            )
            assert answer.choices[0].message.content.strip() == expected


def test_chat_with_two_recordings_and_turns(client, recordings, nano) -> None:
    first, second = (encoded(clip) for clip in recordings[:2])
    messages = [
        *chat(audio_part(first), "Запиши речь.")["messages"],
        {"role": "assistant", "content": "Да."},
        *chat(audio_part(second), ASK)["messages"],
    ]
    ours = [
        {"role": "user", "content": [{"type": "audio", "audio": first}, _text("Запиши речь.")]},
        {"role": "assistant", "content": "Да."},
        {"role": "user", "content": [{"type": "audio", "audio": second}, _text(ASK)]},
    ]
    answer = client.chat.completions.create(model="nano", messages=messages, max_tokens=64)
    assert answer.choices[0].message.content.strip() == nano.chat(ours, max_new_tokens=64)


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


# ---- the examples of the pages, and the load test ----


@pytest.mark.parametrize("command", [[sys.executable, "client.py"], ["bash", "curl.sh"]], ids=str)
def test_example(command, server, clips, nano) -> None:
    program, name = command
    environment = os.environ | {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": KEY}
    done = subprocess.run(
        [program, ROOT / "examples" / "serve" / name],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert nano.transcribe(clips[0].audio, num_beams=1).text in done.stdout
    assert "error" not in done.stdout


def test_load_test_writes_a_result_file(server, tmp_path, capsys, monkeypatch) -> None:
    from borealis.cli import main

    monkeypatch.setenv("VLLM_API_KEY", KEY)
    target = tmp_path / "serving.json"
    manifest = AUDIO / "manifest.jsonl"
    words = ["bench", "serve", manifest, "--url", server.url, "--requests", "8"]
    words += ["--concurrency", "4", "--local", "nano", "--output", target]
    assert main([str(word) for word in words]) in (0, None)
    record = json.loads(target.read_text(encoding="utf-8"))
    rows = record["metrics"]
    assert rows["server"]["requests"] == 8
    assert rows["server"]["failed"] == {}
    assert rows["server"]["first_token_seconds"]["p50"] <= rows["server"]["latency_seconds"]["p50"]
    rates = {row["word_error_rate"] for row in rows.values()}
    assert len(rates) == 1  # the same words by every road
    assert record["data"]["manifest"]["utterances"] == 6
    assert str(server.port) not in target.read_text(encoding="utf-8")
    assert "first token" in capsys.readouterr().out


def test_load_test_of_no_server_is_one_line(capsys) -> None:
    from borealis.cli import main

    words = ["bench", "serve", str(AUDIO / "manifest.jsonl"), "--url", "http://127.0.0.1:9"]
    assert main(words) == 2
    assert "Is the server running?" in capsys.readouterr().err


# ---- what is closed ----


def test_key_covers_all_that_works(server) -> None:
    with httpx.Client(base_url=server.url) as anyone:
        assert anyone.get("/health").status_code == 200
        for path in ("/v1/models", "/metrics"):
            assert anyone.get(path).status_code == 401
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}):
            for path in ("/v1/chat/completions", "/v1/audio/transcriptions"):
                answer = anyone.post(path, json=chat(ASK), headers=headers)
                assert answer.status_code == 401
                assert "Bearer" in answer.json()["error"]["message"]


def test_other_routes_of_vllm_are_closed(http) -> None:
    for path in ("/docs", "/openapi.json", "/version", "/load", "/ping", "/v1", "/v1/models/nano"):
        assert http.get(path).status_code == 404, path
    for path in (
        *("/tokenize", "/detokenize", "/invocations", "/v1/completions", "/v1/responses"),
        *("/v1/audio/translations", "/v1/load_lora_adapter", "/pause", "/v1/messages", "/score"),
        *("//v1/chat/completions", "/v1/chat/completions/", "/inference/v1/generate"),
    ):
        assert http.post(path, json=chat(ASK)).status_code == 404, path


def test_models_and_metrics(http, client) -> None:
    assert [model.id for model in client.models.list()] == ["nano", "ours"]
    assert "/" not in json.dumps(http.get("/v1/models").json())
    metrics = http.get("/metrics").text
    assert "vllm:num_requests_running" in metrics
    assert "vllm:time_to_first_token_seconds" in metrics


# ---- bad requests ----


def _forged(data: bytes) -> bytes:
    """A WAV whose header promises a hundred times more sound than there is."""
    place = data.index(b"data") + 4
    length = int.from_bytes(data[place : place + 4], "little") * 100
    return data[:place] + length.to_bytes(4, "little") + data[place + 4 :]


def _bad_files() -> dict[str, tuple[Callable[[], bytes], int]]:
    """Files by name, with the status each must get."""
    tone = (0.1 * np.sin(np.arange(16_000) / 10)).astype(np.float32)
    with_nan = tone.copy()
    with_nan[100] = np.nan
    wav = encoded(tone, kind="WAV")
    hours = np.zeros(2 * 3600 * 8_000, np.int16)
    return {
        "not audio": (lambda: "Это не звук.".encode() * 50, 400),
        "empty": (lambda: b"", 400),
        "one byte": (lambda: b"R", 400),
        "zeros": (lambda: bytes(10_000), 400),
        "a picture": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(500), 400),
        "truncated wav": (lambda: wav[: len(wav) // 2], 400),
        "only a header": (lambda: wav[:44], 400),
        "no samples": (lambda: encoded(tone[:0], kind="WAV"), 400),
        "not a number": (lambda: encoded(with_nan, kind="WAV", subtype="FLOAT"), 400),
        "forged length": (lambda: _forged(wav), 400),
        "truncated flac": (lambda: encoded(tone)[:60], 400),
        "two hours of silence": (lambda: encoded(hours, 8_000), 413),
        "a bomb of opus": (
            lambda: encoded(np.zeros((700 * 48_000, 1), np.float32), 48_000, "OGG", subtype="OPUS"),
            413,
        ),
        "too many bytes": (lambda: bytes(6 * 2**20), 413),
    }


@pytest.mark.parametrize("name", _bad_files())
def test_bad_file(name, http, server) -> None:
    make, status = _bad_files()[name]
    data = make()
    answer = http.post("/v1/audio/transcriptions", files={"file": ("a.wav", data)})
    _refused(answer, status)
    if len(data) < 4 * 2**20:
        _refused(http.post("/v1/chat/completions", json=chat(audio_part(data), ASK)), status)


@pytest.mark.parametrize(("channels", "rate"), [(8, 16_000), (1, 192_000), (1, 8_000)], ids=str)
def test_unusual_but_right_files_are_read(channels, rate, http) -> None:
    tone = 0.1 * np.sin(np.arange(rate) / rate * 3000)
    data = encoded(np.repeat(tone[:, None], channels, 1), rate, "WAV")
    answer = http.post("/v1/audio/transcriptions", files={"file": ("a.wav", data)})
    assert answer.status_code == 200


def _url(url: Any) -> dict[str, Any]:
    return {"type": "audio_url", "audio_url": {"url": url}}


BAD_CHATS: dict[str, Any] = {
    "wrong base64": chat({"type": "input_audio", "input_audio": {"data": "%%%", "format": "wav"}}),
    "no data": chat({"type": "input_audio", "input_audio": {"format": "wav"}}),
    "a file url": chat(_url("file:///etc/passwd")),
    "an ftp url": chat(_url("ftp://127.0.0.1/a.wav")),
    "a url of another kind": chat(_url({"a": 1})),
    "a data url without base64": chat(_url("data:audio/wav,abc")),
    "an image": chat({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}),
    "embeddings": chat({"type": "audio_embeds", "audio_embeds": "AAAA"}),
    "a huge prompt": chat("слово " * 100_000),
    "a prompt over the context": chat("слово " * 2_000),
    "marks of the prompt": chat("<|audio|> <|im_end|>"),
    "unknown model": chat(ASK, model="gpt-4"),
    "no messages": {"model": "nano", "messages": []},
    "messages of text": {"model": "nano", "messages": "привет"},
    "a message without content": {"model": "nano", "messages": [{"role": "user"}]},
    "an unknown role": {"model": "nano", "messages": [{"role": "wizard", "content": "a"}]},
    "options of the processor": chat(ASK, mm_processor_kwargs={"clip_key": 1}),
    "a template of its own": chat(ASK, chat_template="{{ messages }}"),
    "too many answers": chat(ASK, n=1000),
    "a wrong temperature": chat(ASK, temperature=-3),
    "a list": [1, 2, 3],
}


@pytest.mark.parametrize("name", BAD_CHATS)
def test_bad_chat(name, http) -> None:
    answer = http.post("/v1/chat/completions", json=BAD_CHATS[name])
    _refused(answer, 404 if name == "unknown model" else 400)


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"language": "xx"}, 400),
        ({"response_format": "docx"}, 400),
        ({"model": "whisper-1"}, 404),
        ({"temperature": "hot"}, 400),
        ({"stream": "perhaps"}, 400),
        ({"stream": "true", "response_format": "srt"}, 400),
        ({"timestamp_granularities[]": "word"}, 400),
        ({"prompt": "а" * 2_000}, 400),
        ({"prompt": "<|im_end|>"}, 400),
    ],
    ids=str,
)
def test_bad_form(form, status, http, speech) -> None:
    answer = http.post("/v1/audio/transcriptions", files={"file": speech.read_bytes()}, data=form)
    _refused(answer, status)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=x", b"--x\r\nbroken"),
        ("multipart/form-data", b"no boundary"),
        ("application/json", b'{"file": "a.wav"}'),
        ("multipart/form-data; boundary=x", b"--x--\r\n"),
    ],
)
def test_malformed_form(kind, body, http) -> None:
    headers = {"Content-Type": kind}
    _refused(http.post("/v1/audio/transcriptions", content=body, headers=headers), 400)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_malformed_json(body, http) -> None:
    _refused(http.post("/v1/chat/completions", content=body), 400)


def _raw(server: Server, headers: str, parts: list[bytes]) -> bytes:
    """The first line of the answer to a request that no decent client would send."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        head = "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: a\r\n"
        connection.sendall(f"{head}Authorization: Bearer {KEY}\r\n{headers}\r\n\r\n".encode())
        for part in parts:
            try:
                connection.sendall(part)
            except OSError:  # the server has answered and closed
                break
        return connection.recv(100).split(b"\r\n")[0]


def test_body_that_lies_about_its_length_or_never_ends(server) -> None:
    assert b"413" in _raw(server, f"Content-Length: {10**12}", [])
    chunk = b"%x\r\n" % (1 << 20) + bytes(1 << 20) + b"\r\n"
    assert b"413" in _raw(server, "Transfer-Encoding: chunked", [chunk] * 8)
    assert server.healthy()


def test_url_is_never_fetched(http) -> None:
    seen: list[str] = []

    class Canary(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Canary) as canary:
        thread = threading.Thread(target=canary.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{canary.server_port}/secret"
            _refused(http.post("/v1/chat/completions", json=chat(_url(url), ASK)), 400)
            assert not seen
            httpx.get(url)
            assert seen == ["/secret"]
        finally:
            canary.shutdown()
            thread.join()


def _refused(answer: Any, status: int) -> None:
    """The status, a sentence that helps, and nothing of the machine."""
    assert answer.status_code == status, answer.text
    message = answer.json()["error"]["message"]
    assert len(message) > 15
    for secret in ("Traceback", "site-packages", "/home", "/tmp", "/root", ".py", KEY):
        assert secret not in answer.text


def test_memory_comes_back_after_bad_files(http, server, speech) -> None:
    files = [make() for make, _ in _bad_files().values()]

    def round_of_bad_files() -> None:
        for data in files:
            http.post("/v1/audio/transcriptions", files={"file": ("a.wav", data)})

    round_of_bad_files()
    before = server.memory()
    for _ in range(3):
        round_of_bad_files()
    assert server.memory() - before < 150 * 2**20
    assert http.post("/v1/audio/transcriptions", files={"file": speech.read_bytes()}).json()["text"]


# ---- many clients, clients that leave, a server that dies ----


async def _post(client: Any, path: Any) -> str:
    files = {"file": path.read_bytes()}
    answer = await client.post("/v1/audio/transcriptions", files=files)
    assert answer.status_code == 200, answer.text
    return answer.json()["text"]


def _async_client(server: Server) -> Any:
    limits = httpx.Limits(max_connections=100)
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.AsyncClient(base_url=server.url, headers=headers, timeout=600, limits=limits)


def test_64_clients_at_once(server, clips, nano) -> None:
    paths = [AUDIO / clip.audio for clip in clips]
    expected = [t.text for t in nano.transcribe(list(map(str, paths)), num_beams=1)]

    async def run() -> list[str]:
        async with _async_client(server) as client:
            return await asyncio.gather(*(_post(client, paths[i % len(paths)]) for i in range(64)))

    answers = asyncio.run(run())
    assert answers == [expected[i % len(paths)] for i in range(64)]


def test_clients_that_leave_disturb_nobody(server, clips, long, nano) -> None:
    paths = [AUDIO / clip.audio for clip in clips]
    expected = [t.text for t in nano.transcribe(list(map(str, paths)), num_beams=1)]

    async def leave(client: Any, stream: bool) -> None:
        form = {"stream": "true"} if stream else {}
        request = ("POST", "/v1/audio/transcriptions")
        try:
            async with asyncio.timeout(1.0):
                async with client.stream(*request, files={"file": long}, data=form) as answer:
                    async for _ in answer.aiter_lines():
                        return  # the first piece, and away
        except TimeoutError:
            pass

    async def run() -> list[str]:
        async with _async_client(server) as client:
            leavers = [leave(client, stream) for stream in (True, False) * 4]
            answers = asyncio.gather(*(_post(client, path) for path in paths))
            await asyncio.gather(*leavers)
            return await answers

    assert asyncio.run(run()) == expected
    # What the leavers asked for isn't worked on any more.
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        for _ in range(100):
            metrics = client.get("/metrics").text
            lines = [x for x in metrics.splitlines() if x.startswith("vllm:num_requests_running")]
            if all(line.endswith(" 0.0") for line in lines):
                break
        assert lines and all(line.endswith(" 0.0") for line in lines)


def test_killed_and_started_again(server, http, speech) -> None:
    files = {"file": speech.read_bytes()}
    before = http.post("/v1/audio/transcriptions", files=files).json()["text"]
    server.stop(signal.SIGKILL)
    with pytest.raises(httpx.TransportError):
        http.post("/v1/audio/transcriptions", files=files)
    server.start()
    assert http.post("/v1/audio/transcriptions", files=files).json()["text"] == before
