"""`borealis data import`: what people have -> manifests, and a few lines on what was understood."""

from __future__ import annotations

import argparse
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from borealis.audio import SAMPLING_RATE
from borealis.data.importers.rows import Found, ImportProblem, Problem, Reading, Row, Stored
from borealis.errors import OutputError
from borealis.files import folder_aside, refuse_inputs, write_text

if TYPE_CHECKING:
    from borealis.data.importers.alignment import TimedWord
    from borealis.data.manifest import Utterance

_NOTES = 24  # what was understood: a folder may have a thousand TextGrids
_SHOWN = 10  # problems on the screen; all are in a file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `borealis data import`."""
    parser.add_argument(
        "source",
        help="folder of recordings with texts, subtitles or labels beside them; a table; a tar",
    )
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder for the manifest and for clips"
    )
    parser.add_argument("--name", help="of the manifest (train, or the splits of the source)")
    parser.add_argument(
        "--replace", action="store_true", help="write over the manifest of an earlier import"
    )
    parser.add_argument(
        "--language", default="ru", choices=("ru", "en"), help="where nothing says it (ru)"
    )
    parser.add_argument("--voice", default="", help="name of the speaker, where nothing says it")
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="WHAT=COLUMN",
        help="column or key that is audio, text, voice ...; may be repeated",
    )
    parser.add_argument(
        "--tier",
        action="append",
        default=[],
        help="tier of a TextGrid or an ELAN file; may be repeated, one for each speaker",
    )
    parser.add_argument("--encoding", help="of texts; without it their bytes tell")
    parser.add_argument(
        "--max-seconds", type=float, default=30.0, metavar="S", help="longest clip (30)"
    )
    parser.set_defaults(make=run)


def add_manifest_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `borealis data manifest`, the same with one file for all that is made."""
    parser.add_argument("source", help="folder of recordings with their texts, or a table")
    parser.add_argument("--output", required=True, help="the manifest to write (.jsonl)")
    parser.add_argument("--language", default="ru", choices=("ru", "en"))
    parser.add_argument("--voice", default="", help="name of the speaker, if it is one")
    parser.set_defaults(make=_run_manifest)


def run(args: argparse.Namespace) -> int:
    """`borealis data import`."""
    columns = dict(pair.partition("=")[::2] for pair in args.column)
    if bad := [pair for pair in args.column if not columns.get(pair.partition("=")[0])]:
        raise ImportProblem(f"--column {bad[0]}: write what=column, such as text=sentence.")
    if not 1 <= args.max_seconds <= 3600:
        raise ImportProblem("--max-seconds is a number of seconds from 1 to 3600.")
    if args.name is not None and (not args.name or re.search(r"[/\\\0]", args.name)):
        raise ImportProblem(f"--name {args.name!r}: a name without slashes is wanted.")
    output = Path(args.output)
    if output.exists() and not output.is_dir():
        raise OutputError(f"'{output}' is a file; --output is the folder for the manifest.")
    reading = Reading(columns, tuple(args.tier), args.encoding)
    target = Target(output, args.name, replace=args.replace)
    summary = import_recordings(
        Path(args.source),
        target,
        reading,
        language=args.language,
        voice=args.voice,
        longest=args.max_seconds,
    )
    print(summary)
    return 0


def _run_manifest(args: argparse.Namespace) -> int:
    output = Path(args.output)
    target = Target(output.parent, output.stem, replace=True, file=output)
    source = Path(args.source)
    print(import_recordings(source, target, Reading(), language=args.language, voice=args.voice))
    return 0


@dataclass(frozen=True)
class Target:
    """Where an import is written.

    Args:
        folder: of manifests; clips are put into `clips/<name>` there.
        name: of the manifest, without its suffix; None: `train`, and those of the splits.
        replace: whether what is there may be written over.
        file: the manifest itself, if it has another name.
    """

    folder: Path
    name: str | None = None
    replace: bool = False
    file: Path | None = None

    @property
    def clips(self) -> Path:
        """Folder of the clips."""
        return self.folder / "clips" / (self.name or "train")

    @property
    def skipped(self) -> Path:
        """List of what was left out."""
        return self.folder / f"{self.name or 'train'}.skipped.txt"

    def manifest(self, split: str) -> Path:
        """The manifest of a split; "" where there is only one."""
        if not split:
            return self.file or self.folder / f"{self.name or 'train'}.jsonl"
        return self.folder / (f"{self.name}.{split}.jsonl" if self.name else f"{split}.jsonl")

    def check(self, splits: Iterable[str], inputs: Iterable[Path]) -> None:
        """Stop before anything is lost.

        Raises:
            OutputError: something is an input, or is there already and may not be written over.
        """
        inputs = sorted(inputs)
        outputs = [self.manifest(split) for split in splits]
        for output in (*outputs, self.skipped, self.clips):
            refuse_inputs(output, inputs)
        if self.replace:
            return
        for output in (*outputs, self.skipped, self.clips):
            if output.is_file() or (output.is_dir() and any(output.iterdir())):
                raise OutputError(
                    f"'{output}' is there already. Give another --name or --output, or --replace "
                    "to write over it."
                )


@dataclass
class Summary:
    """What came of an import; as a text it is the lines that the command prints.

    Args:
        notes: what was understood.
        manifests: utterances by manifest.
        problems: what was left out.
        listed: the file with all of them, if they are many.
    """

    notes: list[str]
    manifests: dict[Path, list[Utterance]]
    problems: list[Problem]
    listed: Path | None = None

    def __str__(self) -> str:
        lines = self.notes[:_NOTES]
        if (more := len(self.notes) - _NOTES) > 0:
            lines.append(f"and {more} more lines like these")
        lines += [f"skipped: {problem.text}" for problem in self.problems[:_SHOWN]]
        if (more := len(self.problems) - _SHOWN) > 0:
            lines.append(f"skipped: {more} more, all in {self.listed}")
        if self.problems:
            kinds = Counter(problem.reason for problem in self.problems)
            shown = "; ".join(f"{reason}: {count}" for reason, count in kinds.most_common())
            lines.append(f"{len(self.problems)} skipped ({shown})")
        for path, items in self.manifests.items():
            hours = sum(item.duration for item in items) / 3600
            voices = len({item.voice for item in items if item.voice})
            named = f"{voices} voices" if voices != 1 else "1 voice"
            clips = f"{len(items)} clips" if len(items) != 1 else "1 clip"
            lines.append(f"{path}: {clips}, {hours:.2f} h, {named if voices else 'voices unknown'}")
        return "\n".join(lines)


def import_recordings(
    source: Path,
    target: Target,
    reading: Reading,
    *,
    language: str = "ru",
    voice: str = "",
    longest: float = 30.0,
) -> Summary:
    """Make manifests of a source, and clips where recordings are long.

    Args:
        source: folder or file.
        target: where they are written.
        reading: how to read.
        language: where nothing says it.
        voice: likewise.
        longest: seconds of a clip.

    Raises:
        ManifestError: the source can't be understood, or nothing of it can be used.
        OutputError: something would be lost, or can't be written.
    """
    from tqdm import tqdm

    from borealis.data.importers.clips import Clips, Made
    from borealis.data.importers.registry import read
    from borealis.data.importers.segments import Limits
    from borealis.data.manifest import write_manifest

    found = _split(list(read(source, reading)), target.name)
    splits = {row.split for row in found if isinstance(row, Row)} or {""}
    target.check(splits, [*reading.inputs, *_recordings(found)])
    made: dict[str, list[Utterance]] = defaultdict(list)
    problems: list[Problem] = []
    with ExitStack() as stack:
        clips = Clips(
            cache(lambda: stack.enter_context(folder_aside(target.clips))),
            target.clips,
            _Listener(),
            language=language,
            voice=voice,
            limits=Limits(longest=longest),
        )
        for item in tqdm(clips.make(found), unit=" clips", disable=None, leave=False):
            if isinstance(item, Made):
                made[item.split].append(item.item)
            else:
                problems.append(item)
        if not made:
            first = f" The first problem: {problems[0].text}." if problems else ""
            raise ImportProblem(f"No usable recording with a text was found in '{source}'.{first}")
    manifests = {target.manifest(split): items for split, items in sorted(made.items())}
    for path, items in manifests.items():
        write_manifest(path, items)
    listed = None
    if len(problems) > _SHOWN or (problems and target.skipped.exists()):
        listed = target.skipped
        write_text(listed, "".join(f"{problem.text}\n" for problem in problems))
    encodings = ", ".join(f"{name} ({n})" for name, n in reading.encodings.most_common())
    notes = reading.notes + ([f"encoding of texts: {encodings}"] if encodings else [])
    return Summary([*notes, *clips.notes], manifests, problems, listed)


class _Listener:
    """Writes down what is said by the bundled model, which is loaded when it is first needed."""

    def __init__(self) -> None:
        self._model: Any = None

    def __call__(self, audio: Any, language: str) -> Sequence[TimedWord]:
        if self._model is None:
            from borealis import load

            self._model = load("nano")
        heard = self._model.transcribe(
            audio, sampling_rate=SAMPLING_RATE, language=language, words=True
        )
        return heard.words


def _split(found: list[Found], name: str | None) -> list[Found]:
    """Rows that name no split are for training where others name one.

    A split that is alone needs no name of its own where the manifest has one.
    """
    splits = {row.split for row in found if isinstance(row, Row)}
    if splits <= {""}:
        return found
    alone = name is not None and len(splits) == 1
    return [
        replace(row, split="" if alone else row.split or "train") if isinstance(row, Row) else row
        for row in found
    ]


def _recordings(found: Iterable[Found]) -> set[Path]:
    rows = (row.audio for row in found if isinstance(row, Row) and row.audio is not None)
    return {audio.path if isinstance(audio, Stored) else audio for audio in rows}
