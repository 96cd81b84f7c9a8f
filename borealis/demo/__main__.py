"""`python -m borealis.demo`: the demo with its defaults."""

from borealis.demo.server import launch

launch()
