"""Letters by CTC, marks by the language model: what one may change of the other, and settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import borealis
from borealis import load_audio
from borealis.errors import CheckpointError, PromptError
from borealis.inference import CTCDecoding, LLMDecoding
from borealis.inference.decoding import choose
from borealis.inference.drafts import DraftWriter
from borealis.inference.messages import TRANSCRIBE_PROMPTS, user_message
from borealis.inference.punctuation import WrittenForms, punctuate


@pytest.fixture(scope="module")
def writer(nano) -> DraftWriter:
    return DraftWriter(nano.model, nano.processor)


@pytest.fixture(scope="module")
def recordings(clips) -> list[np.ndarray]:
    return [load_audio(clip.audio) for clip in clips]


def prompted(nano, recordings):
    prompt = user_message(TRANSCRIBE_PROMPTS["ru"], 1)
    return nano._inputs([prompt] * len(recordings), [[clip] for clip in recordings])


def test_reading_changes_no_letter(nano, writer, recordings):
    drafts = writer.write(prompted(nano, recordings), CTCDecoding())
    assert all(draft.letters for draft in drafts)
    for draft in drafts:
        assert writer.alphabet.fold(draft.text) == draft.letters
    # It does add what the letters lack.
    assert any(draft.text[0].isupper() and draft.text[-1] in ".!?" for draft in drafts)


@pytest.mark.slow
def test_a_batch_is_read_as_each_alone(nano, writer, recordings):
    together = writer.write(prompted(nano, recordings), CTCDecoding())
    for clip, draft in zip(recordings, together, strict=True):
        (alone,) = writer.write(prompted(nano, [clip]), CTCDecoding())
        assert (alone.letters, alone.text) == (draft.letters, draft.text)
        assert alone.log_prob == pytest.approx(draft.log_prob, abs=1e-2)


@torch.inference_mode()
def greedy(nano, prompt: torch.Tensor, draft: str, forms: WrittenForms, cost: float) -> list[int]:
    """The same choices one after another, by a language model that is asked anew each time."""
    embed, head = nano.model.get_input_embeddings(), nano.model.lm_head
    tokens: list[int] = []

    def scores() -> torch.Tensor:
        said = embed(torch.tensor([tokens], dtype=torch.long))
        both = torch.cat([prompt, said], 1)
        hidden = nano.model.model.language_model(inputs_embeds=both).last_hidden_state
        return head(hidden[0, -1]).float().log_softmax(-1)

    for at, letter in enumerate(draft + "\0"):
        ends = at and draft[at - 1] != " " and letter in " \0"
        if ends:
            row = scores()
            mark = max(forms.marks.tolist(), key=lambda t: float(row[t]))
            if row[mark] - cost > row[forms.end if letter == "\0" else forms.ids[" "]]:
                tokens.append(mark)
        if letter == "\0":
            return tokens
        row = scores()
        options = forms.of_letter(letter)
        if at and draft[at - 1] == " " and row[forms.ids["—"]] - cost > row[options].max():
            tokens += [forms.ids["—"], forms.ids[" "]]
            row = scores()
        tokens.append(max(options, key=lambda t: float(row[t])))
    raise AssertionError


def test_parallel_readings_end_where_one_after_another_does(nano, writer, recordings):
    """Jacobi decoding has the fixed point of greedy decoding."""
    forms = writer.forms
    assert forms is not None
    for clip in recordings[:1]:
        inputs = prompted(nano, [clip])
        (draft,) = writer.write(inputs, CTCDecoding())
        inner = nano.model.model
        with torch.inference_mode():
            heard = inner.hear(inputs["input_features"], inputs["num_samples"])
            prompt = inner.embed_prompt(inputs["input_ids"], heard.flat_tokens)
        for cost in (1.0,):
            (tokens,) = punctuate(
                nano.model, prompt, inputs["attention_mask"], [draft.letters], forms, cost
            )
            assert tokens == greedy(nano, prompt, draft.letters, forms, cost)


def test_a_high_cost_leaves_marks_out(nano, recordings):
    plain = nano.transcribe(recordings, decoding=CTCDecoding(mark_cost=1e6))
    assert not any(set(t.text) & set(".,!?:;—") for t in plain)


def test_a_tokenizer_without_letters_leaves_the_draft_alone(nano, writer, recordings, monkeypatch):
    assert WrittenForms.of(nano.processor.tokenizer, "abc漢") is None
    monkeypatch.setattr(nano._writer, "forms", None)
    letters = nano.transcribe(recordings[0]).text
    monkeypatch.undo()
    assert letters == writer.alphabet.fold(nano.transcribe(recordings[0]).text)


@pytest.mark.slow
def test_a_language_binds_the_letters(nano, recordings):
    for clip in recordings:
        russian = nano.transcribe(clip, language="ru")
        english = nano.transcribe(clip, language="en")
        assert not any("a" <= c <= "z" for c in russian.text.lower())
        assert not any("а" <= c <= "я" for c in english.text.lower())
        assert (russian.language, english.language) == ("ru", "en")
        # These recordings are Russian, and it is heard.
        assert nano.transcribe(clip) == russian


def test_hot_words_are_written_where_they_are_heard(nano, recordings):
    """A name that nobody could spell from its sound alone."""
    plain = nano.transcribe(recordings[0])
    words = plain.text.lower().strip(".").split()
    odd = max(words, key=len)
    other = odd[:-1] + ("ю" if odd[-1] != "ю" else "я")
    loud = CTCDecoding(hot_word_bonus=30.0)
    changed = nano.transcribe(recordings[0], hot_words=[other.upper()], decoding=loud)
    assert other in changed.text.lower() and odd not in changed.text.lower().split()
    # What isn't said isn't written.
    assert nano.transcribe(recordings[0], hot_words=["экскаватор"]).text == plain.text


def test_words_are_those_of_the_text_with_times(nano, recordings):
    whole = nano.transcribe(recordings, words=True)
    for transcript in whole:
        assert transcript.words is not None
        assert " ".join(word.text for word in transcript.words) == transcript.text
        times = [t for word in transcript.words for t in (word.start, word.end)]
        assert times == sorted(times) and times[-1] <= transcript.duration
    plain = nano.transcribe(recordings)
    assert [t.text for t in plain] == [t.text for t in whole]
    assert all(t.words is None for t in plain)


@pytest.mark.slow
def test_parts_are_written_as_in_a_transcript(nano, recordings):
    written = nano.write_parts([*recordings, np.zeros(16_000, np.float32)], words=True)
    whole = nano.transcribe(recordings, words=True)
    assert [part.text for part in written] == [*(t.text for t in whole), ""]
    assert written[-1].words == []
    assert [part.words for part in written[:-1]] == [t.words for t in whole]
    assert all(part.log_prob < 0 for part in written[:-1])


@pytest.mark.slow
def test_the_stream_tells_the_segments_of_the_whole(nano, recordings):
    long = np.concatenate([*recordings, np.zeros(40_000, np.float32), *recordings])
    whole = nano.transcribe(long, words=True)
    assert len(whole.segments) > 2
    assert list(nano.transcribe_stream(long, words=True)) == whole.segments


def test_progress_adds_up_to_the_recording(nano, recordings):
    told: list[float] = []
    nano.transcribe(recordings, batch_size=2, progress=told.append)
    assert len(told) == -(-len(recordings) // 2)
    assert sum(told) == pytest.approx(sum(map(len, recordings)) / 16_000)


# ---- settings ----


def test_settings_are_those_of_the_checkpoint_unless_given(nano):
    own = choose(nano.model.config)
    assert own == CTCDecoding(**nano.model.config.search)
    asked = CTCDecoding(num_beams=3)
    assert choose(nano.model.config, asked) is asked


def test_settings_of_another_road_are_refused(nano, make_tiny, noise):
    with pytest.raises(PromptError, match="takes CTCDecoding"):
        nano.transcribe(noise(1.0), decoding=LLMDecoding())
    tiny = borealis.Borealis(*make_tiny("mlp"))
    with pytest.raises(PromptError, match="takes LLMDecoding"):
        tiny.transcribe(noise(1.0), decoding=CTCDecoding())
    for settings in ({"words": True}, {"hot_words": ["да"]}):
        with pytest.raises(PromptError, match="needs a model with a 'ctc' adapter"):
            tiny.transcribe(noise(1.0), **settings)
    assert tiny.transcribe(noise(1.0), decoding=LLMDecoding(num_beams=2)).duration == 1.0


def test_a_wrong_setting_in_a_checkpoint_is_named(make_tiny, noise):
    model, processor = make_tiny("ctc")
    model.config.search = {"num_beam": 4}
    with pytest.raises(CheckpointError, match="has num_beam, which CTCDecoding"):
        borealis.Borealis(model, processor).transcribe(noise(1.0))


def test_without_texts_the_letters_are_those_of_the_sound(make_tiny, noise):
    """A checkpoint without an n-gram: nothing is added to what was heard."""
    tiny = borealis.Borealis(*make_tiny("ctc"))
    settings = (CTCDecoding(), CTCDecoding(letter_bonus=50.0, ngram_weight=0.0))
    one, other = (tiny.transcribe(noise(2.0), decoding=d).text for d in settings)
    assert one == other
