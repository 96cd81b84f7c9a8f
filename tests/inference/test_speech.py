"""Speech by a model of random weights: it is noise, but all of it is there, in order and in time."""

from __future__ import annotations

import copy
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import borealis
from borealis import cli
from borealis.audio import load_audio
from borealis.checkpoints import resolve_checkpoint
from borealis.codec import load_codec
from borealis.codec.nano import (
    BorealisCodec,
    BorealisCodecConfig,
    CodeRefiner,
    CodeRefinerConfig,
)
from borealis.codec.nano.refiner import codebook_entries
from borealis.errors import BorealisError, OutputError, PromptError, SpeechError
from borealis.inference.scope import Scope
from borealis.inference.speech import MAX_CHARACTERS, Narrator, Speaker, Speech, SpeechPart
from borealis.speech.rule import Choice
from borealis.speech.symbols import SYMBOLS
from borealis.training.recipe import SpeechSection
from borealis.training.start.vocabulary import add_speech

TEXT = "Вес 25 кг."


@pytest.fixture(scope="module")
def spoken(speaking) -> Speech:
    return speaking.speak(TEXT)


class Hasty(Speaker):
    """Ends every sound at once."""

    def _pick(self, logits, choice: Choice, *_) -> int:
        return choice.codes.start if choice.due is None else choice.due


class Stubborn(Speaker):
    """Never ends a sound by itself."""

    def _pick(self, logits, choice: Choice, *_) -> int:
        return choice.codes.start if choice.codes else choice.due


# ---- sound ----


def test_a_stream_joined_is_the_whole(speaking, spoken: Speech) -> None:
    parts = list(speaking.speak_stream(TEXT))
    assert len(parts) > 3
    assert all(len(p.waveform) or p.words or p.piece for p in parts)
    assert np.array_equal(np.concatenate([p.waveform for p in parts]), spoken.waveform)
    assert [w for p in parts for w in p.words] == spoken.words
    assert [p.piece.symbols for p in parts if p.piece] == [p.symbols for p in spoken.pieces]


def test_the_same_seed_is_the_same_sound_and_another_is_another(speaking, spoken: Speech) -> None:
    assert spoken.waveform.dtype == np.float32 and spoken.duration > 0.1
    assert np.array_equal(speaking.speak(TEXT, seed=0).waveform, spoken.waveform)
    assert not np.array_equal(speaking.speak(TEXT, seed=1).waveform, spoken.waveform)


def test_the_sound_does_not_depend_on_random_numbers_of_others(speaking) -> None:
    torch.manual_seed(1)
    first = speaking.speak("Да.", seed=3).waveform
    torch.manual_seed(2)
    assert np.array_equal(speaking.speak("Да.", seed=3).waveform, first)


@pytest.mark.parametrize("temperature", [0, 0.0, 1e-30])
def test_without_temperature_nothing_is_left_to_chance(speaking, temperature: float) -> None:
    first, second = (speaking.speak("Да.", temperature=temperature, seed=s) for s in (0, 1))
    assert np.array_equal(first.waveform, second.waveform)


def test_one_candidate_leaves_only_the_lengths_to_chance(speaking) -> None:
    one, other = (speaking.speak("Да.", top_k=1, seed=seed) for seed in (0, 1))
    assert not np.array_equal(one.pieces[0].durations, other.pieces[0].durations)
    assert one.pieces[0].codes[:, 0].tolist() == other.pieces[0].codes[:, 0].tolist()


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.25, 2.0])
def test_speed_changes_length_and_times_alike(speaking, spoken: Speech, speed: float) -> None:
    other = speaking.speak(TEXT, speed=speed)
    assert len(other.waveform) == round(len(spoken.waveform) / speed)
    for word, before in zip(other.words, spoken.words, strict=True):
        assert word.start == pytest.approx(before.start / speed, abs=0.02)
        assert word.end == pytest.approx(before.end / speed, abs=0.02)
    assert np.array_equal(other.pieces[0].codes, spoken.pieces[0].codes)
    parts = list(speaking.speak_stream(TEXT, speed=speed))
    assert all(len(p.waveform) or p.words or p.piece for p in parts)
    assert np.array_equal(np.concatenate([p.waveform for p in parts]), other.waveform)


def test_a_piece_tells_how_it_was_written(spoken: Speech) -> None:
    (piece,) = spoken.pieces
    assert piece.symbols == " вес двадцать пять килограмм."
    assert len(piece.durations) == len(piece.symbols)
    assert piece.codes.shape == (2, piece.durations.sum())
    assert piece.codes.shape[1] * piece.frame == pytest.approx(spoken.duration)


@pytest.fixture
def refined(make_tiny, nano, speaking_folder, tmp_path) -> Speaker:
    """A model that writes one codebook of two; a refiner of random weights adds the other."""
    folder = tmp_path / "codec"
    shutil.copytree(speaking_folder / "codec", folder)
    codec = load_codec(str(folder))
    config = CodeRefinerConfig(
        symbols=SYMBOLS, voices=["anna"], num_codebooks=2, codebook_size=32,
        latent_size=codebook_entries(codec, 2)[0].shape[1], hidden_size=16, intermediate_size=24,
        num_layers=2,
    )  # fmt: skip
    torch.manual_seed(0)
    CodeRefiner(config).save_pretrained(folder / "refiner")
    model, processor = make_tiny("ctc", own=copy.deepcopy(nano.processor.tokenizer))
    voices = [{"name": "anna", "language": "ru", "gender": "female"}]
    section = SpeechSection(codec=str(folder), num_codebooks=1, voices=voices)
    add_speech(model, processor, section)
    return Speaker(model.eval())


def test_a_refiner_adds_the_codebooks_that_the_model_leaves_out(refined: Speaker) -> None:
    order = refined.order(TEXT)
    said, parts = refined.speak(order), list(refined.stream(order))
    (piece,) = said.pieces
    assert refined.vocabulary.codec.num_codebooks == 1
    assert piece.codes.shape == (2, piece.durations.sum())
    assert said.duration == pytest.approx(piece.codes.shape[1] * piece.frame)
    assert np.array_equal(np.concatenate([p.waveform for p in parts]), said.waveform)
    whole = refined.refiner.complete(
        refined.codec, piece.codes[:1], piece.symbols, piece.durations, "anna"
    )
    assert np.array_equal(whole, piece.codes)


# ---- words ----


def test_words_are_those_of_the_text_with_their_times(spoken: Speech) -> None:
    assert [w.text for w in spoken.words] == ["Вес", "25", "кг"]
    assert spoken.spoken == "вес двадцать пять килограмм."
    for word in spoken.words:
        assert 0 <= word.start <= word.end <= spoken.duration + 0.01
    for before, after in itertools.pairwise(spoken.words):
        assert before.end <= after.start


def test_a_long_text_is_said_in_pieces(speaking) -> None:
    text = "Раз, два. " + "Это предложение подлиннее, но тоже не очень. " + "Всё!"
    whole = speaking.speak(text, temperature=0.9)
    assert [p.symbols for p in whole.pieces] == [
        " раз,два.",
        " это предложение подлиннее,но тоже не очень.",
        " всё!",
    ]
    starts = [p.start for p in whole.pieces]
    ends = [p.start + p.codes.shape[1] * p.frame for p in whole.pieces]
    for end, start in zip(ends, starts[1:], strict=False):
        assert start == pytest.approx(end + 0.15, abs=0.01)
    assert ends[-1] == pytest.approx(whole.duration)
    assert " ".join(w.text for w in whole.words) == (
        "Раз два Это предложение подлиннее но тоже не очень Всё"
    )
    assert whole.words[-1].start >= starts[-1]


def test_a_word_that_is_longer_than_a_piece_is_cut_and_stays_one_word(speaking) -> None:
    speaker = Hasty(speaking.model)
    said = speaker.speak(speaker.order("а" * 450 + " — " + "б" * 201 + " да"))
    assert max(len(p.symbols) for p in said.pieces) <= 202
    assert [w.text for w in said.words] == ["а" * 450, "б" * 201, "да"]


def test_what_is_not_said_is_told(speaking) -> None:
    said = speaking.speak("Да 😀 нет ♥", temperature=0)
    assert said.left_out == ("😀", "♥")
    assert [w.text for w in said.words] == ["Да", "нет"]


def test_the_voice_is_of_the_language_that_is_spoken(speaking) -> None:
    order = speaking.speaker.order
    assert order("Да.").voice == order("25").voice == "anna"
    assert order("Yes.").voice == "kate" and order("5 kg", language="en").voice == "kate"
    assert order("5", voice="ivan").said.text == "пять"
    assert order("5", voice="kate").said.text == "five"
    assert order("5", voice="ivan", language="en-US").said.text == "five"


# ---- the end ----


def test_closing_a_stream_ends_the_work(speaking) -> None:
    steps = []

    class Counting(Speaker):
        def _pick(self, *given) -> int:
            steps.append(1)
            return super()._pick(*given)

    speaker = Counting(speaking.model)
    stream: Iterator[SpeechPart] = speaker.stream(speaker.order("Слово за словом. " * 20))
    assert len(next(stream).waveform)
    before = len(steps)
    stream.close()
    assert len(steps) == before
    assert list(stream) == []
    assert before < 500


@pytest.mark.slow
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=st.text(alphabet="абё яe'x 19.,!?—-№%😀\n", max_size=12), kind=st.sampled_from("hs"))
def test_every_text_that_can_be_said_comes_to_an_end(speaking, text: str, kind: str) -> None:
    speaker = {"h": Hasty, "s": Stubborn}[kind](speaking.model)
    try:
        order = speaker.order(text, speed=2)
    except SpeechError:
        return
    said = speaker.speak(order)
    assert len(said.words) > 0
    assert all(a.end <= b.start for a, b in itertools.pairwise(said.words))
    if kind == "h":
        assert said.duration <= 0.2 * len(said.pieces)
    else:
        longest = sum(len(p.symbols) for p in said.pieces) * 1.6 / 2
        assert 0 < said.duration <= longest + 0.1 * len(said.pieces)


def test_a_model_that_makes_no_sound_gives_an_empty_one(speaking, tmp_path) -> None:
    speaker = Hasty(speaking.model)
    said = speaker.speak(speaker.order("Да."))
    assert said.duration == 0 and said.pieces[0].codes.shape == (2, 0)
    assert [(w.text, w.start, w.end) for w in said.words] == [("Да", 0, 0)]
    with pytest.raises(SpeechError, match=r"no sound of 'Да\.'"):
        said.save(tmp_path / "empty.mp3")
    assert not list(tmp_path.iterdir())


# ---- files ----


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".opus", ".ogg", ".WAV"])
def test_a_saved_speech_is_read_again(spoken: Speech, tmp_path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    spoken.save(path)
    again = load_audio(path)
    assert len(again) == pytest.approx(len(spoken.waveform), abs=1600)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_speech_is_not_saved_in_forms_unknown_or_where_it_cannot_be(spoken, tmp_path) -> None:
    with pytest.raises(SpeechError, match=r"'out.aac': speech is written as \.wav, \.flac"):
        spoken.save("out.aac")
    with pytest.raises(OutputError, match="can't be written"):
        spoken.save(tmp_path / "no" / "out.wav")
    with pytest.raises(SpeechError, match="'aac'"):
        spoken.encode("aac")


# ---- mistakes ----


@pytest.mark.parametrize(
    ("text", "options", "kind", "told"),
    [
        ("", {}, SpeechError, "The text is empty"),
        ("  \n", {}, SpeechError, "The text is empty"),
        ("...", {}, SpeechError, "Nothing of the text can be said"),
        ("😀", {}, SpeechError, "Nothing of the text can be said"),
        ("а" * 100_000, {}, SpeechError, "has 100,000 characters; at most 10,000"),
        ("漢字", {}, SpeechError, "letters that can't be said: 漢, 字"),
        ("مرحبا", {}, SpeechError, "letters that can't be said"),
        ("<speak>Да</speak>", {}, SpeechError, "markup such as SSML isn't read"),
        (None, {}, PromptError, "of type NoneType; a string is wanted"),
        (b"yes", {}, PromptError, "of type bytes"),
        (["Да"], {}, PromptError, "of type list"),
        ("Да", {"voice": "petr"}, SpeechError, "no voice 'petr'; this model has anna, ivan, kate"),
        ("Да", {"voice": 3}, SpeechError, "no voice 3"),
        ("Да", {"language": "de"}, PromptError, "language is 'de'"),
        ("Да", {"speed": 0.4}, PromptError, "speed is 0.4; a number from 0.5 to 2"),
        ("Да", {"speed": float("nan")}, PromptError, "speed is nan"),
        ("Да", {"speed": "2"}, PromptError, "speed is '2'"),
        ("Да", {"temperature": -1}, PromptError, "temperature is -1"),
        ("Да", {"temperature": None}, PromptError, "temperature is None"),
        ("Да", {"top_k": 0}, PromptError, "top_k is 0"),
        ("Да", {"seed": -1}, PromptError, "seed is -1"),
        ("Да", {"seed": 2**70}, PromptError, "a whole number from 0 to"),
        ("Да", {"seed": 1.5}, PromptError, "seed is 1.5"),
    ],
)
def test_a_mistake_is_told_before_anything_is_made(speaking, text, options, kind, told) -> None:
    for act in (speaking.speak, speaking.speak_stream):  # the stream isn't even begun
        with pytest.raises(kind, match=told) as caught:
            act(text, **options)
        assert isinstance(caught.value, BorealisError)
        assert len(str(caught.value)) < 250


def test_the_longest_text_is_accepted(speaking) -> None:
    text = ("Слово. " * 2000)[: MAX_CHARACTERS - 1] + "."
    assert len(text) == MAX_CHARACTERS
    assert len(speaking.speaker.order(text).pieces) > 1000


def test_a_model_that_was_not_taught_to_speak_says_so(make_tiny) -> None:
    from borealis.inference import Borealis

    silent = Borealis(*make_tiny("ctc"))
    assert silent.voices == []
    for act in (silent.speak, silent.speak_stream):
        with pytest.raises(SpeechError, match="wasn't taught to speak: it has no voices"):
            act("Да.")
    for _ in range(2):  # a property that failed fails again
        with pytest.raises(SpeechError):
            _ = silent.speaker


# ---- answers ----

QUESTION = "Есть ли слово «окно»?"


@pytest.fixture(scope="module")
def answering(speaking_folder):
    """The model of random weights with what nano knows of questions: it says Yes or No by chance."""
    model = borealis.load(speaking_folder)
    model.scope = Scope.of_checkpoint(resolve_checkpoint("nano"))
    return model


def test_an_answer_is_said(answering, noise) -> None:
    clip = noise(1)
    answer = answering.ask(clip, QUESTION, sampling_rate=16_000)
    said = answering.ask(clip, QUESTION, sampling_rate=16_000, speak=True, voice="ivan")
    assert answer in ("Да.", "Нет.") and said.text == str(said) == answer
    assert np.array_equal(said.waveform, answering.speak(answer, voice="ivan").waveform)
    messages = [
        {
            "role": "user",
            "content": [
                {"type": "audio", "audio": clip, "sampling_rate": 16_000},
                {"type": "text", "text": QUESTION},
            ],
        }
    ]
    turn = answering.chat(messages, speak=True)
    assert turn.text == answering.chat(messages) and turn.voice == "anna"


def test_several_answers_are_said_each_in_its_language(answering, noise) -> None:
    clips, questions = [noise(1), noise(1, seed=1)], [QUESTION, 'Do you hear "window"?']
    said = answering.ask(clips, questions, sampling_rate=16_000, speak=True)
    assert [s.text for s in said] == answering.ask(clips, questions, sampling_rate=16_000)
    assert [s.voice for s in said] == ["anna", "kate"]


def test_what_cannot_be_said_is_told_before_the_recording_is_heard(answering, tiny) -> None:
    from borealis.inference import Borealis

    for act in (answering.ask, answering.chat):
        given = ("missing.wav", QUESTION) if act == answering.ask else ([],)
        with pytest.raises(PromptError, match="to speak_stream"):
            act(*given, speak=True, stream=True)
        with pytest.raises(PromptError, match="give speak=True"):
            act(*given, voice="anna")
        with pytest.raises(SpeechError, match="no voice 'petr'"):
            act(*given, speak=True, voice="petr")
        with pytest.raises(PromptError, match="speak is 1"):
            act(*given, speak=1)
    with pytest.raises(SpeechError, match="wasn't taught to speak"):
        Borealis(*tiny).ask("missing.wav", QUESTION, speak=True)


def test_an_answer_that_cannot_be_said_is_not_lost(answering) -> None:
    nothing = answering._said("", "kate")
    assert (nothing.text, nothing.voice, nothing.duration) == ("", "kate", 0)
    with pytest.raises(SpeechError, match=r"answer '漢字' can't be said\. The text has letters"):
        answering._said("漢字", None)


def test_the_command_says_an_answer(answering, speech, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(borealis, "load", lambda *_, **__: answering)
    out = tmp_path / "answer.wav"
    options = ["--speak", str(out), "--voice", "ivan"]
    assert cli.main(["ask", str(speech), QUESTION, *options]) == 0
    answer = answering.ask(speech, QUESTION)
    assert capsys.readouterr().out == f"{answer}\n"
    said = answering.speak(answer, voice="ivan")
    assert np.abs(load_audio(out) - said.waveform).max() < 1e-3


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--voice", "ivan"], "give --speak FILE"),
        (["--speak", "out.aac"], "speech is written as .wav"),
        (["--speak", "out.wav", "--stream"], "one whole answer"),
        (["--speak", "out.wav", "--question", "Кто?", "--question", "Где?"], "one whole answer"),
    ],
)
def test_the_command_tells_mistakes_before_a_model_is_loaded(
    speech, capsys, monkeypatch, options: list[str], told: str
) -> None:
    monkeypatch.setattr(borealis, "load", lambda *_, **__: pytest.fail("loaded"))
    question = [] if "--question" in options else [QUESTION]
    assert cli.main(["ask", str(speech), *question, *options]) == 2
    assert told in capsys.readouterr().err


def test_a_recording_is_not_written_over_by_its_answer(speech, tmp_path, capsys) -> None:
    twin = tmp_path / "twin.flac"
    twin.write_bytes(speech.read_bytes())
    assert cli.main(["ask", str(twin), QUESTION, "--speak", str(twin)]) == 2
    assert "also an input" in capsys.readouterr().err
    assert twin.read_bytes() == speech.read_bytes()


def test_codebooks_that_the_model_does_not_write_are_completed(speaking, tmp_path: Path) -> None:
    told = speaking.model.config.speech
    torch.manual_seed(0)
    codec = BorealisCodec(
        BorealisCodecConfig(
            num_codebooks=4, codebook_size=32, latent_size=8, hidden_size=32,
            intermediate_size=48, encoder_layers=1, decoder_layers=1,
        )
    )  # fmt: skip
    codec.save_pretrained(tmp_path)
    refiner = CodeRefiner(
        CodeRefinerConfig(
            symbols=told["symbols"], voices=[voice["name"] for voice in told["voices"]],
            num_codebooks=4, given_codebooks=2, codebook_size=32, latent_size=8, hidden_size=16,
            intermediate_size=24, kernel_size=3, num_layers=2,
        )
    )  # fmt: skip
    refiner.save_pretrained(tmp_path / "refiner")
    narrator = Narrator(told | {"codec": str(tmp_path)})
    order = narrator.order("Да. Нет.", temperature=0)
    making, parts = narrator.making(order), []
    for piece in making.pieces:
        generator = torch.Generator()
        for token in speaking.speaker.write(piece.rule(), order.voice, 0, 1, generator):
            parts += [part for part in [piece.push(token)] if part]
        parts += [part for part in [piece.gap()] if part]
    speech = narrator.whole(order, [*parts, *filter(None, [making.finish()])])
    plain = speaking.speak("Да. Нет.", temperature=0)
    for made, written in zip(speech.pieces, plain.pieces, strict=True):
        assert made.codes.shape == (4, made.durations.sum())
        assert np.array_equal(made.codes[:2], written.codes)
    assert len(speech.waveform) == len(plain.waveform)
