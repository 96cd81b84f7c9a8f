"""Question tasks: wordings never trained on, balanced classes, fair scoring."""

import pytest

from borealis.data.manifest import Utterance
from borealis.data.phrasings import LANGUAGES, load_phrasings
from borealis.evaluation.tasks import (
    CLOSED,
    OPEN,
    Question,
    balanced_accuracy,
    build_questions,
    classify,
    is_right,
    recalls,
)

RUSSIAN = [
    "Мороз и солнце, день чудесный.",
    "Ещё ты дремлешь, друг прелестный.",
    "Пора, красавица, проснись.",
]
ENGLISH = ["The quick brown fox jumps.", "Over the lazy dog again."]


@pytest.fixture
def utterances() -> list[Utterance]:
    speech = [
        Utterance(f"{i}.wav", text, 2.0, language, "a", gender)
        for i, (text, language, gender) in enumerate(
            [*((t, "ru", "female") for t in RUSSIAN), *((t, "en", "male") for t in ENGLISH)] * 4
        )
    ]
    sounds = [
        Utterance(f"{kind}.wav", "", 2.0, "", "", "", kind)
        for kind in ("noise", "music", "silence")
    ]
    return speech + sounds


def test_wordings_of_training_and_test_are_apart() -> None:
    phrasings = load_phrasings()
    for task in (*CLOSED, *OPEN, "transcribe"):
        for language in LANGUAGES:
            train = {q.lower().rstrip(".?!") for q in phrasings.questions(task, language, "train")}
            test = {q.lower().rstrip(".?!") for q in phrasings.questions(task, language, "test")}
            assert len(train) > len(test) >= 3
            assert not train & test


def test_every_task_is_asked_in_test_wordings_of_both_languages(utterances) -> None:
    phrasings = load_phrasings()
    questions = build_questions(utterances, phrasings)
    for task in (*CLOSED, *OPEN):
        asked = [q.text for q in questions if q.task == task]
        assert asked
        for language in LANGUAGES:
            heads = {w.split("{word}")[0] for w in phrasings.questions(task, language, "test")}
            count = sum(any(text.startswith(head) for head in heads) for text in asked)
            assert abs(count - len(asked) / 2) <= 1


def test_same_seed_gives_the_same_questions(utterances) -> None:
    phrasings = load_phrasings()
    assert build_questions(utterances, phrasings) == build_questions(utterances, phrasings)
    assert build_questions(utterances, phrasings) != build_questions(utterances, phrasings, seed=1)


def test_half_of_the_words_are_said_and_the_others_are_not(utterances) -> None:
    questions = [
        q for q in build_questions(utterances, load_phrasings()) if q.task == "word_present"
    ]
    yes = [q for q in questions if q.expected == "yes"]
    assert abs(len(yes) - len(questions) / 2) <= 1
    for question in questions:
        text = question.utterance.text.lower().replace("ё", "е")
        said = any(
            f"«{word}»" in question.text or f'"{word}"' in question.text for word in words(text)
        )
        assert said == (question.expected == "yes")


def words(text: str) -> list[str]:
    return [w.strip(".,!?") for w in text.split()]


def test_open_questions_expect_what_is_said(utterances) -> None:
    for question in build_questions(utterances, load_phrasings()):
        said = words(question.utterance.text.lower().replace("ё", "е"))
        if question.task in OPEN:
            expected = {"first_word": said[0], "last_word": said[-1], "word_count": str(len(said))}
            assert question.expected == expected[question.task]


def test_unknown_facts_are_not_asked() -> None:
    item = Utterance("a.wav", "Раз два три.", 1.0, language="", gender="")
    tasks = {q.task for q in build_questions([item], load_phrasings())}
    assert tasks == {"sound", *OPEN} or tasks == {"sound", "word_present", *OPEN}
    noise = Utterance("n.wav", "", 1.0, language="ru", gender="male", kind="noise")
    assert {q.task for q in build_questions([noise], load_phrasings())} == {"sound"}


def test_one_utterance_alone_is_no_endless_search() -> None:
    item = Utterance("a.wav", "Раз два три.", 1.0)
    questions = build_questions([item] * 3, load_phrasings())
    assert all(q.expected == "yes" for q in questions if q.task == "word_present")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("task", CLOSED)
def test_every_answer_of_training_is_its_own_class(task: str, language: str) -> None:
    phrasings = load_phrasings()
    for label in phrasings.tasks[task][language]["answers"]:
        for answer in phrasings.answers(task, language, label):
            assert classify(task, answer) == label
            assert classify(task, answer.upper().rstrip(".")) == label


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ("voice", "Мужчина или женщина."),
        ("voice", ""),
        ("voice", "Не знаю."),
        ("word_present", "Дальше нетерпение."),
        ("word_present", "Да нет."),
        ("sound", "Речь и музыка."),
        ("language", "Это французский."),
    ],
)
def test_answer_that_names_no_class_or_two_is_none(task: str, answer: str) -> None:
    assert classify(task, answer) == ""


def question(task: str, expected: str) -> Question:
    return Question(task, Utterance("a.wav"), "?", expected)


def test_open_answers_match_whatever_their_spelling() -> None:
    assert is_right(question("first_word", "еще"), "Ещё.")
    assert is_right(question("word_count", "12"), " 12 ")
    assert not is_right(question("word_count", "12"), "1")
    assert not is_right(question("last_word", "дом"), "дома")
    assert not is_right(question("last_word", "дом"), "")


def test_one_answer_for_all_scores_one_over_the_classes() -> None:
    questions = [question("voice", "male")] * 9 + [question("voice", "female")]
    right = [q.expected == "male" for q in questions]
    assert balanced_accuracy(questions, right) == 0.5
    assert recalls(questions, right) == {"female": 0.0, "male": 1.0}


def test_open_tasks_have_plain_accuracy() -> None:
    questions = [question("first_word", w) for w in ("а", "б", "в", "а")]
    assert balanced_accuracy(questions, [True, False, False, True]) == 0.5
