"""The live demo: a page where one speaks or drops a file, and the model writes and answers."""

from borealis.demo.server import launch

__all__ = ["launch"]
