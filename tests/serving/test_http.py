"""The server over HTTP: transcription, chat, what is closed, and the examples of the pages."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.conftest import AUDIO, ROOT
from tests.serving.conftest import needs_vllm
from tests.serving.server import ASK, KEY, audio_part, chat, encoded

pytestmark = [needs_vllm, pytest.mark.slow]


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
