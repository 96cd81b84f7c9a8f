"""The words of errors that the page "Troubleshooting" explains are those that the code says."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@lru_cache(maxsize=1)
def said() -> str:
    """Every text in the code, a line each; what is filled in, by a logger as well, is `...`."""
    lines = []
    for path in (ROOT / "borealis").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = node.values
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts = [node]
            else:
                continue
            lines.append("".join(p.value if isinstance(p, ast.Constant) else "..." for p in parts))
    return "\n".join(lines).replace("%s", "...").replace("'...'", "...")


@pytest.mark.parametrize("language", ["ru", "en"])
def test_explained_messages_are_said_by_the_code(language):
    page = (ROOT / "docs" / language / "how/troubleshooting.md").read_text(encoding="utf-8")
    table = page[page.index("{ #files }") : page.index("{ #wrong }")]
    cells = re.findall(r"^\| (`[^|]*) \|", table, re.M)
    messages = [m for cell in cells for m in re.findall("`([^`]+)`", cell)]
    # In lists messages stand first, bold.
    messages += re.findall(r"^- \*\*`([^`]+)`", page, re.M)
    # In the part on training they stand in quotes.
    training = page[page.index("{ #nan }") :]
    messages += re.findall(
        "«([a-z' ]+)»" if language == "ru" else '^"([a-z\' _]+)"', training, re.M
    )
    assert len(messages) > 12
    assert not [message for message in messages if message not in said()]
