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

from borealis.inference import formats
from tests.conftest import AUDIO, ROOT
from tests.serving.conftest import needs_vllm
from tests.serving.server import ASK, KEY, audio_part, chat, encoded, refused

pytestmark = [needs_vllm, pytest.mark.slow]

HOT = ("предложения", "щеколда")


# ---- transcription ----


def test_words_are_those_of_transcribe(client, clips, transcripts) -> None:
    for clip, transcript in zip(clips, transcripts, strict=True):
        with open(clip.audio, "rb") as file:
            answer = client.audio.transcriptions.create(model="nano", file=file)
        assert answer.text == transcript.text
        assert answer.usage.seconds == int(np.ceil(transcript.duration))


def test_a_long_file_is_that_of_transcribe_in_every_format(http, long, long_transcript) -> None:
    def post(wanted: str, **more: Any) -> Any:
        form = {"model": "nano", "response_format": wanted, "temperature": "0"} | more
        answer = http.post("/v1/audio/transcriptions", files={"file": long}, data=form)
        assert answer.status_code == 200, answer.text
        return answer

    expected, words = long_transcript, long_transcript.words
    assert post("json").json()["text"] == expected.text
    plain = post("text")
    assert plain.text == expected.text
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"
    for wanted in ("srt", "vtt"):
        assert post(wanted).text == formats.write(expected, wanted)
    asked = {"timestamp_granularities[]": ["segment", "word"]}
    verbose = post("verbose_json", **asked).json()
    assert verbose["text"] == expected.text
    assert (verbose["duration"], verbose["language"]) == (expected.duration, "ru")
    times = [(s["start"], s["end"], s["text"]) for s in verbose["segments"]]
    assert times == [(s.start, s.end, s.text) for s in expected.segments]
    assert len(times) > 1
    assert verbose["words"] == [{"word": w.text, "start": w.start, "end": w.end} for w in words]
    assert "words" not in post("verbose_json").json()


def test_times_of_words_are_those_of_transcribe(client, clips, transcripts) -> None:
    for clip, transcript in zip(clips, transcripts, strict=True):
        with open(clip.audio, "rb") as file:
            answer = client.audio.transcriptions.create(
                model="nano", file=file, response_format="verbose_json",
                timestamp_granularities=["word"],
            )  # fmt: skip
        told = [(word.word, word.start, word.end) for word in answer.words]
        assert told == [(word.text, word.start, word.end) for word in transcript.words]


def test_a_segment_has_its_tokens_and_the_mean_of_its_letters(http, recordings, nano) -> None:
    form = {"response_format": "verbose_json"}
    files = {"file": encoded(recordings[0])}
    (segment,) = http.post("/v1/audio/transcriptions", files=files, data=form).json()["segments"]
    written = nano.write_parts([recordings[0]])[0]
    assert nano.processor.tokenizer.decode(segment["tokens"]) == segment["text"] == written.text
    letters = sum(c.isalpha() or c.isspace() for c in written.text)
    assert segment["avg_logprob"] == pytest.approx(written.log_prob / letters, abs=1e-3)
    assert segment["avg_logprob"] < 0


def test_stream_of_a_transcript(client, long, long_transcript) -> None:
    events = list(
        client.audio.transcriptions.create(model="nano", file=("a.flac", long), stream=True)
    )
    deltas = [event.delta for event in events[:-1]]
    assert {event.type for event in events[:-1]} == {"transcript.text.delta"}
    assert events[-1].type == "transcript.text.done"
    assert events[-1].text == "".join(deltas) == long_transcript.text
    assert [delta.strip() for delta in deltas] == [s.text for s in long_transcript.segments]


def test_hot_words_are_written_where_they_may_be(http, recordings, nano) -> None:
    sound = encoded(recordings[0])
    plain = nano.transcribe(sound).text
    hot = nano.transcribe(sound, hot_words=HOT).text
    assert hot != plain

    def text(**form: Any) -> str:
        answer = http.post("/v1/audio/transcriptions", files={"file": sound}, data=form)
        assert answer.status_code == 200, answer.text
        return answer.json()["text"]

    assert text() == plain
    assert text(hotwords=", ".join(HOT)) == text(**{"hotwords[]": list(HOT)}) == hot


def test_what_a_search_has_no_use_for_is_refused_by_name(http, speech) -> None:
    refusals = {
        "prompt": "Пушкин",
        "temperature": "0.5",
        "model": "ours",
        "hotwords": "Пушкин, ...",
    }
    for field, value in refusals.items():
        for stream in ("false", "true"):
            answer = http.post(
                "/v1/audio/transcriptions",
                files={"file": speech.read_bytes()},
                data={field: value, "stream": stream},
            )
            refused(answer, 400)
            assert answer.json()["error"]["param"] == field


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


def test_language_binds_the_letters(http, speech, nano) -> None:
    form = {"language": "en"}
    files = {"file": speech.read_bytes()}
    answer = http.post("/v1/audio/transcriptions", files=files, data=form).json()
    assert answer["text"] == nano.transcribe(speech, language="en").text


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


def test_the_draft_is_handed_over_once_whatever_follows(http, client, speech, nano) -> None:
    """With what the model read counted: the draft is among it."""
    data, draft = speech.read_bytes(), nano.transcribe(speech).text
    first = chat(audio_part(data), ASK)["messages"]
    last = {"role": "user", "content": "Сколько слов сказано?"}
    said = {"role": "assistant", "content": "Да."}
    asked = {"role": "user", "content": ASK}
    heard = chat(audio_part(data), "Запиши речь.")["messages"]
    written = {"role": "assistant", "content": draft}

    def answer(*messages: Any) -> tuple[str, int]:
        made = client.chat.completions.create(model="nano", messages=list(messages), max_tokens=64)
        return made.choices[0].message.content.strip(), made.usage.prompt_tokens

    # As the client may send it itself, and as the server hands it over.
    assert answer(*first) == answer(*heard, written, asked)
    assert answer(*first, said, last) == answer(*heard, written, asked, said, last)
    alone = chat(audio_part(data))["messages"]
    assert answer(*alone, asked) == answer(*heard, written, asked)
    sound = [{"type": "audio", "audio": data}]
    ours = [
        {"role": "user", "content": [*sound, _text("Запиши речь.")]},
        written, asked, said, last,
    ]  # fmt: skip
    assert answer(*first, said, last)[0] == nano.chat(ours, max_new_tokens=64)


def test_a_recording_of_several_parts_is_asked_about_as_ask_does(client, long, nano) -> None:
    messages = chat(audio_part(long), ASK)["messages"]
    answer = client.chat.completions.create(model="nano", messages=messages)
    assert answer.choices[0].message.content.strip() == nano.ask(long, ASK)


def test_a_draft_that_leaves_no_room_is_left_out(client, recordings, nano) -> None:
    config = nano.model.config
    clip = np.tile(np.concatenate(recordings), 5)
    longest = 3300 * 80 * 16  # samples of 3300 audio tokens
    assert len(clip) > 100 * 16_000 and config.num_audio_tokens(min(len(clip), longest)) < 3400
    sound = encoded(clip[:longest])
    made = client.chat.completions.create(
        model="nano", messages=chat(audio_part(sound), ASK)["messages"], max_tokens=4
    )
    assert made.usage.prompt_tokens < config.num_audio_tokens(len(clip[:longest])) + 100


def test_lora_is_a_model_of_its_own(client, clips, tuned, nano) -> None:
    question = "Запиши речь."
    expected: dict[str, list[str]] = {"ours": [], "nano": []}
    got: dict[str, list[str]] = {"ours": [], "nano": []}
    for clip in clips[:3]:
        sound = Path(clip.audio).read_bytes()
        # Its answers are its own; the draft is the model's.
        messages = [
            {"role": "user", "content": [{"type": "audio", "audio": sound}, _text(question)]},
            {"role": "assistant", "content": nano.transcribe(sound).text},
            {"role": "user", "content": question},
        ]
        body = chat(audio_part(sound), question)["messages"]
        for name, model in (("ours", tuned[1]), ("nano", nano)):
            expected[name].append(model.chat(messages, max_new_tokens=48))
            answer = client.chat.completions.create(model=name, messages=body, max_tokens=48)
            got[name].append(answer.choices[0].message.content.strip())
    assert got == expected
    assert expected["ours"] != expected["nano"]


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
        return client.audio.transcriptions.create(**({"model": "nano", "file": speech} | fields))

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
        (transcribe, "prompt", "Пушкин"),
        (transcribe, "temperature", 0.5),
        (transcribe, "model", "ours"),
    ]
    for ask, field, value in refused:
        with pytest.raises(openai.BadRequestError) as error:
            ask(**{field: value})
        named = error.value.param.partition("[")[0]
        assert named == field
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


def test_load_test_writes_a_result_file(server, nano, tmp_path, capsys, monkeypatch) -> None:
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
    # The same words by every road.
    assert len({row["word_error_rate"] for row in rows.values()}) == 1
    assert rows["server"]["same_as_transformers"] == 8
    beams = nano.model.config.search["num_beams"]
    assert record["decoding"]["num_beams"] == beams and record["model"]["checkpoint"]
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
    assert "borealis:parts_waiting 0.0" in metrics and "borealis:parts_running" in metrics
