"""A maintainer adds an adapter by the lines that "Contributing" shows; everything takes it."""

from __future__ import annotations

import re

import pytest
import torch

import borealis
from borealis.audio import load_audio
from borealis.errors import BorealisError
from borealis.model import BorealisConfig, adapters, configuration
from borealis.model.processing import AUDIO_TOKEN
from tests.conftest import ROOT
from tests.training.conftest import large, run_train, world  # noqa: F401  # pytest finds them here

PROMPT = f"<|im_start|>user\n{AUDIO_TOKEN}Запиши речь.<|im_end|>\n<|im_start|>assistant\n"


def shown(language: str) -> dict[str, tuple[list[str], list[str]]]:
    """File -> the lines that the page's diff takes away there, and those that it adds."""
    page = (ROOT / f"docs/{language}/reference/contributing.md").read_text(encoding="utf-8")
    section = page.partition("{ #new-adapter }")[2].partition("\n### ")[0]
    [diff] = re.findall(r"```diff\n(.*?)```", section, re.DOTALL)
    files: dict[str, tuple[list[str], list[str]]] = {}
    for line in diff.splitlines():
        if line.startswith("+++ b/"):
            gone, new = files[line.removeprefix("+++ b/")] = [], []
        elif line.startswith(("-", "+")) and not line.startswith("---"):
            (gone if line[0] == "-" else new).append(line[1:])
    return files


@pytest.fixture
def linear(monkeypatch):
    """The changed files, as far as a process that has read the old ones can take them."""
    files = shown("en")
    for module in (adapters, configuration):
        name = module.__name__.replace(".", "/") + ".py"
        added = "\n".join(files[name][1])
        scope = dict(vars(module))
        exec(compile(added, name, "exec"), scope)
        if module is adapters:
            monkeypatch.setitem(adapters.ADAPTERS, "linear", scope["ADAPTERS"]["linear"])
            assert scope["ADAPTERS"] == adapters.ADAPTERS
        else:
            monkeypatch.setattr(configuration, "ADAPTER_TYPES", scope["ADAPTER_TYPES"])


def test_the_page_changes_lines_that_are_there():
    files = shown("en")
    assert files == shown("ru") and len(files) == 2
    for name, (gone, _) in files.items():
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        assert [lines.count(line) for line in gone] == [1]


def test_before_that_the_name_is_refused():
    with pytest.raises((BorealisError, ValueError), match="must be one of mlp, deep, ctc"):
        BorealisConfig(adapter_type="linear")


def test_it_gives_the_tokens_that_are_counted(linear, make_tiny, clips, tmp_path):
    model, processor = make_tiny("linear")
    audios = [load_audio(clip.audio) for clip in clips[:2]]
    batch = processor(text=[PROMPT] * 2, audio=audios)
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    together = model.generate(**batch, **options)[:, batch["input_ids"].shape[1] :]
    for row, audio in enumerate(audios):
        features = processor.extract_features([audio])
        heard = model.model.hear(features["input_features"], features["num_samples"])
        assert len(heard.flat_tokens) == model.config.num_audio_tokens(len(audio))
        single = processor(text=PROMPT, audio=audio)
        alone = model.generate(**single, **options)[0, single["input_ids"].shape[1] :]
        assert torch.equal(alone, together[row])
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = borealis.load(tmp_path, device="cpu", dtype="float32")
    with torch.inference_mode():
        torch.testing.assert_close(again.model(**batch).logits, model(**batch).logits)


@pytest.mark.slow
def test_a_recipe_chooses_it(linear, large, run_train, tmp_path):  # noqa: F811
    recipe = large(max_steps=2, tasks={"transcription": {}})
    assert run_train(recipe, tmp_path / "run", "model.config.adapter_type=linear") == 0
    trained = borealis.load(tmp_path / "run" / "final", device="cpu").model
    assert trained.config.adapter_type == "linear"
    start = borealis.load(tmp_path / "run" / "start", device="cpu").model
    assert not torch.equal(trained.model.adapter.linear.weight, start.model.adapter.linear.weight)
