"""Recordings to speak from: aligned, encoded, kept once; what can't be learned from is counted."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from borealis.audio import load_audio
from borealis.codec import load_codec
from borealis.data.manifest import read_manifest
from borealis.errors import RecipeError
from borealis.speech.rule import StreamRule
from borealis.speech.stream import prompt_ids, write_stream
from borealis.speech.symbols import SYMBOLS
from borealis.speech.vocabulary import SpeechVocabulary
from borealis.training.data import speech
from borealis.training.data.aligner import Aligner
from borealis.training.data.speech import SpeechCache, SpeechSource, plan_recordings, unsaid

VOICES = {"": "anna"}


@pytest.fixture(scope="module")
def aligner():
    return Aligner("nano")


@pytest.fixture
def data(clips, tmp_path):
    """A manifest of three real recordings, two texts that can't be used, and a missing file."""
    rows = [{"audio": c.audio, "text": c.text, "duration": c.duration} for c in clips[:3]]
    rows.append(rows[0] | {"text": "Это было в 1825 году."})
    rows.append(rows[0] | {"audio": str(tmp_path / "gone.wav"), "duration": 9.0})
    rows.append(rows[1] | {"text": "мороз и солнце " * 60, "duration": 8.0})
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "m.jsonl").write_text(text, encoding="utf-8")
    return tmp_path


def make(data, codec, aligner, name="set", books=2):
    folder = data / name
    folder.mkdir(exist_ok=True)
    recordings = plan_recordings([SpeechSource("m.jsonl", VOICES)], data, seed=0)
    speech.align_recordings(recordings, folder, symbols=SYMBOLS, aligner=aligner)
    loaded = load_codec(codec, device="cpu")
    speech.encode_recordings(recordings, folder, codec=loaded, num_codebooks=books)
    return folder


def test_recordings_become_symbols_with_durations_and_codes(data, codec, aligner, nano):
    folder = make(data, codec, aligner)
    assert speech.counts_of(folder) == {
        "kept": 3,
        "text with numbers": 1,
        "recording can't be read": 1,
        "text doesn't fit the recording": 1,
    }
    cache = SpeechCache([folder], 2)
    items = sorted(read_manifest(data / "m.jsonl")[:3], key=lambda item: item.duration)
    assert [clip.text for clip in cache.clips] == [item.text for item in items]
    for clip, item in zip(cache.clips, items, strict=True):
        spoken, frames = clip.spoken, len(load_audio(item.audio)) / 640
        assert spoken.codes.shape == (2, spoken.durations.sum())
        assert frames - 25 < spoken.codes.shape[1] <= frames + 1
        assert spoken.durations[0] <= 3 and spoken.durations[-1] <= 3  # silence is cut
        assert spoken.voice == "anna" and spoken.symbols[0] == " "


def test_what_is_learned_is_what_the_rule_allows(data, codec, aligner):
    cache = SpeechCache([make(data, codec, aligner)], 2)
    settings = {"num_codebooks": 2, "codebook_size": 16, "first_id": 200}
    settings |= {"voices": [{"name": "anna"}], "symbols": SYMBOLS}
    vocabulary = SpeechVocabulary.of_settings(settings | {"symbol_ids": range(len(SYMBOLS))})
    for clip in cache.clips:
        ids, _ = write_stream(vocabulary, clip.spoken)
        head = prompt_ids(vocabulary, clip.spoken.symbols, "anna")
        rule = StreamRule(vocabulary, clip.spoken.symbols, 25.0)
        rule.follow(ids[len(head) :].tolist())
        assert rule.done and len(ids) == speech.stream_length(clip.spoken)


def test_a_cache_that_was_cut_off_is_gone_on_with(data, codec, aligner, monkeypatch, caplog):
    monkeypatch.setattr(speech, "_AT_ONCE", 2)
    whole = make(data, codec, aligner)
    cut = data / "cut"
    cut.mkdir()
    aligned = (whole / "aligned.jsonl").read_bytes().splitlines(keepends=True)
    (cut / "aligned.jsonl.partial").write_bytes(b"".join(aligned[:3]) + aligned[3][:20])
    index = (whole / "index.jsonl").read_bytes().splitlines(keepends=True)
    (cut / "index.jsonl").write_bytes(b"".join(index[:2]))
    codes = (whole / "codes.i16").read_bytes()
    (cut / "codes.i16.partial").write_bytes(codes[:-2])  # more than the index knows
    with caplog.at_level(logging.INFO):
        make(data, codec, aligner, "cut")
    assert caplog.text.count("going on after 2 recordings") == 2
    for name in ("aligned.jsonl", "index.jsonl", "codes.i16"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()


def test_a_pause_is_a_comma_where_texts_lack_them(data, codec, aligner):
    plain = SpeechCache([make(data, codec, aligner)], 2).clips[-1].spoken
    folder = data / "commas"
    folder.mkdir()
    recordings = plan_recordings([SpeechSource("m.jsonl", VOICES, commas=0.16)], data, seed=0)
    (folder / "aligned.jsonl").write_bytes((data / "set/aligned.jsonl").read_bytes())
    loaded = load_codec(codec, device="cpu")
    speech.encode_recordings(recordings, folder, codec=loaded, num_codebooks=2)
    marked = SpeechCache([folder], 2).clips[-1].spoken
    long = [i for i, n in enumerate(plain.durations) if plain.symbols[i] == " " and i and n >= 4]
    assert "".join("," if i in long else s for i, s in enumerate(plain.symbols)) == marked.symbols
    assert np.array_equal(plain.durations, marked.durations)


def test_another_codec_needs_no_other_alignment(data, codec):
    sources = [SpeechSource("m.jsonl", VOICES)]
    settings = {"codec": str(codec), "num_codebooks": 2, "symbols": SYMBOLS}

    def keys(sources, settings, seed=0):
        key = speech.alignment_key(sources, data, settings["symbols"], "nano", seed=seed)
        return key, speech.codes_key(sources, settings, key)

    before = keys(sources, settings)
    aligned, codes = keys(sources, settings | {"num_codebooks": 1})
    assert aligned == before[0] and codes != before[1]
    aligned, codes = keys([SpeechSource("m.jsonl", {"": "elena"})], settings)
    assert aligned == before[0] and codes != before[1]
    assert keys(sources, settings, seed=1)[0] != before[0]
    with (data / "m.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n")
    assert keys(sources, settings)[0] != before[0]


def test_a_part_made_from_something_else_is_taken_away(tmp_path, caplog):
    assert not speech.is_made(tmp_path, "codes.i16", "key.json", "one")
    for name in ("codes.i16", "index.jsonl", "aligned.jsonl"):
        (tmp_path / name).write_bytes(b"")
    assert speech.is_made(tmp_path, "codes.i16", "key.json", "one")
    assert not speech.is_made(tmp_path, "codes.i16", "key.json", "two")
    assert "made from something else" in caplog.text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["aligned.jsonl", "key.json"]


def test_a_voice_that_a_manifest_lacks_is_told(data):
    with pytest.raises(RecipeError, match="no recording of the voice 'x'; it has ''"):
        plan_recordings([SpeechSource("m.jsonl", {"x": "anna"})], data, seed=0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Мороз и солнце — день чудесный!", ""),
        ("I said: «Yes», didn't I?", ""),
        ("МОРОЗ И СОЛНЦЕ", ""),
        ("Нажмите СТРЕЛКА вправо", ""),
        ("Пять из 7", "text with numbers"),
        ("Скидка 5 %", "text with numbers"),
        ("Скидка пять %", "text with signs"),
        ("два + два", "text with signs"),
        ("Это США.", "text with abbreviations"),
    ],
)
def test_texts_that_nobody_can_read_out(text, reason):
    assert unsaid(text) == reason
