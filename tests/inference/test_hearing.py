"""A recording is encoded once, whatever is asked of it."""

from __future__ import annotations

import pytest
import torch

from borealis.inference.engine import Borealis
from borealis.inference.hearing import Hearing

QUESTIONS = ["Кто говорит: мужчина или женщина?", "На каком языке говорят?"]


@pytest.fixture
def fresh(nano, monkeypatch):
    """nano that has heard nothing yet, and how many windows its tower has encoded."""
    model = Borealis(nano.model, nano.processor)
    encoded: list[int] = []
    tower = model.model.model.audio_tower
    monkeypatch.setattr(tower, "forward", counting(type(tower).forward, tower, encoded))
    return model, encoded


def counting(forward, tower, encoded):
    def run(input_features, *arguments, **options):
        encoded.append(len(input_features))
        return forward(tower, input_features, *arguments, **options)

    return run


def test_questions_and_turns_encode_nothing_again(fresh, speech):
    model, encoded = fresh
    model.transcribe(speech)
    assert sum(encoded) == 1
    model.ask(speech, QUESTIONS[0])
    model.ask([speech, speech], QUESTIONS)
    turn = {"role": "user", "content": [{"type": "audio", "audio": speech}]}
    turn["content"].append({"type": "text", "text": QUESTIONS[0]})
    answer = model.chat([turn])
    again = [turn, {"role": "assistant", "content": answer}]
    again.append({"role": "user", "content": QUESTIONS[1]})
    assert "".join(model.chat(again, stream=True)) == model.chat(again)
    assert sum(encoded) == 1


def test_the_same_recording_twice_in_a_batch_is_encoded_once(fresh, speech):
    model, encoded = fresh
    first, second = model.transcribe([speech, speech])
    assert first == second and sum(encoded) == 1


def test_what_is_remembered_is_what_is_heard(nano, noise):
    """Windows of unlike lengths, some known and some not, in another order."""
    clips = [noise(seconds) for seconds in (0.7, 3.1, 1.9)]
    hear = Hearing(nano.model.model)
    hear(**nano.processor.extract_features(clips[:2]))
    order = [clips[2], clips[1], clips[0]]
    features = nano.processor.extract_features(order)
    with torch.inference_mode():
        wanted = nano.model.model.hear(**features)
    heard = hear(**features)
    assert torch.equal(heard.token_mask, wanted.token_mask)
    assert torch.equal(heard.mask, wanted.mask)
    torch.testing.assert_close(heard.flat_tokens, wanted.flat_tokens, atol=1e-4, rtol=1e-4)
    for mine, theirs in zip(heard.log_probs(), wanted.log_probs(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-3)


def test_only_the_last_windows_are_remembered(nano, noise):
    hear = Hearing(nano.model.model)
    for seed in range(20):
        hear(**nano.processor.extract_features([noise(0.3 + seed / 50)]))
    assert len(hear._known) == 16


def test_samples_count_and_not_only_the_spectrogram(nano, noise):
    """Silence that belongs to a clip and silence that pads it look the same."""
    clip = noise(1.0)
    longer = torch.nn.functional.pad(torch.from_numpy(clip), (0, 640)).numpy()
    hear = Hearing(nano.model.model)
    one = hear(**nano.processor.extract_features([clip]))
    two = hear(**nano.processor.extract_features([longer]))
    assert two.mask.sum() > one.mask.sum()


def test_other_weights_are_heard_anew(make_tiny, noise):
    model, processor = make_tiny("ctc")
    hear, features = Hearing(model.model), processor.extract_features([noise(0.5)])
    before = hear(**features).tokens
    with torch.no_grad():
        for weight in model.model.adapter.parameters():
            weight.add_(0.1)  # as an optimizer does
    assert not torch.allclose(hear(**features).tokens, before)
    model.to(torch.bfloat16)
    assert hear(**features).tokens.dtype == torch.bfloat16
