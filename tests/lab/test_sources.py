"""Corpora that borealis-nano is trained on: each builder on a small source of the same shape."""

from __future__ import annotations

import gzip
import io
import json
import tarfile

import numpy as np
import pytest
import soundfile

from borealis.audio import load_audio
from borealis.data.engines import SourceError
from borealis.data.manifest import read_manifest
from lab.nano import sources
from tests.skips import needs_program

TONE = (0.1 * np.sin(np.arange(16_000) / 10)).astype(np.float32)


def test_festvox_split_is_by_name(tmp_path):
    root = tmp_path / "p/usr/share/festival/voices/russian/msu_ru_nsh_clunits"
    (root / "wav").mkdir(parents=True)
    (root / "etc").mkdir()
    lines = []
    for i in range(130):
        soundfile.write(root / "wav" / f"ru_{i:04d}.wav", TONE[:1600], 16_000)
        lines.append(f'( ru_{i:04d} "зам+ок номер, {i}" )')
    (root / "etc/txt.done.data").write_text("\n".join(reversed(lines)), encoding="utf-8")
    train, validation, test = map(read_manifest, sources.festvox_ru(tmp_path / "p", tmp_path / "o"))
    assert (len(train), len(validation), len(test)) == (10, 60, 60)
    assert test[-1].audio.endswith("ru_0129.wav") and train[0].audio.endswith("ru_0000.wav")
    assert train[0].text == "замок номер 0"
    with pytest.raises(SourceError, match="festvox-ru"):
        sources.festvox_ru(tmp_path / "o", tmp_path / "o")


def test_prompts_of_an_unknown_voice(tmp_path):
    sounds = tmp_path / "s/usr/share/asterisk/sounds/ru_RU_x"
    texts = tmp_path / "t/usr/share/doc/asterisk-core-sounds-ru"
    sounds.mkdir(parents=True)
    texts.mkdir(parents=True)
    lines = {
        "good": "Введите номер абонента.",
        "short": "Введите номер.",
        "digits": "Нажмите 1 или решетку.",
        "missing": "Такой записи здесь нет.",
        "long": "Слишком много слов для такой короткой записи, вот сколько их здесь.",
    }
    for name in lines.keys() - {"missing"}:
        soundfile.write(sounds / f"{name}.wav", TONE, 16_000)
    listing = "; remark\n\n" + "\n".join(f"{k}: {v}" for k, v in lines.items())
    (texts / "core-sounds-ru.txt.gz").write_bytes(gzip.compress(listing.encode()))
    [path] = sources.asterisk_ru(tmp_path / "s", tmp_path / "t", tmp_path / "o")
    assert [i.text for i in read_manifest(path)] == ["Введите номер абонента."]
    with pytest.raises(SourceError, match="asterisk"):
        sources.asterisk_ru(tmp_path / "t", tmp_path / "t", tmp_path / "o")


def test_synthetic_archive(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        rows = []
        for i in range(40):
            buffer = io.BytesIO()
            soundfile.write(buffer, TONE[:800], 16_000, format="FLAC")
            info = tarfile.TarInfo(f"s/{i}.flac")
            info.size = len(buffer.getvalue())
            archive.addfile(info, io.BytesIO(buffer.getvalue()))
            rows.append({"audio": f"{i}.flac", "text": f"Слово {'а' * i}.", "duration": 0.05, "voice": "anna"})  # fmt: skip
        text = "\n".join(json.dumps(r) for r in rows).encode()
        info = tarfile.TarInfo("s/manifest.jsonl")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
    train, test = map(read_manifest, sources.synthetic_ru(tmp_path / "s.tar", tmp_path / "o", test_percent=30))  # fmt: skip
    assert len(train) + len(test) == 40 and train and test
    assert {i.gender for i in train} == {"female"}
    assert {i.text for i in train}.isdisjoint(i.text for i in test)
    with pytest.raises(SourceError, match=r"manifest\.jsonl"):
        sources.synthetic_ru(tmp_path / "o" / "synthetic-ru" / "none", tmp_path / "o")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../out.txt", tarfile.REGTYPE),
        ("/tmp/borealis-out.txt", tarfile.REGTYPE),
        ("s/link", tarfile.SYMTYPE),
        ("s/link", tarfile.LNKTYPE),
        ("s/pipe", tarfile.FIFOTYPE),
    ],
)
def test_an_archive_writes_files_inside_its_folder_only(tmp_path, name, kind):
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "../../out.txt"
        archive.addfile(info)
    with pytest.raises(SourceError, match="isn't a file inside it"):
        sources.synthetic_ru(tmp_path / "s.tar", tmp_path / "o")
    left = [p.name for p in tmp_path.rglob("*") if not p.is_dir()]
    assert left == ["s.tar"]


@pytest.mark.parametrize("cut", [0, 700])
def test_an_archive_that_is_cut_off_is_named(tmp_path, cut):
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        info = tarfile.TarInfo("s/a.flac")
        info.size = 2000
        archive.addfile(info, io.BytesIO(bytes(2000)))
    (tmp_path / "cut.tar").write_bytes((tmp_path / "s.tar").read_bytes()[:cut])
    with pytest.raises(SourceError, match=r"'cut\.tar' is no tar, or is cut off"):
        sources.synthetic_ru(tmp_path / "cut.tar", tmp_path / "o")
    assert not (tmp_path / "o" / "synthetic-ru").exists()


def test_sounds_have_every_kind_and_silence_is_silent(tmp_path):
    folder = tmp_path / "p" / "moh"
    folder.mkdir(parents=True)
    soundfile.write(folder / "m.wav", np.tile(TONE, 12), 16_000)
    made = sources.sounds([tmp_path / "p"], tmp_path / "o", silence=12, noise=12)
    items = [i for path in made for i in read_manifest(path)]
    assert {i.kind for i in items} == {"music", "noise", "silence"}
    for item in items:
        audio, _ = soundfile.read(item.audio)
        if item.kind == "silence":
            assert np.abs(audio).max() < 0.01
        assert item.text == "" and item.language == ""


def test_a_missing_tool_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(sources.shutil, "which", lambda tool: None)
    with pytest.raises(SourceError, match="espeak-ng and flite"):
        sources.english_tts(["Hello."], tmp_path)
    with pytest.raises(SourceError, match="apt-get"):
        sources.unpack_debian_package("festvox-ru", tmp_path)


@needs_program("espeak-ng")
def test_russian_sentences_get_many_timbres(tmp_path):
    sentences = [
        f"Предложение номер {word}." for word in ["один", "два", "три", "четыре", "пять", "шесть"]
    ]
    train, test = sources.russian_tts(sentences, tmp_path, test_percent=30)
    items = read_manifest(train) + read_manifest(test)
    assert sorted(item.text for item in items) == sorted(sentences)
    assert {item.language for item in items} == {"ru"} and len({i.voice for i in items}) > 2
    for item in items:
        audio = load_audio(item.audio)
        assert len(audio) / 16_000 == pytest.approx(item.duration, abs=0.02)
        assert np.abs(audio).max() > 0.05
    # Made again, nothing changes.
    before = train.read_bytes()
    sources.russian_tts(sentences, tmp_path, test_percent=30)
    assert train.read_bytes() == before
