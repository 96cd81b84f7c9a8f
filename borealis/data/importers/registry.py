"""Which importer reads a file or a folder: the modules of `formats`, asked in their order."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

from borealis.data.importers import formats
from borealis.data.importers.rows import Found, Importer, ImportProblem, Reading


@cache
def importers() -> tuple[Importer, ...]:
    """All formats, in the order in which they are asked."""
    names = [module.name for module in pkgutil.iter_modules(formats.__path__)]
    found = [import_module(f"{formats.__name__}.{name}").IMPORTER for name in names]
    return tuple(sorted(found, key=lambda importer: (importer.order, importer.name)))


def find(source: Path) -> Importer:
    """The importer of a file or folder.

    Raises:
        ImportProblem: there is no such file, or no format that fits.
    """
    if not source.exists():
        raise ImportProblem(f"There is neither a folder nor a file '{source}'. Check the path.")
    for importer in importers():
        if importer.sniff(source):
            return importer
    names = ", ".join(importer.name for importer in importers())
    raise ImportProblem(f"'{source}' is of no known kind. What is read: {names}.")


def read(source: Path, reading: Reading) -> Iterator[Found]:
    """Rows and problems of a source, by the importer that fits it; the kind is noted.

    Raises:
        ImportProblem: it can't be understood.
    """
    importer = find(source)
    reading.note(f"'{source.name or source}' is read as: {importer.name}")
    reading.inputs.add(source)
    yield from importer.read(source, reading)


def beside() -> tuple[Importer, ...]:
    """Formats of files that lie beside a recording, the one to prefer first."""
    return tuple(importer for importer in importers() if importer.beside)
