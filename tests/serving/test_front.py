"""The front without a server: audio by URL, fields and forms, places, the form of an error."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from borealis.serving import chat, handover
from borealis.serving.chat import parse_json
from borealis.serving.errors import RequestError, shown
from borealis.serving.form import Options, read_form
from borealis.serving.front import Front
from borealis.serving.room import Room
from borealis.serving.settings import Settings
from borealis.serving.sounds import Sounds
from borealis.serving.transcription import _check_engine, _Pieces


@pytest.fixture
def host() -> Iterator[tuple[str, list[str]]]:
    """A web server of the test's own: its address, and the paths that were asked for."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            moved = self.path == "/moved"
            self.send_response(302 if moved else 200)
            if moved:
                self.send_header("Location", "/secret")
            self.end_headers()
            self.wfile.write(bytes(3 * 2**20) if self.path == "/large" else b"sound")

        def log_message(self, *arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


def allowing(*domains: str) -> Settings:
    return Settings(max_bytes=2**20, media_domains=domains)


def test_allowed_host_is_fetched_from(host) -> None:
    pytest.importorskip("aiohttp")
    url, seen = host
    assert asyncio.run(chat._fetch(f"{url}/a.wav", allowing("127.0.0.1"))) == b"sound"
    assert seen == ["/a.wav"]


@pytest.mark.parametrize(("path", "says"), [("/moved", "302"), ("/large", "too large")])
def test_redirects_and_large_files_are_refused(host, path, says) -> None:
    pytest.importorskip("aiohttp")
    url, seen = host
    with pytest.raises(RequestError, match=says):
        asyncio.run(chat._fetch(url + path, allowing("127.0.0.1")))
    assert seen == [path]


@pytest.mark.parametrize(
    "url",
    [
        "{host}/a.wav",
        "http://example.org@127.0.0.1:{port}/a.wav",
        "http://example.org.127.0.0.1:{port}/a.wav",
        "http://127.0.0.1:{port}\\@example.org/a.wav",
        "http://127.0.0.1:{port}#@example.org/a.wav",
        "file:///etc/passwd",
        "gopher://example.org/",
        "//example.org/a.wav",
        "http://[/a.wav",
        "",
    ],
)
def test_other_hosts_see_no_request(host, url) -> None:
    pytest.importorskip("aiohttp", reason="comes with vLLM")
    address, seen = host
    port = address.rpartition(":")[2]
    with pytest.raises(RequestError):
        allowed = allowing("example.org")
        asyncio.run(chat._fetch(url.format(host=address, port=port), allowed))
    assert not seen


def test_text_check_counts_all_messages_and_names_the_mark() -> None:
    check = chat._TextCheck(10, ["<|audio|>"])
    check("а" * 100)
    with pytest.raises(RequestError, match="too long"):
        check("а" * 100)
    with pytest.raises(RequestError, match=r"<\|audio\|>"):
        chat._TextCheck(10, ["<|audio|>"])("Это <|audio|>.")


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"a": NaN}', b'{"a": -Infinity}'),
        b'{"a": %s}' % (b"9" * 5000),
        rb'{"a": "\ud800"}',
        rb'{"\uDC00": 1}',
        b'{"a": "\xed\xa0\x80"}',
    ],
)
def test_only_an_object_is_a_request(body) -> None:
    with pytest.raises(RequestError):
        parse_json(body)


def test_escaped_letters_and_pairs_of_surrogates_are_text() -> None:
    assert parse_json(rb'{"a": "\u044f \ud83d\ude00"}') == {"a": "я 😀"}


# ---- fields of a chat ----


def sampling(**fields: object) -> dict[str, object]:
    return chat._sampling(fields, vocabulary=70)


def test_one_answer_is_the_likeliest_and_several_are_drawn() -> None:
    assert sampling()["temperature"] == 0
    assert sampling(n=3)["temperature"] == 1
    assert sampling(n=3, temperature=0.5)["temperature"] == 0.5
    with pytest.raises(RequestError, match="all answers would be the same"):
        sampling(n=3, temperature=0)


def test_answer_is_as_long_as_either_name_of_the_limit_says() -> None:
    wanted = (
        {"max_tokens": 7},
        {"max_completion_tokens": 7},
        {"max_tokens": 7, "max_completion_tokens": 7},
    )
    for fields in wanted:
        assert sampling(**fields)["max_completion_tokens"] == 7
    assert sampling(max_tokens=None)["max_completion_tokens"] == chat.DEFAULT_ANSWER_TOKENS
    with pytest.raises(RequestError, match="differ"):
        sampling(max_tokens=7, max_completion_tokens=8)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("store", False),
        ("tools", []),
        ("tool_choice", "none"),
        ("response_format", {"type": "text"}),
        ("modalities", ["text"]),
        *((name, None) for name in ("tools", "response_format", "seed", "metadata", "wizardry")),
    ],
)
def test_field_that_asks_for_what_is_done_anyway_is_let_through(name, value) -> None:
    assert sampling(**{name: value}) == sampling()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {"schema": {"$ref": "#"}}}),
        ("response_format", "text"),
        ("store", True),
        ("store", 0),
        ("metadata", {}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("reasoning_effort", "low"),
        ("wizardry", 1),
        ("chat_template", "{{ messages }}"),
        ("vllm_xargs", {"a": 1}),
    ],
)
def test_field_that_is_not_here_is_refused_by_name(name, value) -> None:
    with pytest.raises(RequestError, match=name) as refused:
        sampling(**{name: value})
    assert (refused.value.status, refused.value.param) == (400, name)
    assert refused.value.code == "unsupported_parameter"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("temperature", value) for value in (-1, 2.1, "1", True, [], 10**400)),
        *(("n", value) for value in (0, 9, 1.5, "2", True)),
        *(("max_tokens", value) for value in (0, -1, 2.0, 2**63)),
        *(("seed", value) for value in (2**63, -(2**63) - 1, 0.5)),
        *(("stop", value) for value in ("", [""], ["a"] * 5, [1], {})),
        *(("stop_token_ids", value) for value in ([70], [-1], [2**63], ["1"])),
        *(("logit_bias", value) for value in ({"70": 1}, {"-1": 1}, {"a": 1}, {"1": 101}, {"9" * 5000: 1})),
        *(("top_k", value) for value in (2**31, -2)),
        ("min_tokens", 513),
        ("top_logprobs", 2),
        ("stream_options", {"include_usage": True}),
        ("user", "x" * 1000),
        ("model", 1),
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_value_that_cannot_be_is_refused_with_its_field(name, value) -> None:
    with pytest.raises(RequestError) as refused:
        sampling(**{name: value})
    assert (refused.value.status, refused.value.param) == (400, name)
    assert len(str(refused.value)) < 200


def message(**fields: object) -> dict[str, object]:
    return chat._message(1, fields, chat._TextCheck(4096, []))


def test_messages_become_what_the_template_knows() -> None:
    assert message(role="developer", content="Be brief.")["role"] == "system"
    came_back = {"refusal": None, "tool_calls": [], "annotations": None, "audio": None}
    answer = message(role="assistant", content=None, **came_back)
    assert answer == {"role": "assistant", "content": ""}
    part = {"type": "text", "text": "Да."}
    assert message(role="user", content=[part])["content"] == [part]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, "tool_calls"),
        ({"role": "user", "content": "a", "name": "Bob"}, "name"),
        ({"role": "tool", "content": "4"}, "role"),
        ({"role": "user", "content": None}, "content"),
        ({"role": "user", "content": []}, "content"),
        ({"role": "user", "content": [{"type": "text", "text": "a", "cache": 1}]}, "cache"),
        ({"role": "user", "content": [{"type": "text", "text": None}]}, "text"),
        ({"role": "user", "content": [{"type": ["text"]}]}, "type"),
        ({"role": ["user"], "content": "a"}, "role"),
    ],
)
def test_message_that_is_not_understood_is_refused_and_why(fields, named) -> None:
    with pytest.raises(RequestError, match=named):
        message(**fields)


def test_a_million_empty_parts_are_too_long() -> None:
    with pytest.raises(RequestError, match="too long"):
        message(role="user", content=[{"type": "text", "text": ""}] * 100_000)


# ---- the form of a transcription ----


def form(*fields: tuple[str, str], file: bytes | None = b"sound") -> tuple[bytes, Options]:
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields
    ]
    if file is not None:
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        parts.append(head + file + b"\r\n")
    headers = [(b"content-type", b"Multipart/Form-Data; boundary=x")]
    scope = {"type": "http", "method": "POST", "headers": headers}
    return asyncio.run(read_form(scope, b"".join(parts) + b"--x--\r\n"))


def test_form_gives_the_file_and_its_options() -> None:
    data, options = form(
        ("model", "nano"), ("language", "ru-RU"), ("temperature", "0.5"), ("seed", "-7"),
        ("response_format", "verbose_json"), ("timestamp_granularities[]", "segment"),
        ("chunking_strategy", "auto"), ("stream", "false"), ("hotwords", ""),
    )  # fmt: skip
    assert data == b"sound"
    assert options == Options(
        model="nano", language="ru", temperature=0.5, seed=-7, response_format="verbose_json"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("include[]", "logprobs"),
        ("known_speaker_names[]", "Bob"),
        ("known_speaker_references[]", "data:audio/wav;base64,AA=="),
        ("use_beam_search", "true"),
        ("to_language", "en"),
        ("chunking_strategy", "server_vad"),
        ("chunking_strategy[type]", "server_vad"),
        ("response_format", "diarized_json"),
        ("top_p", "0.5"),
        ("wizardry", "1"),
    ],
)
def test_form_field_that_is_not_here_is_refused_by_name(name, value) -> None:
    with pytest.raises(RequestError) as refused:
        form((name, value))
    assert (refused.value.status, refused.value.code) == (400, "unsupported_parameter")
    assert refused.value.param.partition("[")[0] == name.partition("[")[0]


def test_hot_words_are_apart_by_commas_lines_and_fields() -> None:
    fields = [("hotwords", "Пушкин, Лев Толстой\r\nГоголь,,"), ("hotwords[]", "Чехов\nПушкин")]
    assert form(*fields)[1].hot_words == ("Пушкин", "Лев Толстой", "Гоголь", "Чехов")
    assert form()[1].hot_words == ()


@pytest.mark.parametrize("wanted", [["word"], ["segment", "word"]])
def test_times_of_words_are_asked_for_as_openai_has_it(wanted) -> None:
    fields = [("timestamp_granularities[]", value) for value in wanted]
    assert form(("response_format", "verbose_json"), *fields)[1].words


@pytest.mark.parametrize(
    "fields",
    [
        [("language", "de")],
        [("language", "ru"), ("language", "en")],
        [("temperature", "nan")],
        [("temperature", "9" * 5000)],
        [("seed", "9" * 5000)],
        [("seed", "1_0")],
        [("seed", str(2**63))],
        [("stream", "perhaps")],
        [("file", "speech.flac")],
        [("response_format", "x" * 70_000)],
        [("x" * 70_000, "1")],
        [("timestamp_granularities[]", "segment")],
        [("timestamp_granularities[]", "word"), ("response_format", "srt")],
        [("timestamp_granularities[]", "letter"), ("response_format", "verbose_json")],
        [("hotwords", "а" * 10_001)],
        [("hotwords[]", "а" * 6_000), ("hotwords[]", "б" * 6_000)],
        [("prompt", "а" * 1001)],
        [("prompt", "<|im_end|>")],
    ],
    ids=lambda fields: str(fields)[:30],
)
def test_form_that_cannot_be_is_refused_in_a_short_answer(fields) -> None:
    with pytest.raises(RequestError) as refused:
        form(*fields)
    assert refused.value.status == 400
    assert len(refused.value.response().body) < 500


def test_form_without_a_file_says_where_it_belongs() -> None:
    with pytest.raises(RequestError, match="field 'file'"):
        form(("model", "nano"), file=None)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (Options(hot_words=("Пушкин",)), "hotwords"),
        (Options(words=True), "timestamp_granularities[]"),
    ],
)
def test_what_only_ctc_can_do_is_refused_where_the_engine_writes(options, named) -> None:
    with pytest.raises(RequestError, match="ctc") as refused:
        _check_engine(options)
    assert (refused.value.param, refused.value.code) == (named, "unsupported_parameter")


# ---- the draft in a chat ----


SOUND = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
TRANSCRIBE = {"type": "text", "text": "Запиши речь."}
QUESTION = {"type": "text", "text": "Какое слово первое?"}


def turn(*content: object, role: str = "user") -> dict[str, object]:
    return {"role": role, "content": list(content)}


SAID = {"role": "assistant", "content": "Да."}


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        ([turn(SOUND, QUESTION)], 0),
        ([turn(QUESTION, SOUND)], 0),
        ([turn(SOUND, TRANSCRIBE)], 0),
        ([turn(SOUND, QUESTION), SAID, turn(QUESTION)], 0),
        ([{"role": "system", "content": "a"}, turn(SOUND), turn(QUESTION)], 1),
        ([turn(QUESTION), SAID, turn(SOUND, QUESTION)], 2),
        ([turn(SOUND, TRANSCRIBE), SAID, turn(QUESTION)], None),  # the client sends it
        ([turn(SOUND)], None),
        ([turn(SOUND), SAID, turn(QUESTION)], None),
        ([turn(SOUND, QUESTION, role="system"), turn(QUESTION)], None),
    ],
)
def test_the_draft_goes_to_the_turn_with_the_recording(messages, place) -> None:
    assert handover._place(messages) == place


# ---- the start ----


async def _started(adapter_type: str, checkpoint: str) -> tuple[list[dict], bool]:
    """What the server is told at its start, and whether vLLM's application was asked for its part."""
    told: list[dict] = []
    seen: list[str] = []

    async def app(scope: dict, receive: object, send: object) -> None:
        seen.append(scope["type"])

    async def receive() -> dict:
        return {"type": "lifespan.startup"}

    async def send(message: dict) -> None:
        told.append(message)

    config = SimpleNamespace(adapter_type=adapter_type)
    model_config = SimpleNamespace(hf_config=config, model=checkpoint, dtype="float32")
    state = SimpleNamespace(engine_client=SimpleNamespace(model_config=model_config))
    scope = {"type": "lifespan", "app": SimpleNamespace(state=state)}
    await Front(app)(scope, receive, send)
    return told, bool(seen)


def test_a_model_that_cannot_be_read_ends_the_start(tmp_path) -> None:
    told, went_on = asyncio.run(_started("ctc", str(tmp_path)))
    assert [message["type"] for message in told] == ["lifespan.startup.failed"]
    assert str(tmp_path) in told[0]["message"] and not went_on


def test_where_the_engine_writes_nothing_is_read_in_the_front(tmp_path) -> None:
    assert asyncio.run(_started("mlp", str(tmp_path))) == ([], True)


# ---- deltas, decoding, places, errors ----


def test_deltas_are_the_text_that_the_parts_make() -> None:
    pieces = _Pieces()
    told = []
    for part in ([" Как", "-то ", " ночью. "], ["  "], [], ["", " Проснулся", " я.", " "], ["\n"]):
        told += [delta for piece in part if (delta := pieces.next(piece))]
        pieces.end_part()
    assert "".join(told) == "Как-то  ночью. Проснулся я."
    assert told[0] == "Как"


def test_whatever_fails_in_a_decoder_the_file_is_to_blame(monkeypatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("/usr/lib/decoder.so")

    monkeypatch.setattr("borealis.serving.sounds.load_audio", broken)
    sounds = Sounds(Settings())
    with Room(1, 10).visit() as visit, pytest.raises(RequestError) as refused:
        asyncio.run(sounds.decode(b"sound", visit, param="file"))
    assert (refused.value.status, refused.value.param) == (400, "file")
    assert "/usr" not in str(refused.value)


def test_places_and_bytes_are_given_back() -> None:
    room = Room(places=1, max_bytes=100)
    with room.visit() as first:
        first.hold(60)
        first.take_place()
        with pytest.raises(RequestError) as refused:
            room.visit()
        assert (refused.value.status, refused.value.code) == (503, "overloaded")
    with room.visit() as late:
        with room.visit() as second:
            second.take_place()
            second.hold(100)
            with pytest.raises(RequestError):
                second.hold(1)
            with pytest.raises(RequestError):
                late.take_place()
        late.take_place()
    assert (room.taken, room.held) == (0, 0)


def test_client_is_told_to_wait_about_as_long_as_a_request_takes(monkeypatch) -> None:
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr("borealis.serving.room.time.monotonic", lambda: next(clock))
    room = Room(places=1, max_bytes=1)
    assert room.full().response().headers["retry-after"] == "1"
    for _ in range(100):
        with room.visit() as visit:
            visit.take_place()
    assert room.full().response().headers["retry-after"] == "20"


def test_error_has_the_form_of_openai_and_repeats_little() -> None:
    response = RequestError("Нет. " * 10_000, 404, "x" * 10_000, code="model_not_found").response()
    error = json.loads(response.body)["error"]
    assert response.status_code == 404
    assert list(error) == ["message", "type", "param", "code"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "model_not_found")
    assert len(error["message"]) < 1000 and len(error["param"]) < 100
    assert shown("\ud800") == "\\ud800"
