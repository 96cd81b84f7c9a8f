"""One row of the ablation table: `python lab/nano/ablation.py CHECKPOINT --name NAME`.

Settings of nano are chosen by these rows, so none of their clips is one that the final benchmark
reports: the man's validation sentences, the same sentences distorted until he sounds like somebody
else over a telephone, one synthetic voice and the others apart, English. Every set is measured
twice: CTC alone, which shows what the ears are worth, and the whole model. Rows of one clip set
can be compared in pairs, so the errors of each clip are kept; `--against` prints the difference
and its 95 % bootstrap interval.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import borealis
from borealis.audio import load_audio
from borealis.data.augment import augment
from borealis.data.manifest import Utterance, read_manifest
from borealis.errors import BorealisError
from borealis.evaluation import results
from borealis.evaluation.metrics import error_rates
from borealis.inference.decoding import choose
from borealis.training.data.distortions import AUGMENTATIONS

SEED = 5
# What of the search a row may try.
SETTINGS = ("ngram_weight", "letter_bonus", "unknown_word_cost", "mark_cost")
RESAMPLES = 2000


def sets(data: Path, clips: int, held_out: str) -> dict[str, list[tuple[Utterance, np.ndarray]]]:
    """Clips by the name of their set.

    Args:
        data: folder that `python -m lab.nano.data` wrote.
        clips: at most so many a set.
        held_out: the synthetic voice that has a set of its own.
    """
    man = _some(read_manifest(data / "festvox-ru.validation.jsonl"), clips)
    synthetic = read_manifest(data / "synthetic-ru.test.jsonl")
    chosen = {
        "known": man,
        "held_out": _some([u for u in synthetic if u.voice == held_out], clips),
        "synthetic": _some([u for u in synthetic if u.voice != held_out], clips),
        "english": _some(read_manifest(data / "english-tts.test.jsonl"), clips),
    }
    loaded = {name: [(u, load_audio(u.audio)) for u in items] for name, items in chosen.items()}
    config = AUGMENTATIONS["rough"]
    assert config is not None
    loaded["distorted"] = [
        (u, augment(audio, config, np.random.default_rng([SEED, number])))
        for number, (u, audio) in enumerate(loaded["known"])
    ]
    return loaded


def _some(items: Sequence[Utterance], count: int) -> list[Utterance]:
    order = np.random.default_rng(SEED).permutation(len(items))[:count]
    return [items[int(i)] for i in sorted(order)]


@torch.inference_mode()
def ctc_texts(model: borealis.Borealis, audios: Sequence[np.ndarray]) -> list[str]:
    """What CTC spells by itself: the likeliest class of each frame, repeats and blanks dropped."""
    network, labels, texts = model.model.model, model.model.config.ctc_labels, []
    for audio in audios:
        batch = model.processor.extract_features([audio])
        heard = network.hear(batch["input_features"], batch["num_samples"])
        best = torch.unique_consecutive(heard.log_probs()[0].argmax(-1))
        texts.append("".join(labels[i - 1] for i in best.tolist() if i))
    return texts


def measure(
    model: borealis.Borealis, items: Sequence[tuple[Utterance, np.ndarray]], decoding: dict | None
) -> dict[str, Any]:
    """Error rates of CTC and, unless `decoding` is None, of the whole model, on one set."""
    audios, wanted = [audio for _, audio in items], [u.text for u, _ in items]
    heard = {"ctc": ctc_texts(model, audios)}
    if decoding is not None:
        heard["model"] = [t.text for t in model.transcribe(audios, **decoding)]
    record: dict[str, Any] = {"clips": len(items)}
    for kind, texts in heard.items():
        rates = error_rates(wanted, texts)
        record[kind] = {
            "word_error_rate": rates.word_error_rate,
            "character_error_rate": rates.character_error_rate,
            "word_error_rate_95": rates.word_error_rate_95,
            "clip_word_errors": [
                error_rates([a], [b]).word_errors for a, b in zip(wanted, texts, strict=True)
            ],
        }
    record["clip_words"] = [error_rates([a], [a]).words for a in wanted]
    return record


def difference(new: dict[str, Any], old: dict[str, Any], kind: str) -> tuple[float, float, float]:
    """Change of the word error rate between two rows of one set, and its 95 % interval (points).

    Raises:
        BorealisError: the rows heard different clips.
    """
    if new["clip_words"] != old["clip_words"]:
        raise BorealisError("The two rows heard different clips; measure both with the same ones.")
    words = np.array(new["clip_words"])
    gain = np.array(new[kind]["clip_word_errors"]) - np.array(old[kind]["clip_word_errors"])
    picks = np.random.default_rng(SEED).integers(len(words), size=(RESAMPLES, len(words)))
    low, high = np.percentile(gain[picks].sum(1) / words[picks].sum(1), [2.5, 97.5])
    return (
        round(100 * float(gain.sum() / words.sum()), 2),
        round(100 * float(low), 2),
        round(100 * float(high), 2),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "checkpoint",
        help="bundled name or folder; for a stage or step of a run see 'borealis export'",
    )
    parser.add_argument("--name", required=True, help="name of the row")
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (data)")
    parser.add_argument("--output", type=Path, default=Path("results/nano-ablation.json"))
    parser.add_argument("--clips", type=int, default=60, help="at most so many clips a set (60)")
    parser.add_argument("--held-out", default="irina", help="synthetic voice kept apart (irina)")
    parser.add_argument("--left-out", action="store_true", help="it wasn't in this row's training")
    parser.add_argument("--steps", type=int, default=0, help="optimizer steps of this row")
    parser.add_argument("--hours", type=float, default=0.0, help="hours that they took")
    parser.add_argument("--note", default="", help="what differs from the row it is compared with")
    parser.add_argument("--against", default="", help="name of the row to compare with")
    parser.add_argument("--ctc-only", action="store_true", help="leave the language model out")
    for setting in SETTINGS:
        parser.add_argument(
            f"--{setting.replace('_', '-')}", type=float, help="of the search; the checkpoint's own"
        )
    parser.add_argument("--num-beams", type=int, help="of the search; the checkpoint's own")
    args = parser.parse_args()

    record = _read(args.output)
    others = {r["name"]: r for r in record["rows"] if r["name"] != args.name}
    if args.against and args.against not in others:
        raise SystemExit(f"There is no row '{args.against}' in {args.output}.")
    model = borealis.load(args.checkpoint)
    decoding = None
    if not args.ctc_only:
        given = {name: getattr(args, name) for name in (*SETTINGS, "num_beams")}
        changed = {name: value for name, value in given.items() if value is not None}
        search = replace(choose(model.model.config), **changed)
        decoding = {"batch_size": 8, "decoding": search}
    about = results.describe(args.name, model=model)
    row: dict[str, Any] = {
        "name": args.name,
        "note": args.note,
        "against": args.against,
        "steps": args.steps,
        "hours": args.hours,
        "held_out_voice": args.held_out,
        "held_out_voice_in_training": not args.left_out,
        **{key: about[key] for key in ("date", "commit", "dirty", "model", "machine")},
        "decoding": results.describe_decoding(model, **decoding) if decoding else None,
        "sets": {
            name: measure(model, items, decoding)
            for name, items in sets(args.data, args.clips, args.held_out).items()
        },
    }
    for name, result in row["sets"].items():
        for kind in ("ctc", "model"):
            if kind not in result:
                continue
            rate = result[kind]
            line = f"{args.name}  {name:10} {kind:5} {100 * rate['word_error_rate']:5.1f} / "
            line += f"{100 * rate['character_error_rate']:4.1f}"
            old = others[args.against]["sets"][name] if args.against else {}
            if kind in old:
                result[kind]["change"] = difference(result, old, kind)
                line += "   {:+.1f} [{:+.1f}, {:+.1f}]".format(*result[kind]["change"])
            print(line, flush=True)
    record |= results.describe("nano-ablation", recipe="nano")
    record["rows"] = [*others.values(), row]
    results.write(args.output, record)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {"rows": []}
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
