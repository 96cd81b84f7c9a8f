"""The server over HTTP: transcription, chat, what is closed, and the examples of the pages."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import numpy as np
import pytest

from tests.conftest import AUDIO, ROOT
from tests.serving.conftest import needs_vllm
from tests.serving.server import ASK, KEY, audio_part, chat, encoded

pytestmark = [needs_vllm, pytest.mark.slow]


# ---- transcription ----


def test_words_are_those_of_transcribe(client, clips, transcripts) -> None:
    for clip, transcript in zip(clips, transcripts, strict=True):
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
    assert events[-1].text == "".join(deltas) == whole
    # Often enough to be read along, and not an event for every letter.
    assert 10 < len(deltas) < len(whole) / 2.5


def test_silence_has_no_words_and_no_language(http) -> None:
    silence = encoded(np.zeros(16_000, np.float32))
    form = {"response_format": "verbose_json"}
    answer = http.post("/v1/audio/transcriptions", files={"file": silence}, data=form)
    assert answer.status_code == 200
    assert (answer.json()["text"], answer.json()["language"]) == ("", None)


def test_language_is_the_one_that_was_given_or_that_of_the_words(http, speech) -> None:
    form = {"response_format": "verbose_json"}
    told = []
    for given in ({}, {"language": "ru-RU"}, {"language": "english"}):
        files = {"file": speech.read_bytes()}
        answer = http.post("/v1/audio/transcriptions", files=files, data=form | given)
        told.append(answer.json()["language"])
    assert told == ["ru", "ru", "en"]


def test_seed_draws_the_same_again(http, speech) -> None:
    def text(**form: str) -> str:
        form = {"temperature": "2", "seed": "1"} | form
        answer = http.post(
            "/v1/audio/transcriptions", files={"file": speech.read_bytes()}, data=form
        )
        return answer.json()["text"]

    assert text() == text() != text(seed="2")


# ---- chat ----


def test_chat_answers_as_ask_does(client, http, speech, nano) -> None:
    expected = nano.ask(speech, ASK, transcribe_first=False)
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
    asked = {"question": "Запиши речь.", "max_new_tokens": 48, "transcribe_first": False}
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


def test_what_clients_of_openai_send(client) -> None:
    system, user = ({"role": r, "content": ASK} for r in ("system", "user"))
    one = client.chat.completions.create(model="nano", messages=[system, user], max_tokens=8)
    same = client.chat.completions.create(
        model="nano", max_completion_tokens=8, messages=[system | {"role": "developer"}, user],
        response_format={"type": "text"}, store=False, stop=None, user="somebody",
    )  # fmt: skip
    assert same.choices[0].message.content == one.choices[0].message.content
    # An answer goes back as it came, whatever fields it has.
    again = [
        user,
        one.choices[0].message.model_dump(),
        user,
        {"role": "assistant", "content": None},
    ]
    answer = client.chat.completions.create(model="nano", messages=[*again, user], max_tokens=8)
    assert answer.choices[0].finish_reason in ("length", "stop")
    several = {"model": "nano", "messages": [user], "n": 4, "seed": 3, "max_tokens": 16}
    assert len(client.chat.completions.create(**several).choices) == 4
    drawn = client.chat.completions.create(**several, temperature=2)
    assert len({choice.message.content for choice in drawn.choices}) > 1


def test_what_is_not_offered_is_refused_in_the_form_openai_s_client_reads(client, speech) -> None:
    import openai

    def chat_with(**fields: Any) -> Any:
        messages = [{"role": "user", "content": ASK}]
        return client.chat.completions.create(model="nano", messages=messages, **fields)

    def transcribe(**fields: Any) -> Any:
        return client.audio.transcriptions.create(model="nano", file=speech, **fields)

    function = {"type": "function", "function": {"name": "f", "parameters": {}}}
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"$ref": "#"}}}
    refused = [
        (chat_with, "tools", [function]),
        (chat_with, "response_format", {"type": "json_object"}),
        (chat_with, "response_format", schema),
        (transcribe, "include", ["logprobs"]),
        (transcribe, "response_format", "diarized_json"),
        (transcribe, "chunking_strategy", {"type": "server_vad"}),
        (transcribe, "known_speaker_names", ["Bob"]),
        (transcribe, "timestamp_granularities", ["word"]),
        (transcribe, "prompt", "Пушкин"),
        (transcribe, "extra_body", {"hotwords": "Пушкин"}),
    ]
    for ask, field, value in refused:
        with pytest.raises(openai.BadRequestError) as error:
            ask(**{field: value})
        named = error.value.param.partition("[")[0]
        assert named in (field, "hotwords")
        assert (error.value.code, error.value.type) == (
            *("unsupported_parameter", "invalid_request_error"),
        )
    with pytest.raises(openai.NotFoundError, match="isn't translated"):
        client.audio.translations.create(model="nano", file=speech)
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("whisper-1")
    assert (error.value.param, error.value.code) == ("model", "model_not_found")


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


# ---- the examples of the pages, and the load test ----


@pytest.mark.parametrize("command", [[sys.executable, "client.py"], ["bash", "curl.sh"]], ids=str)
def test_example(command, server, transcripts) -> None:
    program, name = command
    environment = os.environ | {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": KEY}
    done = subprocess.run(
        [program, ROOT / "examples" / "serve" / name],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert transcripts[0].text in done.stdout
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
    # The same words by every road; the last decodes as the command does, by more beams.
    by_default = rows.pop("transcribe")
    assert by_default["decoding"]["num_beams"] > 1
    assert len({row["word_error_rate"] for row in rows.values()}) == 1
    assert rows["server"]["same_as_transformers"] == 8
    assert record["decoding"]["num_beams"] == 1 and record["model"]["checkpoint"]
    assert record["data"]["manifest"]["utterances"] == 6
    assert str(server.port) not in target.read_text(encoding="utf-8")
    assert "first token" in capsys.readouterr().out


def test_load_test_that_cannot_start_its_server_says_why(capsys, tmp_path) -> None:
    from borealis.cli import main

    words = ["bench", "serve", str(AUDIO / "manifest.jsonl"), "--start"]
    assert main([*words, str(tmp_path / "python"), "--local", "nano"]) == 2
    assert "can't be run: No such file" in capsys.readouterr().err
    assert main([*words, sys.executable, "--local", "no-such-checkpoint"]) == 2
    assert "There is no checkpoint 'no-such-checkpoint'" in capsys.readouterr().err
    assert main([*words, sys.executable]) == 2
    assert "--start needs --local" in capsys.readouterr().err


def test_load_test_of_no_server_is_one_line(capsys) -> None:
    from borealis.cli import main

    words = ["bench", "serve", str(AUDIO / "manifest.jsonl"), "--url", "http://127.0.0.1:9"]
    assert main(words) == 2
    assert "Is the server running?" in capsys.readouterr().err


def test_taken_port_is_one_line(server, capsys) -> None:
    from borealis.cli import main

    before = signal.getsignal(signal.SIGTERM)
    with mock.patch.dict(os.environ):
        assert main(["serve", "--port", str(server.port)]) == 2
    signal.signal(signal.SIGTERM, before)
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"127.0.0.1:{server.port} can't be listened on" in said


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
    for path in ("/docs", "/openapi.json", "/version", "/load", "/ping", "/v1", "/v1/models/"):
        assert http.get(path).status_code == 404, path
    for path in (
        *("/tokenize", "/detokenize", "/invocations", "/v1/completions", "/v1/responses"),
        *("/v1/audio/translations", "/v1/load_lora_adapter", "/pause", "/v1/messages", "/score"),
        *("//v1/chat/completions", "/v1/chat/completions/", "/inference/v1/generate"),
    ):
        assert http.post(path, json=chat(ASK)).status_code == 404, path


def test_models_and_metrics(http, client) -> None:
    assert [model.id for model in client.models.list()] == ["nano", "ours"]
    assert [client.models.retrieve(name).id for name in ("nano", "ours")] == ["nano", "ours"]
    assert "/" not in json.dumps(http.get("/v1/models").json())
    metrics = http.get("/metrics").text
    assert "vllm:num_requests_running" in metrics
    assert "vllm:time_to_first_token_seconds" in metrics
