"""All that borealis-nano is trained and measured on: `python -m lab.nano.data --output data`.

Run it in the root of the repository, on Debian or Ubuntu: recordings and texts come from Debian
packages, which are downloaded and unpacked without being installed, and from engines of speech.
Synthetic Russian speech and literature are files of your own; without them nano is trained on less.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from borealis.data.command import print_hours
from borealis.data.manifest import read_manifest
from borealis.errors import BorealisError
from borealis.files import refuse_inputs
from lab.nano import corpora, sources

# What is written besides manifests.
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
# Sentences that are spoken, at most: English ones and more of them for training, Russian ones.
ENGLISH, MORE_ENGLISH, RUSSIAN = 1500, 7000, 900


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
    made += sources.english_tts(short[:ENGLISH], output)
    others = corpora.without_test_texts(short[ENGLISH:], [output / "english-tts.test.jsonl"])
    made += sources.more_english_tts(list(others)[:MORE_ENGLISH], output)
    if literature is not None:
        classics = list(corpora.russian_classics(literature))
        made += sources.russian_tts(_spread(classics, RUSSIAN, 30, 110), output)
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
        train = read_manifest(output / "synthetic-ru.train.jsonl")
        texts["synthetic-ru.txt"] = [item.text for item in train]
    print_hours(made)
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


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.nano.data",
        description="Everything that nano is trained and measured on.",
    )
    parser.add_argument("--output", default="data", help="folder to fill (data)")
    parser.add_argument("--packages", help="folder for unpacked Debian packages (OUTPUT/packages)")
    parser.add_argument("--synthetic", help="archive or folder of synthetic Russian speech")
    parser.add_argument("--literature", help="text file of Russian classics, may be .xz")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 2 when a source is missing or isn't what it should be."""
    args = build_parser().parse_args(argv)
    output = Path(args.output)
    packages = Path(args.packages) if args.packages else output / "packages"
    synthetic = Path(args.synthetic) if args.synthetic else None
    literature = Path(args.literature) if args.literature else None
    try:
        build_nano(output, packages, synthetic=synthetic, literature=literature)
    except BorealisError as error:
        print(f"borealis: {error}", file=sys.stderr)
    except OSError as error:
        if error.filename is None:
            raise
        print(f"borealis: '{error.filename}': {error.strerror}.", file=sys.stderr)
    else:
        return 0
    return 2


if __name__ == "__main__":
    sys.exit(main())
