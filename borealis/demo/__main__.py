"""`python -m borealis.demo`: the same as `borealis demo`."""

import argparse
import sys

from borealis.demo import command
from borealis.errors import BorealisError

parser = argparse.ArgumentParser(prog="python -m borealis.demo")
command.add_arguments(parser)
try:
    command.run(parser.parse_args())
except BorealisError as error:
    sys.exit(f"borealis: {error}")
