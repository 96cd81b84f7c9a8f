"""The whole bill: what is heard, stored, paid for an hour, and lost."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen3Config

from borealis.training.planner import GPUS, Options, model_config, parts, plan, plan_recipe
from borealis.training.planner.bill import hearing
from borealis.training.recipe import load_recipe

# ---- the price of an hour ----


@pytest.mark.parametrize("name", GPUS)
def test_every_gpu_has_a_price_and_its_source(name: str) -> None:
    gpu = GPUS[name]
    assert gpu.price > 0 and gpu.price_source
    result = plan(Options(gpu=name))
    assert result.dollars == pytest.approx(result.gpu_hours * gpu.price)


def test_a_given_price_goes_before_the_own_one() -> None:
    result = plan(Options(gpu="rtx4090", price=1.5))
    assert result.dollars == pytest.approx(result.gpu_hours * 1.5)
    free = plan(Options(price=0)).bill
    assert (free.training, free.evaluation, free.failed) == (0, 0, 0) and free.storage > 0


# ---- parts of the bill ----


def test_the_bill_is_the_sum_of_its_parts() -> None:
    result = plan()
    bill = result.bill
    assert bill.training == result.dollars
    assert bill.total == bill.training + bill.evaluation + bill.storage + bill.failed
    assert bill.failed == pytest.approx(Options().failed * bill.training)
    nothing = {"validations": 0, "test_hours": 0, "storage_months": 0, "failed": 0}
    assert plan(Options(**nothing)).bill.total == result.dollars


def test_every_assumption_moves_the_bill() -> None:
    before = plan().bill
    for name in (
        *("validations", "validation_clips", "test_hours", "bitrate", "checkpoints_kept"),
        *("storage_price", "storage_months", "failed"),
    ):
        after = plan(Options(**{name: 2 * getattr(Options(), name)})).bill
        assert after.total > before.total and after.training == before.training, name
    assert plan(Options(decoding_utilization=0.01)).bill.evaluation < before.evaluation


def test_storage_is_bytes_times_price_times_months() -> None:
    options = Options(hours_of_audio=10, bitrate=64, checkpoints_kept=2, storage_months=3)
    result = plan(options)
    stored, learned = result.bill.stored, result.stages[0].learned_parameters
    assert stored["recordings"] == 10 * 3600 * 64_000 / 8
    assert stored["features"] == result.feature_cache > 0
    assert stored["checkpoints"] == 2 * 12 * learned
    # As it began, of the stage, and the finished one.
    assert stored["models"] == 3 * result.weights["fp32"]
    assert result.bill.storage == pytest.approx(sum(stored.values()) / 1e9 * 0.07 * 3)


def test_other_gpus_wait_while_one_measures() -> None:
    alone = plan(Options(test_hours=0)).bill
    together = plan(Options(test_hours=0, gpus=8)).bill
    assert together.evaluation == pytest.approx(8 * alone.evaluation)
    assert plan(Options(validations=0, gpus=8)).bill == plan(Options(validations=0)).bill


# ---- recipes ----


def test_a_recipe_says_what_it_measures_and_keeps() -> None:
    recipe = load_recipe("5b", ["stages.align.max_steps=1001", "stages.instruct.max_steps=1000"])
    result = plan_recipe(recipe, Options(test_hours=0))
    # Every 500 steps and at the last one: 500, 1000, 1001; 500, 1000.
    assert result.bill.validation_recordings == (3 + 2) * 64
    kept = sum(s.learned_parameters for s in result.stages) * 3  # two newest and the best
    assert result.bill.stored["checkpoints"] == 12 * kept
    assert plan_recipe(load_recipe("nano"), Options()).bill.validation_recordings == 0
    heard = max(s.audio_hours for s in result.stages)
    assert result.bill.stored["recordings"] == pytest.approx(heard * 3600 * 256_000 / 8)


# ---- operations of hearing ----

TEXT = Qwen3Config(
    vocab_size=60, hidden_size=128, intermediate_size=384, num_hidden_layers=3,
    num_attention_heads=4, num_key_value_heads=2, head_dim=32, tie_word_embeddings=True,
)  # fmt: skip


def test_operations_are_those_of_writing_down(make_tiny) -> None:
    model, _ = make_tiny("mlp", text_config=TEXT, encoder_window="full")
    model.eval().set_attn_implementation("eager")  # the counter doesn't know every fused attention
    samples = 8 * 16_000
    audio, written = model.config.num_audio_tokens(samples), 30
    ids = torch.full((1, audio + 10), 20)
    ids[0, 5 : 5 + audio] = model.config.audio_token_id
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            input_features=torch.zeros(1, 80, 3000),
            num_samples=torch.tensor([samples]),
            max_new_tokens=written + 1,  # the first comes from the pass over the prompt
            min_new_tokens=written + 1,
            do_sample=False,
        )
    said = hearing(
        parts(model.config), [1500], [audio], prompt=audio + 10, text=written, letters=False
    )
    assert counter.get_total_flops() == pytest.approx(sum(said), rel=0.05)


def test_letters_are_read_in_one_pass() -> None:
    sizes = parts(model_config("base", "qwen3-0.6b", "ctc"))
    read, written = hearing(sizes, [500], [125], prompt=150, text=40, letters=True)
    assert written == 0
    by_tokens = hearing(sizes, [500], [125], prompt=150, text=40, letters=False)
    assert read == pytest.approx(sum(by_tokens)) and by_tokens[1] > 0
    slow = plan(Options(adapter="mlp")).bill.evaluation
    assert plan(Options(adapter="ctc")).bill.evaluation < slow
