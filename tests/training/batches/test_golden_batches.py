"""What each stage of a recipe learns from is what it was when this was written, batch by batch.

    GOLDEN_BATCHES=200 python -m pytest tests/training/batches/test_golden_batches.py

looks at more of them. `GOLDEN_UPDATE=1` writes the digests anew, after a change that is meant to
change them; `git diff` shows of which stages.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from borealis.data.manifest import Utterance
from borealis.data.phrasings import load_phrasings
from borealis.data.text import CTC_CHARACTERS
from borealis.training.batches.cached import CachedBatches
from borealis.training.data.features import FeatureCache
from borealis.training.recipe import load_recipe
from borealis.training.tasks.pieces import Pieces
from borealis.training.tasks.task import BatchContext
from tests.training.batches.test_batches import SENTENCES
from tests.training.keys import nested
from tests.training.tasks.test_pieces import heard

GOLDEN = Path(__file__).with_name("golden_batches.json")
COUNT = int(os.environ.get("GOLDEN_BATCHES", "20"))
# Of every stage a few batches are looked at; 200 of them make the digests of a longer look.
KEY = str(COUNT)
STAGES = [stage.name for stage in load_recipe("nano").stages]
SMALL = {
    "batch_tokens": 600,
    "batch_seconds": 12.0,
    "pseudo_audio.max_chars": (26, 80),
    "max_steps": 1000,
}


@pytest.fixture(scope="module")
def tiny_ctc(make_tiny):
    return make_tiny("ctc")


@pytest.fixture(scope="module")
def shelf(tiny_ctc, tmp_path_factory) -> FeatureCache:
    """A cache of made-up frames: speech of four voices in two languages, noise and silence."""
    width = tiny_ctc[0].config.audio_config.d_model
    folder = tmp_path_factory.mktemp("shelf")
    rng = np.random.default_rng(7)
    rows, offset = [], 0
    for number in range(72):
        kind = "speech" if number % 9 else ("noise" if number % 2 else "silence")
        text = SENTENCES[int(rng.integers(len(SENTENCES)))] if kind == "speech" else ""
        frames = int(rng.integers(40, 260))
        voice = f"voice-{number % 4}" if kind == "speech" else ""
        gender = ("male", "female")[number % 2] if kind == "speech" else ""
        language = ("en" if text.startswith("The") else "ru") if text else ""
        own = {"question": "Что это?", "answer": "Запись."} if number % 23 == 5 else {}
        rows.append(
            Utterance(
                audio=f"corpus-{number % 3}/{number}.flac", text=text, duration=frames / 50,
                language=language, voice=voice, gender=gender, kind=kind, **own,
            ).__dict__
            | {"offset": offset, "frames": frames}
        )  # fmt: skip
        offset += frames
    np.save(folder / "frames.npy", rng.integers(-64, 64, (offset, width)).astype(np.float16))
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (folder / "index.jsonl").write_text("".join(lines), encoding="utf-8")
    return FeatureCache([folder])


@pytest.fixture(scope="module")
def nano_batches(tiny_ctc, shelf):
    """`nano_batches(name)`: the batches of a stage of nano's recipe, smaller ones."""
    model, processor = tiny_ctc
    recipe = load_recipe("nano")

    def make(name: str) -> CachedBatches:
        stage = recipe.stage(name)
        stage = type(stage).model_validate(nested(stage.model_dump(), SMALL))
        seed = recipe.seed if stage.seed is None else stage.seed
        cache = shelf if stage.features else None
        context = BatchContext(
            processor.tokenizer, model.config, load_phrasings(), cache, SENTENCES, seed
        )
        pieces = None
        if stage.makes_pseudo_audio and stage.pseudo_audio.source == "clips":
            pieces = Pieces(CTC_CHARACTERS)
            for sentence in sorted(set(SENTENCES)):
                assert pieces.add(heard(sentence), sentence)
        return CachedBatches(stage, context, pieces)

    return make


def look_at(batches, count: int) -> dict[str, object]:
    """Digest of all whole numbers of the first batches; the sum of all others.

    Sums of many numbers are rounded differently on other processors.
    """
    digest, total = hashlib.sha256(), 0.0
    for step in range(count):
        batch = batches[step]
        for key in sorted(batch):
            value = batch[key]
            digest.update(key.encode())
            if key == "clips":
                value = [Path(clip).name for clip in value]
            if not isinstance(value, torch.Tensor):
                digest.update(json.dumps(value, ensure_ascii=False).encode())
                continue
            digest.update(str(tuple(value.shape)).encode())
            if value.is_floating_point():
                total += float(value.double().abs().sum())
            else:
                digest.update(value.to(torch.int64).numpy().tobytes())
    return {"digest": digest.hexdigest()[:16], "sum": round(total, 3)}


def compare(name: str, seen: dict[str, object]) -> None:
    golden = json.loads(GOLDEN.read_text("utf-8")) if GOLDEN.is_file() else {}
    if os.environ.get("GOLDEN_UPDATE"):
        golden.setdefault(KEY, {})[name] = seen
        GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    wanted = golden[KEY][name]
    assert seen["digest"] == wanted["digest"]
    assert seen["sum"] == pytest.approx(wanted["sum"], rel=1e-4)


@pytest.mark.parametrize("name", STAGES)
def test_stages_of_nano_learn_from_the_same_batches(name, nano_batches):
    compare(f"nano/{name}", look_at(nano_batches(name), COUNT))


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("kind", ["align", "instruct"])
@pytest.mark.parametrize("adapter", ["mlp", "ctc"])
def test_stages_on_recordings_learn_from_the_same_batches(
    adapter, kind, packing, batches_of, make_tiny
):
    ctc = adapter == "ctc" and kind == "align"
    stage = {"packing": packing and not ctc, "presets": ["none", "rough"]}
    if kind == "align":
        plain = {"conversations": {"share": 0.25, "sources": ["t"]}}
        stage["tasks"] = plain | {"letters" if ctc else "transcription": {"share": 0.75}}
    stage |= {"losses.ctc.weight": 1.0} if ctc else {}
    batches = batches_of(*make_tiny(adapter), **stage)
    compare(f"recordings/{adapter}-{kind}-{packing}", look_at(batches, min(COUNT, len(batches))))
