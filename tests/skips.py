"""What may be skipped: "make test" has all that tests need, so there a skip is a fault, with few exceptions."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

# The only reasons for which "make test" may leave a test out: what no installation gives.
ALLOWED = ("needs a GPU", "needs another machine")


def needs_program(name: str, package: str = "") -> pytest.MarkDecorator:
    """Skip a test where a program is missing; `make packages` installs it.

    Args:
        name: of the program.
        package: Debian's packages of it, if they have other names.
    """
    reason = f"{name} isn't installed (Debian: {package or name})"
    return pytest.mark.skipif(shutil.which(name) is None, reason=reason)


def stray(config: pytest.Config) -> list[str]:
    """`file:line: reason` of every skip so far that may not be."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not config.getoption("--no-stray-skips"):
        return []
    # A skip outside a test and its fixtures, of a whole file, has a place as well.
    places = [report.longrepr for report in reporter.stats.get("skipped", ())]
    skips = [(f"{path}:{line}", text.removeprefix("Skipped: ")) for path, line, text in places]
    return sorted({f"{place}: {why}" for place, why in skips if not why.startswith(ALLOWED)})


# ---- hooks of pytest, for tests/conftest.py ----


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option of "make test"."""
    parser.addoption(
        "--no-stray-skips",
        action="store_true",
        help="fail if a test is skipped for a reason that tests/skips.py doesn't allow",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skip that nobody allowed fails the run, though every test that ran may have passed."""
    if session.exitstatus == pytest.ExitCode.OK and stray(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Name the skips that fail the run."""
    if found := stray(config):
        terminalreporter.section("skipped, and may not be", red=True)
        for line in found:
            terminalreporter.write_line(line)
        terminalreporter.write_line("Install what is missing (make packages); see tests/skips.py.")
