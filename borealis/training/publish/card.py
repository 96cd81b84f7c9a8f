"""The model card of a trained model, from its config, its run's record and its result files."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

import yaml

from borealis.data.entries import bundled_entries
from borealis.errors import BorealisError


def model_card(
    config: Any,
    record: dict[str, Any] | None,
    results: Sequence[dict[str, Any]],
    *,
    licence: str,
) -> str:
    """README.md of a published model.

    Args:
        config: the model's config.
        record: `run.json` of the run that made it, if there is one.
        results: result files of `borealis eval`.
        licence: identifier of the hub.
    """
    recipe = _published((record or {}).get("recipe", {}), (record or {}).get("local", ()))
    name = f"borealis-{recipe['name']}" if recipe else "Borealis"
    parts = recipe.get("model", {})
    bases = [b for k in ("checkpoint", "audio_tower", "language_model") if (b := parts.get(k))]
    datasets = _datasets(recipe)
    meta: dict[str, Any] = {
        "license": licence,
        "language": ["ru", "en"],
        "library_name": "transformers",
        # The hub's name for such models. transformers' pipeline for speech recognition takes other
        # classes: declaring that task would promise what fails.
        "pipeline_tag": "audio-text-to-text",
        "tags": ["borealis", "audio", "speech"],
        "base_model": [b for b in bases if b.count("/") == 1],
        "datasets": [d for d in datasets if d.count("/") == 1],
    }
    meta = {key: value for key, value in meta.items() if value}
    head = yaml.safe_dump(meta, allow_unicode=True, sort_keys=False).strip()
    lines = ["---", head, "---", "", f"# {name}", ""]
    lines += [
        "An audio language model: Whisper encoder, adapter, language model. It writes down speech "
        "and answers questions about a recording.",
        "",
        "```python",
        "import borealis",
        "",
        'model = borealis.load("FOLDER_OR_HUB_ID")',
        'print(model.transcribe("speech.wav"))',
        "```",
        "",
        "## Architecture",
        "",
        f"- audio tower: Whisper, width {config.audio_config.d_model}, "
        f"{config.audio_config.encoder_layers} layers",
        f"- adapter: {config.adapter_type}, {config.downsample_factor} frames a token",
        f"- language model: {config.text_config.model_type}, width "
        f"{config.text_config.hidden_size}, {config.text_config.num_hidden_layers} layers",
    ]
    if record:
        lines += ["", "## Training", "", *_stages(record), ""]
        lines += [f"Data: {', '.join(datasets) or 'manifests of its maker'}."]
        if notes := recipe.get("notes"):
            lines += ["", notes.strip()]
        lines += ["", *_plan(record)]
    lines += ["", "## Measured", "", *_results(results)]
    if recipe:
        shown = yaml.safe_dump(_without_defaults(recipe), allow_unicode=True, sort_keys=False)
        lines += ["", "## Recipe", ""]
        if record and recipe != record["recipe"]:
            lines += ["Of paths on the maker's disk only the last part is shown.", ""]
        lines += ["```yaml", shown.strip(), "```"]
    return "\n".join(lines).rstrip() + "\n"


def _published(recipe: dict[str, Any], local: Collection[str]) -> dict[str, Any]:
    """A recipe whose paths of somebody's disk are names: the rest is nothing to publish.

    Args:
        recipe: as in `run.json`.
        local: values of it that were files or folders of that machine, `runs/base` among them: they
            look like hub ids.
    """

    def named(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: named(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [named(item, key) for item in value]
        if isinstance(value, str) and (value in local or _is_path(value, key)):
            return _last_part(value)
        return value

    return named(recipe)


def _last_part(path: str) -> str:
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1]


def _is_path(value: str, key: str) -> bool:
    """Whether a value of a recipe's key can only be a path outside of the data folder."""
    if key == "notes":
        return False
    deep = key in ("checkpoint", "audio_tower", "language_model", "dataset")
    start = re.match(r"[\\/~]|\.{1,2}[\\/]|[A-Za-z]:[\\/]", value)
    return bool(start) or (deep and value.count("/") > 1)


def _datasets(recipe: dict[str, Any]) -> list[str]:
    """Hub ids and manifest names that the stages learned from."""
    data, found = recipe.get("data", {}), []
    for stage in recipe.get("stages", []):
        talks = stage.get("tasks", {}).get("conversations") or {}
        for name in (*stage.get("sources", []), *talks.get("sources", [])):
            section = data.get("sources", {}).get(name, {})
            dataset = section.get("dataset")
            entry = bundled_entries().get(dataset)
            found.append(entry.repository if entry else dataset or name)
        found += stage.get("features", [])
    return list(dict.fromkeys(found))


def _stages(record: dict[str, Any]) -> list[str]:
    lines = ["| stage | steps | audio, h | hours | dollars |", "|---|---|---|---|---|"]
    for stage in record["stages"]:
        dollars = f"{stage['dollars']:.2f}" if "dollars" in stage else ""
        lines.append(
            f"| {stage['stage']} | {stage['steps']} | {stage.get('audio_hours', 0):.3g} | "
            f"{stage['seconds'] / 3600:.3g} | {dollars} |"
        )
    where = record.get("accelerator") or f"CPU, {record.get('threads')} threads"
    processes = record.get("processes", 1)
    return [*lines, "", f"On {where}{f', {processes} processes' if processes > 1 else ''}."]


def _plan(record: dict[str, Any]) -> list[str]:
    """The planner's hours beside the real ones."""
    from borealis.training.planner import GPUS, Options, plan_recipe
    from borealis.training.recipe import Recipe

    options = Options()
    try:
        plan = plan_recipe(Recipe(**record["recipe"]), options)
    except (BorealisError, ValueError):
        return []
    spent = sum(stage["seconds"] for stage in record["stages"]) / 3600
    spent *= record.get("processes", 1)
    return [
        f"Planned: {plan.gpu_hours:.3g} hours of one {GPUS[options.gpu].title} at "
        f"{options.utilization:.0%} of its peak (an assumption); taken: {spent:.3g} device hours."
    ]


def _results(results: Sequence[dict[str, Any]]) -> list[str]:
    lines = []
    for result in results:
        metrics = result.get("metrics", {})
        manifest = result.get("data", {}).get("manifest", {})
        rate, letters = metrics.get("word_error_rate"), metrics.get("character_error_rate")
        if rate is not None:
            name = _last_part(manifest.get("manifest", "a manifest"))
            lines.append(f"| {name} | {100 * rate:.1f} | {100 * (letters or 0):.1f} |")
    if not lines:
        return ["Nothing yet: `borealis eval MANIFEST --output FILE` measures it."]
    return ["| data | WER, % | CER, % |", "|---|---|---|", *lines]


def _without_defaults(recipe: dict[str, Any]) -> dict[str, Any]:
    from borealis.training.recipe import Recipe

    return Recipe(**recipe).model_dump(mode="json", exclude_defaults=True)
