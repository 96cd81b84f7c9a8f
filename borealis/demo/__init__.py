"""The live demo: a page where one speaks or drops a file, and the model writes and answers."""

from borealis.demo.server import launch, running

__all__ = ["launch", "running"]
