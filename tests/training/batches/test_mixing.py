"""How often a source is heard: by its hours, its weight and the temperature of the stage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from borealis.data.manifest import read_manifest
from borealis.training.batches.recorded import RecordingBatches, Source, source_shares
from tests.training.keys import a_stage


@pytest.fixture
def sources(world) -> list[Source]:
    """Eight hours, and one hour that weighs twice."""
    item = read_manifest(world / "speech.jsonl")[0]
    hour = replace(item, duration=3600.0)
    return [Source("large", [hour] * 8), Source("small", [hour], 2.0)]


def test_a_temperature_evens_sources_out(sources):
    assert source_shares(sources) == pytest.approx([0.8, 0.2])
    assert source_shares(sources, 2.0) == pytest.approx([2 / 3, 1 / 3])
    assert source_shares(sources, 1e6) == pytest.approx([0.5, 0.5], abs=1e-4)


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 0.8), (2.0, 2 / 3)])
def test_a_stage_hears_its_sources_so_often(temperature, expected, tiny, batches_of):
    model, processor = tiny
    batches = batches_of(
        model, processor, max_steps=3000, mixing_temperature=temperature,
        tasks={"transcription": {}},
    )  # fmt: skip
    hour = replace(batches.sources[0].utterances[0], duration=20.0)
    heard = [Source("large", [hour] * 8), Source("small", [hour], 2.0)]
    mixed = RecordingBatches(batches.stage, batches.context, heard, [], processor)
    assert np.mean(mixed._choices == 0) == pytest.approx(expected, abs=0.03)


def test_a_temperature_needs_sources():
    with pytest.raises(ValueError, match="mixing_temperature needs sources"):
        a_stage(mixing_temperature=2.0, tasks={"text": {}})
    with pytest.raises(ValueError, match="mixing_temperature"):
        a_stage(mixing_temperature=0.0)
