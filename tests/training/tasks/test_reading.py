"""Questions with the transcript in view: what is shown, what is asked, and what is learned."""

from __future__ import annotations

import numpy as np
import torch

from borealis.data.manifest import Utterance
from borealis.data.phrasings import load_phrasings
from borealis.data.text import LETTERS
from borealis.inference.messages import TRANSCRIBE_PROMPTS, after_transcript
from borealis.training.data.talks import encode_turns
from borealis.training.losses.guides import guides
from borealis.training.tasks.reading import draw_kinds, misspelled, reading_talk

READ = dict.fromkeys(("word_present", "first_word", "last_word", "word_count", "transcribe"), 1.0)
TEXT = "Снег лежал на крыше старого дома, и дети радовались зиме."
ITEM = Utterance(text=TEXT, language="ru", voice="maria", gender="female")


def test_answers_are_read_from_the_transcript_and_words_are_asked_of_the_speech():
    rng, phrasings = np.random.default_rng(0), load_phrasings()
    damaged = 0
    for _ in range(300):
        tasks = ["word_present", "first_word", "last_word", "word_count"]
        shown, present, first, last, count = reading_talk(
            ITEM, tasks, phrasings, rng, "дождь идёт весь день"
        )
        words = LETTERS.fold(shown.answer).split()
        damaged += shown.answer != TEXT
        assert shown.given and not any(t.given for t in (present, first, last, count))
        assert (first.answer, last.answer, count.answer) == (words[0], words[-1], str(len(words)))
        said = present.word in LETTERS.fold(TEXT).split()
        assert present.answer in (("Да.", "Yes.") if said else ("Нет.", "No."))
    assert 100 < damaged < 280  # some have mistakes, some have none


def test_silence_has_an_empty_transcript_and_can_be_asked_about():
    silence = Utterance(kind="silence", language="")
    rng = np.random.default_rng(0)
    shown, turn = reading_talk(silence, ["sound"], load_phrasings(), rng)
    assert shown.answer == "" and turn.answer in ("Тишина.", "Silence.")


def test_mistakes_are_few_and_never_lengthen_the_text_much():
    rng = np.random.default_rng(1)
    texts = [misspelled(TEXT, rng) for _ in range(400)]
    assert 0.9 < np.mean([len(t) for t in texts]) / len(TEXT) < 1.05
    assert sum(t == TEXT for t in texts) > 60
    assert all("  " not in t for t in texts)


def test_tasks_of_one_talk_differ():
    rng = np.random.default_rng(2)
    for count in (1, 3, 9):
        tasks = draw_kinds(READ, count, rng)
        assert len(set(tasks)) == len(tasks) == min(count, 5)


def test_only_answers_are_learned_and_they_look_at_the_letters_of_the_transcript(nano):
    tokenizer, rng = nano.processor.tokenizer, np.random.default_rng(3)
    audio = tokenizer.convert_tokens_to_ids("<|audio|>")
    talk = reading_talk(ITEM, ["last_word", "first_word"], load_phrasings(), rng)
    ids, labels = encode_turns(tokenizer, talk, 5, audio)
    learned = tokenizer.decode([i for i in labels if i >= 0])
    assert learned == "".join(turn.answer + tokenizer.eos_token for turn in talk[1:])
    found = guides(
        talk, "", np.zeros(0, int), torch.tensor(ids), torch.tensor(labels),
        tokenizer=tokenizer, audio_token_id=audio, factor=4,
    )  # fmt: skip
    letters = talk[1].answer + talk[2].answer
    assert "".join(tokenizer.decode([ids[q + 1]]) for q, _, _ in found) == letters
    looked_at = "".join(tokenizer.decode([ids[low]]).lower() for _, low, _ in found)
    assert looked_at == letters


def test_inference_asks_as_training_does(nano):
    tokenizer = nano.processor.tokenizer
    messages = after_transcript("Снег лежал.", "Сколько слов?")
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompt.count("<|audio|>") == 1
    assert TRANSCRIBE_PROMPTS["ru"] + "<|im_end|>" in prompt
    assert prompt.index("<|audio|>") < prompt.index("Снег лежал.") < prompt.index("Сколько")
