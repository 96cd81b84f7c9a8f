"""What can be known before the first step is told before it, and in a dry run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from transformers import get_scheduler

from borealis.cli import main
from borealis.errors import RecipeError
from borealis.training import preflight
from borealis.training.recipe import LoraSection
from borealis.training.recipe.stage import OptimizerSection
from borealis.training.weights import kernels, quantization
from borealis.training.weights.lora import add_lora, merge_lora
from tests.conftest import tiny_text_config
from tests.training.keys import a_stage, spelled


@pytest.fixture
def bare(monkeypatch):
    """`bare(name)`: a machine without a library."""

    def without(name: str) -> None:
        for module in (preflight, quantization, kernels):
            found = module.find_spec
            monkeypatch.setattr(module, "find_spec", lambda n, f=found: None if n == name else f(n))

    return without


LATE = {
    "wandb": ({"log_to": ["wandb"]}, "'instruct' logs to wandb, which isn't installed"),
    "tensorboard": ({"log_to": ["tensorboard"]}, "pip install tensorboard"),
    "trackio": ({"log_to": ["trackio"]}, "pip install trackio"),
    "bitsandbytes": (
        {"frozen_precision": "nf4", "precision": "bfloat16", "lora": {"rank": 2}},
        "pip install bitsandbytes",
    ),
    "liger_kernel": ({"use_liger_kernel": True}, "pip install liger-kernel"),
    "peft": (
        {"lora": {"rank": 2}},
        "needs peft, which isn't installed: pip install 'borealis-audio[train]'",
    ),
}


@pytest.mark.parametrize("name", LATE)
def test_a_missing_library_is_found_before_any_work(name, bare, large, run_train, tmp_path, capsys):
    keys, says = LATE[name]
    bare(name)
    # The first stage has all it needs: its time would be lost.
    [first] = yaml.safe_load(Path(large()).read_text("utf-8"))["stages"]
    recipe = large(**keys)
    value = yaml.safe_load(Path(recipe).read_text("utf-8"))
    value["stages"] = [first | {"name": "first"}, *value["stages"]]
    Path(recipe).write_text(yaml.safe_dump(spelled(value)), encoding="utf-8")
    run = tmp_path / "run"
    assert run_train(recipe, run) == 2
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error and not run.exists()
    assert run_train(recipe, run, "--dry-run") == 0
    assert f"on this machine: {error.removeprefix('borealis: ').strip()}" in capsys.readouterr().out
    assert not run.exists()


def test_a_library_that_is_broken_is_told(monkeypatch):
    def broken(name: str):
        raise ImportError("no protobuf")

    monkeypatch.setattr(preflight, "find_spec", lambda name: True)
    monkeypatch.setattr(preflight, "import_module", broken)
    stage = a_stage(log_to=["tensorboard"])
    with pytest.raises(RecipeError, match=r"can't be imported \(no protobuf\)"):
        preflight.check_stage(stage)


def test_an_unknown_scheduler_is_a_mistake_in_the_recipe(large, run_train, tmp_path, capsys):
    recipe = large(scheduler="nonsense")
    for more in ([], ["--dry-run"]):
        assert run_train(recipe, tmp_path / "run", *more) == 2
        error = capsys.readouterr().err
        assert "stages.instruct.optimizer.scheduler" in error and "'cosine'" in error
    assert main(["plan", recipe]) == 2
    assert "scheduler" in capsys.readouterr().err


def test_every_scheduler_of_the_schema_runs():
    names = OptimizerSection.model_fields["scheduler"].annotation.__args__
    for name in names:
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule = get_scheduler(name, optimizer, num_warmup_steps=2, num_training_steps=6)
        rates = []
        for _ in range(6):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        assert all(0 <= rate <= 1 for rate in rates) and rates[2] == 1, name


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"trainable": ["adaptor", "language_model"]}, "no parameter begins with 'adaptor'"),
        ({"lora": {"rank": 2, "target_modules": ["query"]}}, "no layer called query"),
        ({"lora": {"rank": 2, "target_modules": ["embed_tokens"]}}, "tie_word_embeddings"),
    ],
)
def test_parts_that_the_model_lacks_are_told_before_the_first_stage(
    keys, says, large, run_train, tmp_path, capsys
):
    recipe = large(**keys)
    value = yaml.safe_load(Path(recipe).read_text("utf-8"))
    [stage] = value["stages"]
    value["stages"] = [stage | {"name": "first", "lora": None, "trainable": ["adapter"], "tasks": {"transcription": {}}}, stage]  # fmt: skip
    Path(recipe).write_text(yaml.safe_dump(spelled(value)), encoding="utf-8")
    assert run_train(recipe, tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error
    assert not (tmp_path / "run" / "first").exists()


@pytest.mark.parametrize("tied", [False, True])
def test_merged_lora_of_the_embeddings_gives_the_same_logits(tied, make_tiny, tokenizer):
    model, _ = make_tiny(text_config=tiny_text_config(tokenizer, tie_word_embeddings=tied))
    settings = LoraSection(rank=4, alpha=8, target_modules=["embed_tokens", "q_proj"])
    if tied:
        with pytest.raises(RecipeError, match="shares its weights with the output layer"):
            add_lora(model, settings)
        return
    add_lora(model, settings)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    ids = torch.arange(10, 40)[None]
    with torch.inference_mode():
        apart = model(input_ids=ids).logits
        merge_lora(model)
        merged = model(input_ids=ids).logits
    assert not any("lora" in name for name, _ in model.named_modules())
    torch.testing.assert_close(merged, apart, atol=1e-5, rtol=1e-5)
