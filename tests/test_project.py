"""The repository itself: its weight, imports that stay cheap, one direction of arrows."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "borealis").rglob("*.py"))

# package -> packages it may import; "" is the modules right under borealis/.
ALLOWED = {
    "model": {""},
    "data": {"", "ctc", "checkpoints"},  # the alphabet of texts; where the cache folder is
    "checkpoints": {""},
    "ctc": {"", "checkpoints"},
    "codec": {"", "checkpoints"},
    "speech": {"", "codec", "ctc"},  # ctc: where the letters of a recording lie
    # data: spelling of CTC labels, texts as they are said.
    "inference": {"", "model", "ctc", "codec", "speech", "checkpoints", "data"},
    # evaluation and inference: the word error rate in the middle of a training.
    "training": {
        *("", "model", "ctc", "codec", "speech", "data", "checkpoints"),
        *("evaluation", "inference"),
    },
    "evaluation": {"", "inference", "data", "checkpoints", "model"},
    "demo": {"", "inference", "speech"},
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


# Folders of the repository that aren't in the wheel: they may import the package, it never them.
OUTSIDE = {"lab", "tools", "benchmarks", "examples", "tests", "docs"}


def test_the_package_imports_nothing_that_is_not_in_its_wheel():
    assert {folder for folder in OUTSIDE if (ROOT / folder).is_dir()} == OUTSIDE
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""] if not node.level else []
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            assert not {name.split(".")[0] for name in names} & OUTSIDE, f"{path}:{node.lineno}"


def test_tools_and_laboratory_use_public_parts_of_the_package():
    for folder in ("lab", "tools", "examples"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("borealis"):
                    used |= {alias.name for alias in node.names}
            private = {name for name in used if name.startswith("_") and not name.startswith("__")}
            assert not private - defined(tree), f"{path} uses private parts"


def defined(tree: ast.AST) -> set[str]:
    """Names that a file gives to functions, classes, variables and attributes of `self`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return found


def own_names(scope: ast.Module | ast.ClassDef) -> set[str]:
    """Names of a module (imports everywhere in it included), or of a class and of its objects."""
    found = {n for statement in scope.body for n in defined_by(statement)}
    for node in ast.walk(scope):
        if isinstance(scope, ast.Module) and isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(scope, ast.ClassDef) and isinstance(node, ast.Attribute):
            of_self = isinstance(node.value, ast.Name) and node.value.id == "self"
            found |= {node.attr} if of_self and isinstance(node.ctx, ast.Store) else set()
    return {name for name in found if not name.startswith("__")}


def defined_by(statement: ast.stmt) -> set[str]:
    """Names that one statement of a module or class defines there."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.If | ast.Try | ast.With):
        return {name for inner in statement.body for name in defined_by(inner)}
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return set()


def near_equal(tree: ast.Module) -> list[tuple[str, ...]]:
    """Names of one module or class that differ by nothing but underscores."""
    found: list[tuple[str, ...]] = []
    for scope in [tree, *(n for n in ast.walk(tree) if isinstance(n, ast.ClassDef))]:
        alike: dict[str, set[str]] = {}
        for name in own_names(scope):
            alike.setdefault(name.replace("_", ""), set()).add(name)
        found += [tuple(sorted(names)) for names in alike.values() if len(names) > 1]
    return found


def test_names_that_differ_by_an_underscore_are_found():
    code = "import json\ndef _json(): pass\nclass A:\n    def __init__(self):\n        self._of = 1\n    def of(self): pass\n"
    assert near_equal(ast.parse(code)) == [("_json", "json"), ("_of", "of")]
    assert not near_equal(ast.parse("def as_json(): json = 1\nclass Json:\n    json = 2\n"))


def test_no_two_names_differ_by_an_underscore_only():
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
    found = {name: names for name, tree in trees.items() if (names := near_equal(tree))}
    assert not found, "one of each two needs a name that says how it differs"


# The rooms of training, lowest first: each may import those before it.
ROOMS = (
    ("processes", "digests", "recipe"),
    ("data", "weights", "start", "planner"),
    ("losses",),
    ("tasks",),
    ("batches", "preflight"),
    ("loop",),
    ("run", "prepare", "supplies"),
    ("publish", "codec"),
    ("pipeline",),
    ("command", "plan_command"),
)


def imports(path: Path) -> set[str]:
    """Modules of the package that a file imports when it is imported itself."""

    def walk(node: ast.AST) -> set[str]:
        found: set[str] = set()
        for child in ast.iter_child_nodes(node):
            late = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            if late or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
                continue
            if isinstance(child, ast.ImportFrom) and child.module:
                inner = {f"{child.module}.{alias.name}" for alias in child.names}
                found |= {name if name in MODULES else child.module for name in inner}
            elif isinstance(child, ast.Import):
                found |= {alias.name for alias in child.names}
            else:
                found |= walk(child)
        return found

    return walk(ast.parse(path.read_text(encoding="utf-8"))) & MODULES.keys()


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in SOURCES}


def test_no_circle_of_imports():
    graph = {name: imports(path) - {name} for name, path in MODULES.items()}
    while loose := {name for name, others in graph.items() if not others & graph.keys()}:
        graph = {name: others for name, others in graph.items() if name not in loose}
    assert not graph, "these import each other, in a circle or behind one"


def test_rooms_of_training_stand_on_each_other():
    order = {room: height for height, rooms in enumerate(ROOMS) for room in rooms}
    for name, path in MODULES.items():
        if not name.startswith("borealis.training."):
            continue
        room = name.split(".")[2]
        for other in imports(path):
            if other.startswith("borealis.training.") and (below := other.split(".")[2]) != room:
                assert order[below] <= order[room], f"{name} imports {other}"


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import borealis", ("torch", "transformers", "gradio", "soundfile", "numpy")),
        ("from borealis.cli import main; main(['--version'])", ("torch", "transformers", "gradio")),
        ("import borealis.audio", ("torch", "transformers")),
        ("import borealis.codec", ("torch", "transformers", "numpy")),
        ("from borealis.codec import Codes, CodecVocabulary, to_flat", ("torch", "transformers")),
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


# What came with a later release of 3.11 than the lowest one; vermin knows only minor versions.
LATER_NAMES = {"data_filter", "extraction_filter", "fully_trusted_filter", "tar_filter"}
LATER_ARGUMENTS = {("extract", "filter"), ("extractall", "filter"), ("getaddresses", "strict"), ("parseaddr", "strict")}  # fmt: skip


def test_nothing_is_newer_than_the_lowest_python():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["requires-python"] == ">=3.11.2"
    for path in tracked():
        if path.suffix != ".py" or path == Path(__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node, "attr", getattr(node, "id", ""))
            assert name not in LATER_NAMES, f"{path}: {name}"
            if isinstance(node, ast.Call):
                called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                given = {(called, keyword.arg) for keyword in node.keywords}
                assert not given & LATER_ARGUMENTS, f"{path}:{node.lineno}: {called}"
