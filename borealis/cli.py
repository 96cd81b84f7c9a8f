"""The `borealis` command. Heavy libraries are imported by the command that needs them."""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from borealis import __version__
from borealis.errors import BorealisError
from borealis.files import open_aside, refuse_inputs

if TYPE_CHECKING:
    import numpy as np

USER_MISTAKE = 2
INTERRUPTED = 130
_OUTPUT_ERRORS = (errno.EBADF, errno.EIO, errno.ENOSPC)  # a closed, broken or full output


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        Exit code: 0, 2 for a user's mistake or output that can't be written (one line on stderr
        says which), 130 for Ctrl-C.
    """
    _open_streams()
    try:
        code = _run(argv)
        sys.stdout.flush()
        return code
    except BorealisError as error:
        _complain(error)
        return USER_MISTAKE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader (head, less) is gone
        _drop_output()
        return 0
    except OSError as error:
        if error.filename is not None or error.errno not in _OUTPUT_ERRORS:
            raise
        _drop_output()
        _complain(f"Standard output can't be written: {error.strerror}.")
        return USER_MISTAKE


def _run(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit:  # after --help and --version, and after wrong usage
        sys.stdout.flush()
        raise
    if not hasattr(args, "run"):
        parser.print_help()
        return USER_MISTAKE
    return int(args.run(args) or 0)


class _ClosedOutput(io.TextIOBase):
    """What takes the place of a standard output that was closed before we began."""

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, "it is closed")


def _open_streams() -> None:
    """Say what the terminal can say: letters it lacks are written as escapes."""
    if sys.stdout is None:
        sys.stdout = _ClosedOutput()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """What is still buffered has nowhere to go; the interpreter would try again at its end."""
    if not isinstance(sys.stdout, _ClosedOutput):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """A parser that may learn its options from a module, imported when the command is chosen."""

    module = ""
    intermixed = False
    reading_twice = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.module:
            command = import_module(self.module)
            self.module = ""
            command.add_arguments(self)
            self.set_defaults(run=command.run)
            self.intermixed = getattr(command, "INTERMIXED", False)
        if self.intermixed:  # words may stand between and after options
            self.intermixed, self.reading_twice = False, True
            namespace, rest = self.parse_known_intermixed_args(args, namespace)
            self.reading_twice = False
        else:
            namespace, rest = super().parse_known_args(args, namespace)
        # argparse leaves that to the parser of 'borealis', whose usage helps nobody here.
        if rest and " " in self.prog and not self.reading_twice:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return namespace, rest

    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse's own passes over an output that can't be written.
        if message and (out := file or sys.stderr) is not None:
            out.write(message)


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
    if sys.stderr is not None:  # print would take standard output instead
        print(f"borealis: {' '.join(str(error).split())}", file=sys.stderr, flush=True)


@contextmanager
def _output(path: str | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears only when it is complete."""
    if path is None:
        yield sys.stdout
        return
    with open_aside(path) as stream:
        yield stream


def _language(args: argparse.Namespace) -> str | None:
    """The code of --language; None without one."""
    if args.language is None:
        return None
    from borealis.inference.messages import normalize_language

    return normalize_language(args.language)


def _source(name: str) -> str | bytes:
    return sys.stdin.buffer.read() if name == "-" else name


# ---- transcribe ----


def _transcribe(commands: Any) -> None:
    parser = _command(commands, "transcribe", _run_transcribe, "write down what is said")
    parser.add_argument("files", nargs="+", metavar="FILE", help="audio or video; - is stdin")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--language", help="language of the prompt: ru or en")
    parser.add_argument("--batch-size", type=_positive, default=8, help="parts at once (8)")
    parser.add_argument("--output", metavar="FILE", help="write there instead of to the screen")
    _model_options(parser)


def _run_transcribe(args: argparse.Namespace) -> int:
    if args.output:
        refuse_inputs(args.output, args.files)
    language = _language(args)
    single, as_json = len(args.files) == 1, args.format == "json"
    model, written = None, 0
    with ExitStack() as stack:
        for name, clip in _clips(args.files):
            if model is None:  # nothing is loaded, and no file begun, for bad files alone
                out, model = stack.enter_context(_output(args.output)), _load(args)
            result = model.transcribe(clip, language=language, batch_size=args.batch_size)
            if as_json:
                row = json.dumps({"file": name, **result.to_dict()}, ensure_ascii=False)
                print(row if single else f"{', ' if written else '['}{row}", end="", file=out)
            else:
                print(result.text if single else f"{name}: {result.text}", file=out)
            out.flush()
            written += 1
        if as_json and written:
            print("" if single else "]", file=out)
    return USER_MISTAKE if written < len(args.files) else 0


def _clips(names: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Recordings one after another; what is wrong with the others is said.

    A name that was mistyped is told before anything else; so it is seen at once.
    """
    from borealis.audio import load_audio

    for there in (False, True):
        for name in names:
            if (name == "-" or os.path.exists(name)) == there:
                try:
                    yield name, load_audio(_source(name))
                except BorealisError as error:
                    _complain(error)


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
    from borealis.audio import load_audio
    from borealis.errors import PromptError

    if not args.question.strip():
        raise PromptError("The question is empty; ask something about the recording.")
    clip = load_audio(_source(args.file))
    model = _load(args)
    if args.stream and args.format == "text":
        for piece in model.ask(
            clip, args.question, max_new_tokens=args.max_new_tokens, stream=True
        ):
            print(piece, end="", flush=True)
        print()
        return
    answer = model.ask(clip, args.question, max_new_tokens=args.max_new_tokens)
    if args.format == "json":
        row = {"file": args.file, "question": args.question, "answer": answer}
        print(json.dumps(row, ensure_ascii=False))
    else:
        print(answer)


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
        print(json.dumps(facts, ensure_ascii=False))
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
    parser.add_argument("--language", help="language of the prompt: ru or en")
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

    if args.output:
        refuse_inputs(args.output, [args.manifest])
    language = _language(args)
    utterances = runner.select(read_manifest(args.manifest), args.limit)
    peer = None
    if args.peer:
        from borealis.evaluation.peer import Whisper

        peer = Whisper(args.peer)
    model = _load(args)
    settings = {"batch_size": args.batch_size, "language": language}
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
            out.write(json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    if args.format == "json":
        print(json.dumps(record, ensure_ascii=False))
    else:
        print(runner.summary(report))


if __name__ == "__main__":
    sys.exit(main())
