"""Names of a package that are imported when they are used: torch takes a second and more."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any


def lazily(
    package: str, public: Mapping[str, str], already: Mapping[str, Any]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package (PEP 562).

    Args:
        package: its name.
        public: names it has, and the modules they live in.
        already: its globals.
    """

    def get(name: str) -> Any:
        if name not in public:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with _collector_at_rest():
            module = import_module(public[name])
        return getattr(module, name)

    return get, lambda: sorted([*already, *public])


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """What an import makes stays: looking for garbage in it takes a fifth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
