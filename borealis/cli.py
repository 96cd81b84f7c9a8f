"""The `borealis` command. Heavy libraries are imported by the command that needs them."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from borealis import __version__, arguments
from borealis.errors import BorealisError
from borealis.files import open_aside, refuse_inputs

if TYPE_CHECKING:
    import numpy as np

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

    def _try(self, act: Callable[..., Any], *values: str) -> Any:
        try:
            return act(*values)
        except OSError as error:
            self.error = error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


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
    intermixed = False
    inside = False  # of `parse_known_intermixed_args`, which comes back here

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.module:
            command = import_module(self.module)
            self.module = ""
            command.add_arguments(self)
            self.set_defaults(run=command.run)
            self.intermixed = getattr(command, "INTERMIXED", False)
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
    for add in (_transcribe, _ask, _info, _eval):
        add(commands)
    _elsewhere(commands, "data", "borealis.data.build", "build and check manifests")
    _elsewhere(commands, "train", "borealis.training.command", "train a model from a recipe")
    _elsewhere(commands, "plan", "borealis.training.plan_command", "tell what training will cost")
    _elsewhere(
        commands,
        "convert",
        "borealis.model.convert_command",
        "assemble a model or convert a checkpoint",
    )
    export = "borealis.training.export_command"
    _elsewhere(commands, "export", export, "make a folder of a trained model that can be published")
    push = "borealis.training.push_command"
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


def _model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", default="nano", help="bundled name, checkpoint folder or hub id (nano)"
    )
    parser.add_argument("--device", help="cpu, cuda, ...; by default CUDA where there is one")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16; by default by device")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' isn't a whole number from 1 up")
    return int(text)


def _language_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--language", type=_language, metavar="LANGUAGE", help="language of the prompt: ru or en"
    )


def _language(text: str) -> str | None:
    try:
        return arguments.language(text)
    except BorealisError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _load(args: argparse.Namespace) -> Any:
    import borealis

    _quiet()
    return borealis.load(args.model, device=args.device, dtype=args.dtype)


def _quiet() -> None:
    """Keep library chatter out of the output: progress of weight loading, notices."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


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


def _json(value: Any, stream: TextIO, **options: Any) -> str:
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
    parser.add_argument("--format", choices=("text", "json"), default="text")
    _language_option(parser)
    parser.add_argument("--batch-size", type=_positive, default=8, help="parts at once (8)")
    parser.add_argument("--output", metavar="FILE", help="write there instead of to the screen")
    _model_options(parser)


def _run_transcribe(args: argparse.Namespace) -> int:
    from borealis.audio import SAMPLING_RATE

    refuse_inputs(args.output or 1, map(_place, args.files))
    single = len(args.files) == 1
    names: deque[str] = deque()  # of the recordings that were read and aren't written down yet
    clips = _readable(args.files, names)
    # The first one is read before the model is loaded: a typing mistake is told at once.
    if (first := next(clips, None)) is None:
        return USER_MISTAKE
    written = 0
    with _output(args.output) as out:
        model = _load(args)
        from borealis.inference.engine import gather

        # A text is shown when it is there; few recordings are in memory at once.
        for group in gather(chain([first], clips), args.batch_size * model.longest_part):
            results = model.transcribe(
                group,
                sampling_rate=SAMPLING_RATE,
                language=args.language,
                batch_size=args.batch_size,
            )
            for result in results:
                name = names.popleft()
                if args.format == "json":
                    row = _json({"file": name, **result.to_dict()}, out)
                    print(row if single else f"{', ' if written else '['}{row}", end="", file=out)
                else:
                    print(result.text if single else f"{name}: {result.text}", file=out)
                written += 1
            out.flush()
        if args.format == "json":
            print("" if single else "]", file=out)
    return USER_MISTAKE if written < len(args.files) else 0


def _readable(files: Sequence[str], names: deque[str]) -> Iterator[np.ndarray]:
    """Recordings, read one by one; `names` gets theirs. A bad one costs the others nothing."""
    from borealis.audio import load_audio

    def there(name: str) -> bool:
        return name == "-" or (os.path.exists(name) and not os.path.isdir(name))

    for name in sorted(files, key=there):  # what isn't there is told before any work
        try:
            clip = load_audio(_source(name))
        except BorealisError as error:
            _complain(error)
        else:
            names.append(name)
            yield clip


# ---- ask ----


def _ask(commands: Any) -> None:
    parser = _command(commands, "ask", _run_ask, "answer a question about a recording")
    parser.add_argument("file", metavar="FILE", help="audio or video; - is stdin")
    parser.add_argument("question", metavar="QUESTION", help="in Russian or English")
    parser.add_argument("--max-new-tokens", type=_positive, default=128, help="longest (128)")
    parser.add_argument("--stream", action="store_true", help="print the answer as it is made")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    _model_options(parser)


def _run_ask(args: argparse.Namespace) -> None:
    from borealis.audio import SAMPLING_RATE, load_audio
    from borealis.errors import PromptError

    limit = args.max_new_tokens
    question = _words(args.question)
    if not question.strip():
        raise PromptError("The question is empty; ask something about the recording.")
    clip = load_audio(_source(args.file))
    model = _load(args)
    if args.stream and args.format == "text":
        for piece in model.ask(
            clip, question, sampling_rate=SAMPLING_RATE, max_new_tokens=limit, stream=True
        ):
            print(piece, end="", flush=True)
        print()
        return
    answer = model.ask(clip, question, sampling_rate=SAMPLING_RATE, max_new_tokens=limit)
    if args.format == "json":
        row = {"file": args.file, "question": question, "answer": answer}
        print(_json(row, sys.stdout))
    else:
        print(answer)


def _words(argument: str) -> str:
    """An argument as text: under an ASCII locale Python leaves it undecoded."""
    try:
        argument.encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(argument).decode("utf-8", "replace")
    return argument


# ---- info ----


def _info(commands: Any) -> None:
    parser = _command(commands, "info", _run_info, "show a model and the versions it runs with")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    _model_options(parser)


def _run_info(args: argparse.Namespace) -> None:
    from importlib.metadata import version

    from borealis.checkpoints import resolve_checkpoint

    model = _load(args)
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
        print(_json(facts, sys.stdout))
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
    _model_options(parser)


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
    model = _load(args)
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
            out.write(_json(record, out, indent=1) + "\n")
    if args.format == "json":
        print(_json(record, sys.stdout))
    else:
        print(runner.summary(report))


if __name__ == "__main__":
    sys.exit(main())
