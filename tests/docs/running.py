"""Runs the blocks of a page one after another and compares what they print with what is shown.

Python blocks of a page share one namespace; what one of them prints is compared with its `#> text`
comments and with the `{ .text .output }` fence after it. `bash` fences are run by bash, `console`
fences command by command. With `DOCS_UPDATE=1` what is shown is rewritten instead of compared.
"""

from __future__ import annotations

import ast
import codeop
import contextlib
import difflib
import doctest
import hashlib
import io
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from unittest import SkipTest

import numpy as np
import torch
from pymdownx.snippets import SnippetMissingError
from sybil import Document, Example
from sybil.example import SybilFailure

from tests.docs.blocks import ROOT, Block, Fences, Line, docstrings, relative
from tests.warm import Warm

UPDATE = os.environ.get("DOCS_UPDATE") == "1"
# Seconds for one block of commands; a busy machine may need more.
TIMEOUT = int(os.environ.get("DOCS_TIMEOUT", "300"))
# Where a reader stands: what blocks read. Copied, so that nothing is written to the repository.
_COPIED = ("examples",)
_LINKED = (
    "README.md",
    "README.ru.md",
    "borealis",
    "docs",
    "results",
    "pyproject.toml",
    "mkdocs.yml",
)
_SHOWN = re.compile(r"^[ \t]*#>[ ]?(.*)$")
_TAIL = 2000


@dataclass(frozen=True)
class Edit:
    """Lines `first` to `last` (1-based, inclusive; `last` before `first` inserts) become `lines`."""

    file: Path
    first: int
    last: int
    lines: tuple[str, ...]


@dataclass
class Report:
    """What happened to the blocks of a page."""

    ran: list[Block] = field(default_factory=list)
    skipped: list[Block] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    edits: set[Edit] = field(default_factory=set)
    outputs: dict[Path, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """A finished shell script."""

    code: int
    out: str
    err: str


class Shell:
    """Runs scripts with bash. The same script in the same state is run once.

    A state is the folder of a page and the blocks that ran before. Both languages show the same
    commands; a command that changed no file needn't be run a second time for the other one.

    Args:
        root: what Python imports from first.
        timeout: seconds for one script.
        warm: where `borealis` and `python` come from; by default they are started afresh.
    """

    def __init__(
        self, root: Path = ROOT, timeout: float = TIMEOUT, warm: Warm | None = None
    ) -> None:
        self.root, self.timeout, self.warm = root, timeout, warm
        # As it is now: what a block of Python does to its environment, no shell of a reader notices.
        self._variables = dict(os.environ)
        self._known: dict[str, Done] = {}
        self.runs = 0

    def run(self, script: str, folder: Path, state: str) -> Done:
        key = hashlib.sha256(f"{state}\0{script}".encode()).hexdigest()
        if key not in self._known:
            before = _listing(folder)
            done = self._run(script, folder)
            if _listing(folder) != before:
                return done
            self._known[key] = done
        return self._known[key]

    def _run(self, script: str, folder: Path) -> Done:
        self.runs += 1
        path = (str(Path(sys.executable).parent), self._variables.get("PATH", ""))
        env = self._variables | {
            "PATH": os.pathsep.join(path),
            "PYTHONPATH": str(self.root),
            "PYTHONIOENCODING": "utf-8",
            "COLUMNS": "88",
            "NO_COLOR": "1",
            "TERM": "dumb",
        }
        if self.warm is not None:
            env = self.warm.environment(env)
        # A session of its own, so that nothing a command started outlives its time.
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=self.timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            return Done(124, out, f"{err}\nno end after {self.timeout} s")
        return Done(process.returncode, out, err)


def _listing(folder: Path) -> set[tuple[str, int, int]]:
    """The files under a folder with size and time; links into the repository aren't followed."""
    found = set()
    for path in folder.rglob("*"):
        if not path.is_symlink():
            stat = path.stat()
            found.add((str(path), stat.st_size if path.is_file() else 0, stat.st_mtime_ns))
    return found


class Runner:
    """Evaluates the examples of one page in order.

    Args:
        folder: where the blocks run.
        root: the repository.
        shell: shared by all pages, so that equal commands are run once.
        update: rewrite what is shown instead of comparing it.
    """

    def __init__(
        self, folder: Path, root: Path = ROOT, *, shell: Shell | None = None, update: bool = UPDATE
    ) -> None:
        self.folder, self.root, self.update = folder, root, update
        self.shell = shell or Shell(root)
        self.report = Report()
        self.printed: str | None = None
        self.state = ""

    def evaluate(self, example: Example) -> str | None:
        """Evaluator for Sybil: None, or what is wrong."""
        # In docstrings a block counts its lines from the first line of the docstring.
        block: Block = replace(example.parsed, line=example.line)
        if block.skip is not None:
            self.report.skipped.append(block)
            self.printed = None
            raise SkipTest(block.skip)
        self.report.ran.append(block)
        if block.kind == "output":
            return self._output(block)
        self.printed = None
        try:
            code = block.code
        except (SnippetMissingError, OSError) as error:
            return str(error)
        run: dict[str, Callable[[Block, Example], str | None]] = {
            "python": self._python,
            "pycon": self._session,
            "bash": self._bash,
            "console": self._console,
        }
        kind = "pycon" if block.kind == "python" and code.lstrip().startswith(">>>") else block.kind
        problem = run[kind](block, example)
        self.state = hashlib.sha256(f"{self.state}\0{kind}\0{code}".encode()).hexdigest()
        return problem

    # -- Python --

    def _python(self, block: Block, example: Example) -> str | None:
        lines = block.lines()
        out = io.StringIO()
        try:
            steps = _statements(lines)
            shown = any(step.shown for step in steps)
            problems = []
            compiler = codeop.Compile()
            with contextlib.redirect_stdout(out):
                for step in steps:
                    start = out.tell()
                    exec(compiler(step.tree, str(step.file), "exec"), example.namespace)
                    if shown and (problem := self._comments(step, out.getvalue()[start:])):
                        problems.append(problem)
        except (Exception, SystemExit) as error:
            return _trace(error, {line.file for line in lines})
        self.printed = out.getvalue()
        return "\n".join(problems) or None

    def _comments(self, step: Step, printed: str) -> str | None:
        """Compare the `#>` lines of a statement with what it printed."""
        want = "".join(f"{_SHOWN.match(line.text)[1]}\n" for line in step.shown)  # type: ignore[index]
        if same(want, printed):
            return None
        if not self.update:
            place = step.shown[0] if step.shown else step.end
            name = f"{relative(place.file, self.root)}:{place.number}"
            return (
                f"{name}: the #> comments differ from what is printed\n{difference(want, printed)}"
            )
        if step.shown and step.shown[-1].number - step.shown[0].number >= len(step.shown):
            return "the #> comments of a statement stand apart; keep them together to update them"
        indent = _indent(step.shown[0] if step.shown else step.end)
        fresh = tuple(f"{indent}#> {text}".rstrip() for text in _stripped(printed))
        first = step.shown[0].number if step.shown else step.end.number + 1
        last = step.shown[-1].number if step.shown else step.end.number
        self.report.edits.add(Edit(step.end.file, first, last, fresh))
        return None

    def _session(self, block: Block, example: Example) -> str | None:
        """A block with `>>>`, as in doctest."""
        parser = doctest.DocTestParser()
        test = parser.get_doctest(
            block.code, example.namespace, block.where, str(block.page), block.line
        )
        out = io.StringIO()
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
        runner.run(test, out=out.write, clear_globs=False)
        example.namespace.update(test.globs)
        return out.getvalue() or None

    # -- outputs --

    def _output(self, block: Block) -> str | None:
        if self.printed is None:
            return (
                "nothing that was run stands before this output, so nothing checks it; give it a "
                "skip mark with the reason, or move it after its block"
            )
        printed = "".join(f"{line}\n" for line in _stripped(self.printed))
        file = block.include
        if file is None:
            want = block.source
            if same(want, printed):
                return None
            if self.update:
                indented = (f"{block.indent}{line}".rstrip() for line in printed.splitlines())
                last = block.line + len(block.source.splitlines())
                self.report.edits.add(Edit(block.page, block.line + 1, last, tuple(indented)))
                return None
            return f"the shown output differs from what was printed\n{difference(want, printed)}"
        name = relative(file, self.root)
        if self.update:
            known = self.report.outputs.setdefault(file, printed)
            return None if known == printed else f"{name} would have to hold two outputs"
        if not file.is_file():
            return f"there is no {name}; make it by DOCS_UPDATE=1"
        want = file.read_text(encoding="utf-8")
        if want == printed:
            return None
        return f"{name} differs from what was printed\n{difference(want, printed)}"

    # -- shell --

    def _bash(self, block: Block, example: Example) -> str | None:
        done = self.shell.run(f"set -euo pipefail\n{block.code}", self.folder, self.state)
        self.printed = done.out
        if done.code:
            return f"exit code {done.code}\n{(done.out + done.err)[-_TAIL:]}"
        return None

    def _console(self, block: Block, example: Example) -> str | None:
        lines = block.lines()
        if not lines or not lines[0].text.startswith("$ "):
            return "a console block begins with '$ ' and a command"
        commands = list(_commands(lines))
        script = ["exec 2>&1"]
        script += [f"{c.script}\nprintf '\\0%s\\0' $?" for c in commands]
        done = self.shell.run("\n".join(script), self.folder, self.state)
        parts = done.out.split("\0")
        problems = []
        for number, command in enumerate(commands):
            if len(parts) < 2 * number + 2:
                problems.append(f"$ {command.script}\nended the shell\n{done.err[-_TAIL:]}")
                break
            printed, code = parts[2 * number], parts[2 * number + 1]
            want = "".join(f"{line.text}\n" for line in command.output)
            name = f"{relative(command.line.file, self.root)}:{command.line.number}: $ {command.script}"
            if same(want, printed):
                # An error that the page shows is fine, a silent one isn't.
                if code != "0" and not want.strip():
                    problems.append(f"{name}\nexit code {code}")
            elif self.update:
                indent = _indent(command.line)
                fresh = tuple(f"{indent}{line}".rstrip() for line in _stripped(printed))
                first = command.end.number + 1
                edit = Edit(command.line.file, first, first + len(command.output) - 1, fresh)
                self.report.edits.add(edit)
            else:
                problems.append(f"{name}\nexit code {code}\n{difference(want, printed)}")
        return "\n".join(problems) or None


@dataclass(frozen=True)
class Step:
    """A top-level statement of a block and the `#>` lines that belong to it."""

    tree: ast.Module
    file: Path
    end: Line
    shown: tuple[Line, ...]


def _statements(lines: Sequence[Line]) -> list[Step]:
    """The statements of a block; their line numbers are those of the file they come from."""
    text = "\n".join(line.text for line in lines) + "\n"
    page = lines[0].file if lines else Path("block")
    try:
        body = ast.parse(text, str(page)).body
    except SyntaxError as error:
        line = lines[min(error.lineno or 1, len(lines)) - 1]
        error.filename, error.lineno = str(line.file), line.number
        raise
    steps = []
    for number, node in enumerate(body):
        following = body[number + 1].lineno if number + 1 < len(body) else len(lines) + 1
        after = lines[node.lineno - 1 : following - 1]
        end = lines[(node.end_lineno or node.lineno) - 1]
        shown = tuple(line for line in after if _SHOWN.match(line.text))
        origin = lines[node.lineno - 1]
        tree = ast.Module([node], [])
        ast.increment_lineno(tree, origin.number - node.lineno)
        steps.append(Step(tree, origin.file, end, shown))
    return steps


@dataclass(frozen=True)
class Command:
    """A command of a console block, its first and last line, and the output shown below."""

    script: str
    line: Line
    end: Line
    output: tuple[Line, ...]


def _commands(lines: Sequence[Line]) -> Iterator[Command]:
    position = 0
    while position < len(lines):
        first = position
        script = [lines[position].text.removeprefix("$ ")]
        while script[-1].endswith("\\") and position + 1 < len(lines):
            position += 1
            script.append(lines[position].text.removeprefix("> "))
        last = position
        position += 1
        output = []
        while position < len(lines) and not lines[position].text.startswith("$ "):
            output.append(lines[position])
            position += 1
        yield Command("\n".join(script), lines[first], lines[last], tuple(output))


def _indent(line: Line) -> str:
    """The blanks before a line in its file; what is shown may have lost them."""
    text = line.file.read_text(encoding="utf-8").splitlines()[line.number - 1]
    return text[: len(text) - len(text.lstrip())]


# ---- comparing ----


def _stripped(text: str) -> list[str]:
    """Lines without trailing blanks, and without empty lines at the end."""
    return [line.rstrip() for line in text.rstrip().splitlines()]


def same(want: str, got: str) -> bool:
    """Equal but for blanks at the ends; `...` in what is shown stands for anything."""
    left, right = ("\n".join(_stripped(text)) for text in (want, got))
    checker = doctest.OutputChecker()
    return left == right or checker.check_output(f"{left}\n", f"{right}\n", doctest.ELLIPSIS)


def difference(want: str, got: str) -> str:
    """A unified difference."""
    lines = difflib.unified_diff(_stripped(want), _stripped(got), "shown", "printed", lineterm="")
    return "\n".join(lines)


def _trace(error: BaseException, files: set[Path]) -> str:
    """The traceback of an error without the frames of the harness."""
    names = {str(file) for file in files}
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename not in names:
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace)).rstrip()[-_TAIL:]


# ---- pages ----


def prepare(folder: Path, root: Path = ROOT) -> Path:
    """Make `folder` look like the place a reader stands in."""
    for name in _COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name)
    for name in _LINKED:
        if (root / name).exists():
            (folder / name).symlink_to(root / name)
    return folder


def seed() -> None:
    """Every page begins with the same random numbers."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def run_examples(examples: Sequence[Example], runner: Runner) -> Report:
    """Evaluate examples in `runner.folder`; failures are collected, not raised."""
    here = Path.cwd()
    os.chdir(runner.folder)
    try:
        for example in examples:
            # Fences in languages that can't be run are only shown.
            if example.region.evaluator is None:
                continue
            try:
                example.evaluate()
            except SkipTest:
                continue
            except SybilFailure as failure:
                name = relative(Path(example.path), runner.root)
                runner.report.failures.append(f"{name}:{example.line}: {failure.result.strip()}")
    finally:
        os.chdir(here)
    return runner.report


def run_page(
    path: Path,
    folder: Path,
    root: Path = ROOT,
    *,
    shell: Shell | None = None,
    update: bool = UPDATE,
) -> Report:
    """Run all blocks of a page in `folder`; with `update`, rewrite what is shown."""
    runner = Runner(prepare(folder, root), root, shell=shell, update=update)
    parser = Fences(root, runner.evaluate)
    document = Document.parse(str(path), parser)
    document.namespace["__name__"] = "__main__"
    seed()
    report = run_examples(list(document.examples()), runner)
    report.failures += parser.problems
    if update:
        apply(report)
    return report


def run_docstrings(path: Path, folder: Path, root: Path = ROOT) -> Report:
    """Run the examples of the docstrings of a Python file."""
    runner = Runner(folder, root, update=False)
    examples = docstrings(path, root, runner.evaluate)
    if not examples:
        return runner.report
    prepare(folder, root)
    seed()
    return run_examples(examples, runner)


def apply(report: Report) -> None:
    """Write the edits of a page, from the last line to the first."""
    for edit in sorted(report.edits, key=lambda e: (str(e.file), e.first), reverse=True):
        lines = edit.file.read_text(encoding="utf-8").splitlines()
        lines[edit.first - 1 : edit.last] = edit.lines
        edit.file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for file, text in report.outputs.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
