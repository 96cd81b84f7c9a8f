"""The tokens of a codec in a vocabulary: old text stays as it was, ids and codes agree."""

from __future__ import annotations

import json

import pytest
import torch

import borealis
from borealis.codec import CodecVocabulary, load_codec
from borealis.errors import RecipeError
from borealis.model import BorealisConfig, BorealisForConditionalGeneration, BorealisProcessor
from borealis.speech.vocabulary import SpeechVocabulary
from borealis.training.recipe import SpeechSection
from borealis.training.start.sizes import rows_for
from borealis.training.start.vocabulary import add_speech
from tests.conftest import tiny_text_config

TEXT = "Мороз и солнце, день чудесный!"


def section(codec, **keys) -> SpeechSection:
    return SpeechSection(**{"codec": str(codec), "num_codebooks": 2} | keys)


def logits(model, ids):
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([ids])).logits[0]


@pytest.fixture
def fresh(make_tiny, tiny_processor, tmp_path):
    """`fresh(**keys of the language model)`: a model and a processor that may be changed."""

    def make(**changes):
        text = tiny_text_config(tiny_processor.tokenizer)
        text.update(changes)
        model, _ = make_tiny("mlp", text_config=text)
        tiny_processor.save_pretrained(tmp_path / "processor")
        return model, BorealisProcessor.from_pretrained(tmp_path / "processor")

    return make


@pytest.mark.parametrize("tied", [True, False])
def test_old_text_is_as_before(tied, fresh, codec):
    model, processor = fresh(tie_word_embeddings=tied)
    ids = processor.tokenizer(TEXT).input_ids
    before, old = logits(model, ids), len(processor.tokenizer)
    rows = [
        layer.weight.detach().clone() for layer in (model.get_input_embeddings(), model.lm_head)
    ]
    vocabulary = add_speech(model, processor, section(codec))
    assert processor.tokenizer(TEXT).input_ids == ids
    assert vocabulary.first_id == old and len(processor.tokenizer) == old + len(vocabulary)
    after = logits(model, ids)
    assert after.shape[-1] == model.config.text_config.vocab_size == old + len(vocabulary)
    torch.testing.assert_close(after[:, :old], before, rtol=0, atol=1e-6)
    for layer, was in zip((model.get_input_embeddings(), model.lm_head), rows, strict=True):
        assert torch.equal(layer.weight[:old], was)
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == tied


def test_a_model_that_knows_text_hardly_notices_new_tokens(nano, codec):
    model = borealis.load("nano")
    ids = nano.processor.tokenizer(f"<|im_start|>user\n{TEXT}<|im_end|>").input_ids
    vocabulary = add_speech(model.model, model.processor, section(codec))
    before, after = logits(nano.model, ids), logits(model.model, ids)
    assert torch.equal(after.argmax(-1), before.argmax(-1))
    assert after.softmax(-1)[:, vocabulary.first_id :].sum(-1).mean() < 0.01


@pytest.mark.parametrize("tied", [True, False])
def test_rows_begin_as_the_codebooks_lie(tied, fresh, codec):
    model, processor = fresh(tie_word_embeddings=tied)
    vocabulary = add_speech(model, processor, section(codec))
    weight = model.get_input_embeddings().weight.detach()
    old, rows = weight[: vocabulary.first_id], weight[vocabulary.first_id :]
    books = load_codec(codec, device="cpu").model.quantizer.codebooks
    for number, book in enumerate(books[:2]):
        own = rows[3 + 16 * number : 3 + 16 * (number + 1)]
        wanted, found = torch.cdist(book, book), torch.cdist(own, own)
        torch.testing.assert_close(found / found.max(), wanted / wanted.max(), atol=1e-3, rtol=1e-3)
    reach = (rows - old.mean(0)).norm(dim=1).mean() / (old - old.mean(0)).norm(dim=1).mean()
    assert reach.item() == pytest.approx(0.33 if tied else 1.1, rel=0.1)
    if not tied:
        old, new = model.lm_head.weight.detach().split([vocabulary.first_id, len(vocabulary)])
        torch.testing.assert_close(new, old.mean(0).expand_as(new))


def test_ids_text_and_codes_agree_after_saving(fresh, codec, speech, tmp_path):
    from borealis.audio import load_audio

    model, processor = fresh()
    vocabulary = add_speech(model, processor, section(codec, layout="delay"))
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    config = BorealisConfig.from_pretrained(tmp_path / "saved")
    assert config.speech == {
        "codec": str(codec), "num_codebooks": 2, "codebook_size": 16, "layout": "delay",
        "first_id": vocabulary.first_id,
    }  # fmt: skip
    again = CodecVocabulary.of_settings(config.speech)
    tokenizer = BorealisProcessor.from_pretrained(tmp_path / "saved").tokenizer
    codes = load_codec(codec, device="cpu").encode(load_audio(speech)[:8000], num_codebooks=2).codes
    ids = again.ids(codes, layout=config.speech["layout"])
    text = again.text(codes, layout="delay")
    assert tokenizer.decode(ids) == text
    assert tokenizer(text).input_ids == ids.tolist()
    assert tokenizer.decode(ids, skip_special_tokens=True) == ""
    read = BorealisForConditionalGeneration.from_pretrained(tmp_path / "saved")
    assert torch.equal(logits(read, ids.tolist()), logits(model, ids.tolist()))


def test_spare_rows_are_used_first_and_a_round_size_stays_round():
    assert rows_for(151_936, 151_672 + 67) == 151_936
    assert rows_for(151_936, 151_672 + 2051) == 153_728 == 64 * 2402
    assert rows_for(333, 400) == 400


def test_padded_vocabularies_do_not_grow(fresh, codec, tokenizer):
    model, processor = fresh(vocab_size=len(tokenizer) + 40)
    vocabulary = add_speech(model, processor, section(codec))
    assert len(vocabulary) == 35 and model.lm_head.out_features == len(tokenizer) + 40
    assert vocabulary.first_id == len(tokenizer)


def test_a_checkpoint_that_has_the_tokens_keeps_them(fresh, codec, caplog):
    model, processor = fresh()
    first = add_speech(model, processor, section(codec))
    rows = model.lm_head.weight.detach().clone()
    assert add_speech(model, processor, section(codec)) == first
    add_speech(model, processor, section(codec, layout="delay"))
    assert (
        "learned its tokens with flat" in caplog.text and model.config.speech["layout"] == "delay"
    )
    assert torch.equal(model.lm_head.weight, rows)
    with pytest.raises(RecipeError, match="wants 1 codebooks of 16 codes, and the checkpoint has"):
        add_speech(model, processor, section(codec, num_codebooks=1))


def test_mistakes_are_told_by_their_key(fresh, codec):
    model, processor = fresh()
    with pytest.raises(RecipeError, match=r"model\.speech\.codec: There is no codec 'nobody'"):
        add_speech(model, processor, section("nobody"))
    with pytest.raises(RecipeError, match=r"num_codebooks is 5, and the codec .* has 4"):
        add_speech(model, processor, section(codec, num_codebooks=5))
    processor.tokenizer.add_tokens(["<|start_of_speech|>", "<|other|>"], special_tokens=True)
    with pytest.raises(RecipeError, match="has tokens of such names already"):
        add_speech(model, processor, section(codec))


def test_a_config_without_speech_says_nothing_of_it(tiny_config):
    assert "speech" not in json.loads(tiny_config.to_json_string())
    with pytest.raises(ValueError, match="it must have codec, num_codebooks"):
        BorealisConfig(speech={"codec": "nano"})
    wanted = {"codec": "nano", "num_codebooks": 8, "codebook_size": 1024, "layout": "flat"}
    with pytest.raises(ValueError, match="end at id 159195, and the language model has 151936"):
        BorealisConfig(speech=wanted | {"first_id": 151_000})
    with pytest.raises(ValueError, match="must be 'flat' or 'delay'"):
        BorealisConfig(speech=wanted | {"layout": "rows", "first_id": 0})


# ---- voices ----

VOICES = [{"name": "anna", "gender": "female"}, {"name": "slt", "language": "en"}]
LETTERS = " .!?ab"


def test_voices_stand_behind_the_codes(fresh, codec, tmp_path):
    model, processor = fresh()
    with_voices = section(codec, voices=VOICES, symbols=LETTERS)
    codes = add_speech(model, processor, with_voices)
    config = model.config
    speaks = SpeechVocabulary.of_settings(config.speech)
    names = processor.tokenizer.convert_ids_to_tokens(range(speaks.next_id, speaks.next_id + 3))
    assert names == ["<|next_symbol|>", "<|voice:anna|>", "<|voice:slt|>"]
    assert speaks.codec == codes and speaks.voice_id("slt") == speaks.next_id + 2
    assert config.text_config.vocab_size == len(processor.tokenizer) == speaks.next_id + 3
    spelled = processor.tokenizer.convert_ids_to_tokens(speaks.ids_of("ab"))
    assert spelled == ["a", "b"]
    model.save_pretrained(tmp_path / "saved")
    assert BorealisConfig.from_pretrained(tmp_path / "saved").speech == config.speech
    again = dict(config.speech)
    add_speech(model, processor, with_voices)
    assert config.speech == again  # the same voices change nothing
    add_speech(model, processor, section(codec))
    assert config.speech == again  # and no voices keep them


def test_a_model_with_codes_gets_voices_later_unless_something_stands_there(fresh, codec):
    model, processor = fresh()
    add_speech(model, processor, section(codec))
    weight = model.get_input_embeddings().weight.detach().clone()
    add_speech(model, processor, section(codec, voices=VOICES, symbols=LETTERS))
    assert torch.equal(model.get_input_embeddings().weight[: len(weight)], weight)
    with pytest.raises(RecipeError, match="wants the voices anna, and the checkpoint has learned"):
        add_speech(model, processor, section(codec, voices=VOICES[:1], symbols=LETTERS))
    model, processor = fresh()
    add_speech(model, processor, section(codec))
    processor.tokenizer.add_tokens(["<|mine|>"])
    with pytest.raises(RecipeError, match="the tokenizer has others there"):
        add_speech(model, processor, section(codec, voices=VOICES, symbols=LETTERS))


def test_a_symbol_that_is_no_token_is_told(fresh, codec):
    model, processor = fresh()
    with pytest.raises(RecipeError, match=r"model.speech.symbols: The tokenizer spells '☃'"):
        add_speech(model, processor, section(codec, voices=VOICES, symbols=" .!?☃"))


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"voices": VOICES, "layout": "delay"}, "voices need the layout flat"),
        ({"voices": [VOICES[0], VOICES[0]]}, "two voices called 'anna'"),
        ({"voices": [{"name": "Анна"}]}, "pattern"),
        ({"voices": VOICES, "symbols": "abc"}, "is missing"),
    ],
)
def test_voices_that_make_no_sense_are_told(keys, told, codec):
    with pytest.raises(ValueError, match=told):
        section(codec, **keys)
