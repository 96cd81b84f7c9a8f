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
from borealis.arguments import decoded
from borealis.inference import formats

COMMANDS = (
    *(
        "transcribe",
        "ask",
        "chat",
        "info",
        "eval",
        "data",
        "codec",
        "train",
        "convert",
        "plan",
        "serve",
        "bench",
    ),
    *("export", "push", "demo", "space", "speak"),
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
    [["nonsense"], ["transcribe"], ["ask"], ["transcribe", "a.wav", "--batch-size", "0"]],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("usage: ")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "command", ["transcribe a.wav", "info", "data check m.jsonl", "train r.yaml k=v"]
)
def test_unknown_option_shows_the_usage_of_its_command(command: str, capsys) -> None:
    code, out, err = run(capsys, *command.split(), "--nonsense")
    name = " ".join(word for word in command.split() if word.isalpha())
    assert (code, out) == (2, "")
    assert err.startswith(f"usage: borealis {name} ")
    assert "unrecognized arguments: --nonsense" in err


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
    assert set(row) == {"file", "text", "language", "duration", "segments"}
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


@pytest.mark.parametrize("name", ["en", "English", "en-US", "английский"])
def test_language_is_understood_by_name(name: str, loaded, wav: Path, capsys) -> None:
    code, out, _ = run(capsys, "transcribe", wav, "--language", name)
    assert (code, out) == (0, f"{loaded.transcribe(wav, language='en').text}\n")


def test_unknown_language_is_told(capsys) -> None:
    code, _, err = run(capsys, "transcribe", "a.wav", "--language", "klingon")
    assert code == 2
    assert "language is 'klingon'; 'ru' or 'en', or nothing, is wanted." in err


def test_texts_appear_as_they_are_made_and_clips_are_forgotten(
    loaded, wav: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    """Before the last file is read, the text of the first is on the screen."""
    files = [tmp_path / f"{number}.wav" for number in range(6)]
    for file in files:
        file.write_bytes(wav.read_bytes())
    shown: list[str] = []
    real = borealis.audio.open_audio

    def watched(source, **options):
        shown.append(capsys.readouterr().out)
        return real(source, **options)

    monkeypatch.setattr(type(loaded), "longest_part", 2.0)
    monkeypatch.setattr("borealis.audio.open_audio", watched)
    code, out, _ = run(capsys, "transcribe", *files, "--batch-size", "1")
    text = loaded.transcribe(wav).text
    assert code == 0
    pairs = [f"{a}: {text}\n{b}: {text}\n" for a, b in zip(files[::2], files[1::2], strict=True)]
    assert shown == ["", "", pairs[0], "", pairs[1], ""]
    assert out == pairs[2]


def test_forms_go_to_files_of_their_own(loaded, speech: Path, wav: Path, tmp_path: Path, capsys):
    folder = tmp_path / "new" / "texts"
    options = ("--format", "srt,json,textgrid,tsv,vtt,text", "--output-dir", folder)
    assert run(capsys, "transcribe", speech, wav, *options) == (0, "", "")
    names = ("srt", "json", "TextGrid", "tsv", "vtt", "txt")
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        f"{path.stem}.{name}" for path in (speech, wav) for name in names
    )
    # Subtitles are better with words, so they are timed without being asked for.
    whole = loaded.transcribe(speech, words=True)
    for form, suffix in formats.SUFFIXES.items():
        assert (folder / f"speech{suffix}").read_text(encoding="utf-8") == formats.write(
            whole, form
        )


def test_what_is_there_is_left_alone(loaded, speech: Path, wav: Path, tmp_path: Path, capsys):
    (tmp_path / "speech.txt").write_text("mine\n", encoding="utf-8")
    options = ("--output-dir", tmp_path, "--skip-existing")
    assert run(capsys, "transcribe", speech, wav, *options) == (0, "", "")
    assert (tmp_path / "speech.txt").read_text(encoding="utf-8") == "mine\n"
    assert (tmp_path / "noise.txt").read_text(encoding="utf-8") == formats.write(
        loaded.transcribe(wav), "text"
    )
    # Of several forms one is missing: all are written anew.
    both = (*options, "--format", "text,srt")
    assert run(capsys, "transcribe", speech, *both)[0] == 0
    assert (tmp_path / "speech.txt").read_text(encoding="utf-8") != "mine\n"
    monkey = run(capsys, "transcribe", speech, *both)
    assert monkey == (0, "", "")  # nothing is left to do


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a.wav", "--format", "ass"], "'ass' is none of text, json, srt"),
        (["a.wav", "--format", "srt,vtt"], "Several formats need --output-dir"),
        (["a.wav", "b.wav", "--format", "srt"], "Several recordings in the format srt"),
        (["a.wav", "--skip-existing"], "--skip-existing needs --output-dir"),
        (["a/x.wav", "b/x.mp3", "--output-dir", "out"], "would both be written to"),
        (["a.wav", "--output", "x", "--output-dir", "y"], "not allowed with"),
        (["a.wav", "--hot-words", "missing.txt"], "'missing.txt' can't be read"),
    ],
)
def test_wrong_outputs_are_told_at_once(arguments, says, capsys, monkeypatch) -> None:
    monkeypatch.setattr(borealis, "load", lambda *_, **__: pytest.fail("loaded"))
    code, out, err = run(capsys, "transcribe", *arguments)
    assert (code, out) == (2, "") and says in err


def test_words_and_hot_words(loaded, speech: Path, tmp_path: Path, capsys) -> None:
    hot = tmp_path / "hot.txt"
    hot.write_text("\ufeffБлагодарна\n\n  предложение \n", encoding="utf-8")
    options = ("--format", "json", "--words", "--hot-words", hot)
    code, out, err = run(capsys, "transcribe", speech, *options)
    expected = loaded.transcribe(speech, words=True, hot_words=["Благодарна", "предложение"])
    assert (code, err) == (0, "")
    assert json.loads(out) == {"file": str(speech), **expected.to_dict()}
    for content in (b"\n \n", b"\xff\xfe\x00"):
        hot.write_bytes(content)
        code, _, err = run(capsys, "transcribe", speech, "--hot-words", hot)
        assert code == 2 and "a line each" in err and len(err.splitlines()) == 1


def test_a_bar_is_shown_only_where_it_is_seen(loaded, speech: Path, capsys, monkeypatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    text = f"{loaded.transcribe(speech).text}\n"
    for files, wanted in (([speech], False), ([speech] * 5, True)):
        screen = Terminal()
        monkeypatch.setattr(sys, "stderr", screen)
        code = cli.main(["transcribe", *map(str, files)])
        monkeypatch.undo()
        assert code == 0 and ("s [" in screen.getvalue()) == wanted
        assert capsys.readouterr().out.count(text.strip()) == len(files)
        monkeypatch.setattr(borealis, "load", lambda *_, **__: loaded)


# ---- inputs are safe ----


def linked(way: str, file: Path) -> Path:
    """Another name of the same file."""
    other = file.with_name("other.txt")
    if way == "symlink":
        other.symlink_to(file)
    if way == "hard link":
        other.hardlink_to(file)
    return file if way == "same" else other


def test_a_recording_with_the_name_of_a_text_is_safe(wav: Path, tmp_path: Path, capsys) -> None:
    odd = wav.rename(tmp_path / "noise.txt")
    before = odd.read_bytes()
    code, _, err = run(capsys, "transcribe", odd, "--output-dir", tmp_path)
    assert code == 2 and "is also an input" in err
    assert odd.read_bytes() == before


@pytest.mark.parametrize("way", ["same", "symlink", "hard link"])
def test_no_command_writes_over_its_input(
    way: str, wav: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(borealis, "load", lambda *_, **__: pytest.fail("worked"))
    (tmp_path / "a").mkdir()
    manifest = tmp_path / "a" / "m.jsonl"
    row = {"audio": str(wav), "text": "да", "duration": 1.0}
    manifest.write_text(json.dumps(row), encoding="utf-8")
    table = tmp_path / "b.csv"
    table.write_text(f"audio,text\n{wav.name},да\n", encoding="utf-8")
    weights = tmp_path / "c" / "w.bin"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    before = {p: p.read_bytes() for p in (wav, manifest, table, weights)}
    over_wav, over_manifest = linked(way, wav), linked(way, manifest)
    over_weights = linked(way, weights)
    for arguments in (
        ["transcribe", wav, "--output", over_wav],
        ["transcribe", "missing.wav", over_wav, "--output", wav, "--format", "json"],
        ["eval", manifest, "--output", over_manifest],
        ["eval", manifest, "--output", over_wav],
        ["bench", "serve", manifest, "--output", over_manifest],
        ["data", "manifest", table, "--output", over_wav],
        ["data", "manifest", table, "--output", table],
        ["data", "manifest", tmp_path, "--output", over_wav],
        ["convert", "pickle", weights, over_weights],
    ):
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (2, ""), arguments
        assert "is also an input" in err and len(err.splitlines()) == 1
    assert {p: p.read_bytes() for p in before} == before


def test_no_folder_is_written_over_its_own_input(tmp_path: Path, capsys) -> None:
    source = tmp_path / "whisper"
    source.mkdir()
    (source / "model.safetensors").write_bytes(b"weights")
    (source / "model.jsonl").write_text('{"text": "да"}', encoding="utf-8")
    (tmp_path / "mine.train.jsonl").write_text("Да, нет.\n", encoding="utf-8")
    model = ["--language-model", "owner/name"]
    for arguments in (
        ["convert", "assemble", "--audio-tower", source, *model, "--output", source],
        ["convert", "assemble", "--audio-tower", source / "model.safetensors", *model,
         "--output", source],
        ["convert", "vikhr", source, "--audio-tower", "a/b", *model, "--output", source],
        ["data", "synth", tmp_path / "mine.train.jsonl", "--name", "mine", "--output", tmp_path],
        ["data", "hub", source, "--name", "model", "--output", source],
    ):  # fmt: skip
        code, _, err = run(capsys, *arguments)
        assert code == 2, arguments
        assert "an input" in err or "The input" in err, (arguments, err)
    assert sorted(p.name for p in source.iterdir()) == ["model.jsonl", "model.safetensors"]


def test_standard_input_and_output_are_not_the_same_file(wav: Path) -> None:
    before = wav.read_bytes()
    with wav.open("rb") as stdin:
        done = process("transcribe", "-", "--output", str(wav), stdin=stdin)
    assert (done.returncode, "is also an input" in done.stderr) == (2, True)
    with wav.open("ab") as stdout:
        command = [sys.executable, "-m", "borealis", "transcribe", str(wav)]
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, "Standard output is also an input" in done.stderr) == (2, True)
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
    assert run(capsys, "ask", wav, "--question", "Что слышно?", *ask[3:])[1] == f"{expected}\n"


@pytest.mark.slow
def test_several_recordings_and_questions(loaded, wav: Path, speech: Path, capsys) -> None:
    asked = ["Кто говорит?", "What language is it?"]
    options = [word for question in asked for word in ("--question", question)]
    code, out, err = run(capsys, "ask", wav, "missing.wav", speech, *options)
    assert code == 2 and "missing.wav" in err
    expected = {f: loaded.ask([f, f], asked) for f in (wav, speech)}
    assert out.splitlines() == [
        f"{f}: {question}: {answer}"
        for f, answers in expected.items()
        for question, answer in zip(asked, answers, strict=True)
    ]
    code, out, _ = run(capsys, "ask", speech, *options, "--format", "json")
    assert code == 0
    assert [row["answer"] for row in json.loads(out)] == expected[speech]
    code, _, err = run(capsys, "ask", speech)
    assert code == 2 and "There is no question" in err


def test_a_talk_about_a_recording(loaded, speech: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("Кто говорит?\nWhat language is it?\n\nНет\n"))
    code, out, err = run(capsys, "chat", speech)
    assert (code, err) == (0, "")
    written, first, second = out.splitlines()
    assert written == loaded.transcribe(speech).text
    assert first == loaded.ask(speech, "Кто говорит?")
    assert "Russian" in second


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

    monkeypatch.setattr("borealis.audio.open_audio", interrupt)
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


# A program whose command prints a text that many encodings lack; its file name is no text at all.
PRINTING = """
import sys
from borealis import cli
cli._run_info = lambda args: print("Ёж — café 😀 \\udcff")
sys.exit(cli.main(["info"]))
"""


@pytest.mark.parametrize(
    ("variables", "printed"),
    [
        ({"PYTHONIOENCODING": "utf-8"}, "Ёж — café 😀 \\udcff"),
        ({"PYTHONIOENCODING": "cp1251"}, "Ёж — caf\\xe9 \\U0001f600 \\udcff"),
        ({"PYTHONIOENCODING": "ascii:replace"}, "?? ? caf? ? ?"),
        (
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            "\\u0401\\u0436 \\u2014 caf\\xe9 \\U0001f600 \\udcff",
        ),
    ],
)
def test_every_text_can_be_printed(variables: dict[str, str], printed: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PRINTING, encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONIOENCODING"} | variables
    done = subprocess.run([sys.executable, program], capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    encoding = variables.get("PYTHONIOENCODING", "ascii").partition(":")[0]
    assert done.stdout.decode(encoding) == f"{printed}{os.linesep}"


def test_json_is_json_in_every_encoding(loaded, wav: Path, monkeypatch) -> None:
    name = wav.with_name("café «ёж» \udcff.wav")
    wav.rename(name)
    for encoding in ("utf-8", "cp1251", "ascii"):
        screen = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(screen, encoding=encoding))
        assert cli.main(["transcribe", str(name), "--format", "json"]) == 0
        row = json.loads(screen.getvalue().decode(encoding))
        assert row == {"file": str(name), **loaded.transcribe(name).to_dict()}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("target", "says"),
    [(">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")],
)
def test_output_that_is_lost_is_one_line(target: str, says: str, unbuffered: str) -> None:
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    for arguments in ("--version", "transcribe --help"):
        done = subprocess.run(
            f"'{sys.executable}' -m borealis {arguments} {target}",
            shell=True, capture_output=True, text=True, env=environment,
        )  # fmt: skip
        assert done.returncode == 2
        assert done.stderr == f"borealis: The output can't be written: {says}.\n"


def test_closed_streams_that_are_not_needed_do_not_matter(tmp_path: Path) -> None:
    """No file that is opened gets the number of a closed stream: what is printed would go there."""
    target = tmp_path / "out.txt"
    program = (
        "import os, sys\n"
        "from borealis import cli\n"
        "from borealis.files import write_text\n"
        f"def run(args): write_text({str(target)!r}, 'text'); os.write(2, b'noise')\n"
        "cli._run_info = run\n"
        "sys.exit(cli.main(['info']))\n"
    )
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, program], check=False
    )
    assert done.returncode == 0
    assert target.read_text(encoding="utf-8") == "text"


def test_closed_standard_input_is_told(capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    code, _, err = run(capsys, "transcribe", "-")
    assert (code, err) == (2, "borealis: Standard input is closed; give a file.\n")


def test_a_refusal_of_the_file_system_is_one_line(capsys, monkeypatch) -> None:
    def refuse(args):
        raise PermissionError(13, "Permission denied", "some/file")

    monkeypatch.setattr(cli, "_run_info", refuse)
    assert run(capsys, "info") == (2, "", "borealis: 'some/file': Permission denied.\n")


def test_other_errors_of_the_system_are_not_hidden(capsys, monkeypatch) -> None:
    def fail(args):
        raise OSError("the socket broke")

    monkeypatch.setattr(cli, "_run_info", fail)
    with pytest.raises(OSError, match="the socket broke"):
        cli.main(["info"])


def test_a_question_survives_an_ascii_locale() -> None:
    undecoded = "Кто?".encode().decode("ascii", "surrogateescape")
    assert decoded(undecoded) == "Кто?"
    assert decoded("Кто?") == "Кто?"


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
