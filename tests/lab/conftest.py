"""The small world of the training tests, for the scripts of the laboratory."""

from tests.training.conftest import large, run_train, world  # noqa: F401  # pytest finds them here
