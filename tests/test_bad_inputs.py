"""What users get wrong: every case is one helpful sentence, in Python and on the command line."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import borealis
from borealis import audio as audio_module
from borealis import cli
from borealis.audio import AudioLimits, load_audio
from borealis.data.manifest import read_manifest
from borealis.errors import (
    AudioEmptyError,
    AudioFormatError,
    AudioNotFoundError,
    AudioTooLargeError,
    AudioTooLongError,
    AudioValueError,
    BorealisError,
    CheckpointError,
    ManifestError,
    PromptError,
)
from borealis.inference import CTCDecoding, LLMDecoding

RATE = 16_000
NAN, INF = float("nan"), float("inf")
NOISE = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)


def encoded(format: str, audio: np.ndarray = NOISE) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, audio, RATE, format=format)
    return out.getvalue()


# Content of a file that isn't a recording, its error, and what the sentence must say.
BAD_FILES: dict[str, tuple[bytes, type[BorealisError], str]] = {
    "empty.wav": (b"", AudioEmptyError, "empty"),
    "letter.wav": ("Дорогой дедушка!\n".encode() * 50, AudioFormatError, "isn't audio"),
    "random.mp3": (np.random.default_rng(1).bytes(5_000), AudioFormatError, "isn't audio"),
    "header-only.wav": (encoded("WAV")[:20], AudioFormatError, "isn't audio"),
    "cut-off.wav": (encoded("WAV")[:9_000], AudioFormatError, "cut off"),
    "cut-off.flac": (encoded("FLAC")[:9_000], AudioFormatError, "broken"),
    "header-only.ogg": (encoded("OGG")[:200], AudioFormatError, "isn't audio"),
    "no-samples.wav": (encoded("WAV", NOISE[:0]), AudioEmptyError, "no samples"),
    "picture.png": (b"\x89PNG\r\n\x1a\n" + bytes(100), AudioFormatError, "isn't audio"),
}


def bad_file(folder: Path, name: str) -> tuple[Path, type[BorealisError], str]:
    content, error, says = BAD_FILES[name]
    path = folder / name
    path.write_bytes(content)
    return path, error, says


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command, in this process."""
    code = cli.main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def assert_one_sentence(err: str, *says: str) -> None:
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("borealis: ")
    assert lines[0].endswith((".", ")"))
    assert "Traceback" not in err
    for part in says:
        assert part in err


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_in_python(name: str, tmp_path: Path) -> None:
    path, error, says = bad_file(tmp_path, name)
    with pytest.raises(error, match=says):
        load_audio(path)
    with pytest.raises(error, match=says):
        load_audio(path.read_bytes())
    with path.open("rb") as file, pytest.raises(error, match=says):
        load_audio(file)


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_on_the_command_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _, says = bad_file(tmp_path, name)
    for command in (["transcribe", str(path)], ["ask", str(path), "Кто говорит?"]):
        code, out, err = run(capsys, *command)
        assert code == 2
        assert out == ""
        assert_one_sentence(err, says)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("no-such-file.wav", "no-such-file.wav"),
        ("", "no file"),
        (".", "folder"),
        ("https://example.org/a.wav", "URL"),
        ("file:///recordings/a.wav", "URL"),
    ],
)
def test_bad_path(path: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AudioNotFoundError, match=says):
        load_audio(path)
    code, out, err = run(capsys, "transcribe", path)
    assert (code, out) == (2, "")
    assert_one_sentence(err, says)


def test_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.wav"
    path.write_bytes(encoded("WAV"))
    path.chmod(0)
    command = [sys.executable, "-m", "borealis", "transcribe", str(path)]
    if os.geteuid() == 0:  # root reads everything, unless it gives that right up
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_sentence(done.stderr, "secret.wav", "permission")


def test_ogg_cut_off_in_the_middle_gives_what_is_there_or_our_error() -> None:
    # Ogg pages carry no total length, so a cut can't be told from an end.
    data = encoded("OGG", np.tile(NOISE, 5))
    for size in range(500, len(data), 3_000):
        try:
            assert 0 < len(load_audio(data[:size])) <= 5 * RATE
        except BorealisError as error:
            assert str(error)


def with_value(value: float) -> np.ndarray:
    wave = NOISE.copy()
    wave[500] = value
    return wave


BAD_SOURCES: dict[str, tuple[Callable[[], Any], type[BorealisError]]] = {
    "nothing": (lambda: None, AudioEmptyError),
    "NaN": (lambda: with_value(np.nan), AudioValueError),
    "infinity": (lambda: with_value(np.inf), AudioValueError),
    "no samples": (lambda: NOISE[:0], AudioEmptyError),
    "a number": (lambda: 5, AudioValueError),
    "three dimensions": (lambda: np.zeros((2, 3, 4)), AudioValueError),
    "too many channels": (lambda: np.zeros((100, 100)), AudioValueError),
    "booleans": (lambda: np.zeros(RATE, bool), AudioValueError),
    "complex numbers": (lambda: np.zeros(RATE, complex), AudioValueError),
    "strings": (lambda: np.array(["a", "b"]), AudioValueError),
    "objects": (lambda: np.array([None, {}], dtype=object), AudioValueError),
    "a set": (lambda: {1, 2}, AudioValueError),
    "ragged rows": (lambda: {"array": [[1.0, 2.0], [3.0]], "sampling_rate": RATE}, AudioValueError),
    "a dict without a rate": (lambda: {"array": NOISE}, AudioValueError),
    "an empty dict": (lambda: {}, AudioValueError),
    "a rate of 0": (lambda: (0, NOISE), AudioValueError),
    "a rate of text": (lambda: {"array": NOISE, "sampling_rate": "16000"}, AudioValueError),
    "a rate that is no number": (
        lambda: {"array": NOISE, "sampling_rate": float("nan")},
        AudioValueError,
    ),
    "a rate of 44.1": (lambda: {"array": NOISE, "sampling_rate": 44.1}, AudioValueError),
    "a text stream": (lambda: io.StringIO("RIFF"), AudioValueError),
    "empty bytes": (lambda: b"", AudioEmptyError),
    "an empty stream": (lambda: io.BytesIO(), AudioEmptyError),
}


@pytest.mark.parametrize("name", BAD_SOURCES)
def test_bad_source(name: str) -> None:
    make, error = BAD_SOURCES[name]
    with pytest.raises(error) as caught:
        load_audio(make())
    assert str(caught.value).endswith((".", ")"))
    assert "\n" not in str(caught.value)


def test_closed_file(tmp_path: Path) -> None:
    file = (tmp_path / "a.wav").open("w+b")
    file.close()
    with pytest.raises(AudioFormatError, match="closed"):
        load_audio(file)


def test_too_large_and_too_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(encoded("WAV", np.tile(NOISE, 3)))
    with pytest.raises(AudioTooLargeError, match=r"long\.wav"):
        load_audio(path, limits=AudioLimits(max_bytes=1_000))
    with pytest.raises(AudioTooLongError, match="2 s"):
        load_audio(path, limits=AudioLimits(max_seconds=2))
    short = AudioLimits(max_seconds=2)
    defaults = {"sampling_rate": None, "limits": short}
    monkeypatch.setattr(audio_module.open_audio, "__kwdefaults__", defaults)
    code, _, err = run(capsys, "transcribe", str(path))
    assert code == 2
    assert_one_sentence(err, "long.wav", "2 s")


# ---- models ----


@pytest.mark.parametrize("name", ["no-such-model", "./no/such/folder", "", "a/b/c"])
def test_unknown_model(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError):
        borealis.load(name)
    code, _, err = run(capsys, "info", "--model", name)
    assert code == 2
    assert_one_sentence(err, name)


@pytest.mark.parametrize("config", ["{}", "{broken", '{"model_type": "bert"}', None])
def test_folder_that_holds_no_model(
    config: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config, encoding="utf-8")
    with pytest.raises(CheckpointError, match=tmp_path.name):
        borealis.load(tmp_path)
    code, _, err = run(capsys, "info", "--model", str(tmp_path))
    assert code == 2
    assert_one_sentence(err)


def test_weights_cut_off(nano: Any, tmp_path: Path) -> None:
    source = Path(nano.model.name_or_path)
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:50_000])
    with pytest.raises(CheckpointError, match=tmp_path.name):
        borealis.load(tmp_path)


@pytest.mark.parametrize("options", [{"dtype": "float33"}, {"dtype": "int8"}, {"device": "abacus"}])
def test_bad_precision_or_device(
    options: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CheckpointError):
        borealis.load("nano", **options)
    key, value = next(iter(options.items()))
    code, _, err = run(capsys, "info", f"--{key}", value)
    assert code == 2
    assert_one_sentence(err, value)


# ---- prompts ----


def user(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


BAD_CALLS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "empty question": (lambda m: m.ask(NOISE, ""), "empty"),
    "blank question": (lambda m: m.ask(NOISE, " \n"), "empty"),
    "no question": (lambda m: m.ask(NOISE, None), "NoneType; a text is wanted"),
    "a number as question": (lambda m: m.ask(NOISE, 5), "int; a text is wanted"),
    "one of the questions is no text": (lambda m: m.ask([NOISE] * 2, ["a", 5]), "a text is wanted"),
    "no text but no recordings either": (lambda m: m.ask([], 5), "a text is wanted"),
    "half a character": (lambda m: m.ask(NOISE, "\ud83d"), "UTF-8"),
    "half a character in a chat": (lambda m: m.chat(user("\ud83d")), "UTF-8"),
    "two questions, three clips": (lambda m: m.ask([NOISE] * 3, ["a", "b"]), "questions"),
    "no room for an answer": (lambda m: m.ask(NOISE, "a", max_new_tokens=0), "max_new_tokens"),
    "questions in batches of 0": (lambda m: m.ask([NOISE], "a", batch_size=0), "batch_size"),
    "batches of 0": (lambda m: m.transcribe(NOISE, batch_size=0), "batch_size"),
    "unknown language": (lambda m: m.transcribe(NOISE, language="fr"), "language"),
    "segments too short": (lambda m: m.transcribe(NOISE, max_segment_seconds=0.1), "max_segment"),
    "batches as text": (lambda m: m.transcribe(NOISE, batch_size="8"), "batch_size is '8'"),
    "batches of half": (lambda m: m.transcribe(NOISE, batch_size=1.5), "a whole number"),
    "batches of True": (lambda m: m.ask(NOISE, "a", batch_size=True), "batch_size is True"),
    "half a beam": (lambda m: CTCDecoding(num_beams=2.5), "num_beams is 2.5"),
    "no beams": (lambda m: LLMDecoding(num_beams=0), "num_beams"),
    "settings of the other road": (
        lambda m: m.transcribe(NOISE, decoding=LLMDecoding()),
        "takes CTCDecoding",
    ),
    "settings as a dict": (lambda m: m.transcribe(NOISE, decoding={}), "of type dict"),
    "segments of NaN": (lambda m: m.transcribe(NOISE, max_segment_seconds=NAN), "is nan"),
    "endless segments": (lambda m: m.transcribe(NOISE, max_segment_seconds=INF), "is inf"),
    "segments as text": (lambda m: m.transcribe(NOISE, max_segment_seconds="9"), "is '9'"),
    "segments over a window": (
        lambda m: m.transcribe(NOISE, max_segment_seconds=60),
        r"max_segment_seconds is 60; the limit of this model is 30 ",
    ),
    "language as a number": (lambda m: m.transcribe(NOISE, language=5), "language is 5"),
    "languages in a list": (lambda m: m.transcribe(NOISE, language=["ru"]), r"language is \['ru'"),
    "an array for a language": (lambda m: m.transcribe(NOISE, language=NOISE), "language is"),
    "words as text": (lambda m: m.transcribe(NOISE, words="no"), "words is 'no'; True or False"),
    "hot words as one text": (lambda m: m.transcribe(NOISE, hot_words="да"), "a list of texts"),
    "a hot word that is none": (lambda m: m.transcribe(NOISE, hot_words=["да", " "]), "hot_words"),
    "a hot word of digits": (lambda m: m.transcribe(NOISE, hot_words=["42"]), "has no letter"),
    "n-gram weight as text": (lambda m: CTCDecoding(ngram_weight="1"), "ngram_weight is '1'"),
    "n-gram weight of NaN": (lambda m: CTCDecoding(ngram_weight=NAN), "ngram_weight is nan"),
    "a bonus below 0": (lambda m: CTCDecoding(letter_bonus=-1), "letter_bonus is -1"),
    "an answer of text length": (lambda m: m.ask(NOISE, "a", max_new_tokens="9"), "max_new_tokens"),
    "half a token": (lambda m: m.chat(user("a"), max_new_tokens=0.5), "max_new_tokens is 0.5"),
    "a chat streamed by text": (lambda m: m.chat(user("a"), stream="yes"), "stream is 'yes'"),
    "transcript first as text": (
        lambda m: m.ask(NOISE, "a", transcribe_first="no"),
        "transcribe_first is 'no'",
    ),
    "stream of a list": (lambda m: m.transcribe_stream([NOISE]), "takes one recording"),
    "stream of a tuple": (lambda m: m.ask((NOISE,), "a", stream=True), "not several"),
    "stream of an iterator": (lambda m: m.transcribe_stream(iter([NOISE])), "one recording"),
    "no messages": (lambda m: m.chat([]), "empty"),
    "messages as a number": (lambda m: m.chat(5), "a list of messages"),
    "messages as a dict": (lambda m: m.chat({"role": "user"}), "a list of messages"),
    "messages as a string": (lambda m: m.chat("Привет"), "string"),
    "message as a string": (lambda m: m.chat(["Привет"]), "Message 1"),
    "unknown role": (lambda m: m.chat([{"role": "robot", "content": "a"}]), "robot"),
    "no content": (lambda m: m.chat([{"role": "user"}]), "content"),
    "unknown part": (lambda m: m.chat(user([{"type": "image", "image": 1}])), "part"),
    "audio part without audio": (lambda m: m.chat(user([{"type": "audio"}])), "part"),
    "text part without text": (lambda m: m.chat(user([{"type": "text"}])), "part"),
    "last word not the user's": (
        lambda m: m.chat([*user("a"), {"role": "assistant", "content": "b"}]),
        "last message",
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_call(name: str, nano: Any) -> None:
    call, says = BAD_CALLS[name]
    with pytest.raises(PromptError, match=says):
        call(nano)


def test_a_rate_that_is_none_of_an_array_is_told(nano: Any) -> None:
    for call in (
        lambda: nano.transcribe(NOISE, sampling_rate="48000"),
        lambda: nano.transcribe([NOISE], sampling_rate=-1),
        lambda: nano.ask(NOISE, "a", sampling_rate=NAN),
        lambda: nano.chat(user([{"type": "audio", "audio": NOISE, "sampling_rate": "a"}])),
    ):
        with pytest.raises(AudioValueError, match="sampling"):
            call()


def test_empty_question_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.wav").write_bytes(encoded("WAV"))
    code, _, err = run(capsys, "ask", str(tmp_path / "a.wav"), "  ")
    assert code == 2
    assert_one_sentence(err, "question is empty")


# ---- manifests ----

BAD_MANIFESTS = {
    "not json": ('{"audio": "a.wav"}\n{audio: b.wav}\n', "line 2"),
    "a list": ('["a.wav"]\n', "line 1"),
    "unknown key": ('{"audio": "a.wav", "transcript": "да"}\n', "transcript"),
    "no audio": ('{"text": "да"}\n', "audio"),
    "wrong type": ('{"audio": "a.wav", "duration": "5"}\n', "duration"),
    "unknown kind": ('{"audio": "a.wav", "kind": "song"}\n', "song"),
    "nothing in it": ("\n\n", "empty"),
    "no recording readable": ('{"audio": "a.wav", "text": "да"}\n', "a.wav"),
    "nothing to compare with": ('{"audio": "a.wav"}\n', "text"),
}


@pytest.mark.parametrize("name", BAD_MANIFESTS)
def test_bad_manifest_on_the_command_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, says = BAD_MANIFESTS[name]
    path = tmp_path / "manifest.jsonl"
    path.write_text(content, encoding="utf-8")
    if name not in ("no recording readable", "nothing to compare with"):
        with pytest.raises(ManifestError, match=says):
            read_manifest(path)
    code, out, err = run(capsys, "eval", str(path))
    assert (code, out) == (2, "")
    assert_one_sentence(err, says)


def test_missing_manifest_and_binary_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "eval", str(tmp_path / "none.jsonl"))
    assert code == 2
    assert_one_sentence(err, "none.jsonl")
    (tmp_path / "sound.jsonl").write_bytes(encoded("WAV"))
    code, _, err = run(capsys, "eval", str(tmp_path / "sound.jsonl"))
    assert code == 2
    assert_one_sentence(err, "sound.jsonl")


def test_output_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.wav").write_bytes(encoded("WAV"))
    target = tmp_path / "none" / "out.txt"
    code, _, err = run(capsys, "transcribe", str(tmp_path / "a.wav"), "--output", str(target))
    assert code == 2
    assert_one_sentence(err, "out.txt")


def test_peer_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(json.dumps({"audio": "a.wav", "text": "да"}), encoding="utf-8")
    code, _, err = run(capsys, "eval", str(manifest), "--peer", str(tmp_path))
    assert code == 2
    assert_one_sentence(err, "model.bin")


# ---- recipes ----


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("name: [", "YAML"),
        ("no_such_key: 1\n", "no_such_key"),
        ("name: mine\nseed: many\n", "seed"),
        ("- a\n- b\n", "keys"),
        ("", "keys"),
    ],
)
def test_bad_recipe(content: str, says: str, tmp_path: Path) -> None:
    from borealis.errors import RecipeError
    from borealis.training.recipe import load_recipe

    path = tmp_path / "mine.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RecipeError, match=says):
        load_recipe(path)
