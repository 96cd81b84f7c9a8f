"""The embeddings of a codec's tokens learn by themselves: in every format, beside LoRA, for good."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from peft import PeftModel
from safetensors.torch import load_file
from transformers import Gemma3TextConfig

from borealis.cli import main
from borealis.codec import CodecVocabulary
from borealis.errors import RecipeError
from borealis.model import BorealisForConditionalGeneration, BorealisProcessor
from borealis.training.preflight import check_model
from borealis.training.recipe import SpeechSection
from borealis.training.start.vocabulary import add_speech
from borealis.training.weights.learning import finish_weights, prepare_weights
from borealis.training.weights.lora import split_lora
from tests.conftest import tiny_text_config
from tests.training.keys import a_stage
from tests.training.weights.test_quantization import needs_bitsandbytes

LORA = {"rank": 4, "alpha": 8, "target_modules": ["q_proj", "up_proj"]}
IDS = torch.arange(1, 13)[None]


def logits(model: torch.nn.Module, ids: torch.Tensor = IDS) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(input_ids=ids).logits


@pytest.fixture
def speaking(make_tiny, tiny_processor, codec, tmp_path):
    """`speaking(**keys of the language model)`: a tiny model with the tokens of two codebooks."""

    def make(**changes) -> tuple[BorealisForConditionalGeneration, CodecVocabulary]:
        model, _ = make_tiny(
            "mlp", text_config=tiny_text_config(tiny_processor.tokenizer, **changes)
        )
        tiny_processor.save_pretrained(tmp_path / "processor")
        processor = BorealisProcessor.from_pretrained(tmp_path / "processor")
        section = SpeechSection(codec=str(codec), num_codebooks=2)
        return model, add_speech(model, processor, section)

    return make


def speech_of(vocabulary: CodecVocabulary, rows: int = 4, frames: int = 8) -> torch.Tensor:
    """Ids `[rows, n]` of codes that repeat: something that can be learned."""
    codes = np.tile([[1, 5, 3, 7], [2, 6, 4, 0]], frames // 4)
    return torch.tensor(vocabulary.ids(codes))[None].repeat(rows, 1)


def learn(model, vocabulary, steps: int = 30, autocast: bool = False) -> list[float]:
    """Losses of so many steps on speech."""
    ids = speech_of(vocabulary)
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer, losses = torch.optim.AdamW(learning, 0.02), []
    model.train()
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def as_if_learned(model) -> None:
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)


@pytest.mark.parametrize("tied", [True, False])
def test_only_the_new_rows_change_and_they_learn(tied, speaking):
    model, vocabulary = speaking(tie_word_embeddings=tied)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ids = torch.cat([IDS.repeat(4, 1), speech_of(vocabulary)], 1)
    plain = logits(model, ids)
    stage = a_stage(trainable=["speech"])
    learning = prepare_weights(model, stage)
    assert learning == len(vocabulary) * 64 * (1 if tied else 2)
    torch.testing.assert_close(logits(model, ids), plain, atol=1e-6, rtol=0)
    losses = learn(model, vocabulary)
    assert losses[-1] < losses[0] - 1
    apart = logits(model, ids)
    finish_weights(model, stage)
    torch.testing.assert_close(logits(model, ids), apart, atol=1e-5, rtol=1e-5)
    after = model.state_dict()
    assert after.keys() == before.keys()
    first, end = vocabulary.first_id, vocabulary.first_id + len(vocabulary)
    matrices = {"model.language_model.embed_tokens.weight", "lm_head.weight"}
    for name, value in after.items():
        if name not in matrices:
            assert torch.equal(value, before[name])
            continue
        assert torch.equal(value[:first], before[name][:first])
        assert not torch.equal(value[first:end], before[name][first:end])
    old = logits(model)[..., :first]
    torch.testing.assert_close(old, plain[:, : IDS.shape[1], :first][:1], atol=1e-6, rtol=0)


@pytest.mark.parametrize("tied", [True, False])
def test_their_gradients_are_those_of_the_whole_matrices(tied, speaking):
    gradients = []
    for trainable in (["speech"], ["language_model.embed_tokens", "lm_head"]):
        model, vocabulary = speaking(tie_word_embeddings=tied)
        first, end = vocabulary.first_id, vocabulary.first_id + len(vocabulary)
        prepare_weights(model, a_stage(trainable=trainable))
        ids = torch.cat([IDS.repeat(4, 1), speech_of(vocabulary)], 1)
        model(input_ids=ids, labels=ids).loss.backward()
        if trainable == ["speech"]:
            rows = model.model.speech
            gradients.append([p.grad for p in (rows.input, rows.output) if p is not None])
            assert model.get_input_embeddings().weight.grad is None
        else:
            layers = [model.get_input_embeddings(), *([] if tied else [model.lm_head])]
            gradients.append([layer.weight.grad[first:end] for layer in layers])
    for apart, whole in zip(*gradients, strict=True):
        torch.testing.assert_close(apart, whole, atol=1e-6, rtol=1e-4)


def test_embeddings_that_scale_what_they_read_scale_these_rows_too(
    make_tiny, tiny_processor, codec, tmp_path
):
    settings = tiny_text_config(tiny_processor.tokenizer).to_dict()
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    text = Gemma3TextConfig(
        **{name: settings[name] for name in names}, num_key_value_heads=2, head_dim=16,
        vocab_size=len(tiny_processor.tokenizer), tie_word_embeddings=True,
    )  # fmt: skip
    model, _ = make_tiny("mlp", text_config=text)
    tiny_processor.save_pretrained(tmp_path)
    processor = BorealisProcessor.from_pretrained(tmp_path)
    vocabulary = add_speech(model, processor, SpeechSection(codec=str(codec), num_codebooks=1))
    ids = torch.tensor(vocabulary.ids([[1, 2, 3]]))[None]
    before = logits(model, ids)
    prepare_weights(model, a_stage(trainable=["speech"]))
    torch.testing.assert_close(logits(model, ids), before, atol=1e-5, rtol=1e-5)


def test_rows_have_a_rate_of_their_own_beside_a_model_that_learns(speaking):
    from borealis.training.loop.optimizer import make_optimizer

    model, vocabulary = speaking()
    stage = a_stage(
        trainable=["language_model", "speech"], rates={"speech": 0.5}, learning_rate=0.1
    )
    check_model(model, stage)
    prepare_weights(model, stage)
    groups = {
        g["initial_lr"]: g["params"] for g in make_optimizer(model, stage.optimizer).param_groups
    }
    assert [p.shape for p in groups[0.5]] == [(len(vocabulary), 64)]
    learn(model, vocabulary, steps=3)
    apart = logits(model, speech_of(vocabulary))
    finish_weights(model, stage)
    torch.testing.assert_close(logits(model, speech_of(vocabulary)), apart, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("trainable", ["speech", "language_model.embed_tokens"])
def test_lora_and_learned_embeddings_are_the_same_merged_saved_and_put_on(
    trainable, tied, speaking, tmp_path
):
    def learned():
        model, vocabulary = speaking(tie_word_embeddings=tied)
        stage = a_stage(lora=LORA, trainable=[trainable])
        torch.manual_seed(2)
        prepare_weights(model, stage)
        as_if_learned(model)
        return model, stage, torch.cat([IDS, speech_of(vocabulary, 1)], 1)

    model, stage, ids = learned()
    apart = logits(model, ids)
    # Merged by us, written, read again.
    finish_weights(model, stage)
    torch.testing.assert_close(logits(model, ids), apart, atol=1e-4, rtol=1e-4)
    model.save_pretrained(tmp_path / "merged")
    read = BorealisForConditionalGeneration.from_pretrained(tmp_path / "merged")
    assert torch.equal(logits(read, ids), logits(model, ids))
    assert (read.lm_head.weight is read.get_input_embeddings().weight) == tied
    # LoRA apart: a model with the rows, and a folder of peft that says nothing of embeddings.
    model, stage, ids = learned()
    split_lora(model, stage.lora, tmp_path / "lora")
    finish_weights(model, stage)
    model.save_pretrained(tmp_path / "base")
    names = load_file(tmp_path / "lora/adapter_model.safetensors").keys()
    assert names and all(".lora_A." in name or ".lora_B." in name for name in names)
    assert not any("embed" in name or "lm_head" in name for name in names)
    base = BorealisForConditionalGeneration.from_pretrained(tmp_path / "base")
    on = PeftModel.from_pretrained(base, tmp_path / "lora").eval()
    torch.testing.assert_close(logits(on, ids), apart, atol=1e-4, rtol=1e-4)
    # Merged by peft, written, read again.
    on.merge_and_unload().save_pretrained(tmp_path / "by-peft")
    again = BorealisForConditionalGeneration.from_pretrained(tmp_path / "by-peft")
    torch.testing.assert_close(logits(again, ids), apart, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("format", ["bfloat16", pytest.param("nf4", marks=needs_bitsandbytes)])
def test_rows_learn_in_float32_whatever_the_rest_is_held_in(format, speaking):
    model, vocabulary = speaking()
    first, end = vocabulary.first_id, vocabulary.first_id + len(vocabulary)
    old = model.get_input_embeddings().weight[:first].detach().clone()
    stage = a_stage(trainable=["speech"], frozen_precision=format, precision="bfloat16")
    prepare_weights(model, stage)
    assert model.get_input_embeddings().weight.dtype == torch.bfloat16
    losses = learn(model, vocabulary, autocast=True)
    assert losses[-1] < losses[0] - 0.5
    rows = model.model.speech.input.detach().clone()
    assert rows.dtype == torch.float32 and not torch.equal(rows, rows.bfloat16().float())
    finish_weights(model, stage)
    weight = model.get_input_embeddings().weight
    assert torch.equal(weight[first:end], rows)
    assert torch.equal(weight[:first], old.bfloat16().float())


def test_what_cannot_be_is_refused_by_name(speaking, make_tiny):
    model, _ = make_tiny("mlp")
    with pytest.raises(RecipeError, match="names speech, and the model has no tokens of a codec"):
        check_model(model, a_stage(trainable=["speech"]))
    model, _ = speaking()
    with pytest.raises(RecipeError, match=r"nothing that learns begins with 'speech'"):
        check_model(model, a_stage(trainable=["adapter"], rates={"speech": 0.1}))
    with pytest.raises(RecipeError, match=r"no parameter begins with 'speech\.output'"):
        check_model(model, a_stage(trainable=["speech.output"]))  # tied: there is no other matrix
    with pytest.raises(ValueError, match="trainable speech needs the output layer's logits"):
        a_stage(trainable=["speech"], use_liger_kernel=True)


@pytest.fixture
def recipe(large, codec):
    """`recipe(**keys)`: a stage on recordings that teaches the adapter and the rows."""

    def make(**keys) -> str:
        path = large(**({"trainable": ["adapter", "speech"]} | keys))
        value = yaml.safe_load(Path(path).read_text("utf-8"))
        value["model"]["speech"] = {"codec": str(codec), "num_codebooks": 2}
        Path(path).write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")
        return path

    return make


def test_a_run_teaches_rows_beside_lora_goes_on_and_is_exported(
    recipe, run_train, tmp_path, capsys
):
    path, run = recipe(lora={"rank": 2}, frozen_precision="bfloat16", precision="bfloat16"), tmp_path / "run"  # fmt: skip
    assert run_train(path, run, "--dry-run") == 0
    assert "35 of the codec" in capsys.readouterr().out
    assert run_train(path, run) == 0
    speech = json.loads((run / "final/config.json").read_text("utf-8"))["speech"]
    first = speech["first_id"]
    assert speech["num_codebooks"] == 2 and speech["codebook_size"] == 16
    start, end = (load_file(run / f"{part}/model.safetensors") for part in ("start", "final"))
    assert start.keys() == end.keys()
    name = "model.language_model.embed_tokens.weight"
    assert torch.equal(end[name][:first], start[name][:first].bfloat16().float())
    learned = load_file(run / "instruct/checkpoint-4/learned.safetensors")
    assert torch.equal(end[name][first:], learned["model.speech.input"])
    assert (end[name][first:] - start[name][first:]).abs().max() > 1e-4
    # A checkpoint on the way, and a run that was cut off.
    part = ["--checkpoint", "instruct/checkpoint-4", "--dtype", "float32"]
    assert main(["export", str(run), "--output", str(tmp_path / "hub"), *part]) == 0
    exported = load_file(tmp_path / "hub/model.safetensors")
    assert all(torch.equal(exported[key], value.float()) for key, value in end.items())
    # The codec is a folder of this machine: nobody else is told where.
    published = json.loads((tmp_path / "hub/config.json").read_text("utf-8"))["speech"]
    assert published == speech | {"codec": "tiny"} and speech["codec"] not in (tmp_path / "hub/README.md").read_text("utf-8")  # fmt: skip
    assert main(["export", str(run), "--output", str(tmp_path / "apart"), "--lora", *part]) == 0
    assert torch.equal(load_file(tmp_path / "apart/model.safetensors")[name], exported[name])
    shutil.rmtree(run / "final")
    shutil.rmtree(run / "instruct/checkpoint-4")
    (run / "instruct/model.safetensors").unlink()
    assert run_train(path, run) == 0
    again = load_file(run / "final/model.safetensors")
    assert all(torch.equal(again[key], value) for key, value in end.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sharding", "keys"),
    [
        ("none", {"lora": {"rank": 2}}),
        ("fsdp", {"lora": {"rank": 2}}),
        ("fsdp", {"trainable": ["language_model", "speech"], "rates": {"speech": 0.002}}),
    ],
)
def test_two_processes_teach_the_rows_as_one(sharding, keys, recipe, run_train, two, tmp_path):
    path = recipe(**(keys | {"batches_per_step": 2, "augment.time_mask": 0.0}))
    assert run_train(path, tmp_path / "one") == 0
    two(path, tmp_path / "two", f"stages.*.compute.sharding={sharding}")
    one, both = (load_file(tmp_path / f"{run}/final/model.safetensors") for run in ("one", "two"))
    assert one.keys() == both.keys()
    for name, weight in one.items():
        torch.testing.assert_close(both[name].float(), weight.float(), atol=1e-4, rtol=1e-4)
