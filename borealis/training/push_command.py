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
    if args.repo.count("/") != 1 or not all(args.repo.split("/")):
        raise CheckpointError(f"'{args.repo}' isn't a hub id; write OWNER/NAME.")
    files = sorted({p for pattern in PATTERNS for p in folder.glob(pattern) if p.is_file()})
    if args.dry_run:
        for file in files:
            print(f"{file.stat().st_size:>14,}  {file.name}")
        return 0
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    api = HfApi()
    try:
        api.create_repo(args.repo, private=args.private or None, exist_ok=True)
        done = api.upload_folder(
            repo_id=args.repo,
            folder_path=folder,
            allow_patterns=list(PATTERNS),
            commit_message=args.message,
        )
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"'{args.repo}' can't be written: {first}. 'hf auth login' stores a token."
        ) from None
    print(done.commit_url if hasattr(done, "commit_url") else args.repo)
    return 0
