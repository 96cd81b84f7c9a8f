"""How the project tests itself: no skip in silence, no phase left out, the wheel, the bare machine."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT


@pytest.fixture
def tool(monkeypatch):
    """`tool(name)`: a file of tools/ as a module; one of them has no suffix."""

    def load(name: str) -> ModuleType:
        loader = SourceFileLoader("tool_of_tests", str(ROOT / "tools" / name))
        module = module_from_spec(spec_from_loader(loader.name, loader))
        monkeypatch.setitem(sys.modules, loader.name, module)  # dataclasses look there
        loader.exec_module(module)
        return module

    return load


# ---- skips ----

HOOKS = "from tests.skips import pytest_addoption, pytest_sessionfinish, pytest_terminal_summary\n"
SKIPS = """\
import pytest
from tests.skips import needs_program

def test_that_runs(): pass

@pytest.mark.skip(reason="{reason}")
def test_that_does_not(): pass
"""


def run_pytest(folder: Path, reason: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Two tests in a folder of their own, one skipped for `reason`."""
    (folder / "conftest.py").write_text(HOOKS, encoding="utf-8")
    (folder / "test_two.py").write_text(SKIPS.format(reason=reason), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    return subprocess.run(
        [*command, *options, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-n", "1")])
def test_a_skip_that_nobody_allowed_fails_the_run(tmp_path, workers):
    done = run_pytest(tmp_path, "flute isn't installed", "--no-stray-skips", *workers)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "test_two.py:6: flute isn't installed" in done.stdout
    assert "1 passed, 1 skipped" in done.stdout


@pytest.mark.slow
def test_other_skips_are_none_of_its_business(tmp_path):
    done = run_pytest(tmp_path, "needs a GPU with 80 GB", "--no-stray-skips")
    assert done.returncode == 0 and "may not be" not in done.stdout
    assert run_pytest(tmp_path, "flute isn't installed").returncode == 0


# ---- make test ----

MAKEFILE = """\
install:
\t@echo installed
install-broken:
\t@exit 3
test-one: # fails, after a report of three tests
\t@cp report.xml build/test/test-one.xml; exit 1
test-none: # succeeds, without a report
\t@true
late:
\t@echo last
"""
REPORT = """<testsuites><testsuite>
<testcase classname="a" name="good"/>
<testcase classname="a" name="bad"><failure message="no">no</failure></testcase>
<testcase classname="a" name="left"><skipped message="needs a GPU">no</skipped></testcase>
</testsuite></testsuites>"""


def test_no_phase_is_left_out_because_another_failed(tool, tmp_path, monkeypatch, capfd):
    script = tool("run_tests.py")
    (tmp_path / "Makefile").write_text(MAKEFILE, encoding="utf-8")
    (tmp_path / "report.xml").write_text(REPORT, encoding="utf-8")
    beside = (script.Phase("test-none", counted=True), script.Phase("late", ("install",)))
    lane = (
        script.Phase("install-broken"),
        script.Phase("test-broken", ("install-broken",), counted=True),
        script.Phase("test-one", counted=True),
        script.Phase("install"),
    )
    monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setattr(script, "BUILD", tmp_path / "build/test")
    monkeypatch.setattr(script, "LANES", (lane, beside))
    monkeypatch.setattr(sys, "argv", ["run_tests.py"])
    assert script.main() == 1
    outcomes = [phase.outcome for phase in lane]
    assert outcomes == ["FAILED", "not run: install-broken failed", "FAILED", "ok"]
    assert [phase.outcome for phase in beside] == ["FAILED", "ok"]
    out = capfd.readouterr().out
    assert out.index("===== install =====\ninstalled\n") < out.index("===== late =====\nlast\n")
    assert "left out: a.left: needs a GPU\n" in out
    # A phase that fails without tests counts as one.
    assert out.splitlines()[-1] == "1 passed, 4 failed, 1 skipped"


def test_phases_are_targets_of_the_makefile(tool):
    script = tool("run_tests.py")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phases = [phase for lane in script.LANES for phase in lane]
    for phase in phases:
        assert f"\n{phase.name}:" in makefile
        assert set(phase.needs) <= {p.name for p in phases}


# ---- what is installed ----


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "borealis"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    tracked = {name for name in listed.stdout.split("\0") if (ROOT / name).is_file()} - {""}
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.compress_size for info in archive.infolist()}
    inside = {name for name in sizes if name.startswith("borealis/")}
    assert tracked <= inside
    assert "borealis/checkpoints/nano/bundle.safetensors" in inside
    # Neither the laboratory nor tools; and beside the checkpoint the package weighs next to nothing.
    others = {name.partition("/")[0] for name in sizes.keys() - inside}
    assert len(others) == 1 and others.pop().endswith(".dist-info")
    weights = sum(n for name, n in sizes.items() if name.startswith("borealis/checkpoints/nano/"))
    assert sum(sizes.values()) - weights < 1_000_000 < weights / 30


def test_the_lists_of_packages_have_no_address_and_no_cuda():
    for path in sorted(ROOT.glob("requirements*.lock")):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, version = line.partition(" ;")[0].partition("==")
            assert line.startswith("#") or (name and version), line
            assert "://" not in line and not name.startswith(("nvidia", "cuda"))


# ---- the bare machine ----


def test_only_root_makes_a_bare_machine(tool, monkeypatch, capsys):
    fresh_machine = tool("fresh-machine")
    monkeypatch.setattr(fresh_machine.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["fresh-machine", "--prepare"])
    assert fresh_machine.main() == 1
    assert capsys.readouterr().err == "fresh-machine: only root may make a bare machine.\n"


def test_folders_that_pip_takes_packages_from_are_taken_along(tool, monkeypatch, tmp_path):
    for name in ("wheels", "index/simple", "index/files"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("PIP_FIND_LINKS", f"{tmp_path}/wheels https://example.org/wheels")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"file://{tmp_path}/index/simple {tmp_path}/none")
    found = [f for f in tool("fresh-machine").package_folders() if f.startswith(str(tmp_path))]
    assert found == [f"{tmp_path}/index", f"{tmp_path}/wheels"]
