"""The harness finds every block, runs it, compares what it prints, and updates what is shown."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.docs import blocks
from tests.docs.arguments import check_block, commands
from tests.docs.blocks import expand, fences_of, kind_of, missed, read_page
from tests.docs.running import Report, Shell, run_docstrings, run_page


class Book:
    """A folder with a page in it, to run."""

    def __init__(self, root: Path) -> None:
        self.root, self.runs = root, 0
        root.mkdir()

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def read(self, name: str = "page.md") -> str:
        return (self.root / name).read_text(encoding="utf-8")

    def run(self, text: str | None = None, *, update: bool = False, shell=None) -> Report:
        """Run the page; `text` is written to it first."""
        path = self.root / "page.md"
        if text is not None:
            self.write("page.md", text)
        self.runs += 1
        folder = self.root.parent / f"run{self.runs}"
        folder.mkdir()
        return run_page(path, folder, self.root, shell=shell, update=update)


@pytest.fixture
def book(tmp_path) -> Book:
    return Book(tmp_path / "book")


@pytest.mark.parametrize(
    ("info", "kind"),
    [
        ("python", "python"),
        (" py", "python"),
        ('python title="x" hl_lines="1"', "python"),
        ("{ .python .annotate }", "python"),
        ('{.py3 title=".bash"}', "py3"),
        ('{ .python title="a .output b" }', "python"),
        ("pycon", "pycon"),
        ("sh", "bash"),
        ("console", "console"),
        ("{ .text .output }", "output"),
        ('{ .text .output title="Вывод" }', "output"),
        ("text", "text"),
        ("", ""),
    ],
)
def test_the_first_word_of_a_fence_decides(info, kind):
    assert kind_of(info) == kind


def test_every_way_to_write_a_fence_is_found_and_run(book):
    report = book.run(
        """\
        <!--- invisible-code-block: python
        seen = []
        --->

        ```python title="one" hl_lines="1"
        seen.append(1)
        ```

        ``` { .py .annotate }
        seen.append(2)
        ```

        ~~~ py
        seen.append(3)
        ~~~

        === "Tab"

            !!! note

                ```python
                if seen:
                    seen.append(4)
                ```

        - item

            ```python
            seen.append(5)
            ```

        ````markdown
        ```python
        seen.append("shown, not run")
        ```
        ````

        ```python
        print(seen)
        ```

        ```{ .text .output }
        [1, 2, 3, 4, 5]
        ```
        """
    )
    assert report.failures == []
    assert len(report.ran) == 8
    assert missed(book.root / "page.md", book.root) == []


@pytest.mark.parametrize(
    ("block", "line", "says"),
    [
        ("```python\nx = 1\nraise ValueError('bad')\n```", 5, "ValueError: bad"),
        ("```python\nx = (\n```", 5, "SyntaxError"),
        ("```python\nraise SystemExit(3)\n```", 5, "SystemExit"),
        ("```bash\ntrue\nfalse\n```", 5, "exit code 1"),
        ("```bash\nfalse | true\n```", 5, "exit code 1"),
        ("```bash\necho $unset\n```", 5, "unset"),
        ("```console\n$ echo 1\n2\n```", 5, "+1"),
        ("```console\n$ false\n```", 5, "exit code 1"),
        ("```console\necho 1\n```", 5, "begins with"),
        ("```python\nprint(1)\n#> 2\n```", 5, "page.md:7: the #> comments differ"),
        ("```python\nprint(1)\nprint(2)\n#> 2\n```", 5, "page.md:6: the #> comments differ"),
        ("```python\nprint(1)\n```\n\n```{ .text .output }\n2\n```", 9, "+1"),
        ("```{ .text .output }\n2\n```", 5, "nothing that was run stands before"),
        ('```python\nprint(1)\n```\n\n```{.text .output}\n--8<-- "out.txt"\n```', 9, "no out.txt"),
        ('```python\n--8<-- "none.py"\n```', 5, "none.py"),
        ("```pycon\n>>> 1 + 1\n3\n```", 5, "Expected:"),
        ("```python\n>>> 1 + 1\n3\n```", 5, "Expected:"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(book, block, line, says):
    report = book.run(f"# Page\n\nText.\n\n{block}\n")
    assert len(report.failures) == 1
    assert report.failures[0].startswith(f"page.md:{line}: ")
    assert says in report.failures[0]
    assert "running.py" not in report.failures[0]


@pytest.mark.parametrize(
    "block",
    [
        "```python\nprint(1)\n#> 1\nfor k in 2, 3:\n    print(k)\n    #> 2\n    #> 3\n```",
        "```python\nprint('a  ')\nprint()\n#> a\n```".replace("print()\n", ""),
        "```python\nprint('12 ms')\n#> ... ms\n```",
        "```bash\necho a\n```\n\n```{ .text .output }\na\n```",
        "```console\n$ echo a \\\n> b\na b\n$ x=2\n$ echo $x\n2\n$ cat nothing\ncat: nothing: No such file or directory\n```",
        "```pycon\n>>> 1 + 1\n2\n```",
        "```python\nfrom __future__ import annotations\n\n@property\ndef f(x: Unknown): ...\nprint(2)\n#> 2\n```",
        '```python\nif __name__ == "__main__":\n    print("main")\n#> main\n```',
        "```yaml\na: [\n```",
    ],
)
def test_what_is_right_passes(book, block):
    assert book.run(f"{block}\n").failures == []


def test_a_traceback_names_the_line_of_the_page(book):
    report = book.run("# Page\n\n```python\ndef f():\n    return 1 / 0\n\nf()\n```\n")
    assert 'page.md", line 5' in report.failures[0]
    assert 'page.md", line 7' in report.failures[0]
    assert "return 1 / 0" in report.failures[0]


def test_a_traceback_of_included_code_names_the_line_of_the_file(book):
    book.write("examples/a.py", "# --8<-- [start:x]\nx = 1\n\ny = x / 0\n# --8<-- [end:x]\n")
    report = book.run('```python\n--8<-- "examples/a.py:x"\n```\n')
    assert report.failures[0].startswith("page.md:1: ")
    assert 'examples/a.py", line 4' in report.failures[0]


def test_blocks_of_a_page_share_names_and_pages_do_not(book):
    assert book.run("```python\nx = 1\n```\n\n```python\nprint(x)\n#> 1\n```\n").failures == []
    assert "NameError" in book.run("```python\nprint(x)\n```\n").failures[0]


def test_blocks_run_in_a_copy(book):
    book.write("examples/data.txt", "data")
    report = book.run(
        "```python\nfrom pathlib import Path\nPath('examples/data.txt').write_text('new')\n"
        "Path('made').mkdir()\n```\n"
    )
    assert report.failures == []
    assert book.read("examples/data.txt") == "data" and not (book.root / "made").exists()


def test_random_numbers_are_the_same_every_time(book):
    page = "```python\nimport random, torch, numpy as np\nprint(random.random(), torch.rand(1).item(), np.random.rand())\n```\n\n```{ .text .output }\n```\n"
    book.run(page, update=True)
    assert book.read() != page
    assert book.run().failures == []


# ---- skipping ----


def test_a_skipped_block_has_a_reason_and_covers_one_block(book):
    report = book.run(
        '<!--- skip: next "needs a graphics card" -->\n```python\nraise SystemExit\n```\n\n'
        '<!-- skip: next "нужна сеть и ключ" -->\n\n```bash\nfalse\n```\n\n```python\nx = 1\n```\n'
    )
    assert report.failures == []
    assert [block.skip for block in report.skipped] == [
        "needs a graphics card",
        "нужна сеть и ключ",
    ]
    assert len(report.ran) == 1


@pytest.mark.parametrize(
    ("page", "line", "says"),
    [
        ('<!--- skip: next "GPU" -->\n```bash\nfalse\n```\n', 2, "isn't a reason"),
        ('<!--- skip: next until nano speaks "GPU" -->\n```bash\ntrue\n```\n', 2, "isn't a reason"),
        ("<!--- skip: next -->\n```bash\ntrue\n```\n", 1, "skips nothing"),
        ('<!--- skip: start "needs a GPU here" -->\n```bash\ntrue\n```\n', 1, "skips nothing"),
        (
            '<!--- skip: next "needs a GPU here" -->\n\nText.\n\n```bash\ntrue\n```\n',
            1,
            "skips nothing",
        ),
    ],
)
def test_a_skip_mark_that_says_too_little_is_named(book, page, line, says):
    report = book.run(page)
    assert any(f.startswith(f"page.md:{line}: ") and says in f for f in report.failures)
    assert read_page(book.root / "page.md", book.root).problems == report.failures


@pytest.mark.parametrize("speaks", [True, False])
def test_a_block_waits_for_a_model_that_speaks_and_no_longer(book, monkeypatch, speaks):
    monkeypatch.setattr(blocks, "nano_speaks", lambda: speaks)
    report = book.run(
        '<!--- skip: next until nano speaks "nano has no voices" -->\n```python\nx = 1\n```\n'
    )
    assert report.failures == []
    assert [block.skip for block in report.skipped] == ([] if speaks else ["nano has no voices"])
    assert len(report.ran) == speaks


def test_whether_nano_speaks_is_asked_of_nano(nano):
    assert blocks.nano_speaks() == bool(nano.voices)


def test_the_output_of_a_skipped_block_is_not_believed(book):
    page = '<!--- skip: next "needs a GPU here" -->\n```bash\nx\n```\n\n{}```{{ .text .output }}\n1\n```\n'
    assert "nothing that was run" in book.run(page.format("")).failures[0]
    assert book.run(page.format('<!--- skip: next "from another machine" -->\n')).failures == []


# ---- updating ----


def test_update_writes_outputs_comments_and_consoles(book):
    book.write(
        "examples/a.py",
        "# --8<-- [start:x]\nprint(1)\n#> 0\nprint(2)\n# --8<-- [end:x]\nafter = 1\n",
    )
    page = """\
        # Page

        ```python
        --8<-- "examples/a.py:x"
        ```

        ```{ .text .output }
        --8<-- "examples/out/page-x.txt"
        ```

        === "Tab"

            ```python
            print("a\\nb")
            #> old
            #> older
            #> oldest
            for k in range(2):
                print(k)
                #> 5
            ```

            ```console
            $ echo 1
            0
            $ true
            $ echo 2; echo 3
            ```

            ```{ .text .output }
            ```

        ```bash
        echo 4
        ```

        ```{ .text .output }
        5
        6
        ```
        """
    # Outputs of a console stand in it; nothing follows.
    page = page.replace("            ```{ .text .output }\n            ```\n\n", "")
    assert book.run(page).failures
    assert book.run(update=True).failures == []
    assert book.run().failures == []
    assert book.read("examples/out/page-x.txt") == "1\n2\n"
    assert (
        book.read("examples/a.py")
        == "# --8<-- [start:x]\nprint(1)\n#> 1\nprint(2)\n#> 2\n# --8<-- [end:x]\nafter = 1\n"
    )
    text = book.read()
    assert '    print("a\\nb")\n    #> a\n    #> b\n    for k in range(2):\n        print(k)\n        #> 0\n        #> 1\n    ```\n' in text  # fmt: skip
    assert "    $ echo 1\n    1\n    $ true\n    $ echo 2; echo 3\n    2\n    3\n    ```\n" in text
    assert "```{ .text .output }\n4\n```\n" in text
    assert book.run(update=True).failures == [] and book.read() == text


def test_update_leaves_what_is_right_and_still_tells_failures(book):
    page = "```python\nprint('12 ms')\n#> ... ms\n```\n\n```python\n1 / 0\n```\n"
    report = book.run(page, update=True)
    assert book.read() == page
    assert len(report.failures) == 1 and "ZeroDivisionError" in report.failures[0]


def test_update_refuses_two_outputs_for_one_file(book):
    block = (
        '```python\nprint({})\n```\n\n```{{ .text .output }}\n--8<-- "examples/out/x.txt"\n```\n\n'
    )
    report = book.run(block.format(1) + block.format(2), update=True)
    assert "would have to hold two outputs" in report.failures[0]


def test_a_changed_output_file_is_named(book):
    book.write("examples/out/x.txt", "1\n2\n")
    page = '```bash\nseq 2\n```\n\n```{ .text .output }\n--8<-- "examples/out/x.txt"\n```\n'
    assert book.run(page).failures == []
    book.write("examples/out/x.txt", "1\n3\n")
    (failure,) = book.run().failures
    assert failure.startswith("page.md:5: examples/out/x.txt differs") and "-3\n+2" in failure


# ---- shell ----


def test_equal_commands_in_an_equal_state_run_once(book):
    shell = Shell(book.root)
    page = "```bash\necho {}\n```\n\n```bash\necho 2\n```\n"
    for first in (1, 1, 3):
        assert book.run(page.format(first), shell=shell).failures == []
    assert shell.runs == 4
    writing = "```bash\necho 1 > file\n```\n\n```bash\ncat file\n```\n"
    for _ in range(2):
        assert book.run(writing, shell=shell).failures == []
    # The second cat is known: before it the same was done.
    assert shell.runs == 7


def test_a_command_without_end_is_ended_with_all_it_started(book):
    shell = Shell(book.root, timeout=0.5)
    report = book.run("```bash\necho begun\nsleep 98765 & sleep 98765\n```\n", shell=shell)
    assert "begun" in report.failures[0] and "no end after 0.5 s" in report.failures[0]


def test_docstrings_are_run(tmp_path):
    (tmp_path / "examples").mkdir()
    module = tmp_path / "said.py"
    module.write_text(
        '"""A module.\n\n>>> one()\n1\n"""\n\n\ndef one():\n    """One.\n\n    ```python\n'
        "    print(one())\n    #> 2\n    ```\n\n    >>> one() + 1\n    3\n"
        '    """\n    return 1\n',
        encoding="utf-8",
    )
    folder = tmp_path / "run"
    folder.mkdir()
    import sys

    sys.path.insert(0, str(tmp_path))
    try:
        report = run_docstrings(module, folder, tmp_path)
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("said", None)
    assert [f.split(": ")[0] for f in report.failures] == ["said.py:11", "said.py:16"]


# ---- fences that nobody would run ----


def test_fences_are_counted_without_sybil():
    text = "```python\n```\n\n- ~~~ py\n  ```\n  ~~~\n\n````\n```bash\n````\n> ```sh\n> ```\n"
    assert fences_of(text) == [(1, "python"), (4, "py"), (8, ""), (11, "sh")]


def test_a_fence_that_is_not_found_fails(book, monkeypatch):
    page = book.write("page.md", "```python\nx = 1\n```\n\n```\nplain\n```\n")
    assert missed(page, book.root) == ["page.md:5: a fence says which language it is in"]
    monkeypatch.setattr("tests.docs.blocks.Fences.lexer", lambda *_: [])
    assert "page.md:1: the fence 'python' is neither run nor skipped" in missed(page, book.root)


def test_includes_are_those_of_the_site(book):
    book.write(
        "mkdocs.yml",
        "markdown_extensions: [{pymdownx.snippets: {base_path: [inc], dedent_subsections: true}}]\n",
    )
    book.write("inc/a.py", "def f():\n    # --8<-- [start:x]\n    return 1\n    # --8<-- [end:x]\n")
    assert expand('--8<-- "a.py:x"\n', book.root) == "return 1\n"


# ---- arguments of blocks that aren't run ----


@pytest.mark.parametrize(
    ("info", "code", "says"),
    [
        ("bash", "borealis transcribe a.wav --format yaml", "'yaml' is none of text"),
        ("bash", "python -m lab.nano.data --no-such x", "--no-such"),
        ("bash", "python -m lab.nano.none --output x", "lab.nano.none"),
        ("bash", "sudo X=1 borealis transcribe --no-such a.wav 2>/dev/null | cat", "--no-such"),
        ("bash", "for f in *; do\n  borealis sing $f\ndone\nborealis sing a", "borealis sing a"),
        ("bash", "python -m borealis train --max-steps many nano", "invalid int value"),
        ("bash", "borealis train no-such-recipe", "no-such-recipe"),
        ("bash", "make no-such-target", "the Makefile has no 'no-such-target'"),
        ("bash", "if true; then", "bash can't read this"),
        ("console", "$ borealis ask a.wav \\\n> --sing\nborealis is fine", "--sing"),
        ("python", "x = (", "was never closed"),
        ("python", "from borealis import sing", "borealis.sing"),
        ("python", "import borealis\nborealis.sing()", "borealis has no 'borealis.sing'"),
        ("python", "import borealis\nborealis.load(size=3)", "unexpected keyword argument 'size'"),
        ("python", "from borealis import load as l\nl('nano', 'cpu')", "too many positional"),
        (
            "yaml",
            "name: a\nmodel: {name_or_path: nano}\nstages: [{nome: b}]",
            "model.name_or_path: Extra",
        ),
        ("yaml", "a: [", "isn't YAML"),
        ("json", "{", "isn't JSON"),
        ("jsonl", '{"a": 1}\n{', "isn't JSON"),
    ],
)
def test_wrong_arguments_of_a_skipped_block_are_named(book, info, code, says):
    book.write("Makefile", "train-nano: x\n\techo\n")
    page = book.write(
        "page.md", f'# A\n\n<!--- skip: next "needs a GPU here" -->\n```{info}\n{code}\n```\n'
    )
    (block,) = read_page(page, book.root).blocks
    problems = check_block(block, book.root)
    assert problems and problems[0].startswith("page.md:4: ") and says in problems[0]


@pytest.mark.parametrize(
    ("info", "code"),
    [
        ("bash", "borealis transcribe a.wav --format json > out.json 2>&1 && borealis --help; make train-nano X=1"),
        ("bash", "python -m lab.nano.data --output data --literature a.xz"),
        ("bash", "cat a.flac | borealis transcribe - # --no-such\nborealis ask a.wav \"Сколько слов; и где?\""),
        ("bash", "for f in *.wav; do borealis transcribe \"$f\" --device $GPU; done"),
        ("bash", "borealis train my.yaml --output runs/mine\nborealis train nano"),
        ("console", "$ borealis info\nanything (that's shown\n"),
        ("python", "import borealis\nmodel = borealis.load('big', device='cuda')\nmodel.sing()\nload = 1"),
        ("python", "from borealis.model import BorealisConfig\nBorealisConfig(adapter_type='mlp', **{})"),
        ("python", ">>> anything goes"),
        ("yaml", "key: value"),
        ("json", '{"a": [1, ...]}'),
        ("text", "borealis sing"),
    ],
)  # fmt: skip
def test_right_arguments_of_a_skipped_block_are_left_alone(book, info, code):
    book.write("Makefile", "train-nano: x\n\techo\n")
    page = book.write("page.md", f"```{info}\n{code}\n```\n")
    (block,) = read_page(page, book.root).blocks
    assert check_block(block, book.root) == []


def test_a_recipe_among_the_examples_is_read(book):
    book.write("examples/mine.yaml", "name: mine\nstages: 3\n")
    page = book.write("page.md", "```bash\nborealis train examples/mine.yaml\n```\n")
    (problem,) = check_block(read_page(page, book.root).blocks[0], book.root)
    assert "mistakes" in problem


def test_commands_of_a_script():
    script = "a=1 x 'p q' | y > f\nif z; then ./.venv/bin/w \\\n  v; fi # c\n"
    assert list(commands(script)) == [
        ["x", "p q"],
        ["y"],
        ["z"],
        ["./.venv/bin/w", "v"],
        ["fi"],
    ]
