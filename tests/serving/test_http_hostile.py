"""Every field with every odd value: an answer or a short 4xx, never a 5xx, and a server that lives."""

from __future__ import annotations

import json
import random
import socket
from typing import Any

import numpy as np
import pytest

from borealis.serving import chat as chat_requests
from tests.serving.conftest import needs_vllm
from tests.serving.server import ASK, KEY, Server, chat, encoded, refused

pytestmark = [needs_vllm, pytest.mark.slow]

VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 0.5, 2**31, 2**63, -(2**63), 2**64, 10**400, -(10**30)),
    *(1e308, -1e308, 1e-310, float("nan"), float("-inf")),
    *("", "1", "x" * 100_000, "\ud800", "\x00", "<|im_end|>", "../../etc/passwd"),
    *([], [[]], [0], [-1], [2**63], ["a"] * 1000, [None], [{"$ref": "#"}]),
    *({}, {"a": 1}, {"$ref": "#"}, {"-1": 1}, {"0": 1e308}, {"1": -100}, {"type": "json_object"}),
)
FIELDS = (
    *("model", "messages", *chat_requests._Sampling.model_fields, *chat_requests._REFUSED),
    *("tool_choice", "parallel_tool_calls", "function_call", "service_tier", "reasoning_effort"),
    *("metadata", "structured_outputs", "guided_json", "prompt_logprobs", "bad_words", "priority"),
    *(
        "allowed_token_ids",
        "mm_processor_kwargs",
        "chat_template_kwargs",
        "vllm_xargs",
        "documents",
    ),
    *("add_generation_prompt", "continue_final_message", "echo", "request_id", "use_beam_search"),
)
FORM_FIELDS = (
    *("model", "language", "prompt", "response_format", "temperature", "stream", "seed", "file"),
    *("timestamp_granularities[]", "include[]", "chunking_strategy", "chunking_strategy[type]"),
    *(
        "known_speaker_names[]",
        "hotwords",
        "hotwords[]",
        "n",
        "top_p",
        "to_language",
        "vllm_xargs",
        "[]",
    ),
)
FORM_VALUES = (
    *("0", "-1", "nan", "inf", "1e999", "1e-320", "9" * 5000, "x" * 100_000, "true", "null", "[]"),
    *("{}", "\x00", "٣", "<|audio|>", "../../etc/passwd", "%s%n", "\ufffe"),
)


def _post(http: Any, body: Any) -> Any:
    headers = {"Content-Type": "application/json"}
    content = json.dumps(body).encode()
    return http.post("/v1/chat/completions", content=content, headers=headers)


def _answered_or_refused(answer: Any) -> bool:
    if answer.status_code == 200:
        assert '"error"' not in answer.text
        return True
    assert answer.status_code in (400, 404), answer.text[:500]
    refused(answer, answer.status_code)
    return False


@pytest.mark.parametrize("field", FIELDS)
def test_odd_values_of_a_chat_field(field, http) -> None:
    body = chat(ASK, max_tokens=2)
    if field == "max_completion_tokens":
        del body["max_tokens"]
    body |= {"stream_options": {"stream": True}, "top_logprobs": {"logprobs": True}}.get(field, {})
    answered = [_answered_or_refused(_post(http, body | {field: value})) for value in VALUES]
    assert not all(answered)
    # null is a field that was left out; messages can't be.
    assert answered[0] == (field != "messages")


def test_fields_at_their_bounds_together(http) -> None:
    bounds: dict[str, Any] = {
        "temperature": (0, 1e-310, 1e-4, 2), "n": (1, 2, 8), "top_p": (1e-310, 0.5, 1),
        "top_k": (-1, 0, 1, 2**31 - 1), "min_p": (0, 1), "seed": (0, -(2**63), 2**63 - 1),
        "stop": ("a", ["б", "\x00"] * 2), "stop_token_ids": ([0, 1, 2], list(range(64))),
        "logprobs": (True,), "top_logprobs": (0, 20),
        "logit_bias": ({"0": 100, "1": -100}, {str(i): -100 for i in range(64)}),
        "presence_penalty": (-2, 2), "frequency_penalty": (-2, 2),
        "repetition_penalty": (1e-310, 10), "ignore_eos": (True,), "min_tokens": (0, 3),
        "skip_special_tokens": (False,), "return_token_ids": (True,), "stream": (True,),
        "stream_options": ({"include_usage": True, "continuous_usage_stats": True},),
        "max_tokens": (1, 3), "user": ("я",),
    }  # fmt: skip
    rng = random.Random(0)
    answered = 0
    for _ in range(100):
        body = chat(ASK, max_tokens=3)
        for field in rng.sample(list(bounds), rng.randint(1, 8)):
            body[field] = rng.choice(bounds[field])
        answered += _answered_or_refused(_post(http, body))
    assert answered > 20


@pytest.mark.parametrize("message", VALUES, ids=lambda value: repr(value)[:20])
def test_odd_messages(message, http) -> None:
    parts = [{"type": kind, kind: message} for kind in ("text", "input_audio", "audio_url")]
    parts += [{"type": "input_audio", "input_audio": {"data": message, "format": message}}]
    parts += [{"type": "audio_url", "audio_url": {"url": message}}, {"type": message}, message]
    contents = [message, [message], *([part] for part in parts)]
    messages = [message, *({"role": "user", "content": content} for content in contents)]
    messages += [
        {"role": message, "content": ASK},
        {"role": "user", "content": ASK, "name": message},
    ]
    for odd in messages:
        _answered_or_refused(_post(http, {"messages": [odd], "max_tokens": 1}))


@pytest.mark.parametrize("field", FORM_FIELDS)
def test_odd_values_of_a_form_field(field, http) -> None:
    # So quiet that the model isn't asked.
    files = {"file": ("a.wav", encoded(np.zeros(1_600, np.float32), kind="WAV"))}
    answered = [
        _answered_or_refused(
            http.post("/v1/audio/transcriptions", files=files, data={field: value})
        )
        for value in FORM_VALUES
    ]
    assert not all(answered)


PART = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
FILE = PART % (b"file", b'; filename="a"', b"RIFF")


@pytest.mark.parametrize(
    "charset",
    ["utf-7", "utf-16", "unicode_escape", "idna", "punycode", "undefined", "hex", "x" * 3000],
)
def test_odd_alphabets(charset, http) -> None:
    kind = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    for name in (b"language", b"model", b"prompt", b"prompt\\ud800"):
        body = FILE + PART % (name, b"", rb"\ud800+AGE-" + b"\x80") + b"--x--\r\n"
        answer = http.post("/v1/audio/transcriptions", content=body, headers=kind)
        assert not _answered_or_refused(answer)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=x", b"--x\r\nbroken"),
        ("multipart/form-data; boundary=x", b"--x--\r\n"),
        ("multipart/form-data; boundary=x", FILE),
        ("multipart/form-data; boundary=x", FILE * 2 + b"--x--\r\n"),
        ("multipart/form-data; boundary=x", PART % (b"a", b"", b"1") * 100_000 + b"--x--\r\n"),
        ("multipart/form-data; boundary=x", PART % (b"a" * 2**20, b"", b"1") + b"--x--\r\n"),
        (
            "multipart/form-data; boundary=x",
            PART % (b"language", b'; filename="a"', b"") + b"--x--",
        ),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n1\r\n--x--\r\n"),
        ("multipart/form-data; boundary=" + "y" * 5000, FILE + b"--x--\r\n"),
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-datum; boundary=x", FILE + b"--x--\r\n"),
        ("application/json", b'{"file": "a.wav"}'),
        ("", b""),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_malformed_form(kind, body, http) -> None:
    headers = {"Content-Type": kind}
    refused(http.post("/v1/audio/transcriptions", content=body, headers=headers), 400)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b'{"n": %s}' % (b"9" * 5000),
     b'{"temperature": NaN}', b'{"model": "\xed\xa0\x80"}', b"null", b'"x"', b'{"messages": ' + b"[" * 900],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_malformed_json(body, http) -> None:
    refused(http.post("/v1/chat/completions", content=body), 400)


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET / HTTP/9.9",
        b"FROB /health HTTP/1.1",
        b"GET http://[ HTTP/1.1",
        b"GET /%00%ff HTTP/1.1",
        b"GET /\xff HTTP/1.1",
        b"GET /v1/models/%ED%A0%80 HTTP/1.1",
        b"GET /v1/models/" + b"x" * 60_000 + b" HTTP/1.1",
        b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: -1",
        b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: " + b"9" * 5000,
        b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3",
        b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked",
        b"POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: gzip",
        b"GET /health HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a",
    ],
    ids=lambda line: repr(line)[:40],
)
def test_odd_requests_of_http(request_line, server: Server) -> None:
    head = request_line + b"\r\nHost: a\r\nConnection: close\r\n"
    head += f"Authorization: Bearer {KEY}\r\n\r\n{{}}".encode()
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        try:
            connection.sendall(head)
            while data := connection.recv(1 << 16):
                received += data
        except ConnectionError:  # closed with something of ours unread
            pass
    assert received[:10] == b"HTTP/1.1 4" or received[:12] == b"HTTP/1.1 200"
    assert len(received) < 2000


def test_after_all_that_the_server_answers(http, speech) -> None:
    answer = http.post("/v1/audio/transcriptions", files={"file": speech.read_bytes()})
    assert answer.json()["text"]
