"""Changes keys of a raw recipe by their paths, and names the path of a mistake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from borealis.errors import RecipeError


def override(data: dict[str, Any], text: str) -> None:
    """Set one key of the raw recipe."""
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise RecipeError(f"'{text}' doesn't change a key; write key=value or key.sub=value.")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise RecipeError(f"The value of '{text}' isn't valid YAML.") from None
    _set(data, parts, parsed, key)


def _set(node: Any, parts: Sequence[str], value: Any, key: str) -> None:
    first, rest = parts[0], parts[1:]
    if isinstance(node, list):
        names = [item.get("name") if isinstance(item, dict) else None for item in node]
        if first == "*":
            places = list(range(len(node)))
        elif first in names:
            places = [names.index(first)]
        elif first.isdecimal() and int(first) < len(node):
            places = [int(first)]
        else:
            known = ", ".join(str(n if n is not None else i) for i, n in enumerate(names))
            raise RecipeError(f"'{key}': the list has no '{first}'; it has {known}.")
        for place in places:
            if rest:
                _set(node[place], rest, value, key)
            else:
                node[place] = value
    elif isinstance(node, dict):
        if not rest:
            node[first] = value
            return
        if not isinstance(node.get(first), dict | list):
            node[first] = {}
        # YAML's anchors share objects; a change for one must not reach the others.
        node[first] = node[first].copy()
        if isinstance(node[first], list):
            node[first] = [i.copy() if isinstance(i, dict | list) else i for i in node[first]]
        _set(node[first], rest, value, key)
    else:
        raise RecipeError(f"'{key}': there is nothing under '{first}' to change.")


def key_path(data: dict[str, Any], location: Sequence[int | str]) -> str:
    """A key's path with stages by name: `stages.align.max_steps`."""
    out, node = [], data
    for part in location:
        try:
            node = node[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            node = {}
        name = node.get("name") if isinstance(part, int) and isinstance(node, dict) else None
        out.append(str(name or part))
    return ".".join(out) or "the file"
