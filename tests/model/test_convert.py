"""Assembling from two towers, the published weight layout, and pickle files that are refused."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

import borealis
from borealis.cli import main
from borealis.errors import CheckpointError
from borealis.model.convert import assemble, convert_pickle, load_encoder, load_vikhr
from borealis.model.processing import AUDIO_TOKEN


@pytest.fixture(scope="module")
def parts(tmp_path_factory, tokenizer):
    """Folders of a tiny Whisper and of two tiny language models with tokenizers."""
    root = tmp_path_factory.mktemp("parts")
    torch.manual_seed(1)
    whisper = WhisperForConditionalGeneration(
        WhisperConfig(
            d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, vocab_size=100,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        )
    )  # fmt: skip
    whisper.save_pretrained(root / "whisper")
    WhisperFeatureExtractor(feature_size=80).save_pretrained(root / "whisper")
    sizes = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
    }  # fmt: skip
    models = {
        "qwen3": Qwen3ForCausalLM(Qwen3Config(**sizes, head_dim=8, tie_word_embeddings=True)),
        "llama": LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=False)),
    }
    for name, model in models.items():
        model.save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    return root


@pytest.mark.parametrize("language_model", ["qwen3", "llama"])
@pytest.mark.parametrize("adapter_type", ["mlp", "deep"])
def test_assemble_keeps_both_towers(parts, noise, tmp_path, language_model, adapter_type):
    model, processor = assemble(
        parts / "whisper", parts / language_model, output=tmp_path, adapter_type=adapter_type
    )
    whisper = load_file(parts / "whisper" / "model.safetensors")
    text = load_file(parts / language_model / "model.safetensors")
    state = model.state_dict()
    for name, value in whisper.items():
        if name.startswith("model.encoder."):
            kept = state["model.audio_tower." + name.removeprefix("model.encoder.")]
            assert torch.equal(kept, value), name
    for name, value in text.items():
        if name.startswith("model.layers."):
            assert torch.equal(state["model.language_model." + name.removeprefix("model.")], value)
    loaded = borealis.load(tmp_path)
    clip = noise(1.0)
    inputs = processor(text=AUDIO_TOKEN + "Что?", audio=clip)
    with torch.inference_mode():
        torch.testing.assert_close(model(**inputs).logits, loaded.model(**inputs).logits)
    assert isinstance(loaded.ask(clip, "Что слышно?", max_new_tokens=3), str)


def test_new_audio_tokens_begin_as_the_mean_and_are_saved(parts, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(models.WordLevel({"a": 0, "b": 1, "<unk>": 2, "<eos>": 3}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=plain, eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(tmp_path / "lm")
    Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=4, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=1, head_dim=8,
        )
    ).save_pretrained(tmp_path / "lm")  # fmt: skip
    model, processor = assemble(parts / "whisper", tmp_path / "lm", output=tmp_path / "out")
    assert model.config.text_config.vocab_size == len(processor.tokenizer) == 7
    assert processor.tokenizer.convert_tokens_to_ids(AUDIO_TOKEN) == model.config.audio_token_id
    assert borealis.load(tmp_path / "out").model.config.text_config.vocab_size == 7


def test_encoder_from_one_file(parts, tmp_path):
    weights = load_file(parts / "whisper" / "model.safetensors")
    prefix = "model.encoder."
    encoder = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    save_file(encoder, tmp_path / "encoder.safetensors")
    with pytest.raises(CheckpointError, match="config"):
        load_encoder(tmp_path / "encoder.safetensors")
    (tmp_path / "config.json").write_text((parts / "whisper" / "config.json").read_text())
    config, loaded = load_encoder(tmp_path / "encoder.safetensors")
    whole_config, whole = load_encoder(parts / "whisper")
    assert config.d_model == whole_config.d_model
    assert loaded.keys() == whole.keys()
    assert all(torch.equal(loaded[k], whole[k]) for k in whole)


@pytest.mark.parametrize(
    ("audio_tower", "language_model", "words"),
    [
        ("no-such-folder", "qwen3", "Whisper 'no-such-folder' can't be loaded"),
        ("qwen3", "qwen3", "is a qwen3 model; a Whisper is wanted"),
        ("whisper", "no-such-folder", "Language model 'no-such-folder' can't be loaded"),
        ("whisper", "whisper", "whisper"),
    ],
)
def test_towers_that_are_refused(parts, monkeypatch, audio_tower, language_model, words):
    monkeypatch.chdir(parts)
    with pytest.raises(CheckpointError, match=words):
        assemble(audio_tower, language_model)


# ---- the layout of the published VikhrModels checkpoints ----


class Reference:
    """That architecture written down anew: 30 s windows, 4 frames joined, two linear layers."""

    def __init__(self, weights, whisper_config, text_config):
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        self.encoder = WhisperEncoder(whisper_config).eval()
        self.encoder.load_state_dict(
            {k.removeprefix("encoder."): v for k, v in weights.items() if k.startswith("encoder.")}
        )
        self.llm = Qwen3ForCausalLM(text_config).eval()
        self.llm.load_state_dict(
            {k.removeprefix("llm."): v for k, v in weights.items() if k.startswith("llm.")}
        )
        self.w_in, self.w_out = weights["adapter.w_in.weight"], weights["adapter.w_out.weight"]

    def embeds(self, clips, before, after):
        table = self.llm.get_input_embeddings()
        rows = []
        for clip in clips:
            mel = WhisperFeatureExtractor(feature_size=80)(
                clip, sampling_rate=16_000, return_tensors="pt"
            ).input_features
            hidden = self.encoder(mel).last_hidden_state[0]
            audio = F.gelu(hidden.reshape(375, -1) @ self.w_in.T) @ self.w_out.T
            rows.append(torch.cat([table(before), audio, table(after)]))
        return torch.stack(rows)


@pytest.fixture(scope="module")
def published(parts, tmp_path_factory):
    """A folder with random weights under the published names."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(2)
    whisper = load_file(parts / "whisper" / "model.safetensors")
    weights = {
        k.removeprefix("model."): v for k, v in whisper.items() if k.startswith("model.encoder.")
    }
    text = Qwen3ForCausalLM.from_pretrained(parts / "qwen3").state_dict()
    weights |= {f"llm.{k}": v.clone() for k, v in text.items()}
    weights["adapter.w_in.weight"] = torch.randn(40, 128) * 0.1
    weights["adapter.w_out.weight"] = torch.randn(32, 40) * 0.1
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "model.safetensors")
    return folder, weights


def test_published_layout_gives_what_that_architecture_gives(parts, published, noise):
    folder, weights = published
    model, processor = load_vikhr(
        folder, audio_tower=parts / "whisper", language_model=parts / "qwen3"
    )
    reference = Reference(
        weights, WhisperConfig.from_pretrained(parts / "whisper"), Qwen3Config.from_pretrained(parts / "qwen3")
    )  # fmt: skip
    clips = [noise(2.0, seed=1), noise(7.5, seed=2)]
    prompts = [f"<|im_start|>user\n{AUDIO_TOKEN}Запиши речь.<|im_end|>\n"] * 2
    inputs = processor(text=prompts, audio=clips)
    counts = (inputs["input_ids"] == processor.audio_token_id).sum(1).tolist()
    assert counts == [375, 375]
    ids = inputs["input_ids"][0]
    places = (ids == processor.audio_token_id).nonzero().flatten()
    before, after = ids[: int(places[0])], ids[int(places[-1]) + 1 :]
    with torch.inference_mode():
        wanted = reference.llm(inputs_embeds=reference.embeds(clips, before, after)).logits
        torch.testing.assert_close(model(**inputs).logits, wanted, atol=1e-4, rtol=1e-3)
        options = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False}
        ours = model.generate(**inputs, **options)[:, len(ids) :]
        theirs = reference.llm.generate(
            inputs_embeds=reference.embeds(clips, before, after), **options
        )
    assert ours.tolist() == theirs.tolist()


def test_published_layout_from_shards_and_through_the_command(parts, published, tmp_path, capsys):
    folder, weights = published
    shards = tmp_path / "shards"
    shards.mkdir()
    names = sorted(weights)
    half = len(names) // 2
    index = {}
    for number, group in enumerate((names[:half], names[half:]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({k: weights[k].clone().contiguous() for k in group}, shards / file)
        index |= dict.fromkeys(group, file)
    import json

    (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    arguments = ["--audio-tower", str(parts / "whisper"), "--language-model", str(parts / "qwen3")]
    assert main(["convert", "vikhr", str(shards), *arguments, "--output", str(tmp_path / "o")]) == 0
    whole, _ = load_vikhr(folder, audio_tower=parts / "whisper", language_model=parts / "qwen3")
    loaded = borealis.load(tmp_path / "o").model
    for name, value in whole.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name


def test_published_layout_that_does_not_fit(parts, published, tmp_path):
    _, weights = published
    towers = {"audio_tower": parts / "whisper", "language_model": parts / "qwen3"}
    with pytest.raises(CheckpointError, match="no safetensors weights"):
        load_vikhr(tmp_path, **towers)
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="borealis convert pickle"):
        load_vikhr(tmp_path, **towers)
    wrong = dict(weights)
    wrong["vision.weight"] = torch.zeros(1)
    save_file(wrong, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"vision\.weight"):
        load_vikhr(tmp_path, **towers)
    del wrong["vision.weight"], wrong["adapter.w_out.weight"]
    save_file(wrong, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"no 'adapter\.w_out\.weight'"):
        load_vikhr(tmp_path, **towers)


# ---- pickle ----


def test_pickle_of_tensors_becomes_safetensors(tmp_path, capsys):
    weights = {"a": torch.randn(3, 2), "b": torch.arange(4)}
    weights["shared"] = weights["a"]
    torch.save({"state_dict": weights}, tmp_path / "w.bin")
    assert (
        main(["convert", "pickle", str(tmp_path / "w.bin"), str(tmp_path / "w.safetensors")]) == 0
    )
    assert "3 tensors" in capsys.readouterr().out
    loaded = load_file(tmp_path / "w.safetensors")
    assert all(torch.equal(loaded[k], v) for k, v in weights.items())


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_a_pickle_is_not_run(tmp_path, writer):
    target = tmp_path / "owned"
    data = {"weight": Malicious(str(target))}
    if writer == "torch":
        torch.save(data, tmp_path / "evil.bin")
    else:
        (tmp_path / "evil.bin").write_bytes(pickle.dumps(data))
    with pytest.raises(CheckpointError, match="refused"):
        convert_pickle(tmp_path / "evil.bin", tmp_path / "o.safetensors")
    assert not target.exists()
    assert not (tmp_path / "o.safetensors").exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "no named tensors"),
        ([torch.zeros(1)], "no named tensors"),
        ({"a": 1}, "isn't a tensor"),
    ],
)
def test_pickles_of_something_else(tmp_path, data, words):
    torch.save(data, tmp_path / "w.bin")
    with pytest.raises(CheckpointError, match=words):
        convert_pickle(tmp_path / "w.bin", tmp_path / "o.safetensors")


def test_no_checkpoint_loads_pickle(make_tiny, tmp_path):
    """A folder whose weights are pickle isn't loaded, whatever the config says."""
    model, processor = make_tiny()
    model.config.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError):
        borealis.load(tmp_path)
