"""Sends a folder to a repository of the Hugging Face hub, and fetches one."""

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
    but: Sequence[str] | None = None,
    replaced: Sequence[str] | None = None,
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
        but: patterns of files that aren't sent.
        replaced: patterns of files that are removed there where the folder has none of that name.
        message: of the commit.

    Returns:
        Address of the repository.

    Raises:
        HubError: the name is wrong, there is no token or no network, or the hub refused.
    """
    check_name(repo)
    from huggingface_hub import HfApi

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
            ignore_patterns=None if but is None else list(but),
            delete_patterns=None if replaced is None else list(replaced),
            commit_message=message,
        )
    except Exception as error:  # of the library, of its network layer, of the disk
        raise _told(error, f"'{repo}' can't be written") from None
    return str(address)


def files_of(repo: str) -> list[str] | None:
    """Names of the files of a model repository; None where there is no such repository.

    Raises:
        HubError: the name is wrong, there is no network, or the hub refused.
    """
    check_name(repo)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return HfApi().list_repo_files(repo)
    except RepositoryNotFoundError:
        return None
    except Exception as error:  # of the library, of its network layer
        raise _told(error, f"'{repo}' can't be read") from None


def download(repo: str, folder: str | os.PathLike[str], but: Sequence[str] | None = None) -> None:
    """Fetch a model repository into a folder.

    Args:
        repo: `OWNER/NAME`.
        folder: to fill; files of the same names are replaced.
        but: patterns of files that aren't fetched.

    Raises:
        HubError: there is no such repository, no network, or the hub refused.
    """
    check_name(repo)
    from huggingface_hub import snapshot_download

    ignored = None if but is None else list(but)
    try:
        snapshot_download(repo, local_dir=Path(folder), ignore_patterns=ignored)
    except Exception as error:  # of the library, of its network layer, of the disk
        raise _told(error, f"'{repo}' can't be read") from None


def check_name(repo: str) -> None:
    """Whether this can be a hub id.

    Raises:
        HubError: it can't.
    """
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise HubError(f"'{repo}' isn't a hub id; write OWNER/NAME.")


def _told(error: BaseException, what: str) -> HubError:
    """An error of the library in a sentence that says what to do."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return HubError(f"{what}: the variable HF_HUB_OFFLINE is set.")
    first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    refused = isinstance(error, HfHubHTTPError) or "token" in first
    what_to_do = "'hf auth login' stores a token" if refused else "Run it again"
    return HubError(f"{what}: {first}. {what_to_do}.")
