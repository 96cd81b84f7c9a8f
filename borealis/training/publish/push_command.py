"""`borealis push`: upload a folder made by `borealis export` to the hub."""

from __future__ import annotations

import argparse
from pathlib import Path

# What a published model consists of; nothing else of the folder is uploaded.
PATTERNS = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "README.md")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `borealis push`."""
    parser.add_argument("folder", help="made by 'borealis export'")
    parser.add_argument("repo", help="hub id, OWNER/NAME")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--message", default="Upload Borealis model", help="of the commit")
    parser.add_argument("--dry-run", action="store_true", help="only list what would be uploaded")


def run(args: argparse.Namespace) -> int:
    """Run what `add_arguments` parsed."""
    from borealis.errors import CheckpointError

    folder = Path(args.folder)
    needed = ("config.json", "README.md", "processor_config.json")
    if missing := [name for name in needed if not (folder / name).is_file()]:
        raise CheckpointError(
            f"'{folder}' has no {missing[0]}; 'borealis export' makes a folder that is whole."
        )
    files = sorted({p for pattern in PATTERNS for p in folder.glob(pattern) if p.is_file()})
    if args.dry_run:
        for file in files:
            print(f"{file.stat().st_size:>14,}  {file.name}")
        return 0
    from borealis.hub import upload

    print(upload(folder, args.repo, private=args.private, patterns=PATTERNS, message=args.message))
    return 0
