"""Short spellings of a stage's keys: `nested({"text.share": 0.2})`, `nested(text__share=0.2)`."""

from __future__ import annotations

from typing import Any


def nested(*layers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Keys of a stage in their groups; of a key that is given twice the later one counts."""
    out: dict[str, Any] = {}
    for key, value in (pair for layer in (*layers, more) for pair in layer.items()):
        *groups, name = key.replace("__", ".").split(".")
        place = out
        for group in groups:
            place = place.setdefault(group, {})
        if isinstance(value, dict) and isinstance(place.get(name), dict):
            place[name] = nested(place[name], value)
        else:
            place[name] = nested(value) if isinstance(value, dict) else value
    return out


def spelled(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe whose stages may have short spellings, as it is written."""
    return recipe | {"stages": [nested(stage) for stage in recipe["stages"]]}
