"""Speech inside vLLM: the tokens of `Speaker.write`, whoever else is in the batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from borealis.inference.speech import Order
from borealis.serving.speech import RULE
from borealis.speech.rule import StreamRule
from borealis.speech.stream import prompt_ids, read_stream
from tests.serving.conftest import engine, needs_vllm

pytestmark = [needs_vllm, pytest.mark.slow]

TEXTS = [
    ("Мороз и солнце, день чудесный!", "anna"),
    ("В доме 25 окон.", "ivan"),
    ("The quick brown fox.", "kate"),
    ("Да", "anna"),
]


@pytest.fixture(scope="module")
def speaking_engine(speaking_folder) -> Iterator[Any]:
    """The model of random weights that speaks, in vLLM."""
    with engine(speaking_folder, logits_processors=[RULE]) as llm:
        yield llm


@pytest.fixture(scope="module")
def orders(speaking) -> list[Order]:
    return [speaking.speaker.order(text, voice=voice, temperature=0) for text, voice in TEXTS]


def rules(speaking: Any, order: Order) -> list[StreamRule]:
    return [piece.rule() for piece in speaking.speaker.making(order).pieces]


def prompt(rule: StreamRule, order: Order) -> dict[str, Any]:
    return {"prompt_token_ids": prompt_ids(rule.vocabulary, rule.symbols, order.voice)}


def written(speaking: Any, order: Order) -> list[list[int]]:
    """What transformers writes of each piece, greedily."""
    speaker = speaking.speaker
    generator = torch.Generator().manual_seed(0)
    return [
        list(speaker.write(rule, order.voice, 0, 1, generator)) for rule in rules(speaking, order)
    ]


def generated(llm: Any, speaking: Any, orders: list[Order], **changes: Any) -> list[list[int]]:
    """What vLLM writes of the first piece of each order, all of them in a batch."""
    from borealis.serving.rule import speech_params

    settings = {"temperature": 0, "top_k": 20, "seed": 0, "max_tokens": 4000} | changes
    asked = [rules(speaking, order)[0] for order in orders]
    prompts = [prompt(rule, order) for rule, order in zip(asked, orders, strict=True)]
    params = [speech_params(rule, **settings) for rule in asked]
    for one in params:
        one.output_kind = one.output_kind.FINAL_ONLY
    outputs = llm.generate(prompts, params, use_tqdm=False)
    for out, rule in zip(outputs, asked, strict=True):
        rule.follow(out.outputs[0].token_ids)
        assert rule.done
        assert out.outputs[0].finish_reason == "stop"
    return [list(out.outputs[0].token_ids) for out in outputs]


def test_tokens_are_those_of_the_speaker_alone_and_in_a_batch(
    speaking_engine, speaking, orders
) -> None:
    expected = [written(speaking, order)[0] for order in orders]
    assert generated(speaking_engine, speaking, orders) == expected
    assert generated(speaking_engine, speaking, orders * 4) == expected * 4
    assert generated(speaking_engine, speaking, orders[1:2]) == expected[1:2]


def test_draws_keep_to_the_rule_and_a_seed_repeats_them(speaking_engine, speaking, orders) -> None:
    drawn = [
        generated(speaking_engine, speaking, orders, temperature=1.0, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    first = rules(speaking, orders[0])[0]
    _, durations = read_stream(first.vocabulary, drawn[0][0])
    assert len(durations) == len(first.symbols)


def test_a_request_for_text_in_the_same_batch_is_left_alone(
    speaking_engine, speaking, orders
) -> None:
    from vllm import SamplingParams

    from borealis.serving.rule import speech_params

    text = {"prompt": "<|im_start|>user\nДа?<|im_end|>\n<|im_start|>assistant\n"}
    plain = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
    (alone,) = speaking_engine.generate([text], plain, use_tqdm=False)
    rule = rules(speaking, orders[0])[0]
    spoken = speech_params(rule, temperature=0, top_k=1, seed=0, max_tokens=4000)
    spoken.output_kind = plain.output_kind = spoken.output_kind.FINAL_ONLY
    both = speaking_engine.generate(
        [text, prompt(rule, orders[0])], [plain, spoken], use_tqdm=False
    )
    assert both[0].outputs[0].token_ids == alone.outputs[0].token_ids
    assert list(both[1].outputs[0].token_ids) == written(speaking, orders[0])[0]


@pytest.mark.parametrize("said", [1, {}, {"symbols": "", "frame_rate": 25}, {"symbols": " а."}])
def test_arguments_of_another_shape_are_refused_before_the_engine(speaking_engine, said) -> None:
    from vllm import SamplingParams
    from vllm.exceptions import VLLMValidationError

    params = SamplingParams(max_tokens=1, extra_args={"borealis_speech": said})
    with pytest.raises(VLLMValidationError, match="borealis_speech"):
        speaking_engine.generate([{"prompt": "а"}], params, use_tqdm=False)
