"""Transcribe, ask, chat: lists equal singles, streams equal wholes, segments cover the clip."""

import copy
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from borealis.audio import SAMPLING_RATE, AudioLimits, load_audio, open_audio
from borealis.checkpoints import NGRAM
from borealis.errors import AudioNotFoundError, CheckpointError
from borealis.inference import (
    Borealis,
    CTCDecoding,
    Guess,
    LLMDecoding,
    Segment,
    Transcript,
)
from borealis.inference.decoding import Decoding
from borealis.inference.engine import Written
from borealis.inference.messages import after_transcript

SCALE = 20.0  # of the embeddings
SILENCE = np.zeros(3 * SAMPLING_RATE, np.float32)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.1, int(seconds * SAMPLING_RATE)).astype(np.float32)


@pytest.fixture(scope="module", params=["mlp", "ctc"])
def tiny(request, make_tiny) -> Borealis:
    """A random model: what it writes means nothing, but it must always write the same.

    Only letters can come out, and larger ones than a random model's, so that there is something
    to compare.
    """
    model, processor = make_tiny(request.param)
    tokenizer = processor.tokenizer
    spoken = [i for i in range(len(tokenizer)) if tokenizer.decode([i]).isalpha()]
    with torch.no_grad():
        weight = model.get_input_embeddings().weight
        mask = torch.zeros(len(weight), 1)
        mask[spoken] = SCALE
        weight *= mask
    return Borealis(model, processor)


def heard_parts(tiny: Borealis, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Replace the model by one that says how long each part is; returns the parts it was given."""
    parts: list[np.ndarray] = []

    def write(clips, task):
        parts.extend(clips)
        return [Written(str(len(clip))) for clip in clips]

    monkeypatch.setattr(tiny, "_write", write)
    return parts


def decodings(tiny: Borealis) -> list[Decoding]:
    """Settings with one beam and with several."""
    kind = CTCDecoding if tiny.model.config.adapter_type == "ctc" else LLMDecoding
    return [kind(num_beams=1), kind(num_beams=3)]


# ---- transcribe ----


def test_list_gives_what_singles_give(tiny: Borealis) -> None:
    clips = [noise(seconds, seed) for seed, seconds in enumerate((2.0, 0.4, 3.3, 1.0, 0.05))]
    for decoding in decodings(tiny):
        singles = [tiny.transcribe(clip, decoding=decoding) for clip in clips]
        for batch_size in (1, 2, 8):
            together = tiny.transcribe(clips, batch_size=batch_size, decoding=decoding)
            assert together == singles
        assert [t.duration for t in singles] == [2.0, 0.4, 3.3, 1.0, 0.05]


def test_a_tuple_and_an_iterator_give_what_a_list_gives(tiny: Borealis) -> None:
    clips = [noise(1.0, 1), noise(0.5, 2), noise(2.0, 3)]
    whole = tiny.transcribe(clips)
    answers = tiny.ask(clips, "Кто говорит?", max_new_tokens=4)
    for several in (tuple, iter, lambda c: (clip for clip in c), lambda c: map(np.copy, c)):
        assert tiny.transcribe(several(clips)) == whole
        assert tiny.ask(several(clips), "Кто говорит?", max_new_tokens=4) == answers
    assert tiny.transcribe((clips[0], clips[1])) == whole[:2]
    assert tiny.ask(tuple(clips[:2]), ("Кто?", "Кто?"), max_new_tokens=4) == tiny.ask(
        clips[:2], "Кто?", max_new_tokens=4
    )


def test_a_rate_and_an_array_are_one_recording(tiny: Borealis) -> None:
    clip = noise(1.0)
    for rate in (SAMPLING_RATE, np.int64(SAMPLING_RATE)):
        assert tiny.transcribe((rate, clip)) == tiny.transcribe(clip)
    assert tiny.transcribe([(SAMPLING_RATE, clip)] * 2) == tiny.transcribe([clip] * 2)


def test_an_iterator_is_read_as_the_work_goes_on(tiny: Borealis, monkeypatch) -> None:
    """Of twenty recordings never more than a group is in memory."""
    events: list[str] = []
    write_down = tiny._write_down

    def watched(clips, *args):
        events.extend(["write"] * len(clips))
        return write_down(clips, *args)

    monkeypatch.setattr(tiny, "_write_down", watched)

    def clips():
        for seed in range(20):
            events.append("read")
            yield noise(3.0, seed)

    written = tiny.transcribe(clips(), batch_size=2, max_segment_seconds=6)
    assert len(written) == 20
    ahead = np.cumsum([1 if event == "read" else -1 for event in events])
    assert ahead.max() == 4  # two batches of six seconds are four clips
    assert ahead[-1] == 0


def test_a_bad_recording_of_a_list_is_told_before_any_work(tiny: Borealis, monkeypatch) -> None:
    monkeypatch.setattr(tiny, "_write_down", lambda *_: pytest.fail("worked"))
    for several in ([noise(1.0), "missing.wav"], (noise(1.0), noise(1.0), "missing.wav")):
        with pytest.raises(AudioNotFoundError):
            tiny.transcribe(several)


def test_a_rate_of_arrays_is_heard(tiny: Borealis, speech: Path) -> None:
    fast = np.repeat(load_audio(speech), 3)  # the same sound at 48 kHz
    known = tiny.transcribe((48_000, fast))
    assert known.duration == pytest.approx(len(fast) / 48_000, abs=0.02)
    assert tiny.transcribe(fast, sampling_rate=48_000) == known
    assert tiny.transcribe([fast, fast[:48_000]], sampling_rate=48_000)[0] == known
    told = tiny.transcribe_stream(fast, sampling_rate=48_000)
    assert [s for s in told if isinstance(s, Segment)] == known.segments
    asked = {"question": "Кто говорит?", "max_new_tokens": 6}
    assert tiny.ask(fast, sampling_rate=48_000, **asked) == tiny.ask((48_000, fast), **asked)
    part = audio_part(fast) | {"sampling_rate": 48_000}
    message = {"role": "user", "content": [part, text_part("Кто говорит?")]}
    assert tiny.chat([message], max_new_tokens=6) == tiny.ask((48_000, fast), **asked)


def test_list_of_none_is_none(tiny: Borealis) -> None:
    assert tiny.transcribe([]) == []
    assert tiny.ask([], "Кто говорит?") == []


def test_every_kind_of_source_gives_the_same(tiny: Borealis, tmp_path: Path) -> None:
    wave = noise(1.0)
    path = tmp_path / "a.wav"
    soundfile.write(path, wave, SAMPLING_RATE, subtype="FLOAT")
    whole = tiny.transcribe(wave)
    for source in (path, str(path), path.read_bytes(), (SAMPLING_RATE, wave), torch.tensor(wave)):
        assert tiny.transcribe(source) == whole


@pytest.mark.parametrize(("seconds", "longest"), [(29.9, 30), (30.1, 30), (65, None), (35, 5)])
def test_segments_cover_a_long_clip(
    seconds: float, longest: float | None, tiny: Borealis, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = heard_parts(tiny, monkeypatch)
    clip = noise(seconds)
    result = tiny.transcribe(clip, max_segment_seconds=longest, batch_size=3)
    longest = longest or 30
    assert result.duration == seconds
    assert sum(map(len, parts)) == len(clip)
    assert [s.text for s in result.segments] == result.text.split()
    starts = np.cumsum([0, *(int(s.text) for s in result.segments)])
    by_length = {len(part): part for part in parts}
    for segment, start, end in zip(result.segments, starts, starts[1:], strict=False):
        np.testing.assert_array_equal(by_length[end - start], clip[start:end])
        assert segment.start == pytest.approx(start / SAMPLING_RATE, abs=0.01)
        assert segment.end == pytest.approx(end / SAMPLING_RATE, abs=0.01)
        assert 0 < end - start <= longest * SAMPLING_RATE


def test_part_of_a_long_clip_gives_what_it_gives_alone(tiny: Borealis) -> None:
    # A second of silence is where the cut falls, so both halves are known.
    first, second = noise(4.0, 1), noise(4.0, 2)
    clip = np.concatenate([first, np.zeros(SAMPLING_RATE, np.float32), second])
    result = tiny.transcribe(clip, max_segment_seconds=6)
    assert len(result.segments) == 2
    cut = round(result.segments[0].end * SAMPLING_RATE)
    assert 4.0 * SAMPLING_RATE <= cut <= 5.0 * SAMPLING_RATE
    for segment, part in zip(result.segments, (clip[:cut], clip[cut:]), strict=True):
        assert segment.text == tiny.transcribe(part).text


def test_silence_gives_no_words(tiny: Borealis) -> None:
    result = tiny.transcribe(SILENCE)
    assert result == Transcript("", 3.0, [])
    assert list(tiny.transcribe_stream(SILENCE)) == []
    # One step of a 16-bit recorder isn't speech either.
    dither = np.random.default_rng(0).integers(-1, 2, SILENCE.shape).astype(np.int16)
    assert tiny.transcribe(dither).text == ""


def test_silence_in_a_list_costs_the_others_nothing(tiny: Borealis) -> None:
    clip = noise(1.0)
    empty, full = tiny.transcribe([SILENCE, clip])
    assert empty.text == ""
    assert full == tiny.transcribe(clip)


def test_pieces_of_the_stream_join_to_the_whole(tiny: Borealis) -> None:
    clip = np.concatenate([noise(4.0, 1), SILENCE, noise(4.0, 2)])
    for decoding in decodings(tiny):
        options = {"max_segment_seconds": 5, "decoding": decoding}
        whole = tiny.transcribe(clip, **options)
        told = list(tiny.transcribe_stream(clip, **options))
        assert [step for step in told if isinstance(step, Segment)] == whole.segments
        # Guesses grow to what the segment says, and only the language model makes any.
        guesses = [step for step in told if isinstance(step, Guess)]
        assert bool(guesses) == (decoding == LLMDecoding(num_beams=1) and bool(whole.text))
        for segment in whole.segments:
            own = [g.text for g in guesses if g.start == segment.start]
            assert all(segment.text.startswith(text) for text in own)


def test_one_and_many_take_the_same_arguments() -> None:
    names = [
        set(inspect.signature(method).parameters)
        for method in (Borealis.transcribe, Borealis.transcribe_stream, Borealis.write_parts)
    ]
    assert names[0] - names[1] == {"batch_size", "progress"}
    assert names[1] <= names[0]
    assert names[2] - {"parts"} <= names[1]


def test_language_chooses_the_prompt(tiny: Borealis) -> None:
    english = tiny.transcribe(noise(1.0), language="en")
    assert isinstance(english, Transcript)
    for name in ("EN", "English", "en-US", "en_GB", " английский "):
        assert tiny.transcribe(noise(1.0), language=name) == english
    russian = tiny.transcribe(noise(1.0), language="ru")
    assert tiny.transcribe(noise(1.0), language="Русский") == russian


def test_bad_recording_in_a_list_is_named(tiny: Borealis) -> None:
    with pytest.raises(AudioNotFoundError, match=r"missing\.wav"):
        tiny.transcribe([noise(1.0), "missing.wav"])


def test_transcript_is_plain_data() -> None:
    result = Transcript("Да. Нет.", 2.0, [Segment(0.0, 1.0, "Да."), Segment(1.0, 2.0, "Нет.")])
    assert str(result) == "Да. Нет."
    assert result.to_dict() == {
        "text": "Да. Нет.",
        "language": None,
        "duration": 2.0,
        "segments": [
            {"start": 0.0, "end": 1.0, "text": "Да."},
            {"start": 1.0, "end": 2.0, "text": "Нет."},
        ],
    }


# ---- ask ----


def test_answers_to_a_list_are_those_to_singles(tiny: Borealis) -> None:
    clips = [noise(seconds, seed) for seed, seconds in enumerate((1.0, 0.3, 2.0))]
    questions = ["Кто говорит?", "What is heard in this recording?", "Слово?"]
    singles = [tiny.ask(c, q, max_new_tokens=12) for c, q in zip(clips, questions, strict=True)]
    for batch_size in (1, 2, 8):
        assert tiny.ask(clips, questions, max_new_tokens=12, batch_size=batch_size) == singles
    one_question = tiny.ask(clips, questions[0], max_new_tokens=12)
    assert one_question[0] == singles[0]
    assert len(one_question) == 3


def test_a_question_comes_after_the_transcript_where_a_checkpoint_wants_it(
    tiny: Borealis, monkeypatch
) -> None:
    clips = [noise(1.0, 1), noise(0.5, 2)]
    questions = ["Кто говорит?", "Сколько слов?"]
    written = [t.text for t in tiny.transcribe(clips)]
    expected = []
    for clip, text, question in zip(clips, written, questions, strict=True):
        messages = after_transcript(text, question)
        messages[0]["content"][0] = audio_part(clip)
        expected.append(tiny.chat(messages, max_new_tokens=12))
    asked = {"question": questions, "max_new_tokens": 12}
    plain = tiny.ask(clips, **asked)
    assert tiny.ask(clips, **asked, transcribe_first=True) == expected != plain
    monkeypatch.setattr(tiny.model.config, "transcribe_before_answer", True, raising=False)
    assert tiny.ask(clips, **asked) == expected
    assert tiny.ask(clips, **asked, transcribe_first=False) == plain
    pieces = tiny.ask(clips[1], questions[1], max_new_tokens=12, stream=True)
    assert "".join(pieces).strip() == expected[1]


def test_a_recording_asked_about_twice_is_written_down_once(tiny: Borealis, monkeypatch) -> None:
    heard = []
    transcribe = tiny.transcribe

    def watched(clips, **settings):
        heard.append(len(clips))
        return transcribe(clips, **settings)

    monkeypatch.setattr(tiny, "transcribe", watched)
    clip, other = noise(1.0), noise(0.5)
    asked = [clip, other, clip, clip]
    tiny.ask(asked, "Кто говорит?", max_new_tokens=3, transcribe_first=True)
    assert heard == [2]


def test_pieces_of_an_answer_join_to_the_whole(tiny: Borealis) -> None:
    clip = noise(1.0)
    whole = tiny.ask(clip, "Кто говорит?", max_new_tokens=16)
    pieces = list(tiny.ask(clip, "Кто говорит?", max_new_tokens=16, stream=True))
    assert "".join(pieces).strip() == whole


def test_answer_has_no_more_tokens_than_asked(tiny: Borealis) -> None:
    answer = tiny.ask(noise(1.0), "Кто говорит?", max_new_tokens=3)
    assert len(tiny.processor.tokenizer(answer)["input_ids"]) <= 8  # a letter may be two tokens


def test_failure_while_streaming_reaches_the_reader(tiny: Borealis, monkeypatch) -> None:
    def fail(*args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(tiny.model, "generate", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(tiny.ask(noise(1.0), "Кто говорит?", stream=True))


# ---- chat ----


def audio_part(clip: np.ndarray) -> dict:
    return {"type": "audio", "audio": clip}


def text_part(text: str) -> dict:
    return {"type": "text", "text": text}


def test_chat_of_one_turn_is_ask(tiny: Borealis) -> None:
    clip = noise(1.0)
    message = {"role": "user", "content": [audio_part(clip), text_part("Кто говорит?")]}
    assert tiny.chat([message], max_new_tokens=12) == tiny.ask(
        clip, "Кто говорит?", max_new_tokens=12
    )


def test_chat_of_several_turns_hears_every_clip(tiny: Borealis) -> None:
    def conversation(first: np.ndarray, second: np.ndarray) -> list[dict]:
        return [
            {"role": "system", "content": "Отвечай кратко."},
            {"role": "user", "content": [audio_part(first), text_part("Запиши речь.")]},
            {"role": "assistant", "content": "Мороз и солнце."},
            {"role": "user", "content": [text_part("А здесь?"), audio_part(second)]},
        ]

    a, b, c = noise(1.0, 1), noise(2.0, 2), noise(2.0, 3)
    whole = tiny.chat(conversation(a, b), max_new_tokens=16)
    assert whole == tiny.chat(conversation(a, b), max_new_tokens=16)
    pieces = tiny.chat(conversation(a, b), max_new_tokens=16, stream=True)
    assert "".join(pieces).strip() == whole

    def logits(first: np.ndarray, second: np.ndarray) -> torch.Tensor:
        messages = conversation(first, second)
        with torch.inference_mode():
            return tiny.model(**tiny._inputs([messages], [[first, second]])).logits[0, -1]

    before = logits(a, b)
    assert not torch.equal(before, logits(a, c))
    assert not torch.equal(before, logits(c, b))


def test_chat_without_audio(tiny: Borealis) -> None:
    answer = tiny.chat([{"role": "user", "content": "Кто ты?"}], max_new_tokens=8)
    assert isinstance(answer, str)


# ---- the bundled model ----


def test_a_used_model_can_be_pickled_and_copied(nano: Borealis, speech: Path) -> None:
    written = nano.transcribe(speech)
    for other in (pickle.loads(pickle.dumps(nano)), copy.deepcopy(nano)):
        assert other.transcribe(speech) == written


@pytest.mark.slow
def test_loading_is_quiet_and_leaves_the_users_settings(nano: Borealis) -> None:
    program = (
        "from transformers.utils import logging\n"
        "from huggingface_hub.utils import are_progress_bars_disabled as off, disable_progress_bars\n"
        "import borealis\n"
        "level = logging.get_verbosity()\n"
        "borealis.load()\n"
        "assert logging.is_progress_bar_enabled() and not off()\n"
        "disable_progress_bars()\n"
        "borealis.load()\n"
        "assert logging.is_progress_bar_enabled() and off()\n"
        "logging.disable_progress_bar()\n"
        "borealis.load()\n"
        "assert not logging.is_progress_bar_enabled()\n"
        "assert logging.get_verbosity() == level\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_bundled_model_takes_real_recordings(nano: Borealis, speech: Path) -> None:
    whole = load_audio(speech)
    clips = [whole, whole[: 2 * SAMPLING_RATE], whole[SAMPLING_RATE:]]
    singles = [nano.transcribe(clip) for clip in clips]
    assert nano.transcribe(clips) == singles
    assert singles[0].segments[0].start == 0.0
    assert singles[0].duration == round(len(whole) / SAMPLING_RATE, 2)


def test_bundled_model_answers_lists_as_singles(nano: Borealis, speech: Path) -> None:
    questions = ["Кто говорит?", "What language is it?"]
    singles = [nano.ask(speech, question, max_new_tokens=16) for question in questions]
    assert nano.ask([speech, speech], questions, max_new_tokens=16) == singles


def test_a_damaged_ngram_is_told_where_it_is_needed(make_tiny, tmp_path: Path, noise) -> None:
    """It is read in a thread beside the weights, and its error mustn't get lost there."""
    for part in make_tiny("ctc"):
        part.save_pretrained(tmp_path)
    (tmp_path / NGRAM).write_bytes(b"not safetensors")
    loaded = Borealis.load(tmp_path)
    with pytest.raises(CheckpointError, match="holds no letter n-gram"):
        loaded.transcribe(noise(1.0))
    with pytest.raises(CheckpointError, match="holds no letter n-gram"):
        loaded.transcribe(noise(1.0))  # and it isn't taken for a model without one


def test_a_recording_in_a_file_is_written_down_as_one_in_memory(
    nano: Borealis, speech: Path
) -> None:
    kept = open_audio(speech, limits=AudioLimits(max_memory_seconds=1.0))
    settings = {"words": True, "max_segment_seconds": 3.0}
    whole = nano.transcribe(speech, **settings)
    assert nano.transcribe(kept, **settings) == whole
    assert list(nano.transcribe_stream(kept, **settings)) == whole.segments


def test_bundled_model_writes_nothing_for_silence(nano: Borealis) -> None:
    assert nano.transcribe(SILENCE).text == ""
