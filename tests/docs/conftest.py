"""Fixtures of the documentation tests: a model loaded once, and a small site to break."""

from __future__ import annotations

import functools
import json
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs import parity
from tests.docs.blocks import ROOT
from tests.docs.running import Shell
from tests.evaluation.records import record
from tests.warm import Warm
from tools.site import report

PAGE_RU = """\
    # Уроки { #lessons }

    Первый урок учит складывать, а ответ объясняет [справка](help.md#sum).

    ```python title="Сумма" hl_lines="1"
    --8<-- "examples/sum.py:add"
    ```

    ```{ .text .output }
    --8<-- "examples/out/lesson-add.txt"
    ```

    ## Ответы { #answers }

    | слово | число |
    |---|---|
    | два | 2 |
    | три | 3 |

    !!! note "Заметка"
        Числа бывают и больше.

    1. Раз.
    2. Два: $a + b$.

    ![Кот](../assets/cat.svg)

    ```bash
    echo "привет"  # по-русски
    ```

    <!-- borealis results -->
    """

PAGE_EN = """\
    # Lessons { #lessons }

    The first lesson adds, and the [help](help.md#sum) explains the answer.

    ```python title="A sum" hl_lines="1"
    --8<-- "examples/sum.py:add"
    ```

    ```{ .text .output }
    --8<-- "examples/out/lesson-add.txt"
    ```

    ## Answers { #answers }

    | word | number |
    |---|---|
    | two | 2 |
    | three | 3 |

    !!! note "A note"
        There are larger numbers.

    1. One.
    2. Two: $a + b$.

    ![A cat](../assets/cat.svg)

    ```bash
    echo "hello"  # in English
    ```

    <!-- borealis results -->
    """

FILES = {
    "mkdocs.yml": """\
        plugins:
          - i18n:
              languages:
                - {locale: ru}
                - locale: en
                  nav_translations:
                    Уроки: Lessons
                    Помощь: Help
                    Словарь: Glossary
        markdown_extensions:
          - pymdownx.snippets: {base_path: [.], dedent_subsections: true}
          - pymdownx.superfences:
              custom_fences:
                - {name: mermaid, format: !!python/name:pymdownx.superfences.fence_code_format }
        nav:
          - Уроки: lesson.md
          - Помощь: help.md
          - Словарь: reference/glossary.md
        """,
    "README.md": """\
        # Mini

        [Lessons](docs/ru/lesson.md#answers) and [below](#the-numbers).

        ## The numbers

        <!-- results:start en -->
        <!-- results:end -->
        """,
    "docs/ru/lesson.md": PAGE_RU,
    "docs/en/lesson.md": PAGE_EN,
    "docs/ru/help.md": """\
        # Помощь { #help }

        ## Сумма { #sum }

        Это то, что выходит, когда числа сложены.
        """,
    "docs/en/help.md": """\
        # Help { #help }

        ## Sum { #sum }

        What comes out when numbers are added.
        """,
    "docs/assets/cat.svg": "<svg/>\n",
    "examples/sum.py": """\
        # --8<-- [start:add]
        total = 1 + 2
        print(total)
        # --8<-- [end:add]
        """,
    "examples/out/lesson-add.txt": "3\n",
}


@pytest.fixture(scope="session")
def shell() -> Iterator[Shell]:
    """Bash for all pages: equal commands in an equal state are run once."""
    with Warm("borealis.training.pipeline") as warm:
        yield Shell(ROOT, warm=warm)


@pytest.fixture(scope="session")
def loaded() -> dict[Any, tuple[Any, Any]]:
    """Models that pages have loaded, each with its state then."""
    return {}


@pytest.fixture
def one_load(loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """`borealis.load` reads a bundled model once a session; a page that changes it spoils nothing."""
    import borealis.inference

    real: Callable[..., Any] = borealis.inference.load

    @functools.wraps(real)
    def load(name_or_path: Any = "nano", **options: Any) -> Any:
        key = (str(name_or_path), *sorted((k, str(v)) for k, v in options.items()))
        if Path(name_or_path).exists():
            return real(name_or_path, **options)
        if key not in loaded or _state(loaded[key][0]) != loaded[key][1]:
            model = real(name_or_path, **options)
            loaded[key] = (model, _state(model))
        return loaded[key][0]

    monkeypatch.setattr(borealis.inference, "load", load)


def _state(model: Any) -> tuple[Any, ...]:
    """Changes when weights are written to, layers are added, or training mode is switched on."""
    network = model.model
    weights = [(name, p.data_ptr(), p._version) for name, p in network.named_parameters()]
    return (network.training, *weights)


class Mini:
    """A small site in which everything is right, to break in one place."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def read(self, name: str) -> str:
        return (self.root / name).read_text(encoding="utf-8")

    def line(self, name: str, piece: str) -> str:
        """`name:12`, the place where `piece` stands."""
        lines = self.read(name).splitlines()
        return f"{name}:{next(n for n, line in enumerate(lines, 1) if piece in line)}"

    def replace(self, name: str, old: str, new: str) -> None:
        """Change one place of a file."""
        text = self.read(name)
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
        (self.root / name).write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def mini(tmp_path: Path) -> Iterator[Mini]:
    """A site in which every check passes."""
    from tests.docs.words import CALQUES

    site = Mini(tmp_path / "mini")
    for name, text in FILES.items():
        site.write(name, text)
    terms = sorted({t for c in CALQUES if c.glossary for t in c.term.split(", ")})
    for language, title, head in (
        ("ru", "Словарь", "| по-английски | по-русски | что это |"),
        ("en", "Glossary", "| English | Russian | meaning |"),
    ):
        meaning = "слово" if language == "ru" else "a word"
        rows = "".join(f"| term {n} | {term} | {meaning} |\n" for n, term in enumerate(terms))
        text = f"# {title} {{ #glossary }}\n\n{head}\n|---|---|---|\n{rows}"
        site.write(f"docs/{language}/reference/glossary.md", text)
    site.write("results/nano.json", json.dumps(record("transcription")))
    report.main([str(site.root / "README.md"), "--results", str(site.root / "results")])
    parity.stamp(root=site.root)
    yield site
