"""`borealis speak`: real runs with a model of random weights, and the mistakes one can make."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

import borealis
from borealis import cli
from borealis.audio import load_audio
from borealis.inference import speak_command
from borealis.speech.sound import MARK


def run(capsys: pytest.CaptureFixture, *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command, in this process."""
    try:
        code = cli.main(["speak", *map(str, arguments)])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def loaded(speaking, monkeypatch):
    """The command's model is the session's, loaded once."""
    monkeypatch.setattr(borealis, "load", lambda name, **options: speaking)
    return speaking


@pytest.fixture
def unloaded(monkeypatch):
    """Nothing may be loaded: the mistake is told before."""
    monkeypatch.setattr(borealis, "load", lambda *_, **__: pytest.fail("loaded"))


def stdin(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


# ---- speaking ----


def test_words_of_the_command_are_said_into_a_file(loaded, tmp_path: Path, capsys) -> None:
    out, words = tmp_path / "out.wav", tmp_path / "times.json"
    options = ("--voice", "ivan", "--speed", 2, "--seed", 3, "--temperature", 0.5)
    told = run(capsys, "Вес", "-o", out, "5", *options, "кг.", "--words", words)
    said = loaded.speak("Вес 5 кг.", voice="ivan", speed=2.0, seed=3, temperature=0.5)
    assert told == (0, f"{said.duration:.2f} s written to {out}\n", "")
    assert np.abs(load_audio(out) - said.waveform).max() < 1e-3
    facts = json.loads(words.read_text(encoding="utf-8"))
    assert facts == said.to_dict()
    assert facts["spoken"] == "вес пять килограмм." and facts["voice"] == "ivan"
    assert [w["text"] for w in facts["words"]] == ["Вес", "5", "кг"]


@pytest.mark.parametrize("suffix", [".flac", ".mp3", ".opus", ".ogg"])
def test_the_suffix_tells_the_format(loaded, tmp_path: Path, capsys, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    assert run(capsys, "Да.", "-o", out)[0] == 0
    with av.open(str(out)) as file:
        kinds = {".flac": "flac", ".mp3": "mp3"}
        assert file.format.name == kinds.get(suffix, "ogg")
        assert MARK in (file.metadata | file.streams[0].metadata)["comment"]


def test_a_text_is_read_from_standard_input_or_a_file(
    loaded, tmp_path: Path, capsys, monkeypatch
) -> None:
    book, first, second = (tmp_path / name for name in ("book.txt", "1.wav", "2.wav"))
    book.write_text("\ufeffДа, да.\n", encoding="utf-8")
    assert run(capsys, "--file", book, "-o", first)[0] == 0
    stdin(monkeypatch, "Да, да.\n".encode())
    assert run(capsys, "-", "-o", second)[0] == 0
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("form", [None, "pcm"])
def test_standard_output_is_sound_alone(speaking, speaking_folder, form: str | None) -> None:
    command = [sys.executable, "-m", "borealis", "speak", "Да.", "-o", "-"]
    command += ["--model", str(speaking_folder), *(["--format", form] if form else [])]
    done = subprocess.run(command, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == speaking.speak("Да.").encode(form or "wav")


@pytest.mark.slow
def test_a_full_disk_behind_standard_output_is_told(speaking_folder) -> None:
    command = [sys.executable, "-m", "borealis", "speak", "Да.", "-o", "-", "--model"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*command, str(speaking_folder)], stdout=full, stderr=subprocess.PIPE, timeout=120
        )
    assert done.returncode == 2
    assert done.stderr.decode().startswith("borealis: The output can't be written: ")
    assert done.stderr.count(b"\n") == 1


def test_what_was_not_said_is_told(loaded, tmp_path: Path, capsys) -> None:
    code, _, err = run(capsys, "Да 😀", "-o", tmp_path / "out.wav")
    assert (code, err) == (0, "borealis: Not said: 😀\n")


def test_voices_are_listed(loaded, capsys) -> None:
    code, out, err = run(capsys, "--voices")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "anna  ru  female  A calm woman.",
        "ivan  ru  male    A low man's voice.",
        "kate  en  female  An English woman.",
    ]
    code, out, _ = run(capsys, "--voices", "--format", "json")
    assert [voice["name"] for voice in json.loads(out)] == ["anna", "ivan", "kate"]
    assert json.loads(out)[0]["description"]["ru"] == "Спокойный женский голос."


def test_a_model_without_voices_says_so(make_tiny, tmp_path: Path, capsys, monkeypatch) -> None:
    silent = borealis.Borealis(*make_tiny("ctc"))
    monkeypatch.setattr(borealis, "load", lambda *_, **__: silent)
    assert run(capsys, "--voices", "--format", "json") == (0, "[]\n", "")
    code, out, err = run(capsys, "--voices")
    assert (code, out) == (0, "") and "it has no voices" in err
    code, _, err = run(capsys, "Да.", "-o", tmp_path / "out.wav")
    assert code == 2 and "wasn't taught to speak" in err


# ---- playing ----


@pytest.fixture
def player(tmp_path: Path, monkeypatch) -> Path:
    """A folder that is all of PATH, with a player that keeps what it is given."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "aplay"
    script.write_text(f'#!/bin/sh\n/bin/cp "$2" {tmp_path}/played.wav\n', encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return script


def test_play_hands_the_sound_to_the_first_player_there_is(
    loaded, tmp_path: Path, capsys, player: Path
) -> None:
    assert run(capsys, "Да.", "--play") == (0, "", "")
    assert (tmp_path / "played.wav").read_bytes() == loaded.speak("Да.").encode("wav")


def test_a_player_that_fails_says_why(loaded, capsys, player: Path) -> None:
    player.write_text("#!/bin/sh\necho 'No sound card.' >&2\nexit 1\n", encoding="utf-8")
    code, _, err = run(capsys, "Да.", "--play")
    assert (code, err) == (2, "borealis: aplay can't play the speech: No sound card.\n")


def test_a_machine_without_players_is_told_before_the_work(
    unloaded, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = run(capsys, "Да.", "--play")
    assert code == 2
    for name in speak_command.PLAYERS:
        assert name in err


# ---- mistakes ----


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["Да."], "nowhere to go: give --output FILE, or --play"),
        (["-o", "out.wav"], "There is no text"),
        (["", " ", "-o", "out.wav"], "The text is empty"),
        (["Да.", "-o", "out.aac"], "'out.aac': speech is written as .wav, .flac"),
        (["Да.", "-o", "out"], "'out': speech is written as"),
        (["Да.", "-o", "out.wav", "--format", "mp3"], "a file's suffix tells its format"),
        (["Да.", "-o", "-", "--format", "json"], "--format json is for --voices"),
        (["Да.", "-o", "out.wav", "--words", "./out.wav"], "name the same file"),
        (["Да.", "-o", "out.wav", "--file", "missing.txt"], "given twice"),
        (["-o", "out.wav", "--file", "missing.txt"], "'missing.txt' can't be read"),
        (["--voices", "-o", "out.wav"], "--voices only lists voices"),
        (["--voices", "--format", "mp3"], "listed as text or json, not as mp3"),
        (["Да.", "-o", "o.wav", "--speed", "3"], "speed is 3; a number from 0.5 to 2"),
        (["Да.", "-o", "o.wav", "--speed", "fast"], "speed is 'fast'"),
        (["Да.", "-o", "o.wav", "--temperature", "nan"], "temperature is nan"),
        (["Да.", "-o", "o.wav", "--seed", "-1"], "seed is -1"),
        (["Да.", "-o", "o.wav", "--seed", "1.5"], "seed is 1.5"),
        (["Да.", "-o", "o.wav", "--language", "de"], "language is 'de'"),
        (["Да.", "-o", "o.wav", "--format", "aac"], "invalid choice: 'aac'"),
    ],
)
def test_a_mistake_is_told_before_a_model_is_loaded(
    unloaded, tmp_path: Path, capsys, monkeypatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert told in err and "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("Да.".encode("cp1251"), "no text in UTF-8: byte 1 is wrong"),
        (b"", "The text is empty"),
        (b"\xd0", "no text in UTF-8"),
        (b"a" * 100_000, "more than 10,000 characters: speak it in parts"),
    ],
)
def test_bad_standard_input_is_told(
    unloaded, tmp_path: Path, capsys, monkeypatch, data: bytes, told: str
) -> None:
    stdin(monkeypatch, data)
    code, _, err = run(capsys, "-", "-o", tmp_path / "out.wav")
    assert code == 2 and told in err and err.count("\n") == 1


def test_a_text_is_never_written_over(unloaded, tmp_path: Path, capsys) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Да.", encoding="utf-8")
    twin = tmp_path / "twin.wav"
    twin.symlink_to(text)
    for options in (["-o", twin], ["-o", tmp_path / "out.wav", "--words", text]):
        code, _, err = run(capsys, "--file", text, *options)
        assert code == 2 and "also an input" in err
    assert text.read_text(encoding="utf-8") == "Да."


def test_sound_is_not_shown_on_a_terminal() -> None:
    parent, child = os.openpty()
    command = [sys.executable, "-m", "borealis", "speak", "Да.", "-o", "-"]
    done = subprocess.run(command, stdout=child, stderr=subprocess.PIPE, timeout=120)
    os.close(child)
    os.close(parent)
    assert done.returncode == 2 and b"A terminal can't show sound" in done.stderr


def test_a_mistake_that_the_model_finds_leaves_no_file(loaded, tmp_path: Path, capsys) -> None:
    for arguments, told in (
        (["漢字"], "letters that can't be said"),
        (["Да.", "--voice", "petr"], "no voice 'petr'"),
        (["<speak>Да</speak>"], "SSML"),
    ):
        code, out, err = run(capsys, *arguments, "-o", tmp_path / "out.wav")
        assert (code, out) == (2, "") and told in err
    assert not list(tmp_path.iterdir())
