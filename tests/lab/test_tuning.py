"""The material of the fine-tuning experiment keeps its parts apart, and its words are counted."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import soundfile

from borealis.data.manifest import read_manifest
from borealis.errors import BorealisError
from lab.tuning import ru_tts
from lab.tuning.gain import measured
from lab.tuning.material import SIZES, TERMS, terms


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("terms")
    terms(folder)
    names = ["test", "validation", *(f"train-{size}" for size in SIZES)]
    return {name: read_manifest(folder / f"{name}.jsonl") for name in names}


def words_of(items) -> list[str]:
    return [w for item in items for w in item.text.lower().strip(".?").replace(",", "").split()]


def test_no_sentence_is_in_two_parts_and_small_sets_lie_in_large_ones(material):
    texts = {name: {item.text for item in items} for name, items in material.items()}
    assert not texts["test"] & (texts["validation"] | texts["train-160"])
    assert not texts["validation"] & texts["train-160"]
    assert texts["train-10"] < texts["train-40"] < texts["train-160"]


def test_every_word_is_learned_and_asked_for_evenly(material):
    for name, times in (("test", 2), ("validation", 1), ("train-40", 1), ("train-160", 4)):
        said = words_of(material[name])
        assert all(said.count(term) == times for term in TERMS), name
    assert {item.voice for item in material["train-10"]} == {"ru", "ru+f2"}


def test_recordings_are_what_the_manifest_says(material):
    for item in material["train-10"]:
        info = soundfile.info(item.audio)
        assert abs(info.duration - item.duration) < 0.02 and info.channels == 1


def test_words_that_are_found_are_counted_whole(material):
    items = [item for item in material["test"] if "кубернетис" in item.text]
    texts = [items[0].text.upper(), items[1].text.replace("кубернетис", "кубернетиса")]
    told = measured(items, texts)
    assert told["terms_found"] == 0.5 and 0 < told["word_error_rate"] < 0.5


@pytest.mark.skipif(find_spec("_ru_tts_native") is not None, reason="it is installed here")
def test_a_missing_synthesiser_is_told():
    with pytest.raises(BorealisError, match="pip install --no-deps retro-ru-tts"):
        ru_tts.speak("Привет.", "female")
