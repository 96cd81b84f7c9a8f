"""Languages as people name them, and the language of a text by its letters."""

import pytest

from borealis import arguments
from borealis.errors import PromptError
from borealis.inference.messages import language_of


@pytest.mark.parametrize(
    ("given", "code"),
    [
        *((name, "ru") for name in ("ru", "RU", "ru-RU", "ru_RU", "rus", "Russian", "Русский")),
        *((name, "en") for name in ("en", "EN", "en-US", "en_gb", "eng", "English", " en ")),
        *((name, None) for name in (None, "", "auto", "Auto", " ")),
    ],
)
def test_a_language_is_known_by_any_of_its_names(given, code) -> None:
    assert arguments.language(given) == code


@pytest.mark.parametrize("given", ["de", "zh-CN", "ukrainian", "r", "ru2", 1, ["ru"], "x" * 1000])
def test_another_language_is_refused_in_a_short_sentence(given) -> None:
    with pytest.raises(PromptError, match="'ru' or 'en'") as caught:
        arguments.language(given)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Мороз и солнце.", "ru"),
        ("Ёж", "ru"),
        ("The quick brown fox.", "en"),
        ("Это Windows.", "ru"),
        ("He said «да» twice.", "en"),
        ("", None),
        ("42, 17!", None),
    ],
)
def test_language_of_a_text_is_that_of_most_words(text, code) -> None:
    assert language_of(text) == code
