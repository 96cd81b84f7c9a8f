"""`python -m borealis`: the same as the `borealis` command."""

import sys

from borealis.cli import main

sys.exit(main())
