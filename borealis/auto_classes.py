"""Makes transformers' Auto classes know Borealis after `import borealis`, which stays light.

The classes are registered by `borealis.model`, which needs torch and transformers. So nothing is
imported until somebody else imports transformers' Auto classes: then `borealis.model` follows, once
no module of transformers is half imported.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_PACKAGE = "transformers."
_REGISTRY = "transformers.models.auto.configuration_auto"
_OURS = "borealis.model"


def register_when_wanted() -> None:
    """Register at once where the Auto classes are there already, else when they are imported."""
    if _OURS in sys.modules:
        return
    if _REGISTRY in sys.modules:
        import_module(_OURS)
    elif not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())


class _Watch(MetaPathFinder):
    """Finds modules of transformers as they are always found, and sees when they are whole."""

    def __init__(self) -> None:
        self._half = threading.local()  # how many modules this thread is in the middle of

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module of transformers; None for all others."""
        if not fullname.startswith(_PACKAGE):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            self._watch(spec.loader)
        return spec

    def _watch(self, loader: Any) -> None:
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module  # the loader is as it was
            self._half.count = getattr(self._half, "count", 0) + 1
            try:
                run(module)
            finally:
                self._half.count -= 1
            if not self._half.count and _REGISTRY in sys.modules:
                self._register()

        loader.exec_module = exec_module

    def _register(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            import_module(_OURS)
