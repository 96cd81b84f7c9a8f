"""Speech over HTTP: OpenAI's client, forms of sound, voices, spoken answers, odd requests."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import av
import httpx
import numpy as np
import pytest

from borealis.audio import load_audio
from borealis.speech.sound import CONTENT_TYPES, MARK
from tests.conftest import ROOT
from tests.serving.conftest import needs_vllm
from tests.serving.server import KEY, Server, chat, refused

pytestmark = [needs_vllm, pytest.mark.slow]

TEXT = "Мороз и солнце! День чудесный."
MANNER = {"voice": "ivan", "temperature": 0}
LONG = "Ещё ты дремлешь, друг прелестный. " * 60


@pytest.fixture(scope="module")
def speaking_server(speaking_folder, tmp_path_factory) -> Iterator[Server]:
    """`borealis serve` with the model of random weights that speaks."""
    log = tmp_path_factory.mktemp("speaking-server") / "log.txt"
    running = Server(log, str(speaking_folder), "--name", "nano")
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def speaks(speaking_server) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=speaking_server.url, headers=headers, timeout=300) as client:
        yield client


@pytest.fixture(scope="module")
def openai_client(speaking_server) -> Any:
    openai = pytest.importorskip("openai")
    url = f"{speaking_server.url}/v1"
    return openai.OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=300)


@pytest.fixture(scope="module")
def expected(speaking) -> np.ndarray:
    """What Python makes of TEXT, float32."""
    return speaking.speak(TEXT, **MANNER).waveform


def say(client: httpx.Client, text: Any = TEXT, **fields: Any) -> httpx.Response:
    return client.post("/v1/audio/speech", json={"model": "nano", "input": text} | fields)


def of_pcm(data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<i2") / np.float32(32767)


def count(client: httpx.Client, name: str) -> float:
    """A counter of /metrics."""
    text = client.get("/metrics").text
    return sum(float(v) for v in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def test_sound_is_that_of_speak(speaks, speaking, expected) -> None:
    said = of_pcm(say(speaks, response_format="pcm", **MANNER).content)
    assert len(said) == len(expected)
    assert np.abs(said - np.clip(expected, -1, 1)).max() < 1e-3
    fast = speaking.speak(TEXT, speed=1.5, **MANNER).waveform
    said = of_pcm(say(speaks, response_format="pcm", speed=1.5, **MANNER).content)
    assert len(said) == len(fast)
    assert np.abs(said - np.clip(fast, -1, 1)).max() < 1e-3


@pytest.mark.parametrize("form", CONTENT_TYPES)
def test_every_form_with_openais_client(openai_client, expected, form) -> None:
    with openai_client.audio.speech.with_streaming_response.create(
        model="nano", input=TEXT, voice="ivan", response_format=form, extra_body={"temperature": 0}
    ) as answer:
        chunks = list(answer.iter_bytes(1024))
        assert answer.headers["content-type"] == CONTENT_TYPES[form]
        assert answer.headers["x-synthetic-speech"] == f"{MARK}, voice ivan"
    data = b"".join(chunks)
    if form == "pcm":
        assert len(data) == 2 * len(expected)
        return
    assert abs(len(load_audio(data)) - len(expected)) < 1600
    with av.open(io.BytesIO(data)) as file:
        told = file.metadata | file.streams[0].metadata
    assert told["comment"] == f"{MARK}, voice ivan"


def test_without_a_form_it_is_mp3_and_a_voice_may_be_an_object(openai_client) -> None:
    answer = openai_client.audio.speech.create(model="nano", input="Да.", voice={"id": "anna"})
    assert answer.response.headers["content-type"] == "audio/mpeg"
    assert len(load_audio(answer.content)) > 0


def test_without_a_voice_the_language_of_the_text_chooses(speaks) -> None:
    for text, voice in (("Да.", "anna"), ("Yes.", "kate")):
        assert say(speaks, text).headers["x-synthetic-speech"].endswith(f"voice {voice}")


def test_events_hold_the_same_sound(speaks, expected) -> None:
    answer = say(speaks, response_format="pcm", stream_format="sse", **MANNER)
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in answer.text.split("\n\n") if line]
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    sound = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert np.array_equal(
        np.frombuffer(sound, "<i2"),
        np.frombuffer(say(speaks, response_format="pcm", **MANNER).content, "<i2"),
    )
    usage = events[-1]["usage"]
    assert events[-1]["type"] == "speech.audio.done"
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["output_tokens"] > usage["input_tokens"] > 20


def test_a_seed_repeats_a_speech_and_another_changes_it(speaks) -> None:
    one, again, other = (
        say(speaks, response_format="pcm", seed=seed, temperature=1).content for seed in (1, 1, 2)
    )
    assert one == again != other


def test_many_at_once_hear_what_one_hears(speaks) -> None:
    texts = [TEXT, "Да.", "В доме 25 окон.", "The quick brown fox."] * 3

    def pcm(text: str) -> bytes:
        return say(speaks, text, response_format="pcm", temperature=0).content

    with ThreadPoolExecutor(len(texts)) as pool:
        together = list(pool.map(pcm, texts))
    assert together == [pcm(text) for text in texts[:4]] * 3


def test_sound_comes_while_the_rest_is_made_and_stops_when_the_client_leaves(speaks) -> None:
    body = {"input": LONG, "response_format": "pcm"}
    with speaks.stream("POST", "/v1/audio/speech", json=body) as answer:
        assert answer.status_code == 200
        chunks = answer.iter_bytes()  # without a name it would be closed at once
        assert next(chunks)
        assert count(speaks, "borealis:speeches_running") == 1
        assert count(speaks, "vllm:num_requests_running") > 0
    deadline = time.monotonic() + 20
    while count(speaks, "borealis:speeches_running") or count(speaks, "vllm:num_requests_running"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert say(speaks, "Да.").status_code == 200


def test_voices_are_told(speaks) -> None:
    voices = speaks.get("/v1/audio/voices").json()["voices"]
    assert [voice["id"] for voice in voices] == ["anna", "ivan", "kate"]
    assert voices[1] == {
        "id": "ivan",
        "name": "ivan",
        "language": "ru",
        "gender": "male",
        "description": {"en": "A low man's voice.", "ru": "Низкий мужской голос."},
    }
    assert httpx.get(f"{speaks.base_url}/v1/audio/voices").status_code == 401


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("input", value) for value in ("", " ", "😀🎉", "...", "你好", "<speak>Да</speak>")),
        *(("input", value) for value in ("а" * 100_000, None, 1, ["Да"], {"text": "Да"})),
        *(("voice", value) for value in ("alloy", "", "x" * 10_000, 1, {"id": "alloy"}, {}, [])),
        *(("voice", value) for value in ({"id": 1}, {"id": "anna", "more": 1}, "../anna", "\x00")),
        *(("response_format", value) for value in ("aac", "MP3", "", 1, [], "x" * 10_000)),
        *(("speed", value) for value in (0.25, 0.49, 2.01, 4, 0, -1, "1", True, 10**400)),
        *(("stream_format", value) for value in ("SSE", "", 1, [])),
        *(("temperature", value) for value in (-0.1, 2.1, "0", True)),
        *(("top_k", value) for value in (0, -1, 1.5, 2**31, "1")),
        *(("seed", value) for value in (-1, 2**63, 0.5, "1", 10**400)),
        *(("language", value) for value in ("fr", "русский язык", 1)),
        *(("instructions", value) for value in ("Шёпотом.", 1)),
        *((name, 1) for name in ("n", "stream", "vllm_xargs", "extra_args", "x" * 10_000)),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_what_cannot_be_said_is_refused_by_the_name_of_its_field(speaks, field, value) -> None:
    answer = say(speaks, **{"voice": "anna", field: value})
    refused(answer, 400)
    assert answer.json()["error"]["param"].startswith(field[:50])


def test_aac_and_wide_speeds_are_refused_with_what_works(speaks) -> None:
    message = say(speaks, response_format="aac").json()["error"]["message"]
    assert all(form in message for form in CONTENT_TYPES)
    assert "0.5 to 2" in say(speaks, speed=4).json()["error"]["message"]


def test_other_bodies_are_refused(speaks) -> None:
    for content in (b"", b"[]", b"{", b'{"input": "\\ud800"}', b"\xff"):
        refused(speaks.post("/v1/audio/speech", content=content), 400)
    refused(say(speaks, "а" * 2**20), 413)
    refused(say(speaks, model="other"), 404)
    refused(speaks.get("/v1/audio/speech"), 404)
    null = {name: None for name in ("voice", "speed", "seed", "instructions", "anything")}
    assert say(speaks, "Да.", **null).status_code == 200


def test_an_answer_of_the_chat_is_spoken_too(openai_client, speaking) -> None:
    # The weights are random: a bias makes the answer one that can be said.
    (token,) = speaking.processor.tokenizer.encode("а", add_special_tokens=False)
    reply = openai_client.chat.completions.create(
        model="nano", messages=[{"role": "user", "content": "Да?"}], max_tokens=3,
        logit_bias={str(token): 100}, modalities=["text", "audio"],
        audio={"voice": "anna", "format": "mp3"},
    )  # fmt: skip
    message = reply.choices[0].message
    assert message.content == message.audio.transcript == "ааа"
    assert abs(message.audio.expires_at - time.time()) < 60
    assert len(load_audio(base64.b64decode(message.audio.data))) > 0
    # The client may send the answer back as it came.
    turns = [{"role": "user", "content": "Да?"}, message.model_dump()]
    again = openai_client.chat.completions.create(
        model="nano", messages=[*turns, {"role": "user", "content": "Да?"}], max_tokens=3
    )
    assert again.choices[0].message.audio is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream": True}, "stream"),
        ({"modalities": ["text"]}, "modalities"),
        ({"modalities": ["text", "audio", "video"]}, "modalities"),
        ({"audio": None}, "audio"),
        ({"audio": "anna"}, "audio"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"audio": {"voice": "anna", "format": "aac"}}, "audio"),
        ({"audio": {"voice": 1}}, "audio"),
        ({"audio": {"voice": "anna", "speed": 2}}, "audio"),
    ],
)
def test_spoken_answers_that_are_not_here_are_refused(speaks, fields, param) -> None:
    spoken = {"modalities": ["text", "audio"], "audio": {"voice": "anna", "format": "pcm16"}}
    answer = speaks.post("/v1/chat/completions", json=chat("Да?", max_tokens=2) | spoken | fields)
    refused(answer, 400)
    assert answer.json()["error"]["param"] == param


def test_an_answer_that_cannot_be_said_has_no_sound(speaks, speaking) -> None:
    (token,) = speaking.processor.tokenizer.encode(".", add_special_tokens=False)
    spoken = {"modalities": ["text", "audio"], "audio": {"voice": "anna", "format": "pcm16"}}
    body = chat("Да?", max_tokens=2, logit_bias={str(token): 100}) | spoken
    message = speaks.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]
    assert (message["content"], message["audio"]) == ("..", None)


@pytest.mark.parametrize("command", [[sys.executable, "speech.py"], ["bash", "speech.sh"]], ids=str)
def test_example_of_the_pages(command, speaking_server, tmp_path) -> None:
    program, name = command
    url = f"{speaking_server.url}/v1"
    environment = os.environ | {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": KEY}
    done = subprocess.run(
        [program, ROOT / "examples" / "serve" / name],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "anna" in done.stdout
    written = {path.name for path in tmp_path.iterdir()}
    assert written & {"frost.mp3", "frost.opus"}
    for path in tmp_path.iterdir():
        assert len(load_audio(path)) > 0


def test_a_model_without_voices_says_so(http) -> None:
    # Of the bundled model. When it speaks, this needs one that doesn't.
    assert http.get("/v1/audio/voices").json() == {"voices": []}
    answer = http.post("/v1/audio/speech", json={"model": "nano", "input": "Да."})
    refused(answer, 400)
    assert "no voices" in answer.json()["error"]["message"]
