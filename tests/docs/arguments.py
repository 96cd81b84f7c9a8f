"""Checks blocks without running them: commands parse, Python compiles, names and keywords exist.

For blocks that are skipped this is all that keeps them true; for the others it is a quick check.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import inspect
import io
import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pymdownx.snippets import SnippetMissingError

from borealis.cli import build_parser
from borealis.errors import BorealisError
from borealis.training.codec.recipe import load_codec_recipe
from borealis.training.codec.refiner.recipe import load_refiner_recipe
from borealis.training.recipe import Recipe, kind_of, load_recipe
from tests.docs.blocks import ROOT, Block

# Words of the shell that a command may stand behind.
_BEFORE = {"do", "then", "else", "if", "while", "until", "time", "!", "sudo", "env", "nice", "exec"}
_BETWEEN = set("|&;()<>\n")
_REDIRECTION = re.compile(r"(?<=\s)[0-9&]?>{1,2}&?[ ]*[^\s|;&]+")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


def check_block(block: Block, root: Path = ROOT) -> list[str]:
    """What is wrong with a block that isn't run: messages with file and line."""
    checks: dict[str, Callable[[Block, Path], list[str]]] = {
        "python": _python,
        "bash": _shell,
        "console": _shell,
        "yaml": _yaml,
        "yml": _yaml,
        "json": _json,
        "jsonl": _json,
    }
    check = checks.get(block.kind)
    try:
        return [f"{block.where}: {text}" for text in check(block, root)] if check else []
    except (SnippetMissingError, OSError) as error:
        return [f"{block.where}: {error}"]


# ---- shell ----


def _shell(block: Block, root: Path) -> list[str]:
    script = _script(block)
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    if done.returncode:
        return [f"bash can't read this: {done.stderr.strip()}"]
    problems = []
    for words in commands(script):
        if problem := _command(words, root):
            problems.append(f"'{shlex.join(words)}': {problem}")
    return problems


def _script(block: Block) -> str:
    """The commands of a block, without the prompts and outputs of a console."""
    if block.kind != "console":
        return block.code
    kept, goes_on = [], False
    for line in block.code.splitlines():
        if line.startswith("$ ") or goes_on:
            kept.append(line.removeprefix("$ ").removeprefix("> "))
            goes_on = line.endswith("\\")
    return "\n".join(kept) + "\n"


def commands(script: str) -> Iterator[list[str]]:
    """The simple commands of a script, word by word, redirections removed."""
    joined = script.replace("\\\n", " ")
    for line in joined.splitlines():
        lexer = shlex.shlex(_REDIRECTION.sub(" ", line), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        try:
            tokens = list(lexer)
        except ValueError:
            # A quote that goes on in the next line; bash -n has judged it already.
            continue
        for token in [*tokens, ";"]:
            if token and set(token) <= _BETWEEN:
                if words := _bare(words):
                    yield words
                words = []
            else:
                words.append(token)


def _bare(words: list[str]) -> list[str]:
    """A command without what stands before it: keywords and assignments."""
    while words and (words[0] in _BEFORE or _ASSIGNMENT.match(words[0])):
        words = words[1:]
    return words


def _command(words: list[str], root: Path) -> str | None:
    program = words[0].rsplit("/", 1)[-1]
    if program.startswith("python") and words[1:3] == ["-m", "borealis"]:
        return _borealis(words[3:], root)
    if program == "borealis":
        return _borealis(words[1:], root)
    if program.startswith("python") and words[1:2] == ["-m"] and words[2].startswith("lab."):
        return _lab(words[2], words[3:])
    if program == "make":
        return _make(words[1:], root)
    return None


def _borealis(arguments: list[str], root: Path) -> str | None:
    if any("$" in word for word in arguments):
        return None
    parsed, problem = _parsed(build_parser(), arguments)
    if problem:
        return problem
    recipe = getattr(parsed, "recipe", None)
    if recipe and (not str(recipe).endswith((".yaml", ".yml")) or (root / recipe).is_file()):
        # A file of the reader's own can't be read here; bundled recipes and examples can.
        try:
            place = root / recipe if (root / recipe).is_file() else recipe
            readers = {"codec": load_codec_recipe, "refiner": load_refiner_recipe}
            readers.get(kind_of(place), load_recipe)(place)
        except BorealisError as error:
            return str(error)
    return None


def _lab(module: str, arguments: list[str]) -> str | None:
    """A command of the laboratory: its options are those of the module's `build_parser`."""
    try:
        parser = import_module(module).build_parser()
    except (ImportError, AttributeError) as error:
        return str(error)
    return _parsed(parser, arguments)[1]


def _parsed(
    parser: argparse.ArgumentParser, arguments: list[str]
) -> tuple[argparse.Namespace | None, str | None]:
    """The arguments, and what the parser says last where it doesn't take them."""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            return parser.parse_args(arguments), None
    except SystemExit as end:  # --help is one, too
        return None, errors.getvalue().strip().splitlines()[-1] if end.code else None


def _make(arguments: list[str], root: Path) -> str | None:
    makefile = root / "Makefile"
    if not makefile.is_file():
        return None
    targets = set(re.findall(r"^([\w.-]+):", makefile.read_text(encoding="utf-8"), re.M))
    for word in arguments:
        if not word.startswith("-") and "=" not in word and word not in targets:
            return f"the Makefile has no '{word}'"
    return None


# ---- Python ----


def _python(block: Block, root: Path) -> list[str]:
    code = block.code
    if code.lstrip().startswith(">>>"):
        return []
    try:
        tree = ast.parse(code, str(block.page))
    except SyntaxError as error:
        return [f"line {error.lineno} of the block: {error.msg}"]
    return _names(tree)


def _names(tree: ast.Module) -> list[str]:
    """Imports of borealis that don't exist, and calls that its functions don't accept."""
    problems: list[str] = []
    known: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in (alias for alias in node.names if alias.name.split(".")[0] == "borealis"):
                module, problem = _imported(name.name, None)
                problems += [problem] if problem else []
                top = module if name.asname else _imported("borealis", None)[0]
                known[name.asname or "borealis"] = top
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "borealis":
            for alias in node.names:
                value, problem = _imported(node.module or "", alias.name)
                problems += [problem] if problem else []
                known[alias.asname or alias.name] = value
    # A name that the block gives another meaning isn't ours any more.
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            known.pop(node.id, None)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function, name = _resolved(node.func, known)
            if name and function is None:
                problems.append(f"borealis has no '{name}'")
            elif function is not None and (problem := _rejected(function, node)):
                problems.append(f"{name}: {problem}")
    return problems


def _imported(module: str, name: str | None) -> tuple[Any, str | None]:
    try:
        value = import_module(module)
        if name is None:
            return value, None
        if hasattr(value, name):
            return getattr(value, name), None
        return import_module(f"{module}.{name}"), None
    except ImportError as error:
        return None, str(error)


def _resolved(node: ast.expr, known: dict[str, Any]) -> tuple[Any, str]:
    """The object of borealis that an expression names, and its dotted name; `""` for others."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or known.get(node.id) is None:
        return None, ""
    value, dotted = known[node.id], node.id
    for part in reversed(parts):
        dotted = f"{dotted}.{part}"
        if not hasattr(value, part):
            return None, dotted
        value = getattr(value, part)
    return value, dotted


def _rejected(function: Any, call: ast.Call) -> str | None:
    """Why a function wouldn't take the arguments of a call."""
    if any(isinstance(a, ast.Starred) for a in call.args) or any(
        k.arg is None for k in call.keywords
    ):
        return None
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*call.args, **{k.arg: k.value for k in call.keywords if k.arg})
    except TypeError as error:
        return str(error)
    return None


# ---- data ----


def _yaml(block: Block, root: Path) -> list[str]:
    try:
        data = yaml.safe_load(block.code)
    except yaml.YAMLError as error:
        return [f"this isn't YAML: {error}"]
    if isinstance(data, dict) and {"name", "model", "stages"} <= set(data):
        try:
            Recipe(**data)
        except ValidationError as error:
            return [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    return []


def _json(block: Block, root: Path) -> list[str]:
    code = block.code
    if "..." in code or "…" in code:
        return []
    try:
        for text in code.splitlines() if block.kind == "jsonl" else [code]:
            json.loads(text)
    except json.JSONDecodeError as error:
        return [f"this isn't JSON: {error}"]
    return []
