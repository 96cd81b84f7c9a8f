"""Text corpora of borealis-nano: what is read from books and dictionaries, test sentences left out."""

from __future__ import annotations

import json
import lzma
import shutil
from pathlib import Path

import pytest

from borealis.data.engines import SourceError
from lab.nano import corpora
from tests.skips import needs_program


def test_readers_of_corpora(tmp_path):
    with lzma.open(tmp_path / "b.txt.xz", "wt", encoding="utf-8") as file:
        file.write("Пришла весна, и стало тепло.\n")
    assert list(corpora.russian_classics(tmp_path / "b.txt.xz")) == ["Пришла весна, и стало тепло."]


def test_phrases_of_books_are_cut_where_they_cannot_be_said(tmp_path):
    book = "Глава 1\n\nВ 1812 году он уехал в Тверь & больше\nне возвращался. Да!\n\n«Ну что ж, — сказал он».\n"
    (tmp_path / "book.txt").write_text(book, encoding="utf-8")
    phrases = ["году он уехал в тверь", "больше не возвращался", "ну что ж сказал он"]
    assert list(corpora.spoken_phrases(tmp_path / "book.txt")) == phrases


@needs_program("unmunch", "hunspell-tools")
def test_a_dictionary_has_all_forms_of_its_words(tmp_path):
    (tmp_path / "d.dic").write_text("3\nдом/A\nёлка\nкто-то\n", encoding="utf-8")
    (tmp_path / "d.aff").write_text("SET UTF-8\nSFX A Y 1\nSFX A 0 а .\n", encoding="utf-8")
    unmunch = Path(shutil.which("unmunch"))
    assert list(corpora.dictionary_forms(tmp_path / "d.dic", unmunch)) == ["дом", "дома", "елка"]


def test_a_list_of_words_is_spelled_as_heard(tmp_path):
    (tmp_path / "words").write_text("Zoë\nZoo\nzoo's\nzoo\nA-team\n", encoding="utf-8")
    assert list(corpora.listed_words(tmp_path / "words")) == ["zoe", "zoo"]


def test_a_dictionary_without_its_program_says_so(tmp_path):
    with pytest.raises(SourceError, match="unmunch can't list the words"):
        list(corpora.dictionary_forms(tmp_path / "d.dic", tmp_path / "unmunch"))
    (tmp_path / "h").mkdir()
    (tmp_path / "h" / "p.html").write_text("<p>Нажмите на <b>кнопку</b> справа.</p><script>x</script>", encoding="utf-8")  # fmt: skip
    assert list(corpora.markup_folder(tmp_path / "h")) == ["Нажмите на кнопку справа."]
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "jokes").write_text("Шутка первая, короткая.\n%\nШутка вторая, тоже.\n   -- Автор\n", encoding="utf-8")  # fmt: skip
    assert list(corpora.fortunes(tmp_path / "f")) == ["Шутка первая, короткая.", "Шутка вторая, тоже."]  # fmt: skip


def test_test_sentences_stay_out_of_corpora(tmp_path):
    held = "Он медленно шёл по тёмной улице домой"
    (tmp_path / "t.jsonl").write_text(json.dumps({"audio": "a", "text": held}), encoding="utf-8")
    lines = [
        "Вечером он медленно шел по темной улице, домой не спеша.",
        held.upper(),
        "Совсем другое предложение о весне.",
    ]
    assert list(corpora.without_test_texts(lines, [tmp_path / "t.jsonl"])) == lines[2:]


def test_corpora_are_unique_and_shuffled_the_same(tmp_path):
    lines = [f"Строка номер {i}." for i in range(50)] * 2
    assert corpora.write_corpus(lines, tmp_path / "a.txt") == 50
    corpora.write_corpus(lines, tmp_path / "b.txt")
    assert (tmp_path / "a.txt").read_bytes() == (tmp_path / "b.txt").read_bytes()
