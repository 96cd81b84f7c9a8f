"""The `borealis` command: shapes of its output, exit codes, and what it costs to start."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import borealis
from borealis import cli

COMMANDS = (
    *("transcribe", "ask", "info", "eval", "data", "train", "convert", "plan", "serve", "bench"),
    *("export", "push", "demo", "space"),
)


@pytest.fixture
def loaded(nano, monkeypatch):
    """The command's model is the session's, loaded once."""
    monkeypatch.setattr(borealis, "load", lambda name, **options: nano)
    return nano


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    """A second of noise, which costs little to transcribe."""
    path = tmp_path / "noise.wav"
    noise = np.random.default_rng(0).normal(0, 0.05, 16_000)
    soundfile.write(path, noise, 16_000)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command, in this process."""
    try:
        code = cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def process(*arguments: str, **options) -> subprocess.CompletedProcess:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "borealis", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


# ---- starting ----


def test_help_lists_every_command(capsys) -> None:
    code, out, err = run(capsys, "--help")
    assert (code, err) == (0, "")
    for name in COMMANDS:
        assert f"\n    {name}" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command(name: str, capsys) -> None:
    code, out, err = run(capsys, name, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: borealis {name}")


def test_version(capsys) -> None:
    assert run(capsys, "--version") == (0, f"borealis {borealis.__version__}\n", "")


def test_no_command_shows_help_and_fails(capsys) -> None:
    code, out, _ = run(capsys)
    assert code == 2
    assert "transcribe" in out


@pytest.mark.parametrize(
    "arguments",
    # borealis.model, where the options of convert are, imports transformers to register itself.
    [["--help"], ["--version"], *([n, "--help"] for n in COMMANDS if n != "convert")],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from borealis.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit:\n"
        "    print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert "borealis" in loaded
    assert not loaded & {"torch", "transformers", "gradio", "numpy", "scipy", "pandas", "datasets"}


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["transcribe"], ["ask", "a.wav"], ["transcribe", "a.wav", "--batch-size", "0"]],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("usage: ")
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["transcribe", "data check", "train", "plan"])
def test_an_unknown_option_shows_the_usage_of_the_command(command: str, capsys) -> None:
    code, _, err = run(capsys, *command.split(), "a", "--nonsense")
    assert code == 2
    assert err.startswith(f"usage: borealis {command}")
    assert "--nonsense" in err


def test_module_runs_as_the_command_does() -> None:
    done = process("--version")
    assert (done.returncode, done.stdout) == (0, f"borealis {borealis.__version__}\n")


# ---- transcribe ----


def test_text_of_one_file_is_the_text_only(loaded, wav: Path, capsys) -> None:
    code, out, err = run(capsys, "transcribe", wav)
    assert (code, err) == (0, "")
    assert out == f"{loaded.transcribe(wav).text}\n"


def test_json_of_one_file_is_an_object(loaded, speech: Path, capsys) -> None:
    code, out, err = run(capsys, "transcribe", speech, "--format", "json")
    assert (code, err) == (0, "")
    row = json.loads(out)
    assert row == {"file": str(speech), **loaded.transcribe(speech).to_dict()}
    assert set(row) == {"file", "text", "duration", "segments"}
    assert set(row["segments"][0]) == {"start", "end", "text"}


def test_several_files_are_named(loaded, wav: Path, tmp_path: Path, capsys) -> None:
    other = tmp_path / "silence.wav"
    soundfile.write(other, np.zeros(16_000), 16_000)
    code, out, _ = run(capsys, "transcribe", wav, other)
    assert code == 0
    lines = out.split("\n")
    assert lines[0] == f"{wav}: {loaded.transcribe(wav).text}"
    assert lines[1:] == [f"{other}: ", ""]
    code, out, _ = run(capsys, "transcribe", wav, other, "--format", "json")
    assert [row["file"] for row in json.loads(out)] == [str(wav), str(other)]
    assert json.loads(out)[1]["text"] == ""


def test_bad_file_costs_the_good_ones_nothing(loaded, wav: Path, tmp_path: Path, capsys) -> None:
    bad = tmp_path / "letter.txt"
    bad.write_text("Это не звук.", encoding="utf-8")
    code, out, err = run(capsys, "transcribe", "missing.wav", wav, bad)
    assert code == 2
    assert out == f"{wav}: {loaded.transcribe(wav).text}\n"
    assert len(err.splitlines()) == 2
    assert "missing.wav" in err
    assert "letter.txt" in err
    code, out, _ = run(capsys, "transcribe", bad, wav, "--format", "json")
    assert code == 2
    assert [row["file"] for row in json.loads(out)] == [str(wav)]


def test_bad_file_is_told_before_a_model_is_loaded(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(borealis, "load", lambda *_, **__: pytest.fail("loaded"))
    assert run(capsys, "transcribe", "missing.wav")[0] == 2
    assert run(capsys, "ask", "missing.wav", "Кто говорит?")[0] == 2


def test_standard_input(loaded, wav: Path, capsys, monkeypatch) -> None:
    expected = loaded.transcribe(wav).text
    stdin = io.TextIOWrapper(io.BytesIO(wav.read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert run(capsys, "transcribe", "-") == (0, f"{expected}\n", "")


def test_output_file_appears_complete(loaded, wav: Path, tmp_path: Path, capsys) -> None:
    target = tmp_path / "out.json"
    code, out, _ = run(capsys, "transcribe", wav, "--format", "json", "--output", target)
    assert (code, out) == (0, "")
    assert json.loads(target.read_text(encoding="utf-8"))["file"] == str(wav)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["noise.wav", "out.json"]


def test_output_file_is_left_alone_when_nothing_could_be_read(tmp_path: Path, capsys) -> None:
    target = tmp_path / "out.txt"
    target.write_text("earlier\n", encoding="utf-8")
    code, _, _ = run(capsys, "transcribe", "missing.wav", "--output", target)
    assert code == 2
    assert target.read_text(encoding="utf-8") == "earlier\n"


@pytest.mark.parametrize("link", ["itself", "symlink", "hardlink"])
def test_a_recording_is_never_written_over(link: str, wav: Path, tmp_path: Path, capsys) -> None:
    before, target = wav.read_bytes(), tmp_path / "other.wav"
    if link == "itself":
        target = wav
    elif link == "symlink":
        target.symlink_to(wav)
    else:
        os.link(wav, target)
    code, out, err = run(capsys, "transcribe", "missing.wav", wav, "--output", target)
    assert (code, out) == (2, "")
    assert target.name in err and "also an input" in err
    assert wav.read_bytes() == before


@pytest.mark.parametrize(
    "command",
    [
        ("eval", "{0}", "--output", "{0}"),
        ("bench", "serve", "{0}", "--output", "{0}"),
        ("convert", "pickle", "{0}", "{0}"),
        ("convert", "assemble", "--audio-tower", "a", "--language-model", "{1}", "--output", "{1}"),
        ("export", "{1}", "--output", "{1}"),
        ("data", "manifest", "{1}", "--output", "{1}/a.wav"),
    ],
    ids=lambda command: command[0],
)
def test_no_command_writes_over_what_it_reads(command, wav: Path, tmp_path: Path, capsys) -> None:
    manifest, folder = tmp_path / "m.jsonl", tmp_path / "folder"
    folder.mkdir()
    wav.rename(folder / "a.wav")
    (folder / "a.txt").write_text("шум", encoding="utf-8")
    row = {"audio": "folder/a.wav", "text": "шум", "duration": 1.0}
    manifest.write_text(json.dumps(row), encoding="utf-8")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, _, err = run(capsys, *(part.format(manifest, folder) for part in command))
    assert code == 2
    assert err.startswith("borealis: ") and len(err.splitlines()) == 1
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("name", ["ru-RU", "Russian", "русский"])
def test_a_language_has_many_names(name: str, loaded, wav: Path, capsys) -> None:
    code, out, _ = run(capsys, "transcribe", wav, "--language", name)
    assert (code, out) == (0, f"{loaded.transcribe(wav, language='ru').text}\n")
    code, _, err = run(capsys, "transcribe", wav, "--language", "klingon")
    assert code == 2 and "klingon" in err


# ---- ask ----


def test_answer_as_text_json_and_stream(loaded, wav: Path, capsys) -> None:
    expected = loaded.ask(wav, "Что слышно?", max_new_tokens=8)
    ask = ("ask", wav, "Что слышно?", "--max-new-tokens", "8")
    assert run(capsys, *ask) == (0, f"{expected}\n", "")
    code, out, _ = run(capsys, *ask, "--format", "json")
    assert code == 0
    assert json.loads(out) == {"file": str(wav), "question": "Что слышно?", "answer": expected}
    code, out, _ = run(capsys, *ask, "--stream")
    assert code == 0
    assert out.strip() == expected


# ---- info and eval ----


def test_info_tells_the_size_and_the_versions(loaded, capsys) -> None:
    code, out, _ = run(capsys, "info", "--format", "json")
    assert code == 0
    facts = json.loads(out)
    assert facts["parameters"] == sum(p.numel() for p in loaded.model.parameters())
    parts = ("audio_tower_parameters", "adapter_parameters", "language_model_parameters")
    assert sum(facts[part] for part in parts) == facts["parameters"]
    assert facts["audio_tokens_per_second"] == 12.5
    assert facts["adapter_type"] == loaded.model.config.adapter_type
    assert {"torch", "transformers", "borealis", "path", "weights_bytes"} <= set(facts)
    code, out, _ = run(capsys, "info")
    assert code == 0
    assert len(out.splitlines()) == len(facts)


def test_eval_writes_and_prints_a_result(loaded, wav: Path, tmp_path: Path, capsys) -> None:
    rows = [
        {"audio": "noise.wav", "text": "Да, нет.", "duration": 1.0, "voice": "a"},
        {"audio": "missing.wav", "text": "Нет.", "duration": 1.0},
    ]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    target = tmp_path / "result.json"
    code, out, _ = run(capsys, "eval", manifest, "--format", "json", "--output", target)
    assert code == 0
    record = json.loads(out)
    assert record == json.loads(target.read_text(encoding="utf-8"))
    metrics = record["metrics"]
    assert metrics["words"] == 2
    assert len(metrics["skipped"]) == 1
    assert "missing.wav" in metrics["skipped"][0]["reason"]
    assert str(tmp_path) not in json.dumps(record["data"])
    code, out, _ = run(capsys, "eval", manifest)
    assert code == 0
    assert "WER" in out
    assert "skipped     1" in out


def test_eval_asks_questions(loaded, wav: Path, tmp_path: Path, capsys) -> None:
    row = {"audio": "noise.wav", "text": "Да, нет, может быть.", "gender": "male", "duration": 1.0}
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(json.dumps(row), encoding="utf-8")
    code, out, _ = run(capsys, "eval", manifest, "--questions", "--format", "json")
    assert code == 0
    scores = json.loads(out)["metrics"]["questions"]
    assert set(scores["tasks"]) >= {"language", "voice", "sound", "first_word", "word_count"}
    assert 0 <= scores["balanced_accuracy"] <= 1


# ---- ends ----


def test_control_c_is_exit_code_130(capsys, monkeypatch) -> None:
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("borealis.audio.load_audio", interrupt)
    assert run(capsys, "transcribe", "a.wav") == (130, "", "")


def test_closed_pipe_is_quiet() -> None:
    program = (
        "import sys\n"
        "from borealis import cli\n"
        "cli._run_info = lambda args: print('facts')\n"
        "sys.exit(cli.main(['info']))\n"
    )
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


# `borealis info` without a model: what is printed has letters that not every terminal has.
SPEAKER = (
    "import sys\n"
    "from borealis import cli\n"
    "from borealis.errors import BorealisError\n"
    "def say(args):\n"
    "    print('мороз — 雪')\n"
    "    raise BorealisError('снег 雪')\n"
    "cli._run_info = say\n"
    "sys.exit(cli.main(['info']))\n"
)


@pytest.mark.parametrize(
    "encoding, out, err",
    [
        ("cp1251", "мороз — \\u96ea\n", "borealis: снег \\u96ea\n"),
        ("ascii", r"\u043c\u043e\u0440\u043e\u0437 \u2014 \u96ea" + "\n", None),
        ("utf-8", "мороз — 雪\n", "borealis: снег 雪\n"),
    ],
)
def test_letters_that_a_terminal_lacks_are_escaped(encoding: str, out: str, err: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPEAKER],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 2
    assert done.stdout.decode(encoding) == out
    assert err is None or done.stderr.decode(encoding) == err
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "redirect, says",
    [(">&-", "Bad file descriptor"), ("> /dev/full", "No space left"), (">&- 2>&-", "")],
)
@pytest.mark.parametrize("command", ["plan 0.6b", "--help"])
def test_output_that_goes_nowhere_is_one_line_and_a_failure(redirect, says, command) -> None:
    line = f"{sys.executable} -m borealis {command} {redirect}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == (1 if says else 0)
    assert says in done.stderr


@pytest.mark.slow
def test_whole_process_prints_nothing_but_the_answer(wav: Path, nano) -> None:
    done = process("transcribe", str(wav), "missing.wav")
    assert done.returncode == 2
    assert done.stdout == f"{wav}: {nano.transcribe(wav).text}\n"
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("borealis: There is no file 'missing.wav'")


@pytest.mark.slow
def test_standard_input_of_a_process(wav: Path, nano) -> None:
    command = [sys.executable, "-m", "borealis", "transcribe", "-", "--format", "json"]
    done = subprocess.run(command, input=wav.read_bytes(), capture_output=True, timeout=120)
    assert done.returncode == 0
    assert done.stderr == b""
    assert json.loads(done.stdout)["text"] == nano.transcribe(wav).text
