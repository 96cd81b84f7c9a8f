"""How OpenMP threads wait: told before PyTorch is imported, or made to when it was before us."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from borealis import threads

linux = pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP is PyTorch's on Linux")

# Processor seconds of all threads but this one, as a share of this one's own, while short steps of
# two threads alternate with work of this one: what threads burn while they wait.
BURNED = """
import time
def burned():
    x = torch.ones(1 << 18)
    x.add_(1)
    own, all = time.thread_time(), time.process_time()
    for _ in range(20):
        x.add_(1)
        sum(range(200_000))
    own, all = time.thread_time() - own, time.process_time() - all
    return (all - own) / own
"""


def run(program: str, **variables: str) -> subprocess.CompletedProcess:
    """A Python program in a process whose OpenMP has two threads and nothing set by a user."""
    environment = {k: v for k, v in os.environ.items() if k not in threads._USERS}
    environment |= {"OMP_NUM_THREADS": "2"} | variables
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip


@pytest.mark.slow
@linux
def test_torch_is_told_to_sleep() -> None:
    done = run("import borealis, torch", OMP_DISPLAY_ENV="VERBOSE")
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
    assert f"GOMP_SPINCOUNT = '{threads.SETTINGS['GOMP_SPINCOUNT']}'" in done.stderr


@pytest.mark.slow
@linux
def test_what_a_user_has_set_stays() -> None:
    program = (
        "import os, threading, torch, borealis\n"
        "borealis.load()\n"
        "names = [thread.name for thread in threading.enumerate()]\n"
        "print(os.environ.get('OMP_WAIT_POLICY'), 'borealis-openmp' in names)"
    )
    done = run(program, OMP_DISPLAY_ENV="VERBOSE", GOMP_SPINCOUNT="20000")
    assert "GOMP_SPINCOUNT = '20000'" in done.stderr
    assert done.stdout.split() == ["None", "False"]


@pytest.mark.slow
@linux
def test_threads_that_wait_burn_nothing() -> None:
    # What is read beside the loading is there when something has been transcribed.
    used = "import torch, borealis, numpy; borealis.load().transcribe(numpy.zeros(9, 'float32'))"
    shares = [
        float(run(f"{order}{BURNED}print(burned())").stdout)
        for order in ("import borealis, torch", used)
    ]
    assert max(shares) < 0.25, shares


def test_processes_that_are_started_inherit_it() -> None:
    program = (
        "import borealis, os; print(os.environ['OMP_WAIT_POLICY'], os.environ['GOMP_SPINCOUNT'])"
    )
    assert run(program).stdout.split() == list(threads.SETTINGS.values())


def test_nothing_is_added_to_a_users_setting() -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        environment = {name: "1"}
        threads.wait_politely(environment)
        assert environment == {name: "1"}
