"""A run's copy on the hub: sent after each checkpoint, fetched where the run goes on elsewhere.

The copy has what a run needs to go on: the model of its beginning, finished stages, checkpoints and
records. Features, which the data give again, and lists of what was left out stay at home. It is a
private repository, for a record may say where files lie.
"""

from __future__ import annotations

import logging
from pathlib import Path

from borealis.errors import RecipeError
from borealis.hub import HubError, check_name, download, files_of, upload

logger = logging.getLogger(__name__)

_AT_HOME = ("features/*", "left-out/*", "*.partial*", ".cache/*")
_REPLACED = ("*/checkpoint-*", "*.safetensors")


class Mirror:
    """The copy of one run folder.

    Args:
        repo: hub id of the copy, `OWNER/NAME`.
        folder: of the run.

    Raises:
        HubError: `repo` isn't a hub id.
    """

    def __init__(self, repo: str, folder: Path) -> None:
        check_name(repo)
        self.repo, self.folder = repo, folder
        self._behind: HubError | None = None

    def restore(self) -> None:
        """Fetch the run if it isn't here; a new run begins where the hub has none either.

        Raises:
            HubError: the hub can't be asked.
            RecipeError: the repository holds something else than a run.
        """
        if self.folder.is_dir() and any(self.folder.iterdir()):
            return
        there = files_of(self.repo)
        if not there or there == [".gitattributes"]:
            return
        if "start/config.json" not in there:
            raise RecipeError(
                f"'{self.repo}' is no copy of a run of 'borealis train'; give another --hub."
            )
        download(self.repo, self.folder, _AT_HOME)
        logger.info("the run was fetched from %s", self.repo)

    def begin(self) -> None:
        """Send what is there before the first step, so that a refusal costs no training.

        Raises:
            HubError: the hub can't be reached, or refused.
        """
        self._send("Begin")

    def follow(self, stage: str, step: int) -> None:
        """Send what has changed; a hub that can't be reached now is told in the log."""
        try:
            self._send(f"{stage}, step {step}")
        except HubError as error:
            self._behind = error
            logger.warning("the copy on the hub is behind: %s", error)

    def finish(self) -> None:
        """Send the finished run.

        Raises:
            HubError: the hub can't be reached, or refused; the run itself is whole.
        """
        try:
            self._send("Finished")
        except HubError as error:
            raise HubError(
                f"The run in '{self.folder}' is finished, but its copy isn't: {error} "
                "The same command sends it again."
            ) from None

    def _send(self, message: str) -> None:
        upload(
            self.folder,
            self.repo,
            private=True,
            but=_AT_HOME,
            replaced=_REPLACED,
            message=message,
        )
        if self._behind is not None:
            logger.info("the copy on the hub has caught up")
            self._behind = None
