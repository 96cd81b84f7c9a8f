"""How OpenMP threads wait: so that a busy machine slows us in proportion, and no more.

PyTorch shares each step among threads that wait for one another. GNU OpenMP lets a thread that
waits spin for milliseconds before it sleeps. Where every core is free that saves the time of waking
it up; where another process needs the core, it keeps away the very thread it waits for, and a small
model with thousands of short steps becomes tens of times slower (pytorch issues 57715 and 80777).
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from threading import Event, Lock, Thread

# Every OpenMP is told to sleep; the GNU one to spin some tens of microseconds before: what follows
# at once, as the next layer does, finds its threads awake, and an idle machine loses nothing.
SETTINGS = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}
_USERS = (*SETTINGS, "KMP_BLOCKTIME")

_lock = Lock()
_late = False  # OpenMP had read its environment before we wrote there


def wait_politely(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set how threads wait, for this process and those it starts, unless the user has.

    Called by `import borealis`. OpenMP reads its environment when PyTorch is imported; if that has
    happened already, `wait_politely_now` helps.
    """
    global _late
    if any(name in environment for name in _USERS):
        return
    environment.update(SETTINGS)
    _late = "torch" in sys.modules


def wait_politely_now() -> None:
    """Do the same in a process that imported PyTorch before Borealis.

    GNU OpenMP spins only for an instant while it has more threads than there are cores, so one
    more team of threads is made, once, and sleeps. With another OpenMP, or where the first one
    could be told in time, nothing is done.
    """
    global _late
    with _lock:
        if not _late or sys.platform != "linux":
            return
        _late = False
        import ctypes

        symbols = ctypes.CDLL(None)  # what PyTorch links to is among the process's own
        if not (hasattr(symbols, "GOMP_parallel") and hasattr(symbols, "getpid")):
            return
        made = Event()

        def sleep() -> None:
            start = symbols.GOMP_parallel  # of a function that does nothing, by each of the team
            start.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
            start.restype = None
            size = len(os.sched_getaffinity(0)) + 1
            start(ctypes.cast(symbols.getpid, ctypes.c_void_p), None, size, 0)
            made.set()
            Event().wait()  # a team ends with the thread that made it

        Thread(target=sleep, name="borealis-openmp", daemon=True).start()
        made.wait()
