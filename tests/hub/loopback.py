"""Commands that ask a hub on loopback, as a user's would ask the real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hub.server import Hub

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Loopback:
    """A hub, and commands that ask it."""

    hub: Hub
    home: Path

    def run(
        self, *arguments: str, told: Any = None, home: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run Python with the clients' variables set: they are read when it starts.

        Args:
            *arguments: of Python.
            told: what it reads, as JSON.
            home: of the clients' caches.
            **variables: further ones.
        """
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            input=None if told is None else json.dumps(told),
            env=os.environ | self.hub.environment(str(home or self.home)) | variables,
            capture_output=True,
            text=True,
            timeout=500,
        )

    def borealis(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the command."""
        return self.run("-m", "borealis", *arguments, **variables)
