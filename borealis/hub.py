"""Sends a folder to a repository of the Hugging Face hub."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from borealis.errors import BorealisError


class HubError(BorealisError):
    """The hub can't be reached, refused, or the name isn't that of a repository."""


def upload(
    folder: str | os.PathLike[str],
    repo: str,
    *,
    kind: Literal["model", "space"] = "model",
    space_sdk: str | None = None,
    private: bool = False,
    patterns: Sequence[str] | None = None,
    message: str,
) -> str:
    """Send a folder; the repository is made if it isn't there yet.

    The token is the one of `hf auth login` or of the variable HF_TOKEN.

    Args:
        folder: what to send.
        repo: `OWNER/NAME`.
        kind: of the repository.
        space_sdk: for a Space that is made: `gradio`, `docker` or `static`.
        private: make a new repository private.
        patterns: send only files of these names; everything if not given.
        message: of the commit.

    Returns:
        Address of the repository.

    Raises:
        HubError: the name is wrong, there is no token or no network, or the hub refused.
    """
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise HubError(f"'{repo}' isn't a hub id; write OWNER/NAME.")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    api = HfApi()
    try:
        address = api.create_repo(
            repo, repo_type=kind, space_sdk=space_sdk, private=private or None, exist_ok=True
        )
        api.upload_folder(
            repo_id=repo,
            repo_type=kind,
            folder_path=Path(folder),
            allow_patterns=None if patterns is None else list(patterns),
            commit_message=message,
        )
    except OfflineModeIsEnabled:
        raise HubError(f"'{repo}' can't be written: the variable HF_HUB_OFFLINE is set.") from None
    except Exception as error:  # of the library, of its network layer, of the disk
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        refused = isinstance(error, HfHubHTTPError) or "token" in first
        what_to_do = "'hf auth login' stores a token" if refused else "Run it again"
        raise HubError(f"'{repo}' can't be written: {first}. {what_to_do}.") from None
    return str(address)
