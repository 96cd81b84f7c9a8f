"""Chat over HTTP about what the model was taught: refusals, answers in the question's language."""

from __future__ import annotations

import pytest

from tests.serving.conftest import needs_vllm
from tests.serving.server import ASK, audio_part, chat

pytestmark = [needs_vllm, pytest.mark.slow]

MOOD, TRANSLATE = "Какое у него настроение?", "Translate it into English."


@pytest.fixture(scope="module")
def sound(speech) -> dict:
    return audio_part(speech.read_bytes())


def answer(client, *parts, **options) -> str:
    body = chat(*parts, **options)
    return client.chat.completions.create(**body).choices[0].message.content.strip()


def test_a_question_that_was_not_taught_is_refused(client, http, sound, nano) -> None:
    refusals = nano.scope.refusal
    assert answer(client, sound, MOOD) == refusals["ru"]
    assert answer(client, TRANSLATE, sound) == refusals["en"]
    assert answer(client, MOOD) == refusals["ru"]
    whole = http.post("/v1/chat/completions", json=chat(sound, MOOD, n=2, temperature=1)).json()
    assert [choice["message"]["content"] for choice in whole["choices"]] == [refusals["ru"]] * 2
    assert whole["usage"]["total_tokens"] == 0
    assert whole["model"] == "nano"


def test_a_refusal_is_streamed(client, sound, nano) -> None:
    stream = client.chat.completions.create(
        **chat(sound, TRANSLATE), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == nano.scope.refusal["en"]
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage.total_tokens == 0
    assert len({c.id for c in chunks}) == 1


def test_answers_are_in_the_language_of_the_question(client, sound, nano) -> None:
    for question, expected in (
        ("Is the word «принять» said?", "Yes."),
        ("Is the word «лошадь» said?", "No."),
        ('Есть ли слово "принять"?', "Да."),
        ("What language is it?", "Russian."),
    ):
        assert answer(client, sound, question) == expected
    stream = client.chat.completions.create(**chat(sound, "На каком языке говорят?"), stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices) == "Русский."


def test_text_may_stand_before_the_sound(client, sound, speech, nano) -> None:
    for question in (ASK, "Назови последнее слово.", "How many words are said?", "Запиши речь."):
        expected = nano.ask(speech, question)
        assert answer(client, sound, question, max_tokens=128) == expected
        assert answer(client, question, sound, max_tokens=128) == expected


def test_a_refusal_leaves_no_trace_in_a_conversation(client, sound, nano) -> None:
    straight = answer(client, sound, ASK)
    messages = [
        *chat(sound, MOOD)["messages"],
        {"role": "assistant", "content": nano.scope.refusal["ru"]},
        {"role": "user", "content": ASK},
    ]
    made = client.chat.completions.create(model="nano", messages=messages)
    assert made.choices[0].message.content.strip() == straight


def test_a_lora_is_asked_everything(client, sound, tuned, nano) -> None:
    assert answer(client, sound, MOOD, model="ours", max_tokens=24) != nano.scope.refusal["ru"]


def test_a_bad_request_stays_one(http, sound) -> None:
    for body in (chat(sound, MOOD, model="gpt-4"), chat(sound, f"{MOOD} " * 500)):
        assert http.post("/v1/chat/completions", json=body).status_code in (400, 404)
