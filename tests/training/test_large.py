"""Training as at full size: recordings without a feature cache, LoRA, several processes, export."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import GemmaConfig, LlamaConfig, Qwen2Config, Qwen3Config

import borealis
from borealis.cli import main
from borealis.data.manifest import read_manifest
from borealis.errors import RecipeError
from borealis.training.loop.checkpoints import best_checkpoint
from borealis.training.loop.stage import run_stage
from tests.training.keys import a_stage

LORA = {"rank": 2, "alpha": 4}
ENCODER_LORA = {"rank": 2, "target_modules": ["q_proj", "v_proj"]}


def history(folder: Path, step: int) -> list[dict]:
    state = json.loads((folder / f"checkpoint-{step}" / "trainer_state.json").read_text("utf-8"))
    return state["log_history"]


@pytest.mark.slow
def test_from_recordings_to_a_published_folder(world, large, run_train, tmp_path, capsys, caplog):
    caplog.set_level("INFO")
    recipe = large(
        lora=LORA, encoder_lora=ENCODER_LORA, gradient_checkpointing=True, precision="bfloat16",
        frozen_precision="bfloat16", validation={"sources": ["speech"], "every": 2, "clips": 2},
        keep_checkpoints=1, trainable=["adapter", "language_model"],
    )  # fmt: skip
    run = tmp_path / "run"
    assert run_train(recipe, run, "--price", "3") == 0
    # The progress line, the validation, the record.
    assert "audio h/h" in caplog.text and "left  $" in caplog.text
    assert "validation: 2 recordings, WER" in caplog.text and "  heard  " in caplog.text
    stage = json.loads((run / "run.json").read_text("utf-8"))["stages"][0]
    assert stage["audio_hours"] > 0 and stage["dollars"] == pytest.approx(stage["seconds"] / 1200, abs=1e-3)  # fmt: skip
    # The frozen weights of the encoder moved by LoRA alone, and files look as any model's.
    start, end = load_file(run / "start/model.safetensors"), load_file(run / "instruct/model.safetensors")  # fmt: skip
    assert start.keys() == end.keys()
    moved = {k for k in end if not torch.allclose(start[k].float(), end[k].float(), atol=1e-2, rtol=1e-2) or (end[k].dtype == torch.float32 and not torch.equal(start[k].float(), end[k]))}  # fmt: skip
    assert any("audio_tower" in k and ("q_proj" in k or "v_proj" in k) for k in moved)
    assert any("language_model" in k and "o_proj" in k for k in moved)
    assert not any("conv" in k or "mlp" in k for k in moved)
    # Checkpoints hold what learns; the best by validation stays.
    best = best_checkpoint(run / "instruct")
    assert best is not None and (best / "learned.safetensors").is_file()
    assert not (best / "model.safetensors").exists()
    assert not list((run / "instruct").rglob("*.bin")), "no pickle of the arguments"
    # Export: the finished model, and a checkpoint with LoRA merged.
    capsys.readouterr()
    result = tmp_path / "result.json"
    result.write_text(json.dumps({"data": {"manifest": {"manifest": "test.jsonl"}}, "metrics": {"word_error_rate": 0.5, "character_error_rate": 0.25}}))  # fmt: skip
    assert main(["export", str(run), "--output", str(tmp_path / "hub"), "--results", str(result), "--license", "apache-2.0"]) == 0  # fmt: skip
    card = (tmp_path / "hub" / "README.md").read_text("utf-8")
    for words in ("license: apache-2.0", "| test.jsonl | 50.0 | 25.0 |", "| instruct | 4 |", "gradient_checkpointing: true", "speech, asked, chat"):  # fmt: skip
        assert words in card
    assert "$" not in card and str(world) not in card and str(tmp_path) not in card
    assert "audio_tower: whisper" in card and "only the last part is shown" in card
    published = load_file(tmp_path / "hub" / "model.safetensors")
    assert {t.dtype for t in published.values()} == {torch.bfloat16}
    model = borealis.load(tmp_path / "hub", dtype="float32")
    assert isinstance(model.transcribe(read_manifest(world / "speech.jsonl")[0].audio).text, str)
    last = ["--checkpoint", "instruct/checkpoint-4", "--dtype", "float32"]
    assert main(["export", str(run), "--output", str(tmp_path / "ckpt"), *last]) == 0
    merged = load_file(tmp_path / "ckpt" / "model.safetensors")
    assert all(torch.allclose(merged[k], end[k].float(), atol=1e-6) for k in end)
    # Apart, LoRA put on by peft gives the same weights.
    assert main(["export", str(run), "--output", str(tmp_path / "apart"), "--lora", *last]) == 0
    apart = borealis.load(tmp_path / "apart", dtype="float32").model
    on = PeftModel.from_pretrained(apart, tmp_path / "apart" / "lora").merge_and_unload()
    together = on.state_dict()
    assert all(torch.allclose(merged[k], together[k], atol=1e-6) for k in merged)
    assert main(["push", str(tmp_path / "hub"), "me/model", "--dry-run"]) == 0
    assert "model.safetensors" in capsys.readouterr().out
    for arguments, words in (
        (["export", str(run), "--output", str(tmp_path / "hub")], "isn't empty"),
        (["export", str(run), "--output", "x", "--checkpoint", "instruct/checkpoint-9"], "no checkpoint"),
        (["export", str(run), "--output", "x", "--dtype", "int3"], "dtype is 'int3'"),
        (["export", str(run), "--output", "x", "--lora"], "name a checkpoint"),
        (["push", str(run), "me/model"], "has no config.json"),
        (["push", str(tmp_path / "hub"), "model"], "isn't a hub id"),
        (["push", str(tmp_path / "hub"), "me/model"], "can't be written"),
    ):  # fmt: skip
        assert main(arguments) == 2
        assert words in capsys.readouterr().err


def test_processes_must_share_a_step_evenly(large, run_train, tmp_path, monkeypatch, make_tiny):
    monkeypatch.setenv("WORLD_SIZE", "2")
    stage = a_stage(batches_per_step=3)
    with pytest.raises(RecipeError, match=r"batch\.per_step=3"):
        run_stage(make_tiny()[0], stage, [], tmp_path, seed=0, use_cpu=True)


def test_a_missing_logger_is_named(make_tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    stage = a_stage(log_to=["trackio"])
    with pytest.raises(RecipeError, match="pip install trackio"):
        run_stage(make_tiny()[0], stage, [], tmp_path, seed=0, use_cpu=True)


def test_tensorboard_gets_the_log(make_tiny, batches_of, tmp_path):
    pytest.importorskip("tensorboard")
    pytest.importorskip("google.protobuf")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model, processor = make_tiny()
    batches = batches_of(model, processor, max_steps=2, logging_steps=1, log_to=["tensorboard"])
    run_stage(model, batches.stage, batches, tmp_path, seed=0, use_cpu=True)
    (file,) = tmp_path.rglob("events.out.tfevents.*")
    events = EventAccumulator(str(file.parent)).Reload()
    losses = events.Scalars("train/loss")
    assert [event.step for event in losses] == [1, 2]
    assert all(event.value > 0 for event in losses)
    assert {"train/audio_hours", "train/grad_norm"} <= set(events.Tags()["scalars"])


# ---- families ----


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ["mlp", "deep"])
@pytest.mark.parametrize("family", [Qwen2Config, Qwen3Config, LlamaConfig, GemmaConfig])
def test_every_family_trains_saves_loads_and_writes(
    family, adapter, make_tiny, tokenizer, batches_of, tmp_path, world, small
):
    text = family(vocab_size=len(tokenizer), **small)
    model, processor = make_tiny(adapter, text_config=text)
    batches = batches_of(model, processor, max_steps=2)
    run_stage(model, batches.stage, batches, tmp_path, seed=0, use_cpu=True)
    processor.save_pretrained(tmp_path)
    loaded = borealis.load(tmp_path, device="cpu")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.model.state_dict()[name])
    heard = read_manifest(world / "speech.jsonl")[0].audio
    assert isinstance(loaded.ask(heard, "Кто говорит?", max_new_tokens=5), str)


# ---- batches ----


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k] for k in a
    )


def test_a_batch_is_the_same_in_any_order(tiny, batches_of):
    values = {"presets": ["none", "hard"], "augment.frequency_mask": 0.2, "max_steps": 8}
    first, second = (batches_of(*tiny, **values) for _ in range(2))
    forward = [first[i] for i in range(8)]
    backward = [second[i] for i in reversed(range(8))][::-1]
    assert all(same(a, b) for a, b in zip(forward, backward, strict=True))
    assert not all(same(a, b) for a, b in zip(forward, (batches_of(*tiny, seed=1, **values)[i] for i in range(8)), strict=True))  # fmt: skip


def test_placeholders_answers_and_budgets(tiny, batches_of, tokenizer):
    model, _ = tiny
    batches = batches_of(*tiny, presets=["rough"])
    modes = []
    for step in range(len(batches)):
        batch = batches[step]
        modes.append(batch["mode"])
        ids, labels = batch["input_ids"], batch["labels"]
        learned = labels != -100
        assert torch.equal(ids[learned], labels[learned])
        if batch["mode"] == "text":
            assert not (ids == model.config.audio_token_id).any()
        else:
            counts = [model.config.num_audio_tokens(int(n)) for n in batch["num_samples"]]
            assert (ids == model.config.audio_token_id).sum(1).tolist() == counts
            assert not (labels == model.config.audio_token_id).any()
        for row in range(len(ids)):
            # Every learned run begins after the assistant's mark and ends with the end of a turn.
            text = tokenizer.decode(ids[row].tolist())
            answers = tokenizer.decode(ids[row][learned[row]].tolist())
            parts = [p.split("<|im_end|>")[0] for p in text.split("<|im_start|>assistant\n")[1:]]
            assert answers == "".join(f"{p}<|im_end|>" for p in parts)
    assert set(modes) == {"text", "audio"}


def test_an_epoch_holds_every_recording_once(tiny, batches_of, world):
    batches = batches_of(*tiny, tasks__conversations__share=0.0, max_steps=40)
    seen: dict[str, list[str]] = {}
    for step in range(40):
        number = int(batches._choices[step])
        picks = batches._epochs[number].batch(int(batches._places[step]))
        seen.setdefault(batches.sources[number].name, []).extend(map(str, picks))
    for name, source in (("speech", batches.sources[0]), ("asked", batches.sources[1])):
        count = len(source.utterances)
        epochs = [seen[name][i : i + count] for i in range(0, len(seen[name]) - count + 1, count)]
        assert epochs and all(len(set(epoch)) == count for epoch in epochs)


def test_what_cannot_be_learned_is_counted(world, large, run_train, tmp_path, caplog, capsys):
    caplog.set_level("INFO")
    rows = [json.loads(line) for line in (world / "speech.jsonl").read_text("utf-8").splitlines()]
    (world / "broken.wav").write_bytes(b"no audio")
    rows[1] |= {"audio": "missing.wav"}
    rows[2] |= {"text": ""}
    rows.append({"audio": "broken.wav", "text": "а"})
    rows.append(rows[0] | {"duration": 44.0})
    path = world / "bad.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    recipe = large(sources=["bad"], tasks__conversations__share=0.0, max_steps=1)
    assert run_train(recipe, tmp_path / "no") == 2
    assert "the source 'bad'" in capsys.readouterr().err
    more = "data.sources={bad: {manifest: bad.jsonl}}"
    assert run_train(recipe, tmp_path / "run", more) == 0
    for words in ("1 left out: the file is missing", "1 left out: too long", "1 left out: unreadable", "1 left out: speech without a text"):  # fmt: skip
        assert words in caplog.text
    listed = (tmp_path / "run/left-out/bad.txt").read_text("utf-8")
    assert "44 s, at most 30" in listed and "missing.wav" in listed
