"""The built site that the demo serves at `/`: finds it, and builds it where that can be done."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

_SOURCES = ("docs", "examples", "results", "mkdocs.yml", "CHANGELOG.md", "NOTICE", "tools")
_BUILDERS = ("mkdocs", "material", "mkdocs_static_i18n", "mkdocstrings", "pagefind_bin")


def checkout() -> Path | None:
    """The repository that the package runs from, if it does."""
    folder = Path(str(resources.files("borealis"))).parent
    return folder if (folder / "mkdocs.yml").is_file() else None


def ready_site() -> Path | None:
    """The folder of the site, built anew if its sources are newer and mkdocs is there.

    Returns:
        None where there is no site and none can be built; the reason is printed.
    """
    root = checkout()
    if root is None:
        return None
    site = root / "site"
    built = (site / "index.html").is_file()
    if built and not _older(site / "index.html", root):
        return site
    if not all(find_spec(name) for name in _BUILDERS):
        print("The site isn't built: that needs pip install 'borealis-audio[docs]'.", flush=True)
        return site if built else None
    print("Building the site, once for these sources...", flush=True)
    return build_site(root, site) or (site if built else None)


def build_site(root: Path, site: Path) -> Path | None:
    """Build the site of a checkout into `site`; None if that fails, and why is printed."""
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(site)]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or "mkdocs failed").splitlines()[-1]
        print(f"The site couldn't be built: {reason}", file=sys.stderr, flush=True)
        return None
    return site


def _older(page: Path, root: Path) -> bool:
    """Whether anything the site is made of changed after `page` was written."""
    built = page.stat().st_mtime
    for name in _SOURCES:
        path = root / name
        files = path.rglob("*") if path.is_dir() else [path]
        if any(f.stat().st_mtime > built for f in files if f.is_file() and f.suffix != ".pyc"):
            return True
    return False
