"""`borealis data`: corpora of borealis-nano, manifests of recordings and datasets, their check."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from borealis.data.importers import command as importing
from borealis.data.importers.rows import AUDIO_SUFFIXES as AUDIO_SUFFIXES
from borealis.errors import ManifestError
from borealis.files import refuse_inputs

if TYPE_CHECKING:
    from borealis.data.manifest import Utterance

# What `borealis data nano` writes besides manifests.
_TEXTS = (
    *("fortunes-ru.txt", "libreoffice-help-ru.txt", "english.txt", "literature-ru.txt"),
    *("phrases-ru.txt", "synthetic-ru.txt", "dictionary-ru.txt", "dictionary-en.txt"),
)
_TESTS = (
    "festvox-ru.test",
    "festvox-ru.validation",
    "synthetic-ru.test",
    "english-tts.test",
    "russian-tts.test",
)


_CORPORA = (  # that `build_nano` writes
    "fortunes-ru.txt",
    "libreoffice-help-ru.txt",
    "english.txt",
    "literature-ru.txt",
    "phrases-ru.txt",
    "synthetic-ru.txt",
    "dictionary-ru.txt",
    "dictionary-en.txt",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `borealis data`."""
    kinds = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    nano = kinds.add_parser("nano", help="everything that borealis-nano is trained and measured on")
    nano.add_argument("--output", default="data", help="folder to fill (data)")
    nano.add_argument("--packages", help="folder for unpacked Debian packages (OUTPUT/packages)")
    nano.add_argument("--synthetic", help="archive or folder of synthetic Russian speech")
    nano.add_argument("--literature", help="text file of Russian classics, may be .xz")
    nano.set_defaults(make=_nano)
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
    hub.add_argument("dataset", nargs="?", help="ready entry, hub id or folder; none: list entries")
    hub.add_argument("--output", default="data", help="data folder (data)")
    hub.add_argument("--name", help="of the manifest (the dataset's last name)")
    hub.add_argument("--config", help="configuration of the dataset")
    hub.add_argument("--split", default="train", help="split (train)")
    hub.add_argument("--revision", help="commit or tag")
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


# ---- borealis-nano ----


def _nano(args: argparse.Namespace) -> int:
    output = Path(args.output)
    packages = Path(args.packages) if args.packages else output / "packages"
    synthetic = Path(args.synthetic) if args.synthetic else None
    literature = Path(args.literature) if args.literature else None
    build_nano(output, packages, synthetic=synthetic, literature=literature)
    return 0


def build_nano(
    output: Path, packages: Path, *, synthetic: Path | None = None, literature: Path | None = None
) -> None:
    """Make every manifest and corpus that `recipes/nano.yaml` names.

    Args:
        output: folder to fill; what is there already is made again the same.
        packages: Debian packages are unpacked here, or found if they were before.
        synthetic: synthetic Russian speech (see `sources.synthetic_ru`); without it the model
            learns Russian from one voice only and does worse on strangers.
        literature: text of Russian classics; without it the language model knows less Russian.

    Raises:
        BorealisError: a source is missing or isn't what it should be.
    """
    from borealis.data import corpora, sources

    def package(name: str) -> Path:
        return sources.unpack_debian_package(name, packages)

    given = [path for path in (synthetic, literature) if path is not None]
    for name in _TEXTS:
        refuse_inputs(output / name, given)
    output.mkdir(parents=True, exist_ok=True)
    made = sources.festvox_ru(package("festvox-ru"), output)
    prompts = package("asterisk-core-sounds-ru-wav"), package("asterisk-core-sounds-ru")
    made += sources.asterisk_ru(*prompts, output)
    if synthetic is not None:
        made += sources.synthetic_ru(synthetic, output)
    else:
        print(
            "No synthetic Russian speech was given (--synthetic): the recipe goes on without it, "
            "and the model will do worse on voices it hasn't heard."
        )
    jokes = package("fortunes") / "usr/share/games/fortunes"
    english = [s for s in corpora.fortunes(jokes) if re.fullmatch(r"[A-Za-z ,.!?:;—'-]+", s)]
    short = [s for s in dict.fromkeys(english) if 15 <= len(s) <= 110]
    made += sources.english_tts(short[:1500], output)
    others = corpora.without_test_texts(short[1500:], [output / "english-tts.test.jsonl"])
    made += sources.more_english_tts(list(others)[:7000], output)
    if literature is not None:
        classics = list(corpora.russian_classics(literature))
        made += sources.russian_tts(_spread(classics, 900, 30, 110), output)
    quiet = ["asterisk-moh-opsound-wav", "oxygen-sounds", "sound-theme-freedesktop"]
    made += sources.sounds([package(name) for name in [*quiet, "yaru-theme-sound"]], output)

    tests = [p for name in _TESTS if (p := output / f"{name}.jsonl").is_file()]
    texts: dict[str, Iterable[str]] = {
        "fortunes-ru.txt": corpora.fortunes(package("fortunes-ru") / "usr/share/games/fortunes/ru"),
        "libreoffice-help-ru.txt": corpora.markup_folder(
            package("libreoffice-help-ru") / "usr/share/libreoffice"
        ),
        "english.txt": english,
    }
    if literature is not None:
        texts["literature-ru.txt"] = classics
        texts["phrases-ru.txt"] = corpora.spoken_phrases(literature)
    else:
        print(
            "No literature was given (--literature): the language model will learn from manuals "
            "and jokes alone and spell worse."
        )
    if synthetic is not None:
        from borealis.data.manifest import read_manifest

        train = read_manifest(output / "synthetic-ru.train.jsonl")
        texts["synthetic-ru.txt"] = [item.text for item in train]
    _table(made)
    for name, lines in texts.items():
        count = corpora.write_corpus(corpora.without_test_texts(lines, tests), output / name)
        size = (output / name).stat().st_size / 1e6
        print(f"{name:<32}{count:>8} sentences {size:>7.1f} MB")
    # Single words tell nothing about a test; without its words a dictionary would have holes there.
    forms = corpora.dictionary_forms(
        package("hunspell-ru") / "usr/share/hunspell/ru_RU.dic",
        package("hunspell-tools") / "usr/bin/unmunch",
    )
    count = corpora.write_corpus(forms, output / "dictionary-ru.txt")
    print(f"{'dictionary-ru.txt':<32}{count:>8} words")
    listed = package("wamerican") / "usr/share/dict/american-english"
    count = corpora.write_corpus(corpora.listed_words(listed), output / "dictionary-en.txt")
    print(f"{'dictionary-en.txt':<32}{count:>8} words")


def _spread(lines: Sequence[str], count: int, shortest: int, longest: int) -> list[str]:
    """`count` different lines of fitting length, evenly from the whole."""
    fitting = [line for line in dict.fromkeys(lines) if shortest <= len(line) <= longest]
    return fitting[:: max(1, len(fitting) // count)][:count]


def _table(manifests: Iterable[Path]) -> None:
    from borealis.data.manifest import read_manifest

    for path in manifests:
        items = read_manifest(path)
        hours = sum(item.duration for item in items) / 3600
        print(f"{path.name:<32}{len(items):>8} clips {hours:>9.2f} h")


# ---- your own recordings ----


def measured_folder(folder: Path, language: str) -> tuple[list[Utterance], list[str]]:
    """Recordings of a folder with the texts beside them, and what was skipped.

    Long recordings aren't cut: `borealis data import` does that.

    Raises:
        ManifestError: there is no recording in it.
    """
    from borealis.data.importers.clips import Clips, Made
    from borealis.data.importers.registry import read
    from borealis.data.importers.rows import Reading

    items, problems = [], []
    for made in Clips(language=language).make(read(folder, Reading())):
        if isinstance(made, Made):
            items.append(made.item)
        else:
            problems.append(f"skipped: {made.text}")
    return items, problems


def _check(args: argparse.Namespace) -> int:
    from borealis.data.check import report

    return report(args.manifest, any_text=args.any_text)


# ---- datasets and speech from text ----


def _hub(args: argparse.Namespace) -> int:
    from borealis.data.hub import READY, read_dataset

    if args.dataset is None:
        width = max(map(len, READY))
        for name, entry in READY.items():
            place = f"{entry.dataset} {entry.config or ''}".strip()
            print(f"{name:{width}}  {place}{f'  ({entry.note})' if entry.note else ''}")
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
    _table(made)
    return 0
