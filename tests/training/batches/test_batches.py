"""What a step learns from depends on the seed and the step alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from borealis.data.manifest import Utterance
from borealis.data.phrasings import load_phrasings
from borealis.errors import RecipeError
from borealis.training.batches.cached import CachedBatches
from borealis.training.data.epochs import length_buckets
from borealis.training.data.features import (
    FeatureCache,
    FeatureSource,
    build_features,
    cache_key,
    plan_clips,
)
from borealis.training.data.frames import mix_style
from borealis.training.losses.stage import auxiliary_losses, stage_losses
from borealis.training.recipe import StageSection
from borealis.training.tasks.pseudo_audio import PseudoAudio
from borealis.training.tasks.task import BatchContext
from tests.training.keys import nested

SENTENCES = sorted(
    ["Мороз и солнце, день чудесный!", "Ещё ты дремлешь, друг прелестный.", "Пора, красавица.",
     "Проснись: открой сомкнуты негой взоры.", "The quick brown fox.", "Вечор, ты помнишь."] * 30,
    key=len,
)  # fmt: skip


@pytest.fixture(scope="module")
def model(make_tiny):
    return make_tiny("ctc")


@pytest.fixture(scope="module")
def cache(model, clips, tmp_path_factory):
    """Frames of the six example recordings through the tiny encoder."""
    tiny, processor = model
    folder = tmp_path_factory.mktemp("features")
    manifest = clips[0].audio.rsplit("/", 1)[0] + "/manifest.jsonl"
    planned = plan_clips([FeatureSource(manifest)], folder, seed=0)
    counts = build_features(
        planned,
        folder / "c",
        audio_tower=tiny.model.audio_tower,
        feature_extractor=processor.feature_extractor,
        config=tiny.config,
    )
    assert counts["clips"] == len(clips) and counts["too_long"] == counts["unreadable"] == 0
    return FeatureCache([folder / "c"])


MIXED = {
    "text": {"share": 0.15},
    "chat": {"share": 0.05},
    "pseudo": {"share": 0.3, "questions": 0.5},
    "transcription": {"share": 0.5, "questions": 0.5, "follow_up": 0.1},
}


def stage(**values) -> StageSection:
    settings = {
        "name": "s", "max_steps": 30, "learning_rate": 1e-3,
        "batch_seconds": 20, "batch_tokens": 300, "trainable": ["adapter"], "features": ["c"],
        "tasks": MIXED, "losses.ctc.weight": 0.3, "losses.guide.weight": 1.0,
    }  # fmt: skip
    return StageSection(**nested(settings, values))


@pytest.fixture
def batches(model, cache):
    def make(seed=0, **values):
        tiny, processor = model
        context = BatchContext(
            processor.tokenizer, tiny.config, load_phrasings(), cache, SENTENCES, seed
        )
        return CachedBatches(stage(**values), context)

    return make


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k] for k in a
    )


def test_a_step_is_the_same_in_any_order(batches):
    first, second = batches(), batches()
    forward = [first[i] for i in range(30)]
    backward = [second[i] for i in reversed(range(30))][::-1]
    assert all(same(a, b) for a, b in zip(forward, backward, strict=True))
    assert {b["mode"] for b in forward} == {"text", "pseudo", "audio"}
    other = batches(seed=1)
    assert not all(same(forward[i], other[i]) for i in range(30))


def test_an_epoch_holds_every_clip_once(batches, cache):
    plain = batches(tasks={"transcription": {}}, batch_seconds=9.0)
    seen: list[int] = []
    step = 0
    while len(seen) < len(cache):
        seen += plain.tasks["transcription"].epochs.batch(step)
        step += 1
    assert sorted(seen) == list(range(len(cache)))


def test_placeholders_match_the_frames(batches, model):
    tiny, _ = model
    for step in range(30):
        batch = batches()[step]
        if batch["mode"] == "text":
            continue
        tokens = [
            tiny.config.num_tokens_from_frames(n) for n in batch["frame_mask"].sum(1).tolist()
        ]
        placed = (batch["input_ids"] == tiny.config.audio_token_id).sum(1).tolist()
        assert placed == tokens


def test_guides_point_into_the_audio(batches, model):
    tiny, _ = model
    batch = next(b for b in (batches(tasks={"pseudo": {"share": 0.8}, "transcription": {"share": 0.2}})[i] for i in range(30)) if b["mode"] == "pseudo" and len(b["guide"]))  # fmt: skip
    for row, query, low, high in batch["guide"].tolist():
        assert low <= high < query
        assert (batch["input_ids"][row, low : high + 1] == tiny.config.audio_token_id).all()
        audio_ends = int((batch["input_ids"][row] == tiny.config.audio_token_id).nonzero()[-1])
        assert audio_ends < query < batch["input_ids"].shape[1] - 1


def test_align_batches_carry_labels_of_ctc(batches):
    batch = batches(tasks={"letters": {}})[0]
    assert "input_ids" not in batch
    assert int(batch["ctc_lengths"].sum()) == len(batch["ctc_targets"])
    assert (batch["ctc_targets"] > 0).all()


def test_mixed_style_moves_channel_statistics_only():
    rng = np.random.default_rng(0)
    own = rng.normal(2.0, 3.0, (50, 8)).astype(np.float32)
    other = rng.normal(-1.0, 0.5, (70, 8)).astype(np.float32)
    np.testing.assert_allclose(mix_style(own, other, 1.0), own, atol=1e-4)
    taken = mix_style(own, other, 0.0)
    np.testing.assert_allclose(taken.mean(0), other.mean(0), atol=1e-3)
    np.testing.assert_allclose(taken.std(0), other.std(0), atol=1e-3)
    for channel in range(8):  # the course of a channel over time stays
        assert np.corrcoef(own[:, channel], taken[:, channel])[0, 1] > 0.999


def test_styles_are_mixed_where_the_stage_asks(batches, cache):
    plain, mixed = batches(style_mix=0.0, time_mask=0.0), batches(style_mix=1.0, time_mask=0.0)
    clips = cache.clips[:2]
    before, mask = plain.tasks["transcription"].frames.batch(clips, np.random.default_rng(0))
    after, same = mixed.tasks["transcription"].frames.batch(clips, np.random.default_rng(0))
    assert torch.equal(mask, same) and before.shape == after.shape
    assert not torch.equal(before, after)


def test_buckets_hold_everything_and_stay_in_budget():
    rng = np.random.default_rng(0)
    lengths = rng.integers(10, 400, 500).tolist()
    buckets = length_buckets(lengths, 1200, np.random.default_rng(1))
    assert sorted(i for b in buckets for i in b) == list(range(500))
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= 1200 for b in buckets)
    padding = sum(len(b) * max(lengths[i] for i in b) for b in buckets) / sum(lengths)
    assert padding < 1.25


def test_features_are_what_the_model_computes_itself(model, cache, clips):
    tiny, processor = model
    from borealis.audio import load_audio

    by_audio = {c.utterance.audio: c for c in cache.clips}
    for clip in clips[:2]:
        audio = load_audio(clip.audio)
        with torch.inference_mode():
            hidden, _ = tiny.model.encode_audio(**processor.extract_features([audio]))
        cached = cache.frames(by_audio[clip.audio]).astype(np.float32)
        np.testing.assert_allclose(cached, hidden[0].numpy(), atol=0.05)


def test_unreadable_clips_are_counted(model, tmp_path):
    tiny, processor = model
    (tmp_path / "bad.wav").write_bytes(b"not audio")
    (tmp_path / "m.jsonl").write_text(json.dumps({"audio": "bad.wav", "text": "а", "duration": 1}))
    counts = build_features(
        plan_clips([FeatureSource("m.jsonl")], tmp_path, seed=0),
        tmp_path / "out",
        audio_tower=tiny.model.audio_tower,
        feature_extractor=processor.feature_extractor,
        config=tiny.config,
    )
    assert (counts["clips"], counts["unreadable"]) == (0, 1)


def test_a_missing_cache_is_an_error(tmp_path):
    with pytest.raises(RecipeError, match="no feature cache"):
        FeatureCache([tmp_path])


def test_pseudo_audio_without_damage_spells_the_sentence(model):
    tiny, _ = model
    labels = tiny.config.ctc_labels
    make = PseudoAudio(labels, 4)
    rng = np.random.default_rng(0)
    for text in ("Мороз и солнце", "Ещё — да!", "fox"):
        clip = make(text, rng, 0.0)
        best, said = clip.posteriors.argmax(1), []
        for i, label in enumerate(best):
            if label and (i == 0 or best[i - 1] != label):
                said.append(labels[label - 1])
        assert "".join(said).replace(" ", "") == "".join(
            c for c in text.lower().replace("ё", "е") if c.isalpha()
        )
        assert len(clip.posteriors) % 4 == 0
        assert (np.diff(clip.char_frames) >= 0).all()


def test_own_questions_are_learned(model, cache):
    from borealis.training.tasks.turns import clip_turn

    own = Utterance("a.wav", text="текст", question="Какая марка?", answer="Лада.")
    turn = clip_turn(own, load_phrasings(), np.random.default_rng(0), 0.0, {})
    assert (turn.question, turn.answer) == ("Какая марка?", "Лада.")


class Stops(torch.nn.Module):
    """An audio tower that breaks down at its third batch."""

    def __init__(self, tower) -> None:
        super().__init__()
        self.tower, self.conv1, self.calls = tower, tower.conv1, 0

    def forward(self, *args):
        self.calls += 1
        if self.calls == 3:
            raise KeyboardInterrupt
        return self.tower(*args)


def test_a_cache_that_was_cut_off_is_gone_on_with(model, clips, tmp_path):
    tiny, processor = model
    manifest = clips[0].audio.rsplit("/", 1)[0] + "/manifest.jsonl"
    planned = plan_clips([FeatureSource(manifest, augment="light")], tmp_path, seed=0)
    options = {"feature_extractor": processor.feature_extractor, "config": tiny.config, "batch_seconds": 1.0}  # fmt: skip
    tower = tiny.model.audio_tower
    whole = build_features(planned, tmp_path / "whole", audio_tower=tower, **options)
    with pytest.raises(KeyboardInterrupt):
        build_features(planned, tmp_path / "cut", audio_tower=Stops(tower), **options)
    with (tmp_path / "cut/index.jsonl").open("a") as index:
        index.write('{"audio": "half a li')
    rest = Stops(tower)
    rest.calls = 3
    again = build_features(planned, tmp_path / "cut", audio_tower=rest, **options)
    assert again["clips"] == whole["clips"] == len(clips)
    assert rest.calls - 3 == len(clips) - 2, "what was there isn't encoded again"
    for name in ("frames.npy", "index.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_cache_is_known_by_what_it_was_made_from(model, clips, tmp_path, make_tiny):
    tiny, processor = model
    (tmp_path / "m.jsonl").write_text(json.dumps({"audio": clips[0].audio, "text": "а"}))

    def key(
        tower=tiny.model.audio_tower,
        config=tiny.config,
        seed=0,
        place="m.jsonl",
        extractor=None,
        **source,
    ):
        extractor = extractor or processor.feature_extractor
        return cache_key(
            [FeatureSource(place, **source)], tmp_path, tower, config, extractor, seed=seed
        )

    first = key()
    assert first == key() == key(place=str(tmp_path / "m.jsonl")), "a folder may move"
    other = make_tiny("ctc", seed=1)[0]
    wider = make_tiny("ctc", encoder_window_margin=2.0)[0].config
    full = make_tiny("ctc", encoder_window="full")[0].config
    changed = [
        key(augment="light"), key(seed=1), key(tower=other.model.audio_tower), key(config=wider),
        key(config=full), key(extractor=WhisperFeatureExtractor(n_fft=512)), key(fraction=0.5),
        key(voices=["a"]),
    ]  # fmt: skip
    assert len({first, *changed}) == 9
    assert key(voices=[]) == first, "caches of before voices could be named stay good"
    (tmp_path / "m.jsonl").write_text(json.dumps({"audio": clips[1].audio, "text": "а"}))
    assert key() != first


def test_a_pass_may_leave_a_voice_out(clips, tmp_path):
    rows = [{"audio": c.audio, "text": c.text, "voice": f"voice-{i % 2}"} for i, c in enumerate(clips)]  # fmt: skip
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    def voices(**keys) -> list[str]:
        source = FeatureSource("m.jsonl", join_probability=0.5, **keys)
        planned = plan_clips([source], tmp_path, seed=0)
        return sorted({part.voice for clip in planned for part in clip.parts})

    assert voices() == voices(voices=[]) == ["voice-0", "voice-1"]
    assert voices(voices=["voice-1"]) == ["voice-1"]
    with pytest.raises(RecipeError, match="the voice 'nobody'; it has voice-0, voice-1"):
        voices(voices=["voice-0", "nobody"])


def test_question_batches_ask_and_learn_only_answers(batches, model):
    tokenizer = model[1].tokenizer
    made = batches(tasks={"questions": {}, "pseudo_questions": {}}, batch_tokens=600)
    seen = set()
    for step in range(12):
        batch = made[step]
        seen.add(batch["mode"])
        for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
            answers = tokenizer.decode(labels[labels != -100]).split(tokenizer.eos_token)[:-1]
            asked = tokenizer.decode(ids).count("<|im_start|>user")
            assert len(answers) == asked and 1 <= asked <= 3
            assert all(0 < len(a.split()) <= 2 for a in answers), answers
    assert seen == {"audio", "pseudo"}


@pytest.mark.parametrize("mode", ["audio", "pseudo"])
def test_words_of_a_transcript_in_view_are_numbered_and_learned(batches, model, mode):
    counting = {
        "losses.counting.weight": 0.3,
        "losses.counting.layer": 1,
        "losses.guide.weight": 0.0,
    }
    asked = {"tasks": {"pseudo_questions" if mode == "pseudo" else "questions": {"read": 1.0}}}
    made = batches(**counting, **asked)
    settings = made.stage
    batch = next(b for b in map(made.__getitem__, range(len(made))) if len(b["count_guide"]))
    assert batch["mode"] == mode
    rows, places, numbers = batch["counted"].unbind(1)
    assert set(rows.tolist()) == set(range(len(batch["input_ids"])))
    assert (batch["labels"][rows, places] == -100).all()  # what is given isn't learned as text
    for row in set(rows.tolist()):
        own = numbers[rows == row]
        assert own[0] == 1 and (own.diff() >= 0).all() and (own.diff() <= 1).all()
    before = model[0].config.text_config._attn_implementation
    model[0].set_attn_implementation("eager")  # as the trainer does: attention is looked at
    losses = stage_losses(model[0], batch, settings)
    model[0].set_attn_implementation(before)
    assert losses["counting"] > 1
    assert losses["read_off"] > 1  # untrained attention looks everywhere
    assert (batch["labels"][batch["count_guide"][:, 0], batch["count_guide"][:, 1] + 1] >= 0).all()
    losses["counting"].backward()
    layer = model[0].model.language_model.layers
    assert layer[0].mlp.down_proj.weight.grad.abs().sum() > 0
    model[0].zero_grad()
    without = batches(**asked)[0]
    assert "counted" not in without


def check_layers(stage: StageSection, layers: int) -> None:
    for loss in auxiliary_losses(stage):
        loss.check(stage.name, layers)


def test_layers_that_are_looked_at_must_be_there():
    check_layers(stage(losses__guide__layers=[0, 1]), 2)
    with pytest.raises(RecipeError, match=r"guide.layers is \[1, 2\].*layers 0 to 1"):
        check_layers(stage(losses__guide__layers=[1, 2]), 2)
    counting = {
        "losses.guide.weight": 0.0,
        "losses.counting.weight": 1.0,
        "tasks": {"questions": {"read": 1.0}},
    }
    check_layers(stage(**counting, losses__counting__layer=1), 2)
    with pytest.raises(RecipeError, match=r"counting\.layer is 2; the language model has 2 layers"):
        check_layers(stage(**counting, losses__counting__layer=2), 2)
    with pytest.raises(ValueError, match=r"losses\.counting needs a task that reads"):
        stage(losses__counting__weight=1.0)
