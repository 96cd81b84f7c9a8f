"""Limits of the server's front, handed from `borealis serve` to its process as one variable."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

VARIABLE = "BOREALIS_SERVE"


@dataclass(frozen=True)
class Settings:
    """What the front lets through.

    Args:
        max_bytes: largest file, encoded as it came; the body of a request may be a little larger.
        max_seconds: longest recording, counted in decoded samples.
        media_domains: hosts from which audio may be fetched by URL; none by default.
    """

    max_bytes: int = 25 * 2**20
    max_seconds: float = 3600.0
    media_domains: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls) -> Settings:
        values = json.loads(os.environ.get(VARIABLE, "{}"))
        return cls(**(values | {"media_domains": tuple(values.get("media_domains", ()))}))

    def to_variable(self) -> str:
        return json.dumps(asdict(self))

    @property
    def max_body(self) -> int:
        """Base64 makes four bytes of three; the rest of a request is small."""
        return self.max_bytes * 4 // 3 + 2**20
