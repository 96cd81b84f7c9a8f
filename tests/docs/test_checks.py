"""The checks of pages find what is broken, and name file and line."""

from __future__ import annotations

import re

import pytest

from tests.docs import figures, links, parity, words
from tests.docs.scan import scan
from tools import docs_hash


def everything(mini) -> list[str]:
    """All problems of a site."""
    checks = (
        parity.check_pages,
        parity.check_nav,
        parity.check_shapes,
        parity.check_stamps,
        links.check_links,
        words.check_language,
        words.check_glossary,
        figures.check_tables,
        figures.check_typed,
    )
    return [problem for check in checks for problem in check(mini.root)]


def test_a_right_site_has_no_problems(mini):
    assert everything(mini) == []


RU, EN = "docs/ru/lesson.md", "docs/en/lesson.md"


@pytest.mark.parametrize(
    ("file", "old", "new", "at", "says"),
    [
        # Parity: one language changed.
        (RU, "## Ответы { #answers }\n", "", EN, "## { #answers } isn't in docs/ru/lesson.md"),
        (EN, "## Answers { #answers }", "### Answers { #answers }", EN, "### { #answers }"),
        (EN, "{ #answers }", "{ #replies }", EN, "#replies"),
        (RU, " { #answers }", "", RU, "needs an id"),
        (RU, "{ #answers }", "{ #lessons }", RU, "stands in line 1 already"),
        (EN, "](help.md#sum)", "](help.md)", EN, "link help.md"),
        (EN, "../assets/cat.svg", "../assets/dog.svg", EN, "image ../assets/dog.svg"),
        (EN, "!!! note", "!!! tip", EN, "admonition !!! tip"),
        (EN, "| three | 3 |\n", "", RU, "row 2 cells 3 isn't in"),
        (EN, "| three | 3 |", "| three | 3 | 4 |", EN, "row 3 cells"),
        (EN, "| three | 3 |", "| three | 4 |", EN, "row 2 cells 4"),
        (EN, "1. One.\n", "", RU, "item 1. isn't in"),
        (EN, "1. One.", "- One.", EN, "item -"),
        (EN, "$a + b$", "$a + c$", EN, "math a+c"),
        (EN, "<!-- borealis results -->", "<!-- borealis recipe -->", EN, "borealis recipe"),
        (EN, "sum.py:add", "sum.py:3:3", EN, "fence"),
        (EN, 'echo "hello"', 'printf "hello"', EN, "printf"),
        (EN, 'echo "hello"', 'echo "привет, мир"', EN, "'\"привет, мир\"'"),
        (EN, 'title="A sum" hl_lines="1"', 'title="A sum"', EN, "fence python title"),
        (EN, "There are larger numbers.", "There are.\n\n    And more.", EN, "paragraph isn't in"),
        # Links.
        (RU, "(help.md#sum)", "(helper.md#sum)", RU, "'helper.md#sum' leads to nothing"),
        (EN, "(help.md#sum)", "(help.md#total)", EN, "docs/en/help.md has no anchor #total"),
        (RU, "(help.md#sum)", "(#total)", RU, "this page has no anchor #total"),
        (RU, "(help.md#sum)", "(/help.md)", RU, "is absolute"),
        (RU, "(help.md#sum)", "(../../README.md)", RU, "leads to nothing"),
        (RU, "../assets/cat.svg", "https://example.org/cat.svg", RU, "is loaded from elsewhere"),
        (RU, "![Кот]", "![]", RU, "has no text for those who can't see it"),
        (RU, "[справка](help.md#sum)", "[справка][borealis.nothing]", RU, "[borealis.nothing]"),
        ("README.md", "(#the-numbers)", "(#numbers)", "README.md", "no anchor #numbers"),
        ("README.md", "lesson.md#answers", "lesson.md#none", "README.md", "no anchor #none"),
        # Words.
        (RU, "Числа бывают и больше.", "There are larger numbers than these.", RU, "not translated"),
        (RU, "Числа бывают и больше.", 'Это "числа".', RU, "«ёлочки»"),
        (RU, "Числа бывают и больше.", "Числа - это просто.", RU, "a dash is —"),
        (RU, "Числа бывают и больше.", "Числа еще бывают.", RU, "'еще' is written 'ещё'"),
        (RU, "Числа бывают и больше.", "Скачайте датасеты.", RU, "'датасеты': write набор данных"),
        (RU, "Числа бывают и больше.", "Это промпт.", RU, "'промпт': write запрос"),
        (RU, "Числа бывают и больше.", "Это энкодер аудио.", RU, "write аудиоэнкодер"),
        (EN, "There are larger numbers.", "There are числа.", EN, "Russian on an English page"),
        # Figures.
        (RU, "Числа бывают и больше.", "Ошибок стало 25,1 %.", RU, "'25,1' is typed by hand"),
        (EN, "There are larger numbers.", "WER fell to 25.1.", EN, "'25.1' is typed by hand"),
        ("README.md", "<sup>1</sup> | 25.1 | 20.7 | ≤\u00a017.7", "<sup>1</sup> | 24.1 | 20.7 | ≤\u00a017.7", "README.md", "results/*.json give '| WER, %"),
        ("README.md", "1. Commit abc123", "1. Commit def456", "README.md", "give '1. Commit abc123"),
        ("README.md", "<!-- results:end -->\n", "", "README.md", "results:end"),
        (EN, "<!-- borealis results -->", "<!-- results:start en -->", EN, "pages write"),
    ],
)  # fmt: skip
def test_one_broken_place_is_found(mini, file, old, new, at, says):
    mini.replace(file, old, new)
    problems = everything(mini)
    named = [p for p in problems if re.search(rf"(^|; ){re.escape(at)}:\d+: ", p) and says in p]
    assert named, "\n".join(problems)
    where = re.search(rf"{re.escape(at)}:(\d+)", named[0])
    if new and at == file and says not in ("results:end", "pages write"):
        # The number is that of the line that was changed.
        first = new.splitlines()[0]
        lines = mini.read(file).splitlines()
        near = [n for n, line in enumerate(lines, 1) if first in line]
        assert int(where[1]) in {n + offset for n in near for offset in range(-1, 3)}, named[0]


def test_all_differences_are_told_at_once(mini):
    mini.replace(EN, "!!! note", "!!! tip")
    mini.replace(EN, "{ #answers }", "{ #replies }")
    mini.replace("docs/en/help.md", "{ #sum }", "{ #total }")
    problems = parity.check_shapes(mini.root)
    assert len(problems) == 3
    assert [p.split(":")[0] for p in problems] == ["docs/ru/help.md", "docs/ru/lesson.md", "docs/ru/lesson.md"]  # fmt: skip


def test_missing_pages_and_pages_outside_of_the_navigation(mini):
    (mini.root / EN).unlink()
    mini.write("docs/en/extra.md", "# Extra { #extra }\n")
    mini.write("docs/ru/new.md", "# Новое { #new }\n")
    assert parity.check_pages(mini.root) == [
        "docs/ru/lesson.md:1: docs/en has no such page",
        "docs/ru/new.md:1: docs/en has no such page",
        "docs/en/extra.md:1: docs/ru has no such page",
    ]
    nav = parity.check_nav(mini.root)
    assert len(nav) == 1 and "doesn't list new.md" in nav[0] and "mkdocs.yml:1" in nav[0]


def test_navigation_names_pages_that_exist_and_titles_are_translated(mini):
    mini.replace("mkdocs.yml", "- Помощь: help.md", "- Подмога: helper.md")
    text = "\n".join(parity.check_nav(mini.root))
    assert "there is no page helper.md" in text
    assert "'Подмога' has no English title" in text
    assert "'Помощь' isn't in the navigation" in text
    assert mini.line("mkdocs.yml", "helper.md") in text


@pytest.mark.parametrize(
    ("old", "new", "stale"),
    [
        ("Первый урок", "Второй урок", True),
        ("| три | 3 |", "| три | 4 |", True),
        ("учит складывать, а", "учит складывать,\nа", False),
    ],
)
def test_a_translation_is_stale_when_its_source_changed(mini, old, new, stale):
    mini.replace(RU, old, new)
    problems = parity.check_stamps(mini.root)
    assert bool(problems) is stale
    if stale:
        assert problems[0].startswith(f"{EN}:1: translated from another docs/ru/lesson.md")
        assert parity.stamp(["docs/en/lesson.md"], mini.root) == [EN]
        assert parity.check_stamps(mini.root) == []


def test_included_code_makes_no_translation_stale_but_included_text_does(mini):
    mini.write("docs/part.md", "Общее.\n")
    mini.replace(RU, "Первый урок", '--8<-- "docs/part.md"\n\nПервый урок')
    parity.stamp(root=mini.root)
    mini.replace("examples/sum.py", "1 + 2", "2 + 1")
    assert parity.check_stamps(mini.root) == []
    mini.write("docs/part.md", "Другое.\n")
    assert parity.check_stamps(mini.root)


def test_printed_text_makes_no_translation_stale_but_a_command_does(mini):
    fences = (
        "```console\n$ date\nMonday\n```\n\n    ```{ .text .output }\n    1\n    ```\n\n"
        "```python\nprint(1)\n#> 1\n```\n"
    )
    mini.write(RU, f"# А {{ #a }}\n\n{fences}\nТекст.\n")
    parity.stamp(root=mini.root)
    for old, new in (("Monday", "Tuesday"), ("    1\n", "    2\n"), ("#> 1", "#> 2\n#> 3")):
        mini.replace(RU, old, new)
        assert parity.check_stamps(mini.root) == []
    for old, new in (("$ date", "$ time"), ("print(1)", "print(2)"), ("Текст", "Слово")):
        mini.replace(RU, old, new)
        assert len(parity.check_stamps(mini.root)) == 1
        parity.stamp(root=mini.root)


def test_a_page_without_a_stamp_is_named(mini):
    path = mini.root / EN
    text = path.read_text(encoding="utf-8")
    assert docs_hash.stamp_of(text) == docs_hash.source_hash(mini.root / RU)
    path.write_text(text.partition("---\n\n")[2], encoding="utf-8")
    assert parity.check_stamps(mini.root)[0].startswith(f"{EN}:1: no source_hash")


def test_stamping_keeps_the_rest_of_the_front_matter():
    text = '---\ntitle: A\nsource_hash: "000000000000"\nhide: [toc]\n---\n# A\n'
    fresh = docs_hash.stamped(text, "0123456789ab")
    assert fresh == '---\ntitle: A\nhide: [toc]\nsource_hash: "0123456789ab"\n---\n# A\n'
    assert docs_hash.stamped(fresh, "0123456789ab") == fresh


def test_the_command_line_names_problems_and_stamps(mini, monkeypatch, capsys):
    for name in ("check_pages", "check_nav", "check_shapes", "check_stamps", "stamp"):
        real = getattr(parity, name)
        monkeypatch.setattr(parity, name, lambda *a, real=real: real(*a, root=mini.root))
    assert parity.main([]) == 0
    mini.replace(RU, "Первый урок", "Второй урок")
    assert parity.main([]) == 1
    assert EN in capsys.readouterr().out
    assert parity.main(["--stamp", "lesson.md"]) == 0
    assert "stamped" in capsys.readouterr().out
    assert parity.main([]) == 0


def test_python_names_are_links_where_they_are_documented(mini):
    mini.write(
        "docs/ru/help.md",
        "# Помощь { #help }\n\n## Сумма { #sum }\n\n::: borealis.inference.Borealis\n",
    )
    mini.replace(RU, "[справка](help.md#sum)", "[`load`][borealis.inference.Borealis.ask] и [так](help.md#borealis.inference.Borealis.transcribe)")  # fmt: skip
    assert links.check_page(mini.root / RU, mini.root) == []
    mini.replace(RU, "Borealis.ask", "Borealis.sing")
    mini.replace(RU, "Borealis.transcribe", "Borealis.dance")
    problems = links.check_page(mini.root / RU, mini.root)
    assert len(problems) == 2 and all("lesson.md:3: " in p for p in problems)
    assert "Borealis.sing" in "".join(problems) and "Borealis.dance" in "".join(problems)


def test_the_reference_leaves_nothing_out(mini):
    for language in ("ru", "en"):
        mini.write(
            f"docs/{language}/reference/api.md",
            "# A { #a }\n\n::: borealis.inference\n\n::: borealis.errors\n",
        )
        mini.write(
            f"docs/{language}/reference/cli.md", "# C { #c }\n\n<!-- borealis help ask -->\n"
        )
    problems = links.check_reference(mini.root)
    assert "docs/en/reference/api.md:1: borealis.load_audio isn't documented" in problems
    assert "docs/ru/reference/cli.md:1: 'borealis train' isn't documented" in problems
    assert not [p for p in problems if "AudioError" in p or "'borealis ask'" in p]


def test_tags_are_links_too(mini):
    mini.replace(
        RU,
        "Первый урок",
        '<audio src="../assets/cat.svg"></audio>\n<a href="https://a.org">a</a>\n\nПервый урок',
    )
    assert links.check_page(mini.root / RU, mini.root) == []
    mini.replace(RU, '"../assets/cat.svg"></audio>', '"../assets/dog.svg"></audio>')
    mini.replace(RU, 'href="https://a.org"', 'src="https://a.org/x.js"')
    problems = links.check_page(mini.root / RU, mini.root)
    assert [p.split(": ")[0] for p in problems] == [f"{RU}:3", f"{RU}:4"]


def test_glossary_terms_are_the_same_in_both_languages(mini):
    name = f"docs/ru/{words.GLOSSARY}"
    mini.replace(name, "| аудиотокен |", "| токен звука |")
    problems = words.check_glossary(mini.root)
    assert any(p.startswith(mini.line(name, "токен звука")) for p in problems)
    assert any("the term 'аудиотокен' isn't explained" in p for p in problems)
    mini.replace(name, "| токен звука |", "| |")
    assert any("three cells" in p for p in words.check_glossary(mini.root))


def test_quoted_numbers_of_others_are_allowed(mini):
    mini.replace(EN, "There are larger numbers.", "They report a WER of 19.17 % (their article).")
    assert figures.check_typed(mini.root) == []
    table = "\n| model | WER, % |\n|---|---|\n| Whisper large v3 | {} |\n"
    mini.replace(EN, "1. One.", table.format("11.68 / 2.72") + "\n1. One.")
    assert figures.check_typed(mini.root) == []
    mini.replace(EN, "11.68 / 2.72", "11.69 / 2.72")
    problems = figures.check_typed(mini.root)
    assert problems[0].startswith(mini.line(EN, "11.69")) and "'11.69'" in problems[0]
    # The text before a table may say what it measures.
    mini.replace(EN, "| model | WER, % |", "WER, %:\n\n| model | result |")
    assert len(figures.check_typed(mini.root)) == 1


def test_numbers_of_tables_are_compared_as_each_language_writes_them(mini):
    mini.replace(RU, "| три | 3 |", "| три | 1 234,5 и 2,25 |")
    mini.replace(EN, "| three | 3 |", "| three | 1,234.5 and 2.25 |")
    assert parity.check_shapes(mini.root) == []


@pytest.mark.parametrize(
    "text",
    [
        "Модель `the model hears and writes what it hears` пишет.",
        "Спросите «What language is it and who speaks?» — ответит.",
        'Вот <span lang="en">the model hears and writes what it hears</span> и всё.',
        "Наборы: Speech-Describe, ToneBooks, GrandMaster, Whisper large v3, Qwen3.",
        "Токен, 2–3 часа, лог-мел-спектрограмма, 5–10 %.",
        "| `mlp` | – |",
    ],
)
def test_right_russian_is_left_alone(mini, text):
    mini.replace(RU, "Числа бывают и больше.", text)
    page = scan(mini.root / RU, mini.root)
    checks = (words.untranslated, words.typography, words.spelling, words.calques)
    assert [p for check in checks for p in check(page)] == []


def test_items_of_a_page_have_their_lines(mini):
    page = scan(mini.root / EN, mini.root)
    lines = mini.read(EN).splitlines()
    for item in page.items:
        assert list(item.raw) == lines[item.line - 1 : item.line - 1 + len(item.raw)]
    kinds = [item.kind for item in page.items]
    assert kinds == [
        "heading", "paragraph", "fence", "fence", "heading", "row", "row", "row", "row",
        "admonition", "paragraph", "item", "item", "paragraph", "fence", "mark",
    ]  # fmt: skip
