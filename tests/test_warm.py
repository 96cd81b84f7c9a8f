"""A warm command is what Python would have run: the tests of pages and of the hub rely on it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.warm import Warm

# All that a program can see of how it was started.
_STATE = """
import json, os, signal, sys
streams = [s and (s.name, s.mode, s.encoding, s.errors, s.line_buffering, s.isatty())
           for s in (sys.stdin, sys.stdout, sys.stderr)]
kinds = ("BOREALIS", "HF_", "HOME", "LANG", "LC_", "OMP_", "PWD", "PYTHON", "SHLVL")
names = sorted((k, v) for k, v in os.environ.items() if k.startswith(kinds))
mask = os.umask(0)
ignored = [signal.getsignal(n) == signal.SIG_IGN for n in (signal.SIGINT, signal.SIGTERM)]
files = [n for n in range(3, 20) if os.path.exists(f"/proc/self/fd/{n}")]
said = sys.stdin and sys.stdin.read()
state = [sys.argv, sys.path, os.getcwd(), __name__, streams, names, mask, ignored, files, said]
print(json.dumps(state), file=sys.stdout or sys.stderr)
print("warned", file=sys.stderr)
"""
# The parent is the test itself only where nothing stands between.
_PARENT = "import os; print(os.getppid())"


class Both:
    """The same command by Python itself and by a warm one."""

    def __init__(self, warm: Warm) -> None:
        self.warm = warm
        self.fresh = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def start(self, *command: str, warm: bool = True, **options: Any) -> subprocess.Popen[str]:
        """A process whose streams are pipes, unless they are given."""
        env = self.fresh | options.pop("variables", {})
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        env = self.warm.environment(env) if warm else env
        program = command[0]
        if program in ("python", "borealis"):  # Popen looks on the PATH of the test
            folder = self.warm.folder if warm else Path(sys.executable).parent
            program = str(folder / program)
        # What the tests themselves were told to ignore, as by nohup, isn't meant here.
        options = {"preexec_fn": heed} | options
        return subprocess.Popen([program, *command[1:]], text=True, env=env, **(pipes | options))

    def run(self, *command: str, said: str = "", **options: Any) -> tuple[int, str, str]:
        """Exit code and output of a command."""
        process = self.start(*command, **options)
        out, err = process.communicate(said, timeout=60)
        return process.returncode, out, err


def heed() -> None:
    """Let every signal end this process."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    """A warm Python that has imported nothing: it differs from a fresh one as any other does."""
    with Warm(free=["MOOD"]) as warm:
        both = Both(warm)
        warm.environment(both.fresh)
        yield both


def equal(both: Both, *command: str, **options: Any) -> tuple[int, str, str]:
    """What both do alike."""
    fresh, warm = (both.run(*command, warm=warm, **options) for warm in (False, True))
    assert warm == fresh
    return warm


@pytest.mark.parametrize("how", ["-c", "script", "-m", "-u"])
def test_a_program_sees_what_it_would_see(both, tmp_path, how):
    (tmp_path / "shown.py").write_text(_STATE, encoding="utf-8")
    ways = {
        "-c": ("-c", _STATE),
        "script": ("./shown.py",),
        "-m": ("-m", "shown"),
        "-u": ("-u", "-m", "shown"),
    }
    code, out, err = equal(both, "python", *ways[how], "--a", "б", said="да\n", cwd=tmp_path)
    assert code == 0 and err == "warned\n"
    assert json.loads(out)[2:4] == [str(tmp_path), "__main__"] and json.loads(out)[-1] == "да\n"


@pytest.mark.parametrize(
    "shell",
    [
        'python -c "$0" <&-',
        'python -c "$0" >&-',
        'python -c "$0" 2>&-',
        'python -c "$0" <&- >&- 2>file; cat file',
        'umask 077; cd /; python -c "$0" > /dev/../dev/stdout 2>&1',
        "trap '' INT TERM; python -c \"$0\"",
        'python -c "$0" 7<&0',
        'SHLVL=5 python -c "$0"',
        'python -c "$0" < <(echo one); cat <(python -c "print(1)")',
        'python -c "print(1)" | python -c "import sys; print(sys.stdin.read() * 2)"',
        'python -c "print(1)" > file; python -c "print(2)" >> file; cat file',
        "python -c \"print('я' * 500_000)\" 2>/dev/null | head -c 4; echo ${PIPESTATUS[0]}",
    ],
)
def test_a_shell_finds_nothing_else(both, tmp_path, shell):
    equal(both, "bash", "-c", shell, _STATE, cwd=tmp_path)


@pytest.mark.parametrize(
    "program",
    [
        "raise SystemExit(3)",
        "raise SystemExit('told')",
        "raise SystemExit",
        "import os; os._exit(7)",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        "import atexit; atexit.register(print, 'the end'); print('begun')",
        "import threading; threading.Thread(target=print, args=['later']).start()",
        "import sys; sys.stdout = open('/dev/full', 'w'); print(1)",
    ],
)
def test_it_ends_as_it_would_end(both, program):
    equal(both, "python", "-c", program)


def test_an_error_is_shown(both):
    code, _, err = both.run("python", "-c", "1 / 0")
    assert code == 1 and err.endswith("ZeroDivisionError: division by zero\n")


_WAITING = "import os, signal, sys; print(os.getpid(), flush=True); sys.stdin.read()"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_ends_it(both, number):
    process = both.start("python", "-c", _WAITING)
    assert int(process.stdout.readline()) != process.pid
    process.send_signal(number)
    process.wait(timeout=60)  # while its input is open: it has no other reason to end
    _, err = process.communicate()
    assert process.returncode == -number
    assert ("KeyboardInterrupt" in err) == (number == signal.SIGINT)


def test_it_does_not_outlive_its_client(both):
    read, write = os.pipe()
    process = both.start("python", "-c", _WAITING, stdout=write)
    os.close(write)
    with open(read, encoding="utf-8") as stream:
        assert int(stream.readline()) != process.pid
        process.kill()
        assert stream.read() == "", "everybody who could write has ended"
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_clients_that_are_killed_at_any_moment_disturb_nobody(both):
    for wait in range(12):
        process = both.start("python", "-c", "print(1)")
        with suppress(subprocess.TimeoutExpired):
            process.wait(wait / 400)
        process.kill()
        process.communicate()
    assert both.run("python", "-c", "print(2)") == (0, "2\n", "")


def test_only_the_same_environment_is_warm(both):
    assert int(both.run("python", "-c", _PARENT)[1]) != os.getpid()
    changed = both.run("python", "-c", _PARENT, variables={"BOREALIS_CACHE": "/elsewhere"})
    assert int(changed[1]) == os.getpid()
    assert int(both.run("python", "-E", "-c", _PARENT)[1]) == os.getpid()
    program = f"import os; print(os.environ.get('MOOD')); {_PARENT}"
    for variables in ({"MOOD": "good"}, {}):
        mood, parent = both.run("python", "-c", program, variables=variables)[1].split()
        assert mood == str(variables.get("MOOD")) and int(parent) != os.getpid()


def test_many_run_at_once(both):
    processes = [both.start("python", "-c", _WAITING) for _ in range(5)]
    assert len({process.stdout.readline() for process in processes}) == 5
    for process in processes[::-1]:
        process.communicate("", timeout=60)
        assert process.returncode == 0


def test_the_server_ends_with_its_commands():
    with Warm() as warm:
        both = Both(warm)
        warm.environment(both.fresh)
        process = both.start("python", "-c", _WAITING)
        process.stdout.readline()
    assert process.communicate(timeout=60)[1].startswith("The warm Python has gone")
    assert process.returncode == 1 and not warm.folder.exists()


@pytest.mark.slow
def test_the_command_with_everything_imported(speech):
    with Warm("borealis.training.pipeline") as warm:
        both = Both(warm)
        warm.environment(both.fresh)
        for command in (
            ("transcribe", str(speech), "no-such-file.wav", "--format", "json"),
            ("plan", "nano", "--no-such-option"),
        ):
            equal(both, "borealis", *command)
        program = "import numpy, random; print(numpy.random.rand(), random.random())"
        first, second = (both.run("python", "-c", program)[1].split() for _ in range(2))
        assert not set(first) & set(second), "what was drawn before the fork isn't drawn again"
