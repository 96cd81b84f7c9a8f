"""Hook of mkdocs: puts the help of the command line and the recipe keys into pages.

A page writes `<!-- borealis help transcribe -->` or `<!-- borealis recipe -->`, and the text comes
from the program itself, so that it can't fall behind.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from typing import Any

_MARK = re.compile(r"<!-- borealis (help|recipe)(?: (\w+))? -->")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marks of a page."""
    return _MARK.sub(lambda match: f"```text\n{_text(match[1], match[2]).rstrip()}\n```", markdown)


def _text(kind: str, command: str | None) -> str:
    if kind == "recipe":
        from borealis.training.recipe import recipe_help

        return recipe_help()
    from borealis.cli import main

    os.environ["COLUMNS"] = "88"
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main([*([command] if command else []), "--help"])
    return out.getvalue()
