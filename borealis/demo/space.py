"""Folders for Hugging Face Spaces: the site alone (static), or the demo (Gradio, Docker).

A folder holds all it needs: the package itself with its model, the example recordings, the built
site, and the versions it was tested with. Nothing is fetched when it runs.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from borealis import __version__
from borealis.errors import BorealisError
from borealis.hub import upload

KINDS = ("static", "gradio", "docker")
PORT = 7860
# Python of the images; the lock is made and tested with it.
PYTHON = "3.11"

_ABOUT = {
    "static": "The documentation of Borealis, in Russian and English.",
    "gradio": "Borealis hears: speech to text, questions, a look inside. With its documentation.",
    "docker": "Borealis hears: speech to text, questions, a look inside. With its documentation.",
}
_APP = '''"""The Space: the demo of Borealis with its site, on the port that Spaces expect."""

import os
from pathlib import Path

from borealis.demo import launch

here = Path(__file__).parent
# The unpacked weights go where whoever runs this may write.
os.environ.setdefault("BOREALIS_CACHE", str(Path.home() / ".cache" / "borealis"))
launch(
    host=os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0"),
    port=int(os.environ.get("GRADIO_SERVER_PORT", "{port}")),
    model={model},
    site=here / "site" if (here / "site").is_dir() else None,
)
'''
_DOCKERFILE = """# The Space as a container: the demo of Borealis with its site.
FROM python:{python}-slim
RUN useradd --create-home --uid 1000 user && install --directory --owner user /app
USER user
WORKDIR /app
ENV HF_HUB_OFFLINE=1 GRADIO_ANALYTICS_ENABLED=False
COPY --chown=user requirements.txt .
RUN pip install --no-cache-dir --user -r requirements.txt
COPY --chown=user . .
EXPOSE {port}
CMD ["python", "app.py"]
"""


def build(
    folder: str | os.PathLike[str],
    *,
    kind: str = "gradio",
    title: str = "Borealis",
    model: str = "nano",
    site: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Write a folder that is ready to push.

    Args:
        folder: a new or empty folder.
        kind: `static`, `gradio` or `docker`.
        title: title of the Space.
        model: `nano`, or a checkpoint folder, which is copied.
        site: the built site.

    Returns:
        `kind`, `folder`, `files` and `bytes`.

    Raises:
        BorealisError: the folder isn't empty, or something to put into it is missing.
    """
    if kind not in KINDS:
        raise BorealisError(f"kind is {kind!r}; it must be one of {', '.join(KINDS)}.")
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BorealisError(f"'{folder}' isn't an empty folder; name a new one.")
    if site is not None and not (Path(site) / "index.html").is_file():
        raise BorealisError(f"'{site}' isn't a built site: it has no index.html.")
    if kind == "static" and site is None:
        raise BorealisError("A static Space is the built site, and there is none: run make docs.")
    checkpoint = None if model == "nano" else Path(model)
    if kind != "static" and checkpoint and not (checkpoint / "config.json").is_file():
        raise BorealisError(f"'{model}' isn't a checkpoint folder: it has no config.json.")
    pins = [] if kind == "static" else requirements()
    target.mkdir(parents=True, exist_ok=True)
    if kind == "static":
        shutil.copytree(str(site), target, dirs_exist_ok=True)
    else:
        _copy_package(target)
        if site is not None:
            shutil.copytree(site, target / "site")
        if checkpoint:
            shutil.copytree(
                checkpoint, target / "model", ignore=shutil.ignore_patterns("*.bin", "*.pt*")
            )
        # A path relative to the folder, which is what the app is run from.
        name = '"nano"' if checkpoint is None else 'str(here / "model")'
        _write(target / "app.py", _APP.format(port=PORT, model=name))
        _write(target / "requirements.txt", "\n".join(pins) + "\n")
        if kind == "docker":
            _write(target / "Dockerfile", _DOCKERFILE.format(python=PYTHON, port=PORT))
    _write(target / "README.md", _readme(kind, title, pins))
    files = [f for f in target.rglob("*") if f.is_file()]
    return {
        "kind": kind,
        "folder": str(folder),
        "files": len(files),
        "bytes": sum(f.stat().st_size for f in files),
    }


def push(
    folder: str | os.PathLike[str],
    repo: str,
    *,
    private: bool = False,
    message: str = "Update Borealis",
) -> str:
    """Send a built folder to a Space, which is made if it isn't there yet.

    The token is the one of `hf auth login` or of the variable HF_TOKEN.

    Args:
        folder: what `build` wrote.
        repo: `owner/name`.
        private: make a new Space private.
        message: message of the commit.

    Returns:
        Address of the Space.

    Raises:
        BorealisError: not such a folder, no token, or the hub refused.
    """
    return upload(
        folder, repo, kind="space", space_sdk=kind_of(folder), private=private, message=message
    )


def kind_of(folder: str | os.PathLike[str]) -> str:
    """The kind of a built folder, from its README."""
    try:
        text = (Path(folder) / "README.md").read_text(encoding="utf-8")
    except OSError:
        text = ""
    match = re.search(r"\A---\n.*?^sdk: (\w+)$.*?^---$", text, re.M | re.S)
    if match is None or match[1] not in KINDS:
        raise BorealisError(
            f"'{folder}' isn't a folder of a Space; write one with 'borealis space build'."
        )
    return match[1]


def requirements() -> list[str]:
    """Every package the demo needs, at the version that is installed here.

    Raises:
        BorealisError: one of them isn't installed.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    # The optional part of the package that the demo needs, and what that needs in turn.
    queue = [Requirement("borealis-audio[demo]")]
    while queue:
        wanted = queue.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) in seen:
            continue
        seen.add((name, frozenset(wanted.extras)))
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise BorealisError(
                f"{wanted.name} isn't installed, so its version isn't known: "
                "pip install 'borealis-audio[demo]'."
            ) from None
        if name not in ("borealis-audio", "setuptools"):  # every environment has its setuptools
            pins[name] = package.version.partition("+")[0]
        for line in package.requires or []:
            needed = Requirement(line)
            extras = wanted.extras or {""}
            marker = needed.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                queue.append(needed)
    return [f"{name}=={version}" for name, version in sorted(pins.items())]


def _copy_package(target: Path) -> None:
    package = Path(str(resources.files("borealis")))
    skip = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(package, target / "borealis", ignore=skip)
    examples = package.parent / "examples" / "audio"
    if examples.is_dir():
        shutil.copytree(examples, target / "examples" / "audio", ignore=skip)


def _readme(kind: str, title: str, pins: list[str]) -> str:
    """README with the front matter that a Space is configured by."""
    if not title.strip() or any(c in title for c in '\n\r"'):
        raise BorealisError("The title is one line without quotes.")
    matter: dict[str, str] = {
        "title": f'"{title}"',
        "emoji": "👂",
        "colorFrom": "green",
        "colorTo": "indigo",
        "sdk": kind,
    }
    if kind == "gradio":
        versions = dict(pin.split("==") for pin in pins)
        matter |= {
            "sdk_version": versions["gradio"],
            "python_version": f'"{PYTHON}"',
            "app_file": "app.py",
        }
    elif kind == "docker":
        matter["app_port"] = str(PORT)
    else:
        matter["app_file"] = "index.html"
    matter |= {"pinned": "false", "license": "apache-2.0"}
    lines = "\n".join(f"{key}: {value}" for key, value in matter.items())
    return (
        f"---\n{lines}\n---\n\n# {title}\n\n{_ABOUT[kind]}\n\n"
        f"Written by `borealis space build --kind {kind}`, Borealis {__version__}, "
        f"Python {sys.version_info[0]}.{sys.version_info[1]}.\n"
    )


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
