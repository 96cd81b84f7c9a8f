"""The runner, the peer and result files, with models that say what the test tells them."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from borealis.data.manifest import Utterance, write_manifest
from borealis.errors import ManifestError
from borealis.evaluation import peer, results, runner
from borealis.inference import Borealis, CTCDecoding, Transcript

TEXTS = ["Мороз и солнце.", "День чудесный.", "Ещё ты дремлешь.", "Друг прелестный."]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Four clips of speech, the k-th k+1 tenths of a second long, and one of noise."""
    items = []
    rng = np.random.default_rng(0)
    for k, text in enumerate([*TEXTS, ""]):
        name = f"{k}.wav"
        soundfile.write(tmp_path / name, rng.normal(0, 0.1, 1_600 * (k + 1)), 16_000)
        kind = "speech" if text else "noise"
        gender = ("male", "female")[k % 2] if text else ""
        items.append(Utterance(name, text, 0.1 * (k + 1), "ru" if text else "", "v", gender, kind))
    return write_manifest(tmp_path / "test.jsonl", items)


class Perfect:
    """Knows each clip by its length."""

    def __init__(self, said: list[str] | None = None) -> None:
        self.said = [*TEXTS, ""] if said is None else said
        self.settings: dict = {}

    def transcribe(self, clips, **settings):
        self.settings = settings
        return [Transcript(self.said[len(c) // 1_600 - 1], len(c) / 16_000) for c in clips]

    def ask(self, clips, questions, **settings):
        return ["Да. Русский. Мужчина."] * len(clips)


def test_perfect_transcripts_have_no_errors(manifest: Path) -> None:
    model = Perfect()
    report = runner.evaluate_manifest(model, manifest, batch_size=3, language="en")
    assert (report.rates.word_error_rate, report.rates.utterances) == (0.0, 4)
    assert (report.rates.wordless, report.rates.invented_words) == (1, 0)
    assert report.seconds == pytest.approx(1.5)
    assert [row["reference"] for row in report.rows] == [*TEXTS, ""]
    assert model.settings["batch_size"] == 3
    assert model.settings["language"] == "en"
    json.dumps(report.to_dict(), allow_nan=False)


def test_errors_and_invented_words_are_counted(manifest: Path) -> None:
    report = runner.evaluate_manifest(Perfect(["Мороз и", *TEXTS[1:], "шум и гам"]), manifest)
    assert report.rates.word_errors == 1
    assert report.rates.invented_words == 3
    text = runner.summary(report.to_dict())
    assert "no speech   1 clips, 3 words" in text
    assert "WER         10.0%" in text


def test_skipped_clips_are_counted_with_their_reasons(manifest: Path) -> None:
    (manifest.parent / "1.wav").write_bytes(b"")
    (manifest.parent / "2.wav").unlink()
    report = runner.evaluate_manifest(Perfect(), manifest)
    assert report.rates.utterances == 2
    assert [row["audio"] for row in report.skipped] == ["1.wav", "2.wav"]
    assert "empty" in report.skipped[0]["reason"]
    assert "skipped     2" in runner.summary(report.to_dict())


def test_speech_without_a_text_is_skipped_and_counted(manifest: Path) -> None:
    items = runner.select(manifest)
    items[0].text = ""
    report = runner.evaluate_manifest(Perfect(), items)
    assert report.rates.utterances == 3
    assert report.skipped == [{"audio": "0.wav", "reason": "speech without a reference text"}]
    for item in items[:4]:
        item.text = ""
    with pytest.raises(ManifestError, match="text"):
        runner.evaluate_manifest(Perfect(), items[:4])


def test_bad_recordings_are_never_called_speech_without_a_text(manifest: Path) -> None:
    items = runner.select(manifest)
    sound, rate = soundfile.read(items[3].audio)
    sound[5] = np.nan
    soundfile.write(items[3].audio, sound, rate, subtype="FLOAT")
    Path(items[1].audio).unlink()
    cut = Path(items[2].audio)
    long = np.tile(soundfile.read(cut)[0], 10)
    soundfile.write(cut, long, rate)
    cut.write_bytes(cut.read_bytes()[:20_000])
    for item in items[1:4]:
        item.text = ""
    report = runner.evaluate_manifest(Perfect(), items)
    reasons = {row["audio"]: row["reason"] for row in report.skipped}
    assert "no file" in reasons["1.wav"] and "cut off" in reasons["2.wav"]
    assert "NaN" in reasons["3.wav"]
    summary = runner.summary(report.to_dict())
    assert "skipped     3" in summary
    assert all(reason in summary for reason in reasons.values()), "not the first one alone"


def test_manifest_without_a_readable_clip_is_an_error(manifest: Path) -> None:
    for path in manifest.parent.glob("*.wav"):
        path.unlink()
    with pytest.raises(ManifestError, match="None of the 5"):
        runner.evaluate_manifest(Perfect(), manifest)
    with pytest.raises(ManifestError, match="None of the 5"):
        runner.evaluate_questions(Perfect(), manifest)


def test_noise_alone_has_no_rates(manifest: Path) -> None:
    report = runner.evaluate_manifest(Perfect(), runner.select(manifest)[4:])
    assert report.rates.word_error_rate is None
    assert "WER" not in runner.summary(report.to_dict())


def test_limit_spreads_over_the_manifest(manifest: Path) -> None:
    assert [Path(u.audio).name for u in runner.select(manifest, 2)] == ["0.wav", "2.wav"]
    assert len(runner.select(manifest, 100)) == 5
    with pytest.raises(ManifestError, match="limit"):
        runner.select(manifest, 0)


def test_manifest_larger_than_a_chunk_keeps_its_order(manifest: Path, monkeypatch) -> None:
    monkeypatch.setattr(runner, "_CHUNK", 2)
    report = runner.evaluate_manifest(Perfect(), manifest)
    assert [row["hypothesis"] for row in report.rows] == [*TEXTS, ""]


def test_constant_answers_get_chance(manifest: Path) -> None:
    scores = runner.evaluate_questions(Perfect(), manifest)
    assert scores.tasks["voice"] == 0.5
    assert scores.recalls["voice"] == {"female": 0.0, "male": 1.0}
    assert scores.tasks["language"] == 1.0
    assert scores.tasks["sound"] == 0.0
    assert scores.questions["sound"] == 5
    assert scores.wrong[0].keys() == {"task", "audio", "question", "expected", "answer"}
    assert scores.to_dict() == runner.evaluate_questions(Perfect(), manifest).to_dict()


def test_result_file_says_how_to_get_the_number_again(
    manifest: Path, make_tiny, tmp_path: Path
) -> None:
    model = Borealis(*make_tiny("ctc"))
    data = {"test": results.describe_manifest(manifest, runner.select(manifest))}
    decoding = results.describe_decoding(model, batch_size=4, decoding=CTCDecoding(num_beams=3))
    record = results.describe("tiny-x", model=model, decoding=decoding, data=data, recipe="nano")
    path = results.write(tmp_path / "results" / "tiny-x.json", record | {"metrics": {"a": 1}})
    read = json.loads(path.read_text(encoding="utf-8"))
    assert {"name", "date", "commit", "dirty", "recipe", "normalizer_version"} <= set(read)
    assert {"machine", "versions", "model", "decoding", "data", "metrics"} <= set(read)
    assert read["data"]["test"]["utterances"] == 5
    assert read["data"]["test"]["seconds"] == 1.5
    assert len(read["data"]["test"]["sha256"]) == 64
    assert read["model"]["parameters"] == sum(p.numel() for p in model.model.parameters())
    # What the call used, not what the checkpoint's settings say.
    assert read["decoding"]["strategy"] == "ctc prefix beam search"
    assert (read["decoding"]["num_beams"], read["decoding"]["batch_size"]) == (3, 4)
    assert read["machine"]["cores"] >= 1
    assert read["versions"]["transformers"]
    assert str(tmp_path) not in path.read_text(encoding="utf-8")
    assert [p.name for p in path.parent.iterdir()] == ["tiny-x.json"]


def test_result_file_refuses_what_json_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        results.write(tmp_path / "a.json", {"rate": float("nan")})
    assert not list(tmp_path.iterdir())


class Parrot:
    """A peer that says the same of every clip."""

    def transcribe(self, clip, *, language):
        assert language == "ru"
        return "мороз и солнце"


def test_peer_is_counted_as_the_model_is(manifest: Path) -> None:
    report = peer.evaluate_peer(Parrot(), manifest, limit=1)
    ours = runner.evaluate_manifest(Perfect(), manifest, limit=1)
    assert report.rates == ours.rates
    assert set(report.to_dict()) == set(ours.to_dict())


def test_peer_without_weights_or_packages_says_what_to_do(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(peer.PeerError, match=r"model\.bin"):
        peer.Whisper(tmp_path)
    monkeypatch.setattr(peer, "find_spec", lambda name: None)
    with pytest.raises(peer.PeerError, match="pip install"):
        peer.join_whisper_base(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "faster_whisper", None)
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(peer.PeerError, match="pip install faster-whisper"):
        peer.Whisper(tmp_path)
