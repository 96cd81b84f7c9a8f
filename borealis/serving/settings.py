"""Limits of the server's front, handed from `borealis serve` to its process as one variable."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

VARIABLE = "BOREALIS_SERVE"
# What a line slower than a telephone's brings; a body may take a second more for each.
_BYTES_PER_SECOND = 16 * 2**10


@dataclass(frozen=True)
class Settings:
    """What the front lets through.

    Args:
        max_bytes: largest file, encoded as it came; the body of a request may be a little larger.
        max_seconds: longest recording, counted in decoded samples.
        media_domains: hosts from which audio may be fetched by URL; none by default.
        max_requests: requests that are at work or wait their turn; more are sent away.
        max_held: bytes that bodies and decoded sound of all requests may take together.
        receive_seconds: how long the headers of a request may take, and how long its body may,
            beside a second for every 16 KB that have come.
    """

    max_bytes: int = 25 * 2**20
    max_seconds: float = 3600.0
    media_domains: tuple[str, ...] = ()
    max_requests: int = 128
    max_held: int = 2**30
    receive_seconds: float = 30.0

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

    @property
    def largest_request(self) -> int:
        """Bytes that one request may hold: its body twice, as it came and read, and its sound."""
        return 2 * self.max_body + round(self.max_seconds * 16_000 * 4)

    def body_seconds(self, received: int) -> float:
        """How long a body may take of which `received` bytes have come."""
        return self.receive_seconds + received / _BYTES_PER_SECOND
