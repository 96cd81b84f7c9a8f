"""`borealis data`: manifests of recordings, of datasets and of speech from text; their check."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from borealis.data.importers import command as importing
from borealis.errors import ManifestError
from borealis.files import refuse_inputs

if TYPE_CHECKING:
    pass

# Words after `borealis data` that were there before, and what to do instead.
MOVED = {
    "nano": "'nano' isn't in the package any more; in a clone of the repository "
    "'python -m lab.nano.data' makes that data"
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `borealis data`."""
    kinds = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    importer = kinds.add_parser("import", help="your recordings, however they came, as a manifest")
    importing.add_arguments(importer)
    manifest = kinds.add_parser("manifest", help="the same for short recordings, into one file")
    importing.add_manifest_arguments(manifest)
    check = kinds.add_parser("check", help="read every recording of manifests and report")
    check.add_argument("manifest", nargs="+", help="several: splits to compare with each other")
    check.add_argument(
        "--any-text", action="store_true", help="digits and other alphabets are fine"
    )
    check.set_defaults(make=_check)
    hub = kinds.add_parser("hub", help="a dataset of the hub or of a folder as a manifest")
    hub.add_argument("dataset", nargs="?", help="entry, hub id or folder; none: list entries")
    hub.add_argument("--output", default="data", help="data folder (data)")
    hub.add_argument("--name", help="of the manifest (the dataset's last name)")
    hub.add_argument(
        "--entries",
        metavar="DIR",
        help="your entries, a YAML file each, besides those in OUTPUT/datasets",
    )
    hub.add_argument("--config", help="configuration of the dataset")
    hub.add_argument("--split", default="train", help="split (train)")
    hub.add_argument("--revision", help="commit, tag or branch")
    hub.add_argument("--streaming", action="store_true", help="don't download it whole")
    hub.add_argument("--column", action="append", default=[], metavar="WHAT=COLUMN")
    hub.add_argument("--language", choices=("ru", "en"), help="where no column says it")
    hub.add_argument("--limit", type=int, help="at most so many rows")
    hub.set_defaults(make=_hub)
    synth = kinds.add_parser("synth", help="speech from sentences, by engines or models")
    synth.add_argument("sentences", help="text file, one sentence a line")
    synth.add_argument("--output", default="data", help="data folder (data)")
    synth.add_argument("--name", default="synth", help="of the manifests (synth)")
    synth.add_argument("--language", default="ru", choices=("ru", "en"))
    synth.add_argument("--engine", help="only these: espeak-ng, festival, flite, with commas")
    synth.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="MODEL",
        help="text-to-speech model of transformers, hub id or folder; may be repeated",
    )
    synth.set_defaults(make=_synth)


def run(args: argparse.Namespace) -> int:
    """Run what `add_arguments` parsed."""
    return args.make(args)


def _check(args: argparse.Namespace) -> int:
    from borealis.data.check import report

    return report(args.manifest, any_text=args.any_text)


# ---- datasets and speech from text ----


def _hub(args: argparse.Namespace) -> int:
    from borealis.data.entries import known_entries
    from borealis.data.hub import read_dataset

    if args.entries and not Path(args.entries).is_dir():
        raise ManifestError(f"--entries: there is no folder '{args.entries}'.")
    own = [Path(args.output) / "datasets", *([Path(args.entries)] if args.entries else [])]
    entries = known_entries(*own)
    if args.dataset is None:
        width = max(map(len, entries))
        for name, entry in entries.items():
            print(f"{name:{width}}  {entry}")
        return 0
    columns = dict(pair.partition("=")[::2] for pair in args.column)
    if bad := [pair for pair in args.column if not columns.get(pair.partition("=")[0])]:
        raise ManifestError(f"--column {bad[0]}: write what=column, such as text=sentence.")
    output = args.name or re.sub(r"\W+", "-", Path(args.dataset).name).strip("-")
    report = read_dataset(
        args.dataset,
        Path(args.output),
        output=output,
        config=args.config,
        split=args.split,
        revision=args.revision,
        streaming=args.streaming,
        columns=columns,
        language=args.language,
        limit=args.limit,
        entries=entries,
    )
    print(report)
    return 0


def _synth(args: argparse.Namespace) -> int:
    from borealis.data.synth import synthesize
    from borealis.data.text import read_lines

    lines = Path(args.sentences)
    if not lines.is_file():
        raise ManifestError(f"There is no file '{lines}'.")
    for split in ("train", "test"):
        refuse_inputs(Path(args.output) / f"{args.name}.{split}.jsonl", [lines])
    engines = args.engine.split(",") if args.engine else None
    sentences = [s.strip() for s in read_lines(lines) if s.strip()]
    made = synthesize(
        sentences,
        Path(args.output),
        name=args.name,
        language=args.language,
        engines=engines,
        models=args.model,
    )
    print_hours(made)
    return 0


def print_hours(manifests: Iterable[Path]) -> None:
    """Print name, number of clips and hours of each manifest."""
    from borealis.data.manifest import read_manifest

    for path in manifests:
        items = read_manifest(path)
        hours = sum(item.duration for item in items) / 3600
        print(f"{path.name:<32}{len(items):>8} clips {hours:>9.2f} h")
