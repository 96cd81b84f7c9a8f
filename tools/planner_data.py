"""Writes what the calculators of the documentation read, from the package's planner.

    python -m tools.planner_data            # planner.json and planner-default.{ru,en}.txt
    python -m tools.planner_data --check    # fails when a file is stale

`planner.json` holds the parts' numbers, the constants of the arithmetic and the words of both
languages; `docs/assets/js/calculators.js` does with them what `borealis.training.planner` does. The
text files hold tables for the default choice, which pages include and show without JavaScript too.
"""

from __future__ import annotations

import argparse
import html
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from borealis.model.configuration import ADAPTER_TYPES
from borealis.training.planner import GPUS, Options, Part, Plan, model_config, parts, plan
from borealis.training.planner.bill import (
    CHECKPOINT_BYTES,
    MODEL_BYTES,
    MODELS_BESIDE_STAGES,
)
from borealis.training.planner.costs import (
    BYTES,
    FEATURE_BYTES,
    FROZEN_BYTES,
    KEPT_BYTES,
    LEARNED_BYTES,
    LOGIT_BYTES,
    LORA_MODULES,
    MAY_BE_ZERO,
)
from borealis.training.planner.operations import PASSES, TRAIN
from borealis.training.planner.shapes import ENCODERS, LANGUAGE_MODELS, PADDINGS
from tools.planner_texts import NAMES, TEXTS

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "assets" / "data"
# Lengths of clips that the calculators offer, in whole seconds: one encoder window.
CLIP_SECONDS = range(1, 31)
# Options that the calculators leave as they are.
NOT_OFFERED = ("encoder_lora_rank", "packing", "frozen_precision", "sharding")
BUDGET = 2000  # dollars that the original is said to have stayed below


def planner_json() -> str:
    """Everything that the calculators need, as JSON."""
    models = {name: parts(model_config("tiny", name, "mlp")) for name in LANGUAGE_MODELS}
    encoders = {name: parts(model_config(name, "nano", "mlp")) for name in ENCODERS}
    widths = {name: model_config(name, "nano", "mlp").audio_config.d_model for name in ENCODERS}
    data = {
        "defaults": {k: v for k, v in asdict(Options()).items() if k not in NOT_OFFERED},
        "clip_seconds": [CLIP_SECONDS.start, CLIP_SECONDS.stop - 1],
        "train": TRAIN,
        "passes": PASSES,
        "bytes": BYTES,
        "learned_bytes": LEARNED_BYTES,
        "frozen_bytes": FROZEN_BYTES,
        "kept_bytes": KEPT_BYTES,
        "logit_bytes": LOGIT_BYTES,
        "feature_bytes": FEATURE_BYTES,
        "checkpoint_bytes": CHECKPOINT_BYTES,
        "model_bytes": MODEL_BYTES,
        "models_beside_stages": MODELS_BESIDE_STAGES,
        "may_be_zero": [name for name in MAY_BE_ZERO if name not in NOT_OFFERED],
        "gpus": {name: asdict(gpu) for name, gpu in GPUS.items()},
        "encoders": {
            name: _part(p["encoder"]) | {"width": widths[name]} for name, p in encoders.items()
        },
        "language_models": {
            name: _part(p["language_model"])
            | {"text_tokens_per_second": Options(language_model=name).text_rate}
            for name, p in models.items()
        },
        "adapters": {
            encoder: {
                model: {
                    kind: _part(parts(model_config(encoder, model, kind))["adapter"])
                    for kind in ADAPTER_TYPES
                }
                for model in LANGUAGE_MODELS
            }
            for encoder in ENCODERS
        },
        "paddings": {name: _counts(name) for name in PADDINGS},
        "texts": TEXTS,
        "names": NAMES,
    }
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"


def _part(part: Part) -> dict[str, int]:
    numbers = asdict(part)
    lora = numbers.pop("lora")
    numbers["lora"] = sum(lora.get(name, 0) for name in LORA_MODULES) if part.vocabulary else 0
    # The calculators plan with a frozen encoder, and with models in bfloat16 that are whole.
    unused = {"layers", "matrices"}
    if part.layers and not part.vocabulary:
        unused |= {"kept", "kept_recomputed"}
    numbers = {name: value for name, value in numbers.items() if name not in unused}
    return {name: value for name, value in numbers.items() if value}


def _counts(padding: str) -> dict[str, list[int]]:
    """Frames and audio tokens of clips of 1, 2, ... seconds, counted by the config."""
    config = model_config("large-v3", "nano", "mlp", padding)
    lengths = [seconds * config.sampling_rate for seconds in CLIP_SECONDS]
    return {
        "encoder_frames": [config.encoder_samples(n) // config.frame_length for n in lengths],
        "kept_frames": [config.num_encoder_frames(n) for n in lengths],
        "audio_tokens": [config.num_audio_tokens(n) for n in lengths],
    }


# ---- numbers for people, as calculators.js writes them ----


def number(value: float, language: str, digits: int = 3) -> str:
    """At most `digits` digits that matter, as `Intl.NumberFormat` of the language writes them."""
    if value == 0:
        return "0"
    text = f"{float(f'{value:.{digits}g}'):,.10f}".rstrip("0").rstrip(".")
    if language == "ru":
        text = text.replace(",", "\u00a0").replace(".", ",")
    return text


def scaled(value: float, language: str, units: Sequence[tuple[float, str]]) -> str:
    """A number with the largest unit that it reaches."""
    size, unit = next((u for u in units if value >= u[0]), units[-1])
    return f"{number(value / size, language)}\u00a0{unit}"


def _count(value: float, language: str) -> str:
    words = TEXTS[language]["units"]
    return scaled(value, language, [(1e9, words["billion"]), (1e6, words["million"])])


def _bytes(value: float, language: str) -> str:
    words = TEXTS[language]["units"]
    return scaled(value, language, [(10.0**p, words[f"e{p}"]) for p in (12, 9, 6)])


def _money(value: float, language: str) -> str:
    text = number(value, language)
    return f"${text}" if language == "en" else f"{text}\u00a0$"


# ---- tables ----


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table without blank lines; the first cell of a row is its head."""
    lines = ["<table>"]
    if head:
        cells = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in head)
        lines.append(f"<thead><tr>{cells}</tr></thead>")
    lines.append("<tbody>")
    for first, *rest in rows:
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in rest)
        lines.append(f'<tr><th scope="row">{html.escape(first)}</th>{cells}</tr>')
    return "\n".join([*lines, "</tbody>", "</table>"])


def _choice(options: Options, language: str, keys: Sequence[str]) -> list[tuple[str, str]]:
    """What was chosen, by label."""
    words, names = TEXTS[language]["labels"], NAMES[language]
    rows = []
    for key in keys:
        value = getattr(options, key)
        if isinstance(value, bool):
            shown = TEXTS[language]["yes" if value else "no"]
        elif key == "gpu":
            shown = GPUS[value].title
        elif isinstance(value, str):
            shown = names.get(key, {}).get(value, names["parts"].get(value, value))
        elif key in PERCENT:
            shown = number(100 * value, language)
        elif key == "price":
            shown = number(options.hour_price, language)
        else:
            shown = number(value, language)
        rows.append((words[key], shown))
    return rows


def size_rows(result: Plan, language: str) -> list[tuple[str, str]]:
    """Label and value of every figure of the size calculator."""
    words, stage = TEXTS[language]["results"], result.stages[0]
    rows = [
        (words[name], _count(result.parameters[name], language))
        for name in ("encoder", "adapter", "language_model", "total")
    ]
    rows.append((words["learned"], _count(stage.learned_parameters, language)))
    rows.append((words["audio_tokens"], number(result.tokens["audio_per_30_seconds"], language)))
    rows += [
        (words[f"weights_{name}"], _bytes(size, language)) for name, size in result.weights.items()
    ]
    rows.append((words["kv_cache"], _bytes(result.kv_cache, language)))
    rows.append((words["memory"], _bytes(stage.memory["total"], language)))
    return rows


def cost_rows(result: Plan, language: str) -> list[tuple[str, str]]:
    """Label and value of every figure of the cost calculator."""
    words, units = TEXTS[language]["results"], TEXTS[language]["units"]
    stage, tokens = result.stages[0], result.tokens
    shares = [
        f"{number(100 * stage.flops[part] / stage.flops['total'], language, 2)}\u00a0%"
        for part in ("encoder", "adapter", "language_model")
    ]
    exa = number(stage.flops["total"] / 1e18, language)
    return [
        *((words[f"bill_{name}"], _money(getattr(result.bill, name), language)) for name in BILL),
        (words["gpu_hours"], f"{number(result.gpu_hours, language)}\u00a0{units['hours']}"),
        (words["hours"], f"{number(result.hours, language)}\u00a0{units['hours']}"),
        (words["operations"], f"{exa}\u00a0·\u00a010¹⁸"),
        (words["shares"], " / ".join(shares)),
        (
            words["tokens"],
            f"{tokens['audio_per_clip']} + {number(tokens['text_per_clip'], language)}",
        ),
        (words["memory"], _bytes(stage.memory["total"], language)),
        (words["fits"], TEXTS[language]["yes" if result.fits else "no"]),
        (
            words["feature_cache"],
            _bytes(result.feature_cache, language) if result.feature_cache else "–",
        ),
        (words["stored"], _bytes(sum(result.bill.stored.values()), language)),
    ]


SIZE_KEYS = ("encoder", "language_model", "adapter", "train")
COST_KEYS = (
    *SIZE_KEYS,
    *("hours_of_audio", "epochs", "clip_seconds", "padding", "feature_cache"),
    *("gpu", "gpus", "utilization", "price"),
    *("test_hours", "bitrate", "storage_price", "storage_months", "failed"),
)
# Options that readers see in percent.
PERCENT = ("utilization", "failed")
# Lines of the bill, the sum first.
BILL = ("total", "training", "evaluation", "storage", "failed")


def savings(language: str) -> list[list[str]]:
    """The published way of training, and one choice after another that makes it cheaper."""
    words = TEXTS[language]["savings"]
    steps: list[tuple[str, dict[str, Any]]] = [
        ("published", {"padding": "all", "feature_cache": False, "train": "full"}),
        ("cache", {"feature_cache": True}),
        ("padding", {"padding": "none"}),
        ("lora", {"train": "lora"}),
        ("smaller", {"language_model": "qwen3-1.7b"}),
    ]
    chosen: dict[str, Any] = {}
    rows, first = [], 0.0
    for name, change in steps:
        chosen |= change
        result = plan(Options(**chosen))
        first = first or result.dollars
        heard = BUDGET / result.dollars * result.stages[0].audio_hours
        rows.append(
            [
                words[name],
                number(result.gpu_hours, language),
                _money(result.dollars, language),
                _money(result.bill.total, language),
                f"{number(first / result.dollars, language, 2)}×",
                _bytes(result.stages[0].memory["total"], language),
                number(heard, language, 2),
            ]
        )
    return rows


def adapters(language: str) -> list[list[str]]:
    """Adapters over Whisper large v3, by language model."""
    models = [name for name in LANGUAGE_MODELS if name != "nano"]
    return [
        [
            kind,
            *(
                _count(parts(model_config("large-v3", m, kind))["adapter"].parameters, language)
                for m in models
            ),
        ]
        for kind in ADAPTER_TYPES
    ]


def snippet(language: str) -> str:
    """The tables that pages include, in sections."""
    text, names = TEXTS[language], NAMES[language]
    options = Options()
    result = plan(options)
    gpus = [
        [
            gpu.title,
            number(gpu.teraflops, language, 4),
            f"{gpu.gigabytes}\u00a0{text['units']['e9']}",
            gpu.source,
            _money(gpu.price, language),
            text["price_sources"][gpu.price_source],
        ]
        for gpu in GPUS.values()
    ]
    models = [names["parts"][m] for m in LANGUAGE_MODELS if m != "nano"]
    sections = {
        "size": _table((), _choice(options, language, SIZE_KEYS) + size_rows(result, language)),
        "cost": _table((), _choice(options, language, COST_KEYS) + cost_rows(result, language)),
        "savings": _table(text["savings_head"], savings(language)),
        "adapters": _table([text["labels"]["adapter"], *models], adapters(language)),
        "gpus": _table(text["gpus_head"], gpus),
    }
    return "".join(
        f"<!-- --8<-- [start:{name}] -->\n{table}\n<!-- --8<-- [end:{name}] -->\n"
        for name, table in sections.items()
    )


def files() -> dict[Path, str]:
    """Every generated file and what belongs into it."""
    texts = {FOLDER / f"planner-default.{language}.txt": snippet(language) for language in TEXTS}
    return {FOLDER / "planner.json": planner_json(), **texts}


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files, or say which are stale."""
    parser = argparse.ArgumentParser(prog="python -m tools.planner_data")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if stale")
    args = parser.parse_args(argv)
    stale = [
        (path, text)
        for path, text in files().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        if not args.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        print(f"{path.name}: {'stale' if args.check else 'written'}")
    return 1 if stale and args.check else 0


if __name__ == "__main__":
    sys.exit(main())
