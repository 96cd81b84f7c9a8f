"""The planner: its sizes are those of real models, its operations those that torch counts."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config, WhisperConfig

from borealis.errors import BorealisError
from borealis.model import BorealisConfig, BorealisForConditionalGeneration
from borealis.model.adapters import ADAPTERS
from borealis.model.audio_tower import BorealisAudioTower
from borealis.training.planner import Options, PlanError, model_config, parts, plan
from borealis.training.planner.costs import _encoder
from borealis.training.planner.operations import PASSES, TRAIN
from borealis.training.planner.shapes import (
    ENCODERS,
    LANGUAGE_MODELS,
    encoder_part,
    language_model_part,
)
from borealis.training.recipe import LoraSection
from borealis.training.weights.learning import set_trainable
from borealis.training.weights.lora import add_lora


def numbers(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


# ---- sizes ----


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_has_the_parameters_of_the_real_one(name: str) -> None:
    config = model_config(name, "nano", "mlp")
    with torch.device("meta"):
        assert parts(config)["encoder"].parameters == numbers(
            BorealisAudioTower(config.audio_config)
        )


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_language_model_has_the_parameters_of_the_real_one(name: str) -> None:
    config = model_config("tiny", name, "mlp").text_config
    with torch.device("meta"):
        assert language_model_part(config).parameters == numbers(
            AutoModelForCausalLM.from_config(config)
        )


@pytest.mark.parametrize("encoder", ["tiny", "large-v3"])
@pytest.mark.parametrize("model", ["nano", "qwen3-4b"])
@pytest.mark.parametrize("kind", ADAPTERS)
def test_adapter_has_the_parameters_of_the_real_one(kind: str, model: str, encoder: str) -> None:
    config = model_config(encoder, model, kind)
    with torch.device("meta"):
        assert parts(config)["adapter"].parameters == numbers(ADAPTERS[kind](config))


@pytest.mark.parametrize(
    "settings",
    [
        {"adapter_type": "mlp", "adapter_hidden_size": 96},
        {"adapter_type": "deep", "adapter_num_layers": 5, "adapter_expansion": 2.5},
        {
            "adapter_type": "ctc",
            "adapter_frame_stack": 4,
            "ctc_labels": "abc",
            "adapter_hidden_size": 64,
        },
        {
            "adapter_type": "ctc",
            "adapter_frame_stack": 1,
            "ctc_labels": "ab",
            "adapter_conv_kernel_size": 7,
            "downsample_factor": 8,
        },
    ],
)
def test_adapter_settings_count(tiny_config, settings) -> None:
    config = BorealisConfig(
        audio_config=tiny_config.audio_config, text_config=tiny_config.text_config, **settings
    )
    assert parts(config)["adapter"].parameters == numbers(ADAPTERS[config.adapter_type](config))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", [Qwen3Config, Qwen2Config, LlamaConfig])
def test_other_families_are_counted_too(family, tied: bool) -> None:
    config = family(
        vocab_size=100, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=tied,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    part = language_model_part(config)
    linear = [m.weight for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert part.parameters == numbers(model)
    assert part.linear == 2 * sum(w.numel() for w in linear)


def test_published_sizes() -> None:
    sizes = {
        name: part.parameters
        for name, part in parts(model_config("large-v3", "qwen3-4b", "mlp")).items()
    }
    # Published as 635M: without the table of positions, which doesn't learn.
    assert round((sizes["encoder"] - 1500 * 1280) / 1e6) == 635
    assert sizes["adapter"] == 5120 * 2560 + 2560 * 2560 == 19_660_800
    assert 4.6e9 < sum(sizes.values()) < 5e9
    hidden = [
        model_config("large-v3", m, "mlp").text_config.hidden_size for m in LANGUAGE_MODELS[1:]
    ]
    assert hidden == [1024, 2048, 2560]
    deep = parts(model_config("large-v3", "qwen3-4b", "deep"))["adapter"].parameters
    assert 75e6 < deep < 150e6


def test_turbo_has_the_same_encoder() -> None:
    turbo, large = (
        parts(model_config(n, "nano", "mlp"))["encoder"] for n in ("large-v3-turbo", "large-v3")
    )
    assert turbo == large


def test_whole_bundled_model(nano) -> None:
    sizes = parts(nano.model.config)
    real = nano.model.model
    assert sizes["encoder"].parameters == numbers(real.audio_tower)
    assert sizes["adapter"].parameters == numbers(real.adapter)
    assert sizes["language_model"].parameters == numbers(real.language_model)


def test_names_of_the_hub_and_folders(tmp_path) -> None:
    assert (
        model_config("openai/whisper-base", "Qwen/Qwen3-0.6B", "mlp").text_config.hidden_size
        == 1024
    )
    WhisperConfig(d_model=64, encoder_layers=2, encoder_ffn_dim=128).save_pretrained(tmp_path / "w")
    LlamaConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4
    ).save_pretrained(tmp_path / "l")
    config = model_config(str(tmp_path / "w"), str(tmp_path / "l"), "mlp")
    assert (config.audio_config.d_model, config.text_config.model_type) == (64, "llama")
    with pytest.raises(PlanError, match="no Whisper"):
        model_config(str(tmp_path / "l"), "nano", "mlp")
    (tmp_path / "l" / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(PlanError, match="isn't a config"):
        model_config("base", str(tmp_path / "l"), "mlp")


def test_whole_model_on_the_meta_device() -> None:
    config = model_config("large-v3", "qwen3-1.7b", "deep")
    with torch.device("meta"):
        model = BorealisForConditionalGeneration(config)
    assert plan(Options(language_model="qwen3-1.7b", adapter="deep")).parameters[
        "total"
    ] == numbers(model)


# ---- tokens and memory ----


@pytest.mark.parametrize("padding", ["none", "encoder", "all"])
@pytest.mark.parametrize("seconds", [0.5, 3, 29.99, 30, 31, 95])
def test_tokens_are_those_of_the_config(padding: str, seconds: float) -> None:
    result = plan(
        Options(clip_seconds=seconds, padding=padding, language_model="nano", encoder="tiny")
    )
    config = model_config("tiny", "nano", "mlp", padding)
    assert result.tokens["audio_per_clip"] == config.num_audio_tokens(round(seconds * 16_000))
    assert result.tokens["audio_per_30_seconds"] == 375


def test_cache_is_that_of_the_model(tiny_model) -> None:
    out = tiny_model(input_ids=torch.arange(10)[None] + 10, use_cache=True)
    layers = [(layer.keys, layer.values) for layer in out.past_key_values.layers]
    held = sum(t.numel() for pair in layers for t in pair)
    assert parts(tiny_model.config)["language_model"].cache * 10 == held


def kept_numbers(run, model: torch.nn.Module) -> float:
    """Two-byte numbers that a forward pass keeps for the backward pass, weights not counted."""
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    kept = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(storage.nbytes() for storage in kept.values()) / 2


def test_a_layer_keeps_what_the_planner_says() -> None:
    kept, said = [], []
    for layers in (1, 3):
        config = Qwen3Config(
            vocab_size=50, hidden_size=128, intermediate_size=320, num_hidden_layers=layers,
            num_attention_heads=4, num_key_value_heads=2, head_dim=48, tie_word_embeddings=True,
        )  # fmt: skip
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        embeds = torch.randn(1, 60, 128, dtype=torch.bfloat16, requires_grad=True)
        kept.append(
            kept_numbers(lambda m=model, e=embeds: m(inputs_embeds=e, use_cache=False), model)
        )
        said.append(60 * language_model_part(config).kept)
    assert (kept[1] - kept[0]) == pytest.approx(said[1] - said[0], rel=0.03)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_an_adapter_keeps_what_the_planner_says(kind: str) -> None:
    config = model_config("base", "nano", kind)
    adapter = ADAPTERS[kind](config).to(torch.bfloat16).train()
    frames = torch.randn(1, 400, 512, dtype=torch.bfloat16)
    kept = kept_numbers(lambda: adapter(frames, torch.ones(1, 400, dtype=torch.bool)), adapter)
    assert kept == pytest.approx(100 * parts(config)["adapter"].kept, rel=0.15)


def test_memory_of_training() -> None:
    stages = {train: plan(Options(train=train)).stages[0] for train in ("adapter", "lora", "full")}
    total = plan().parameters["total"]
    for stage in stages.values():
        memory = stage.memory
        assert memory["total"] == memory["learned"] + memory["frozen"] + memory["kept"]
        assert memory["learned"] == 18 * stage.learned_parameters
    assert stages["adapter"].learned_parameters == plan().parameters["adapter"]
    assert stages["full"].memory["frozen"] == 2 * plan().parameters["encoder"]
    assert stages["adapter"].memory["frozen"] == 2 * (total - stages["adapter"].learned_parameters)
    assert plan(Options(train="full", gpu="rtx4090")).fits is False
    small = plan(Options(language_model="qwen3-0.6b", gpu="h100"))
    assert small.fits is True
    less = plan(Options(gradient_checkpointing=True)).stages[0]
    assert less.memory["kept"] < 0.5 * stages["lora"].memory["kept"]
    assert less.flops["language_model"] == pytest.approx(
        1.5 * stages["lora"].flops["language_model"], rel=0.02
    )


def test_lora_has_the_parameters_of_peft(make_tiny) -> None:
    model, _ = make_tiny()
    before = numbers(model)
    add_lora(model, LoraSection(rank=3))
    result = plan(Options(lora_rank=3))
    assert result.stages[0].learned_parameters > result.parameters["adapter"]
    part = language_model_part(model.config.text_config)
    names = LoraSection().target_modules
    assert numbers(model) - before == 3 * sum(part.lora[name] for name in names)


# ---- operations ----


@pytest.mark.parametrize(
    ("train", "kind"),
    [("adapter", "mlp"), ("adapter", "deep"), ("lora", "mlp"), ("full", "mlp"), ("full", "ctc")],
)
def test_operations_are_those_that_torch_counts(make_tiny, train: str, kind: str) -> None:
    text = Qwen3Config(
        vocab_size=500, hidden_size=128, intermediate_size=384, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, head_dim=32, tie_word_embeddings=True,
    )  # fmt: skip
    model, _ = make_tiny(kind, text_config=text, encoder_window="full")
    if train == "lora":
        add_lora(model, LoraSection(rank=4))
    model.set_attn_implementation("eager")  # the counter doesn't know every fused attention
    trainable = ["adapter", "language_model"] if train == "full" else ["adapter"]
    set_trainable(model, trainable, lora=train == "lora")
    model.train()
    samples = 8 * 16_000
    tokens = model.config.num_audio_tokens(samples)
    ids = torch.full((1, tokens + 40), 20)
    ids[0, 5 : 5 + tokens] = model.config.audio_token_id
    features = torch.zeros(1, 80, 3000)
    with FlopCounterMode(display=False) as counter:
        out = model(
            input_ids=ids, labels=ids, input_features=features, num_samples=torch.tensor([samples])
        )
        out.loss.backward()
    sizes, (adapter_state, model_state) = parts(model.config), TRAIN[train]
    lora = (
        4 * sum(sizes["language_model"].lora[n] for n in LoraSection().target_modules)
        if train == "lora"
        else 0
    )

    def cost(name: str, positions: int, state: str) -> float:
        linear, attention = PASSES[state]
        return (
            sizes[name].linear * positions * linear
            + sizes[name].attention * positions**2 * attention
        )

    expected = sizes["encoder"].forward(1500) + cost("adapter", tokens, adapter_state)
    expected += cost("language_model", tokens + 40, model_state) + 6 * lora * (tokens + 40)
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.05)


def counted(run) -> float:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_operations_of_an_encoder_with_lora(checkpointing: bool) -> None:
    # Deep enough that the first layer, whose input needs no gradient, doesn't matter.
    config = WhisperConfig(d_model=32, encoder_layers=16, encoder_attention_heads=2, encoder_ffn_dim=128)  # fmt: skip
    tower = BorealisAudioTower(config).train()
    model = SimpleNamespace(model=SimpleNamespace(audio_tower=tower))
    add_lora(model, LoraSection(rank=4, target_modules=["q_proj", "fc2"]), "audio_tower")
    for name, parameter in tower.named_parameters():
        parameter.requires_grad = "lora_" in name
    if checkpointing:
        tower.gradient_checkpointing_enable({"use_reentrant": False})
    tower.set_attn_implementation("eager")
    part = encoder_part(config)
    lora = 4 * (part.lora["q_proj"] + part.lora["fc2"])
    assert lora == sum(p.numel() for n, p in tower.named_parameters() if "lora_" in n)
    options = Options(gradient_checkpointing=checkpointing)
    said = _encoder(part, 1500, lora, options)
    got = counted(lambda: tower(torch.zeros(1, 80, 3000)).last_hidden_state.sum().backward())
    assert got == pytest.approx(said, rel=0.05)


def test_operations_of_a_packed_row(make_tiny) -> None:
    model, _ = make_tiny()
    model.set_attn_implementation("eager")
    ids = torch.arange(240)[None] % 90 + 10
    positions = torch.arange(80).repeat(3)[None]
    part = parts(model.config)["language_model"]
    got = counted(lambda: model(input_ids=ids, position_ids=positions, use_cache=False))
    assert got == pytest.approx(3 * part.forward(80, 240), rel=0.05)


def test_an_encoder_layer_keeps_what_the_planner_says() -> None:
    kept, said = [], []
    for layers in (1, 3):
        config = WhisperConfig(d_model=128, encoder_layers=layers, encoder_attention_heads=2, encoder_ffn_dim=512)  # fmt: skip
        tower = BorealisAudioTower(config).to(torch.bfloat16).train()
        features = torch.randn(1, 80, 120, dtype=torch.bfloat16)
        kept.append(kept_numbers(lambda t=tower, f=features: t(f), tower))
        said.append(60 * encoder_part(config).kept)
    assert (kept[1] - kept[0]) == pytest.approx(said[1] - said[0], rel=0.15)


def test_choices_for_memory() -> None:
    base = plan().stages[0].memory
    nf4 = plan(Options(frozen_precision="nf4")).stages[0].memory
    matrices = parts(model_config("large-v3", "qwen3-4b", "mlp"))["language_model"].matrices
    # 4 bits and a little of scales, instead of 16.
    assert base["frozen"] - nf4["frozen"] == pytest.approx(matrices * (2 - 0.516), rel=1e-3)
    full = Options(train="full", gpus=8)
    whole, shared = (plan(replace(full, sharding=s)).stages[0].memory for s in ("none", "fsdp"))
    assert shared["learned"] == whole["learned"] / 8 and shared["kept"] == whole["kept"]
    assert 0 < shared["gathered"] < whole["learned"] / 8
    assert not plan(full).fits and plan(replace(full, sharding="fsdp", batch_tokens=2048)).fits
    listening = Options(feature_cache=False, encoder_lora_rank=8)
    frozen, learns = (plan(o).stages[0] for o in (Options(feature_cache=False), listening))
    assert learns.memory["kept"] > 1.3 * frozen.memory["kept"]
    assert learns.flops["encoder"] > 2 * frozen.flops["encoder"]
    again = plan(replace(listening, gradient_checkpointing=True)).stages[0]
    assert again.memory["kept"] < 0.2 * learns.memory["kept"]
    packed = plan(Options(packing=True)).stages[0]
    assert packed.flops["language_model"] > plan().stages[0].flops["language_model"]


@pytest.mark.parametrize(("bad", "says"), [
    ({"encoder_lora_rank": 4}, "can't have a feature cache"),
    ({"train": "full", "frozen_precision": "nf4"}, "nf4 goes with a frozen model"),
    ({"frozen_precision": "int3"}, "frozen_precision is 'int3'"),
    ({"sharding": "zero"}, "sharding is 'zero'"),
])  # fmt: skip
def test_choices_that_do_not_go_together(bad: dict, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        plan(Options(**bad))


def test_cost_grows_with_work_and_falls_with_savings() -> None:
    base = plan()
    assert plan(Options(epochs=10, feature_cache=False)).dollars == pytest.approx(
        2 * plan(Options(feature_cache=False)).dollars
    )
    assert plan(Options(price=6)).dollars == pytest.approx(2 * base.dollars)
    assert plan(Options(utilization=0.6)).gpu_hours == pytest.approx(base.gpu_hours / 2)
    eight = plan(Options(gpus=8))
    assert (eight.gpu_hours, eight.dollars) == (base.gpu_hours, base.dollars)
    assert eight.hours == pytest.approx(base.hours / 8)
    for dearer in (
        {"feature_cache": False},
        {"padding": "encoder"},
        {"padding": "all"},
        {"train": "full"},
    ):
        assert plan(Options(**dearer)).dollars > base.dollars
    cheaper = ({"train": "adapter"}, {"language_model": "qwen3-1.7b"}, {"encoder": "small"})
    for change in cheaper:
        assert plan(Options(**change)).dollars < base.dollars
    # An encoder run once costs the same for any number of epochs.
    assert plan(Options(epochs=9)).stages[0].flops["encoder"] == base.stages[0].flops["encoder"]
    assert plan(Options(epochs=0.5)).stages[0].encoded_hours == 500
    assert plan(Options(feature_cache=False)).feature_cache == 0


def test_operations_for_seconds_and_tokens() -> None:
    stage = plan(Options(text_tokens_per_second=0, prompt_tokens=0)).stages[0]
    assert stage.flops_per_text_token == 0
    assert stage.flops_per_audio_second == pytest.approx(
        stage.flops["total"] / (stage.audio_hours * 3600)
    )
    stage = plan(Options(train="full")).stages[0]
    linear = parts(model_config("large-v3", "qwen3-4b", "mlp"))["language_model"].linear
    assert stage.flops_per_text_token == pytest.approx(3 * linear, rel=0.01)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"encoder": "huge"}, "no Whisper 'huge'"),
        ({"language_model": "gpt"}, "no language model 'gpt'"),
        ({"adapter": "wide"}, "adapter is 'wide'"),
        ({"train": "all"}, "train is 'all'"),
        ({"train": "ctc"}, "has no CTC"),
        ({"gpu": "abacus"}, "gpu is 'abacus'"),
        ({"padding": "some"}, "padding is 'some'"),
        ({"utilization": 30}, "at most 1"),
        ({"utilization": 0}, "above 0"),
        ({"price": -1}, "price is -1"),
        ({"epochs": float("nan")}, "epochs is nan"),
        ({"hours_of_audio": float("inf")}, "hours_of_audio is inf"),
        ({"hours_of_audio": 1e30}, "too much"),
        ({"clip_seconds": 1e-9}, "clip_seconds"),
        ({"clip_seconds": 1e9}, "at most 600 s"),
        ({"lora_rank": 0}, "lora_rank is 0"),
        ({"gpus": 0}, "gpus is 0"),
    ],
)
def test_bad_options_are_told(bad: dict, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        plan(Options(**bad))
    assert issubclass(PlanError, BorealisError)
