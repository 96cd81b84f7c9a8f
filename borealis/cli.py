"""The `borealis` command. Heavy libraries are imported by the command that needs them."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from borealis import __version__, arguments
from borealis.errors import BorealisError
from borealis.files import open_aside, refuse_inputs
from borealis.model_options import load_model, model_options

if TYPE_CHECKING:
    import numpy as np

    from borealis.long_audio import LongAudio

USER_MISTAKE = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        Exit code: 0, 2 for a user's mistake or an output that can't be written (one line on stderr
        says which), 130 for Ctrl-C.
    """
    _prepare_streams()
    output = _Watched(sys.stdout)
    sys.stdout = output  # type: ignore[assignment]
    code, shown = USER_MISTAKE, None
    try:
        code = _run(argv)
    except SystemExit as stop:  # argparse has shown the help, or the usage
        shown = stop
    except OSError:
        if output.error is None:
            raise
    finally:
        with suppress(OSError):
            output.flush()
        sys.stdout = output.stream
    if output.error is not None:
        # What is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(output.error, BrokenPipeError):  # the reader (head, less) is gone
            return 0
        _complain(f"The output can't be written: {output.error.strerror}.")
        return USER_MISTAKE
    if shown is not None:
        raise shown
    return code


class _Watched:
    """Standard output that remembers why it couldn't be written."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        return self._try(self.stream.write, text)

    def flush(self) -> None:
        self._try(self.stream.flush)

    @property
    def buffer(self) -> _WatchedBytes:
        return _WatchedBytes(self)

    def _try(self, act: Callable[..., Any], *values: Any) -> Any:
        try:
            return act(*values)
        except OSError as error:
            self.error = error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class _WatchedBytes:
    """Bytes of a watched stream."""

    def __init__(self, watched: _Watched) -> None:
        self.watched = watched

    def write(self, data: bytes) -> int:
        return self.watched._try(self.watched.stream.buffer.write, data)

    def flush(self) -> None:
        self.watched._try(self.watched.stream.buffer.flush)


def _run(argv: Sequence[str] | None) -> int:
    """Exit code of the command; what it prints may still be on its way."""
    parser = build_parser()
    try:
        args = parser.parse_args(argv)
        if not hasattr(args, "run"):
            parser.print_help()
            return USER_MISTAKE
        return int(args.run(args) or 0)
    except BorealisError as error:
        _complain(error)
        return USER_MISTAKE
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        if error.filename is None:
            raise
        _complain(f"'{os.fsdecode(error.filename)}': {error.strerror}.")
        return USER_MISTAKE


def _prepare_streams() -> None:
    """Let every text be printed: as escapes where the terminal's encoding lacks a character.

    A closed stream (`>&-`) gets its number back, so that no file that is opened takes it; what is
    written to closed standard output is an error.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            if name != "stdin":
                stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
                setattr(sys, name, stream)
    if isinstance(sys.stdout, io.TextIOWrapper):
        everything = sys.stdout.encoding.lower().startswith("utf")
        if sys.stdout.errors == "strict" or (
            sys.stdout.errors == "surrogateescape" and not everything
        ):
            sys.stdout.reconfigure(errors="backslashreplace")


class _Parser(argparse.ArgumentParser):
    """A parser that may learn its options from a module, imported when the command is chosen."""

    module = ""
    moved: Mapping[str, str] = {}  # words that were a command before: what to do instead
    intermixed = False
    inside = False  # of `parse_known_intermixed_args`, which comes back here

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.module:
            command = import_module(self.module)
            self.module = ""
            command.add_arguments(self)
            self.set_defaults(run=command.run)
            self.intermixed = getattr(command, "INTERMIXED", False)
            self.moved = getattr(command, "MOVED", {})
        if args and args[0] in self.moved:
            self.error(self.moved[args[0]])
        if self.intermixed and not self.inside:  # words may stand between and after options
            self.inside = True
            found, rest = self.parse_known_intermixed_args(args, namespace)
            self.inside = False
        else:
            found, rest = super().parse_known_args(args, namespace)
        if rest and not self.inside:  # argparse would show the usage of `borealis`
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return found, rest


def build_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands."""
    parser = _Parser(
        prog="borealis",
        description="An open audio language model for Russian and English.",
        epilog="'borealis COMMAND --help' tells more about a command.",
    )
    parser.add_argument("--version", action="version", version=f"borealis {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for add in (_transcribe, _ask, _chat, _info, _eval):
        add(commands)
    _elsewhere(commands, "speak", "borealis.inference.speak_command", "say a text")
    _elsewhere(commands, "data", "borealis.data.command", "build and check manifests")
    _elsewhere(commands, "codec", "borealis.codec.command", "sound into codec tokens and back")
    _elsewhere(commands, "train", "borealis.training.command", "train a model from a recipe")
    _elsewhere(commands, "plan", "borealis.training.plan_command", "tell what training will cost")
    _elsewhere(
        commands,
        "convert",
        "borealis.model.convert_command",
        "assemble a model or convert a checkpoint",
    )
    export = "borealis.training.publish.export_command"
    _elsewhere(commands, "export", export, "make a folder of a trained model that can be published")
    push = "borealis.training.publish.push_command"
    _elsewhere(commands, "push", push, "upload such a folder to the hub")
    _elsewhere(commands, "serve", "borealis.serving.command", "start the server for many users")
    _elsewhere(commands, "bench", "borealis.serving.bench", "measure speed under load")
    _elsewhere(commands, "demo", "borealis.demo.command", "open the live demo in a browser")
    _elsewhere(commands, "space", "borealis.demo.space_command", "put the demo on a Space")
    return parser


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int | None], text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=_sentence(text))
    parser.set_defaults(run=run)
    return parser


def _elsewhere(commands: Any, name: str, module: str, text: str) -> None:
    """A command whose options and work are `add_arguments` and `run` of another module."""
    commands.add_parser(name, help=text, description=_sentence(text)).module = module


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' isn't a whole number from 1 up")
    return int(text)


def _language_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--language", type=_language, metavar="LANGUAGE", help="of the speech: ru or en"
    )


def _language(text: str) -> str | None:
    try:
        return arguments.language(text)
    except BorealisError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _complain(error: Exception | str) -> None:
    """One line, whatever line breaks a file name or a library's message brought in."""
    print(f"borealis: {' '.join(str(error).split())}", file=sys.stderr)


@contextmanager
def _output(path: str | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears only when it is complete."""
    if path is None:
        yield sys.stdout
        return
    with open_aside(path) as stream:
        yield stream


def _as_json(value: Any, stream: TextIO, **options: Any) -> str:
    """JSON that the encoding of `stream` can hold."""
    text = json.dumps(value, ensure_ascii=False, **options)
    # Bytes of a file name that are no text are half characters, which JSON only has as escapes.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, **options)
    return text


def _source(name: str) -> str | BinaryIO:
    if name != "-":
        return name
    if sys.stdin is None:
        raise BorealisError("Standard input is closed; give a file.")
    return sys.stdin.buffer


def _place(name: str) -> str | int:
    """What a source is to the file system: a path, or the number of standard input."""
    return 0 if name == "-" else name


# ---- transcribe ----


def _transcribe(commands: Any) -> None:
    parser = _command(commands, "transcribe", _run_transcribe, "write down what is said")
    parser.add_argument("files", nargs="+", metavar="FILE", help="audio or video; - is stdin")
    parser.add_argument(
        "--format",
        type=_formats_by_name,
        default=["text"],
        metavar="FORMAT",
        help="text, json, srt, vtt, tsv or textgrid; several with commas and --output-dir (text)",
    )
    parser.add_argument("--words", action="store_true", help="tell when each word was said (json)")
    parser.add_argument(
        "--language",
        type=_language,
        metavar="LANGUAGE",
        help="of the speech: ru, en, or auto, by the sound of each part (auto)",
    )
    parser.add_argument(
        "--hot-words", metavar="FILE", help="names and terms that are expected, a line each"
    )
    parser.add_argument("--batch-size", type=_positive, default=8, help="parts at once (8)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--output", metavar="FILE", help="write there instead of to the screen")
    where.add_argument(
        "--output-dir", metavar="DIR", help="write a file there for each recording and format"
    )
    parser.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave recordings alone whose files in --output-dir are there",
    )
    model_options(parser)


def _formats_by_name(text: str) -> list[str]:
    from borealis.inference.formats import FORMATS

    forms = list(dict.fromkeys(form.strip().lower() for form in text.split(",")))
    for form in forms:
        if form not in FORMATS:
            raise argparse.ArgumentTypeError(f"'{form}' is none of {', '.join(FORMATS)}")
    return forms


def _run_transcribe(args: argparse.Namespace) -> int:
    from borealis.audio import SAMPLING_RATE

    settings = {
        "language": args.language,
        "words": args.words,
        "hot_words": _hot_words(args.hot_words),
        "batch_size": args.batch_size,
        "sampling_rate": SAMPLING_RATE,
    }
    pages = _Pages(args)
    names: deque[str] = deque()  # of the recordings that were read and aren't written down yet
    clips = _readable(pages.files, names)
    # The first one is read before the model is loaded: a typing mistake is told at once.
    if (first := next(clips, None)) is None:
        return USER_MISTAKE if pages.files else 0
    written = 0
    with pages, _bar(len(pages.files), len(first) / SAMPLING_RATE) as bar:
        model = load_model(args)
        from borealis.inference.engine import gather

        if pages.with_words and model.model.config.adapter_type == "ctc":
            settings["words"] = True
        # A text is shown when it is there; few recordings are in memory at once.
        for group in gather(chain([first], clips), args.batch_size * model.longest_part):
            if bar is not None:
                bar.total = bar.n + sum(map(len, group)) / SAMPLING_RATE
            results = model.transcribe(group, progress=bar and bar.update, **settings)
            for result in results:
                pages.add(names.popleft(), result)
                written += 1
    return USER_MISTAKE if written < len(pages.files) else 0


class _Pages:
    """Where transcripts go: one stream for all of them, or files of their own.

    Args:
        args: of the command.

    Raises:
        BorealisError: the outputs can't be as they were asked for.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        from borealis.inference.formats import SUFFIXES, WITH_WORDS

        self.forms: list[str] = args.format
        self.with_words = bool(WITH_WORDS.intersection(self.forms))
        self.folder = None if args.output_dir is None else Path(args.output_dir)
        self.files: list[str] = args.files
        self.single = len(args.files) == 1
        self._path, self._stack, self._rows = args.output, ExitStack(), 0
        if self.folder is None:
            refuse_inputs(args.output or 1, map(_place, args.files))
            if args.skip_existing:
                raise BorealisError("--skip-existing needs --output-dir.")
            if len(self.forms) > 1:
                raise BorealisError("Several formats need --output-dir: a file for each.")
            if not self.single and self.forms[0] not in ("text", "json"):
                raise BorealisError(
                    f"Several recordings in the format {self.forms[0]} need --output-dir."
                )
            return
        self.outputs: dict[str, list[Path]] = {}
        taken: dict[Path, str] = {}
        for name in args.files:
            stem = "stdin" if name == "-" else Path(name).stem
            self.outputs[name] = [self.folder / (stem + SUFFIXES[form]) for form in self.forms]
            for path in self.outputs[name]:
                if taken.setdefault(path, name) != name:
                    raise BorealisError(
                        f"'{taken[path]}' and '{name}' would both be written to '{path}'; "
                        "transcribe them into different folders."
                    )
        if args.skip_existing:
            self.files = [n for n in args.files if not all(p.exists() for p in self.outputs[n])]
        for path in taken:
            refuse_inputs(str(path), map(_place, args.files))

    def __enter__(self) -> _Pages:
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        else:
            self._stream = self._stack.enter_context(_output(self._path))
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None and self.folder is None and self.forms == ["json"] and not self.single:
            print("]" if self._rows else "[]", file=self._stream)
        self._stack.__exit__(*error)

    def add(self, name: str, result: Any) -> None:
        """Write one transcript."""
        from borealis.inference import formats

        if self.folder is not None:
            for form, path in zip(self.forms, self.outputs[name], strict=True):
                with open_aside(str(path)) as stream:
                    stream.write(formats.write(result, form))
            return
        out, form = self._stream, self.forms[0]
        if form == "json":
            row = _as_json({"file": name, **result.to_dict()}, out)
            if self.single:
                print(row, file=out)
            else:
                print(f"{', ' if self._rows else '['}{row}", end="", file=out)
        elif form == "text":
            print(result.text if self.single else f"{name}: {result.text}", file=out)
        else:
            out.write(formats.write(result, form))
        self._rows += 1
        out.flush()


def _hot_words(path: str | None) -> list[str]:
    """Lines of a file, without those that are empty."""
    if path is None:
        return []
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BorealisError(f"'{path}' can't be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise BorealisError(
            f"'{path}' is no text in UTF-8; hot words stand in it a line each."
        ) from None
    if not (words := [line.strip() for line in text.splitlines() if line.strip()]):
        raise BorealisError(f"'{path}' has no words; hot words stand in it a line each.")
    return words


@contextmanager
def _bar(files: int, seconds: float) -> Iterator[Any]:
    """A progress bar in seconds of sound, or None where it would be over at once or isn't seen."""
    if sys.stderr is None or not sys.stderr.isatty() or (files < 4 and seconds < 60):
        yield None
        return
    from tqdm import tqdm

    shape = "{l_bar}{bar}| {n:.0f} of {total:.0f} s [{elapsed}<{remaining}]"
    with tqdm(total=seconds, unit="s", bar_format=shape, leave=False, file=sys.stderr) as bar:
        yield bar


def _readable(files: Sequence[str], names: deque[str]) -> Iterator[np.ndarray | LongAudio]:
    """Recordings, read one by one; `names` gets theirs. A bad one costs the others nothing."""
    from borealis.audio import open_audio

    def there(name: str) -> bool:
        return name == "-" or (os.path.exists(name) and not os.path.isdir(name))

    for name in sorted(files, key=there):  # what isn't there is told before any work
        try:
            clip = open_audio(_source(name))
        except BorealisError as error:
            _complain(error)
        else:
            names.append(name)
            yield clip


# ---- ask, chat ----


def _ask(commands: Any) -> None:
    parser = _command(commands, "ask", _run_ask, "answer questions about recordings")
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="audio or video; - is stdin; without --question the question comes after it",
    )
    parser.add_argument(
        "--question", action="append", metavar="TEXT", help="in Russian or English; may be repeated"
    )
    parser.add_argument("--max-new-tokens", type=_positive, default=128, help="longest (128)")
    parser.add_argument("--stream", action="store_true", help="print the answer as it is made")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument(
        "--speak", metavar="SOUND", help="say the answer: the .wav, .flac, ... file to write"
    )
    parser.add_argument("--voice", metavar="NAME", help="of --speak; see borealis speak --voices")
    model_options(parser)


def _run_ask(args: argparse.Namespace) -> int:
    from borealis.audio import SAMPLING_RATE
    from borealis.errors import PromptError

    files, questions = args.files, args.question
    if questions is None:
        if len(files) < 2:
            raise PromptError("There is no question; give it after the file, or by --question.")
        *files, last = files
        questions = [last]
    questions = [arguments.decoded(question) for question in questions]
    if not all(question.strip() for question in questions):
        raise PromptError("The question is empty; ask something about the recording.")
    single = len(files) == len(questions) == 1
    if args.speak or args.voice:
        _check_speak(args, files, single)
    names: deque[str] = deque()
    clips = list(_readable(files, names))
    if not clips:
        return USER_MISTAKE
    model = load_model(args)
    options = {"sampling_rate": SAMPLING_RATE, "max_new_tokens": args.max_new_tokens}
    if args.stream and args.format == "text" and single:
        for piece in model.ask(clips[0], questions[0], stream=True, **options):
            print(piece, end="", flush=True)
        print()
        return 0
    if args.speak:
        said = model.ask(clips[0], questions[0], speak=True, voice=args.voice, **options)
        if args.format == "json":
            row = {"file": names[0], "question": questions[0], "answer": said.text}
            print(_as_json(row, sys.stdout), flush=True)
        else:
            print(said.text, flush=True)
        said.save(args.speak)
        return 0
    rows = []
    for name, clip in zip(names, clips, strict=True):
        # All questions of a recording together: it is written down once.
        answers = model.ask([clip] * len(questions), questions, **options)
        for question, answer in zip(questions, answers, strict=True):
            rows.append({"file": name, "question": question, "answer": answer})
            if args.format == "text":
                heads = ([name] if len(files) > 1 else []) + (
                    [question] if len(questions) > 1 else []
                )
                print(": ".join([*heads, answer]), flush=True)
    if args.format == "json":
        print(_as_json(rows[0] if single else rows, sys.stdout))
    return USER_MISTAKE if len(clips) < len(files) else 0


def _check_speak(args: argparse.Namespace, files: Sequence[str], single: bool) -> None:
    """See that an answer can be said into a file, before a model is loaded."""
    from borealis.speech.sound import check_suffix

    if not args.speak:
        raise BorealisError("--voice is of a spoken answer; give --speak FILE with it.")
    if not single or args.stream:
        raise BorealisError(
            "--speak says one whole answer: give one recording and one question, without --stream."
        )
    check_suffix(args.speak)
    refuse_inputs(args.speak, map(_place, files))


def _chat(commands: Any) -> None:
    parser = _command(commands, "chat", _run_chat, "talk about a recording")
    parser.add_argument("file", metavar="FILE", help="audio or video")
    parser.add_argument("--max-new-tokens", type=_positive, default=128, help="longest (128)")
    model_options(parser)


def _run_chat(args: argparse.Namespace) -> None:
    """Questions are lines of standard input; an empty line or its end is the end."""
    from borealis.audio import load_audio
    from borealis.inference.messages import TRANSCRIBE_PROMPTS

    clip = load_audio(args.file)
    model = load_model(args)
    shown = sys.stdin is not None and sys.stdin.isatty()
    sound = {"type": "audio", "audio": clip}
    messages: list[dict[str, Any]] = []
    if model.transcribes_first:
        text = model.transcribe(clip).text
        prompt = {"type": "text", "text": TRANSCRIBE_PROMPTS["ru"]}
        messages += [
            {"role": "user", "content": [sound, prompt]},
            {"role": "assistant", "content": text},
        ]
        print(text, flush=True)
    while True:
        if shown:
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline() if sys.stdin is not None else ""
        if not line.strip():
            return
        content: list[dict[str, Any]] = [{"type": "text", "text": line.strip()}]
        if not messages:
            content.insert(0, sound)
        messages.append({"role": "user", "content": content})
        answer = ""
        for piece in model.chat(messages, max_new_tokens=args.max_new_tokens, stream=True):
            answer += piece
            print(piece, end="", flush=True)
        print(flush=True)
        messages.append({"role": "assistant", "content": answer.strip()})


# ---- info ----


def _info(commands: Any) -> None:
    parser = _command(commands, "info", _run_info, "show a model and the versions it runs with")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    model_options(parser)


def _run_info(args: argparse.Namespace) -> None:
    from importlib.metadata import version

    from borealis.checkpoints import resolve_checkpoint

    model = load_model(args)
    config, parts = model.model.config, model.model.model
    path = resolve_checkpoint(args.model)
    files = list(path.glob("*.safetensors")) if isinstance(path, Path) else []
    counts = {
        f"{name}_parameters": sum(p.numel() for p in getattr(parts, name).parameters())
        for name in ("audio_tower", "adapter", "language_model")
    }
    facts: dict[str, Any] = {
        "model": args.model,
        "path": str(path),
        "weights_bytes": sum(file.stat().st_size for file in files),
        "device": str(model.device),
        "dtype": str(model.model.dtype).removeprefix("torch."),
        "parameters": sum(p.numel() for p in model.model.parameters()),
        **counts,
        "adapter_type": config.adapter_type,
        "encoder_window": config.encoder_window,
        "audio_tokens_per_second": config.num_audio_tokens(config.sampling_rate * 20) / 20,
        "vocabulary": config.text_config.vocab_size,
        "borealis": __version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "torch": version("torch"),
        "transformers": version("transformers"),
    }
    if args.format == "json":
        print(_as_json(facts, sys.stdout))
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        shown = f"{value:,}" if isinstance(value, int) else value
        print(f"{key.replace('_', ' '):{width}}  {shown}")


# ---- eval ----


def _eval(commands: Any) -> None:
    parser = _command(commands, "eval", _run_eval, "measure WER and CER on a manifest")
    parser.add_argument("manifest", metavar="MANIFEST", help="JSON Lines, one utterance a line")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--limit", type=_positive, help="only N utterances, spread evenly")
    _language_option(parser)
    parser.add_argument("--batch-size", type=_positive, default=8, help="parts at once (8)")
    parser.add_argument("--questions", action="store_true", help="ask the question tasks as well")
    parser.add_argument(
        "--peer", metavar="DIR", help="measure this Whisper (CTranslate2) on the same clips"
    )
    parser.add_argument("--output", metavar="FILE", help="write the result file there as well")
    model_options(parser)


def _run_eval(args: argparse.Namespace) -> None:
    from borealis.data.manifest import read_manifest
    from borealis.evaluation import results, runner

    utterances = runner.select(read_manifest(args.manifest), args.limit)
    recordings = [item.audio for item in utterances if item.audio]
    refuse_inputs(args.output or 1, [args.manifest, *recordings])
    peer = None
    if args.peer:
        from borealis.evaluation.peer import Whisper

        peer = Whisper(args.peer)
    model = load_model(args)
    settings = {"batch_size": args.batch_size, "language": args.language}
    report = runner.evaluate_manifest(model, utterances, **settings).to_dict()
    if peer is not None:
        from borealis.evaluation.peer import evaluate_peer

        report["peer"] = evaluate_peer(peer, utterances).to_dict() | peer.describe()
    if args.questions:
        report["questions"] = runner.evaluate_questions(
            model, utterances, batch_size=args.batch_size
        ).to_dict()
    data = {"manifest": results.describe_manifest(args.manifest, utterances)}
    decoding = results.describe_decoding(model, **settings)
    record = results.describe("eval", model=model, decoding=decoding, data=data)
    record["metrics"] = report
    if args.output:
        with _output(args.output) as out:
            out.write(_as_json(record, out, indent=1) + "\n")
    if args.format == "json":
        print(_as_json(record, sys.stdout))
    else:
        print(runner.summary(report))


if __name__ == "__main__":
    sys.exit(main())
