"""`borealis speak`: a text as a file of sound, to standard output, or to the ear."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from borealis import arguments
from borealis.errors import BorealisError, OutputError, PromptError, SpeechError
from borealis.files import open_aside, refuse_inputs
from borealis.model_options import load_model, model_options
from borealis.speech.pieces import MAX_CHARACTERS
from borealis.speech.sound import FASTEST, FORMATS, SAME, SLOWEST, check_suffix

if TYPE_CHECKING:
    from borealis.inference.speech import Speech, Voice

INTERMIXED = True  # words of the text may stand between options

_SOUNDS = (*FORMATS, *SAME, "pcm")
_LISTS = ("text", "json")
# Programs that play a file and go, and their options: the first that is there is taken.
PLAYERS = {
    "ffplay": ("-nodisp", "-autoexit", "-loglevel", "error"),
    "aplay": ("-q",),
    "paplay": (),
    "afplay": (),
    "play": ("-q",),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `borealis speak`."""
    parser.add_argument(
        "text", nargs="*", metavar="TEXT", help="Russian or English; - is standard input, UTF-8"
    )
    parser.add_argument("--file", metavar="FILE", help="read the text there, UTF-8")
    parser.add_argument(
        "-o",
        "--output",
        metavar="SOUND",
        help="the .wav, .flac, .mp3, .opus or .ogg file to write; - is standard output",
    )
    parser.add_argument(
        "--format",
        choices=(*_SOUNDS, *_LISTS),
        metavar="FORMAT",
        help=f"of standard output: {', '.join(_SOUNDS)} (wav); of --voices: text or json (text)",
    )
    parser.add_argument("--play", action="store_true", help="play it, by what the machine has")
    parser.add_argument(
        "--words", metavar="FILE", help="write there when each word is said, as JSON"
    )
    parser.add_argument("--voice", metavar="NAME", help="by default the first of the language")
    parser.add_argument("--voices", action="store_true", help="list the voices of the model")
    parser.add_argument(
        "--language",
        type=_of(arguments.language),
        metavar="LANGUAGE",
        help="that numbers and signs are said in: ru or en; by default the voice's",
    )
    parser.add_argument(
        "--speed",
        type=_of(lambda text: arguments.number("speed", _number(text), SLOWEST, FASTEST)),
        default=1.0,
        metavar="X",
        help=f"from {SLOWEST:g} to {FASTEST:g}; 2 is twice as fast (1)",
    )
    parser.add_argument(
        "--temperature",
        type=_of(lambda text: arguments.number("temperature", _number(text), 0, 2)),
        metavar="T",
        help="how much is left to chance, from 0 to 2; 0 leaves nothing (0.6)",
    )
    parser.add_argument(
        "--seed",
        type=_of(lambda text: arguments.whole("seed", _number(text), 0)),
        default=0,
        metavar="N",
        help="of chance: the same one says the same text alike (0)",
    )
    model_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run what `add_arguments` parsed."""
    if args.voices:
        _list_voices(args)
        return 0
    form = _form(args)
    player = find_player() if args.play else None
    text = _text(args)
    source: list[str | int] = [args.file] if args.file else [0] if args.text == ["-"] else []
    for output in (args.output, args.words):
        if output:
            refuse_inputs(1 if output == "-" else output, source)
    if args.words and args.output and os.path.abspath(args.words) == os.path.abspath(args.output):
        raise OutputError("--words and --output name the same file; give each its own.")
    said = load_model(args).speak(
        text,
        voice=args.voice,
        language=args.language,
        speed=args.speed,
        seed=args.seed,
        **({} if args.temperature is None else {"temperature": args.temperature}),
    )
    write(said, args.output, form)
    if args.words:
        with open_aside(args.words) as stream:
            stream.write(json.dumps(said.to_dict(), ensure_ascii=False, indent=1) + "\n")
    if said.left_out:
        print(f"borealis: Not said: {' '.join(map(_shown, said.left_out))}", file=sys.stderr)
    if player is not None:
        play(said, player)
    return 0


def write(said: Speech, output: str | None, form: str) -> None:
    """Write speech to a file, and tell of it, or to standard output.

    Args:
        said: the speech.
        output: path, `-` for standard output, None for nowhere.
        form: of standard output.
    """
    if output == "-":
        sys.stdout.buffer.write(said.encode(form))
        sys.stdout.buffer.flush()
    elif output:
        said.save(output)
        print(f"{said.duration:.2f} s written to {output}")


def find_player() -> str:
    """The program that will play.

    Raises:
        SpeechError: there is none.
    """
    for name in PLAYERS:
        if path := shutil.which(name):
            return path
    raise SpeechError(
        f"Nothing here can play sound: install one of {', '.join(PLAYERS)}, or write a file with "
        "--output."
    )


def play(said: Speech, player: str) -> None:
    """Play speech to its end.

    Raises:
        SpeechError: the program failed: there is no sound card, most often.
    """
    name = Path(player).stem
    with tempfile.TemporaryDirectory(prefix="borealis-") as folder:
        path = Path(folder) / "speech.wav"
        said.save(path)
        done = subprocess.run(
            [player, *PLAYERS[name], str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
    if done.returncode:
        told = done.stderr.decode("utf-8", "replace").strip().splitlines()
        why = told[-1].rstrip(".") if told else f"it ended with code {done.returncode}"
        raise SpeechError(f"{name} can't play the speech: {why}.")


def _form(args: argparse.Namespace) -> str:
    """The form of standard output; outputs are checked.

    Raises:
        BorealisError: there is no output, or it can't be as it was asked for.
    """
    if args.output is None and not args.play:
        raise SpeechError("The speech has nowhere to go: give --output FILE, or --play.")
    if args.format in _LISTS:
        raise SpeechError(
            f"--format {args.format} is for --voices; sound goes to standard output as "
            f"{', '.join(_SOUNDS)}."
        )
    if args.output == "-":
        if sys.stdout.isatty():
            raise SpeechError(
                "A terminal can't show sound: send standard output to a file or a program, or "
                "give --play."
            )
        return args.format or "wav"
    if args.format:
        raise SpeechError(
            "--format is for standard output, --output -; a file's suffix tells its format."
        )
    if args.output:
        check_suffix(args.output)
    return ""


def _text(args: argparse.Namespace) -> str:
    """What is to be said.

    Raises:
        BorealisError: there is none, or it can't be read.
    """
    if args.file and args.text:
        raise PromptError("The text is given twice: as words and as --file; give one of them.")
    if args.file:
        try:
            with open(args.file, "rb") as file:
                text = _decoded(file.read(4 * MAX_CHARACTERS + 4), f"'{args.file}'")
        except OSError as error:
            raise PromptError(f"'{args.file}' can't be read: {error.strerror}.") from None
    elif args.text == ["-"]:
        if sys.stdin is None:
            raise PromptError("Standard input is closed; give the text, or --file.")
        text = _decoded(sys.stdin.buffer.read(4 * MAX_CHARACTERS + 4), "Standard input")
    elif args.text:
        text = " ".join(map(arguments.decoded, args.text))
    else:
        raise PromptError("There is no text; give it as words, by --file, or - and standard input.")
    if not text.strip():
        raise SpeechError("The text is empty: give at least one word to say.")
    return text


def _decoded(data: bytes, place: str) -> str:
    """Bytes as text; more of them than a text may have are told of at once."""
    if len(data) > 4 * MAX_CHARACTERS + 3:
        raise SpeechError(
            f"{place} has more than {MAX_CHARACTERS:,} characters: speak it in parts."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptError(
            f"{place} is no text in UTF-8: byte {error.start + 1} is wrong. Convert it first."
        ) from None


def _list_voices(args: argparse.Namespace) -> None:
    """Print the voices of the model."""
    if args.text or args.file or args.output or args.play or args.words:
        raise SpeechError("--voices only lists voices: leave the text and the outputs out.")
    if args.format not in (None, *_LISTS):
        raise SpeechError(f"--voices are listed as text or json, not as {args.format}.")
    voices = load_model(args).voices
    if args.format == "json":
        print(json.dumps([asdict(voice) for voice in voices]))
    elif not voices:
        print("borealis: This model wasn't taught to speak: it has no voices.", file=sys.stderr)
    else:
        rows = [(v.name, v.language, v.gender, _about(v)) for v in voices]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            print("  ".join(cells).rstrip())


def _about(voice: Voice) -> str:
    """A voice in a sentence, English where there is one."""
    told = voice.description
    return told.get("en") or next(iter(told.values()), "")


def _shown(char: str) -> str:
    return char if char.isprintable() else f"U+{ord(char):04X}"


def _number(text: str) -> float | int | str:
    """A number, or the text itself, which the check of the argument shows."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _of(check: Callable[[Any], Any]) -> Callable[[str], Any]:
    """A type of argparse: what a check says becomes the message."""

    def read(text: str) -> Any:
        try:
            return check(text)
        except BorealisError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read
