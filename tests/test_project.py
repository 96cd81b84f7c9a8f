"""The repository itself: file sizes, imports that stay cheap, one direction of arrows."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "borealis").rglob("*.py"))

# package -> packages it may import; "" is the modules right under borealis/.
ALLOWED = {
    "model": {""},
    "data": {""},
    "checkpoints": {""},
    "inference": {"", "model", "checkpoints", "data"},  # data: spelling of CTC labels
    # evaluation and inference: the word error rate in the middle of a training.
    "training": {"", "model", "data", "checkpoints", "evaluation", "inference"},
    "evaluation": {"", "inference", "data", "checkpoints", "model"},
    "demo": {"", "inference"},
}


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def test_tracked_files_stay_small():
    files = [f for f in tracked() if f.is_file()]
    assert sum(f.stat().st_size for f in files) < 55_000_000
    assert not [f for f in files if f.suffix in (".bin", ".pt", ".pth", ".pkl", ".ckpt")]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_go_one_way(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the first line says what the file is for"
    package = path.relative_to(ROOT / "borealis").parts[0]
    if package not in ALLOWED:
        return
    names = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module]
    names += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    for name in names:
        parts = name.split(".")
        if parts[0] != "borealis" or len(parts) == 1:
            continue
        other = parts[1] if (ROOT / "borealis" / parts[1]).is_dir() else ""
        assert other in ALLOWED[package] | {package}, f"{package} imports {name}"
        assert parts[1] not in ("cli",), "nothing imports the command line"


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import borealis", ("torch", "transformers", "gradio", "soundfile", "numpy")),
        ("from borealis.cli import main; main(['--version'])", ("torch", "transformers", "gradio")),
        ("import borealis.audio", ("torch", "transformers")),
        ("import borealis.inference", ("gradio", "peft", "datasets", "mkdocs", "scipy.signal")),
    ],
)
def test_heavy_libraries_are_imported_only_where_used(statement, heavy):
    code = f"import sys\ntry:\n    exec({statement!r})\nexcept SystemExit:\n    pass\nprint([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_nothing_names_the_machine_it_was_made_on():
    private = ("/" + "work" + "/", "/" + "home" + "/", "/" + "root" + "/")
    for path in tracked():
        if path.suffix in (".py", ".md", ".yaml", ".yml", ".toml", ".json", ".jsonl", ".txt", ".lock") or path.name == "Makefile":  # fmt: skip
            text = path.read_text(encoding="utf-8")
            assert not [p for p in private if p in text], path
