"""Fetches the scripts and fonts of the site from npm into docs/assets/vendor; run to update them.

    python tools/vendor_assets.py

The result is committed, so that building and reading the site needs no network. Every package
brings its licence file along.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
VENDOR = ROOT / "docs" / "assets" / "vendor"


@dataclass(frozen=True)
class Package:
    """What is taken from one npm package.

    Args:
        name: name on npm.
        version: exact version.
        folder: where it goes, under docs/assets/vendor.
        files: glob patterns inside the package.
    """

    name: str
    version: str
    folder: str
    files: tuple[str, ...]


PACKAGES = (
    Package("@mermaid-js/tiny", "11.17.2", "mermaid", ("dist/mermaid.tiny.js",)),
    Package(
        "katex",
        "0.19.1",
        "katex",
        ("dist/katex.min.js", "dist/katex.min.css", "dist/fonts/*.woff2", "LICENSE"),
    ),
    Package(
        "@fontsource-variable/golos-text",
        "5.3.0",
        "golos-text",
        ("files/golos-text-*-wght-normal.woff2", "LICENSE"),
    ),
    Package(
        "@fontsource-variable/jetbrains-mono",
        "5.3.0",
        "jetbrains-mono",
        (
            "files/jetbrains-mono-latin-wght-normal.woff2",
            "files/jetbrains-mono-latin-ext-wght-normal.woff2",
            "files/jetbrains-mono-cyrillic-wght-normal.woff2",
            "LICENSE",
        ),
    ),
)

# The package of the small mermaid has no licence file; the one of the whole mermaid is the same.
LICENCES = (Package("mermaid", "11.17.2", "mermaid", ("LICENSE",)),)

# Tests only: looks for faults of accessibility. Not published.
TESTS = Package("axe-core", "4.14.1", "", ("axe.min.js", "LICENSE"))


def fetch(package: Package, target: Path) -> None:
    """Unpack the wanted files of a package, without their folders, into `target`."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        subprocess.run(["tar", "-xf", archive.name], cwd=folder, check=True)
        for pattern in package.files:
            found = sorted((Path(folder) / "package").glob(pattern))
            if not found:
                raise FileNotFoundError(f"{package.name} {package.version} has no {pattern}")
            for path in found:
                inner = "fonts" if path.parent.name == "fonts" else ""
                (target / inner).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target / inner / path.name)


def woff2_only(css: Path) -> None:
    """Leave only woff2 in the list of a font's formats; the others aren't shipped."""
    text = css.read_text(encoding="utf-8")
    text = re.sub(r",url\([^)]*\.(?:woff|ttf)\) ?format\([^)]*\)", "", text)
    if ".ttf" in text:
        raise ValueError(f"{css.name} still names a ttf; its layout has changed")
    css.write_text(text, encoding="utf-8")


def main() -> int:
    """Make docs/assets/vendor and tests/site/vendor anew."""
    shutil.rmtree(VENDOR, ignore_errors=True)
    for package in (*PACKAGES, *LICENCES):
        fetch(package, VENDOR / package.folder)
    woff2_only(VENDOR / "katex" / "katex.min.css")
    fetch(TESTS, ROOT / "tests" / "site" / "vendor")
    size = sum(path.stat().st_size for path in VENDOR.rglob("*") if path.is_file())
    print(f"{VENDOR.relative_to(ROOT)}: {size / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
