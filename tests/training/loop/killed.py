"""Runs `borealis train` again and again, killed each time at a given call; used by test_killed.py.

    python -m tests.training.loop.killed PLAN.json

PLAN holds `arguments` of the command and `kills`: pairs of a function's name and the number of the
call of it in which the process gets SIGKILL. Each run is a fork of one process that has only
imported the libraries, so that a kill costs a second and not the start of Python. The last run is
left alone.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from pathlib import Path

import torch

from borealis.cli import main
from borealis.training import pipeline
from borealis.training.data import features
from borealis.training.loop import checkpoints as saving
from borealis.training.loop import writer
from borealis.training.loop.trainer import StageTrainer

# Where a process may die: (holder, attribute).
PLACES = {
    "encode": (features, "encode_windows"),  # while the feature cache is made
    "forward": (StageTrainer, "_loss"),
    "update": (StageTrainer, "_clip"),  # gradients are there, weights are the old ones
    "checkpoint": (saving, "publish"),  # written, without its name yet
    "learned": (writer, "save_learned"),  # before a byte of a checkpoint is written
    "model": (saving, "sync_folder"),  # files are there, nothing of it is promised
}


def kill_in(place: str, number: int) -> None:
    """Make call `number` (from 1) of a function of `PLACES` the last thing this process does."""
    holder, name = PLACES[place]
    function = getattr(holder, name)
    calls = [0]

    @functools.wraps(function)
    def counted(*args, **kwargs):
        calls[0] += 1
        if calls[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    setattr(holder, name, counted)


def run(arguments: list[str], kill: tuple[str, int] | None) -> int:
    """Fork, train, and give the child's status as `os.waitstatus_to_exitcode` does."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        if kill:
            kill_in(*kill)
        status = main(arguments)
        sys.stdout.flush()
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    plan = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    assert pipeline.run_recipe is not None  # imported before the first fork
    statuses = [run(plan["arguments"], tuple(kill)) for kill in plan["kills"]]
    statuses.append(run(plan["arguments"], None))
    print(json.dumps(statuses))
