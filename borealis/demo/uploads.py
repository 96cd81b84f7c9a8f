"""Where recordings of visitors lie, and for how long.

Gradio deletes what was sent, once it has lain there long enough. It forgets what broke off in the
middle, so that is swept here.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

KEEP_MINUTES = 30  # the page and the documentation name it too
SWEEP_SECONDS = 60
_OF_ONE_FILE = re.compile(r"[0-9a-f]{64}")


@contextmanager
def folder_of_uploads() -> Iterator[Path]:
    """A temporary folder that Gradio puts recordings into; swept until it is deleted at the end."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    folder = Path(tempfile.mkdtemp(prefix="borealis-demo-"))
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    over = threading.Event()

    def watch() -> None:
        while not over.wait(SWEEP_SECONDS):
            sweep(folder, before=time.time() - KEEP_MINUTES * 60)

    watcher = threading.Thread(target=watch, daemon=True, name="uploads")
    watcher.start()
    try:
        yield folder
    finally:
        over.set()
        watcher.join()
        shutil.rmtree(folder, ignore_errors=True)
        if before is None:
            del os.environ["GRADIO_TEMP_DIR"]
        else:
            os.environ["GRADIO_TEMP_DIR"] = before


def sweep(folder: Path, *, before: float) -> None:
    """Delete unfinished uploads last written before a time, in seconds of the epoch.

    They lie in the folder itself; each finished one has a folder of its own, which stays behind
    when Gradio deletes the file, and goes here too.
    """
    for path in folder.iterdir():
        with suppress(OSError):  # somebody else deletes too, or a folder isn't empty
            if path.lstat().st_mtime >= before:
                continue
            if path.is_file():
                path.unlink()
            elif _OF_ONE_FILE.fullmatch(path.name):
                path.rmdir()
