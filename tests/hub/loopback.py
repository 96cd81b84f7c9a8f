"""Commands that ask a hub on loopback, as a user's would ask the real one."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hub.server import Hub
from tests.warm import LAUNCHED, Warm

ROOT = Path(__file__).resolve().parents[2]


def warm_clients() -> Warm:
    """Python that has imported what commands to the hub import, the launcher of processes too."""
    modules = ("borealis.training.pipeline", "torch.distributed.launcher.api")
    return Warm(*modules, free=["HF_TOKEN", "BOREALIS_CACHE", *LAUNCHED])


@dataclass
class Loopback:
    """A hub, and commands that ask it."""

    hub: Hub
    home: Path
    warm: Warm

    def run(
        self, *arguments: str, told: Any = None, home: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run Python with the clients' variables set: they are read when it starts.

        It is warm where they are as they were the first time.

        Args:
            *arguments: of Python.
            told: what it reads, as JSON.
            home: of the clients' caches.
            **variables: further ones.
        """
        python = str(self.warm.folder / "python")
        # PYTHON_EXEC: what torch's launcher starts.
        usual = os.environ | self.hub.environment(str(self.home)) | {"PYTHON_EXEC": python}
        return subprocess.run(
            [python, *arguments],
            cwd=ROOT,
            input=None if told is None else json.dumps(told),
            env=self.warm.environment(usual) | ({"HF_HOME": str(home)} if home else {}) | variables,
            capture_output=True,
            text=True,
            timeout=500,
        )

    def borealis(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the command."""
        return self.run("-m", "borealis", *arguments, **variables)
