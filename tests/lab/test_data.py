"""The command that makes nano's data: from small packages of the same shape to every manifest and text."""

from __future__ import annotations

import gzip
import lzma
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from borealis.cli import main as borealis
from borealis.data.manifest import read_manifest
from borealis.training.recipe import load_recipe
from lab.nano import data
from tests.conftest import ROOT
from tests.skips import needs_program

JOKES = [
    "A wise man lights a candle in the dark.",
    "Nobody reads the manual before it is late.",
    "The proud cat sat quietly upon the stove.",  # of the test split, by its words
    "Every clock is right two times in a day.",
]
BOOK = [
    "Сосновый лес стоял тихо, и снег лежал на ветвях.",  # this, too
    "Утром они вышли из дома и пошли к реке.",
    "За окном медленно гасли огни большого города.",
]


@pytest.fixture
def packages(tmp_path, clips) -> Path:
    """Debian packages, unpacked, each with a little of what the real one holds."""
    folder = tmp_path / "packages"

    def write(name: str, text: str) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    audio, rate = soundfile.read(clips[0].audio, frames=8000, dtype="float32")
    voice = "festvox-ru/usr/share/festival/voices/russian/msu_ru_nsh_clunits"
    lines = [f'( ru_{n:04d} "Это фраза из чтения {"и" * n}." )' for n in range(122)]
    write(f"{voice}/etc/txt.done.data", "\n".join(lines))
    for name in [f"{voice}/wav/ru_{n:04d}.wav" for n in range(122)]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, audio, rate)
    prompts = folder / "asterisk-core-sounds-ru-wav/usr/share/asterisk/sounds/ru_RU"
    prompts.mkdir(parents=True)
    soundfile.write(prompts / "one.wav", audio, rate)
    listing = folder / "asterisk-core-sounds-ru/usr/share/doc/asterisk-core-sounds-ru"
    listing.mkdir(parents=True)
    (listing / "core-sounds-ru.txt.gz").write_bytes(gzip.compress("one: Он и она.\n".encode()))
    write("fortunes/usr/share/games/fortunes/jokes", "\n%\n".join(JOKES))
    write("fortunes-ru/usr/share/games/fortunes/ru/jokes", "Шутка первая, короткая.\n%\n")
    write("libreoffice-help-ru/usr/share/libreoffice/a.html", "<p>Нажмите на кнопку справа.</p>")
    write("hunspell-ru/usr/share/hunspell/ru_RU.dic", "1\nдом/A\n")
    write("hunspell-ru/usr/share/hunspell/ru_RU.aff", "SET UTF-8\nSFX A Y 1\nSFX A 0 а .\n")
    write("wamerican/usr/share/dict/american-english", "zoo\nzoo's\n")
    (folder / "hunspell-tools/usr/bin").mkdir(parents=True)
    if unmunch := shutil.which("unmunch"):
        (folder / "hunspell-tools/usr/bin/unmunch").symlink_to(unmunch)
    for name in ("asterisk-moh-opsound-wav", "oxygen-sounds", "sound-theme-freedesktop", "yaru-theme-sound"):  # fmt: skip
        (folder / name).mkdir()
    with lzma.open(tmp_path / "book.txt.xz", "wt", encoding="utf-8") as file:
        file.write(" ".join(BOOK))
    return folder


@needs_program("flite")
@needs_program("espeak-ng")
@needs_program("unmunch", "hunspell-tools")
def test_it_makes_what_the_recipe_asks_for(packages, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "ENGLISH", 3)  # the rest are for training only
    output = tmp_path / "made"
    book = ["--literature", str(tmp_path / "book.txt.xz")]
    assert data.main(["--output", str(output), "--packages", str(packages), *book]) == 0
    printed = capsys.readouterr().out
    assert "No synthetic Russian speech was given" in printed
    assert "festvox-ru.test.jsonl" in printed and "dictionary-en.txt" in printed
    recipe = load_recipe("nano")
    ngram = recipe.model.ngram
    wanted = {*recipe.data.corpora, *ngram.corpora, *ngram.word_corpora}
    wanted |= {part.manifest for parts in recipe.data.features.values() for part in parts}
    assert {name for name in wanted if not (output / name).is_file()} <= set(recipe.data.optional)
    said = [i.text for p in output.glob("english-*.jsonl") for i in read_manifest(p)]
    assert sorted(said) == sorted(JOKES)
    spoken = [i for p in output.glob("russian-tts.*.jsonl") for i in read_manifest(p)]
    assert sorted(i.text for i in spoken) == sorted(BOOK)
    assert len(read_manifest(output / "festvox-ru.test.jsonl")) == 60
    assert (output / "dictionary-ru.txt").read_text(encoding="utf-8").split() in (
        ["дом", "дома"],
        ["дома", "дом"],
    )


def test_a_wrong_source_is_one_line(packages, tmp_path, capsys):
    (tmp_path / "literature-ru.txt").write_text("Да, нет.\n", encoding="utf-8")
    common = ["--output", str(tmp_path), "--packages", str(packages)]
    assert data.main([*common, "--literature", str(tmp_path / "literature-ru.txt")]) == 2
    assert "an input" in capsys.readouterr().err
    assert data.main([*common, "--literature", str(tmp_path / "none.txt")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("borealis: ")
    shutil.rmtree(packages / "festvox-ru")
    (packages / "festvox-ru").mkdir()
    assert data.main(common) == 2
    assert "is it festvox-ru unpacked?" in capsys.readouterr().err


def test_it_runs_as_a_module_of_the_repository():
    done = subprocess.run([sys.executable, "-m", "lab.nano.data", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)  # fmt: skip
    assert "usage: python -m lab.nano.data" in done.stdout


def test_the_command_of_before_says_where_it_went(capsys):
    with pytest.raises(SystemExit, match="2"):
        borealis(["data", "nano", "--output", "data"])
    assert "'python -m lab.nano.data' makes that data" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        borealis(["data", "magic"])
    assert "invalid choice: 'magic'" in capsys.readouterr().err
