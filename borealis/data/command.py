"""`borealis data`: manifests of recordings, of datasets and of speech from text; their check."""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from borealis.errors import BorealisError, ManifestError
from borealis.files import refuse_inputs

if TYPE_CHECKING:
    from borealis.data.manifest import Utterance

AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".oga", ".mp3", ".m4a", ".mp4", ".webm", ".aac"}
# Words after `borealis data` that were there before, and what to do instead.
MOVED = {
    "nano": "'nano' isn't in the package any more; in a clone of the repository "
    "'python -m lab.nano.data' makes that data"
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `borealis data`."""
    kinds = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    folder = kinds.add_parser(
        "manifest", help="a manifest of your recordings, each with a .txt beside it, or of a table"
    )
    folder.add_argument("source", help="folder of recordings, or a .csv/.tsv with audio and text")
    folder.add_argument("--output", required=True, help="the manifest to write (.jsonl)")
    folder.add_argument("--language", default="ru", choices=("ru", "en"))
    folder.add_argument("--voice", default="", help="name of the speaker, if it is one")
    folder.set_defaults(make=_own)
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


# ---- your own recordings ----


def _own(args: argparse.Namespace) -> int:
    from borealis.data.manifest import write_manifest

    source = Path(args.source)
    if source.is_dir():
        rows = list(_folder_rows(source))
    elif source.suffix.lower() in (".csv", ".tsv") and source.is_file():
        rows = list(_table_rows(source))
    else:
        raise ManifestError(
            f"'{source}' is neither a folder of recordings nor a .csv or .tsv file."
        )
    read = [row[0] for row in rows if not isinstance(row, str)]
    if source.is_dir():  # those without a text, too
        read = [path for path in source.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES]
    texts = [path.with_suffix(".txt") for path in read]
    refuse_inputs(args.output, [*read, *texts, *([source] if source.is_file() else [])])
    items, problems = _measure(rows, args.language, args.voice)
    for problem in problems:
        print(problem)
    if not items:
        raise ManifestError(f"No usable recording with a text was found in '{source}'.")
    write_manifest(args.output, items)
    hours = sum(item.duration for item in items) / 3600
    print(f"{len(items)} recordings, {hours:.2f} h, written; {len(problems)} skipped")
    return 0


# A recording with its text, or why a row is of no use.
_Row = tuple[Path, str] | str
_NOT_UTF8 = "isn't in UTF-8 (in cp1251, perhaps, as Windows writes it); save it in UTF-8"
_WANTED = ("audio", "text")


def _folder_rows(folder: Path) -> Iterable[_Row]:
    """Recordings in order, each with the text beside it."""
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES):
        beside = path.with_suffix(".txt")
        try:
            text = beside.read_text(encoding="utf-8-sig").strip() if beside.is_file() else ""
        except UnicodeDecodeError:
            yield f"the text '{beside}' {_NOT_UTF8}"
            continue
        yield (path, text) if text else f"'{path}' has no text"


def _table_rows(path: Path) -> Iterable[_Row]:
    """Rows of a table whose first line names the columns `audio` and `text`; others are told.

    Raises:
        ManifestError: it isn't text in UTF-8, lacks a column, or isn't a table.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            delimiter = _delimiter(header, path.name)
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            if others := [name for name in reader.fieldnames if name not in _WANTED]:
                print(f"not used: the column{'s' * (len(others) > 1)} {', '.join(others)}")
            for row in reader:
                yield _table_row(row, f"'{path.name}', line {reader.line_num}", path.parent)
    except UnicodeDecodeError:
        raise ManifestError(f"'{path.name}' {_NOT_UTF8} and run it again.") from None
    except csv.Error as error:
        raise ManifestError(f"'{path.name}', line {reader.line_num + 1}: {error}.") from None


def _delimiter(header: str, name: str) -> str:
    """What separates the columns of a table, by its first line."""
    for delimiter in (",", ";", "\t"):
        found = next(csv.reader([header], delimiter=delimiter), [])
        if set(_WANTED) <= {column.strip().lower() for column in found}:
            return delimiter
    raise ManifestError(
        f"'{name}' needs the columns 'audio' and 'text' in line 1, with commas, semicolons or "
        f"tabs between; that line is {header.strip()[:80]!r}."
    )


def _table_row(row: dict[Any, Any], where: str, folder: Path) -> _Row:
    if None in row:
        return f"{where} has more fields than the first line; put a text with commas in quotes"
    audio, text = ((row[name] or "").strip() for name in _WANTED)
    if "\n" in audio + text:
        return f"{where}: a field runs over several lines; is a quotation mark left open before?"
    if not audio:
        return f"{where} names no recording"
    return (folder / audio, text) if text else f"'{folder / audio}' has no text"


def _measure(rows: Iterable[_Row], language: str, voice: str) -> tuple[list[Utterance], list[str]]:
    from borealis.audio import SAMPLING_RATE, load_audio
    from borealis.data.manifest import Utterance

    items, problems = [], []
    for row in rows:
        if isinstance(row, str):
            problems.append(f"skipped: {row}")
            continue
        path, text = row
        try:
            seconds = len(load_audio(path)) / SAMPLING_RATE
        except BorealisError as error:
            problems.append(f"skipped: {error}")
            continue
        items.append(
            Utterance(str(path.resolve()), text, round(seconds, 2), language=language, voice=voice)
        )
    return items, problems


def measured_folder(folder: Path, language: str) -> tuple[list[Utterance], list[str]]:
    """Recordings of a folder with the texts beside them, and what was skipped."""
    return _measure(_folder_rows(folder), language, "")


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
