"""`borealis codec`: a real recording into codes and back, and the mistakes one can make."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from borealis import cli
from borealis.audio import load_audio
from borealis.codec import load_codes
from borealis.errors import AudioValueError

AUDIO = Path(__file__).parents[2] / "examples" / "audio"
CODEC = Path(__file__).parent / "reference_24khz"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command, in this process."""
    code = cli.main(["codec", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def encoded(capsys, tmp_path: Path) -> Path:
    """A recording as codes."""
    path = tmp_path / "speech.safetensors"
    code, out, err = run(
        capsys, "encode", AUDIO / "speech.flac", "-o", path, "--codec", CODEC, "--codebooks", 3
    )
    assert (code, err) == (0, "")
    assert out.endswith(f"frames of 3 codebooks written to {path}\n")
    return path


def test_a_recording_goes_into_codes_and_back(capsys, encoded, tmp_path):
    codes = load_codes(encoded)
    samples = load_audio(AUDIO / "speech.flac", output_rate=24_000)
    assert (codes.num_codebooks, codes.num_samples) == (3, len(samples))
    assert codes.codec == str(CODEC)
    for suffix in (".wav", ".flac"):
        out = tmp_path / f"out{suffix}"
        assert run(capsys, "decode", encoded, "-o", out, "--codec", CODEC)[0] == 0
        sound, rate = soundfile.read(out)
        assert (rate, sound.shape) == (24_000, samples.shape)
        assert soundfile.info(out).subtype == "PCM_16"


def test_info_tells_of_codes_and_of_codecs(capsys, encoded):
    code, out, _ = run(capsys, "info", encoded, "--format", "json")
    facts = json.loads(out)
    assert code == 0
    assert facts["num_codebooks"] == 3 and facts["sampling_rate"] == 24_000
    assert len(facts["distinct_codes"]) == 3
    code, out, _ = run(capsys, "info", CODEC)
    assert code == 0
    assert "hop length" in out and "1,800" in out  # 75 frames of 4 codes of 6 bits a second
    code, out, _ = run(capsys, "info")
    assert "encodec_24khz" in out and "facebook/encodec_24khz" in out


def test_a_file_of_codes_does_not_decide_where_weights_come_from(capsys, encoded, tmp_path):
    code, _, err = run(capsys, "decode", encoded, "-o", tmp_path / "out.wav")
    assert code == 2
    assert "name it with --codec" in err
    assert not (tmp_path / "out.wav").exists()


def test_an_input_is_never_written_over(capsys, encoded):
    before = encoded.read_bytes()
    twin = encoded.with_name("twin.safetensors")
    twin.symlink_to(encoded)
    for output in (encoded, twin):
        code, _, err = run(capsys, "encode", encoded, "-o", output, "--codec", CODEC)
        assert code == 2 and "also an input" in err
    wav = encoded.with_name("x.wav")
    shutil.copy(encoded, wav)
    code, _, err = run(capsys, "decode", wav, "-o", wav, "--codec", CODEC)
    assert code == 2 and "also an input" in err
    assert encoded.read_bytes() == wav.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["encode", "nowhere.wav", "-o", "x.safetensors", "--codec", CODEC], "There is no file"),
        (["encode", "/dev/null", "-o", "x.safetensors", "--codec", CODEC], "no bytes"),
        (["encode", AUDIO / "post.flac", "-o", "x.npz", "--codec", CODEC], "ends in .safetensors"),
        (["encode", AUDIO / "post.flac", "-o", "x.safetensors", "--codec", "x"], "no codec 'x'"),
        (
            [
                "encode",
                AUDIO / "post.flac",
                "-o",
                "x.safetensors",
                "--codec",
                CODEC,
                "--codebooks",
                5,
            ],
            "has 1 to 4",
        ),
        (["decode", AUDIO / "post.flac", "-o", "x.wav"], "isn't a safetensors file"),
        (["decode", "nowhere.safetensors", "-o", "x.wav"], "There is no file"),
        (["decode", CODEC / "model.safetensors", "-o", "x.wav"], "without codes"),
        (["decode", "x.safetensors", "-o", "x.mp3"], "written as .wav or .flac"),
        (["info", AUDIO / "post.flac"], "isn't a safetensors file"),
        (["info", "mimi"], "HF_HUB_OFFLINE"),
    ],
)
def test_a_mistake_is_one_line(capsys, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_sound_keeps_what_lies_above_8_khz(tmp_path):
    """Codecs get the band they were made for, not that of the speech model."""
    rate = 24_000
    tone = 0.5 * np.sin(2 * np.pi * 10_000 * np.arange(rate) / rate)
    soundfile.write(tmp_path / "tone.wav", tone, rate, subtype="FLOAT")
    assert np.abs(load_audio(tmp_path / "tone.wav")[1_000:-1_000]).max() < 0.01
    assert np.abs(load_audio(tmp_path / "tone.wav", output_rate=rate) - tone).max() < 1e-6
    with pytest.raises(AudioValueError, match="between 1000 and 768000"):
        load_audio(tmp_path / "tone.wav", output_rate=0)
