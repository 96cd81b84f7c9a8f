"""The `borealis` command. Heavy libraries are imported by the command that needs them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from borealis import __version__
from borealis.errors import BorealisError

USER_MISTAKE = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        Exit code: 0, 2 for a user's mistake (one line on stderr says which), 130 for Ctrl-C.
    """
    parser = build_parser()
    try:
        args = parser.parse_args(argv)
        if not hasattr(args, "run"):
            parser.print_help()
            return USER_MISTAKE
        code = int(args.run(args) or 0)
        sys.stdout.flush()
        return code
    except BorealisError as error:
        _complain(error)
        return USER_MISTAKE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) is gone; what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


class _Parser(argparse.ArgumentParser):
    """A parser that may learn its options from a module, imported when the command is chosen."""

    module = ""
    intermixed = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.module:
            command = import_module(self.module)
            self.module = ""
            command.add_arguments(self)
            self.set_defaults(run=command.run)
            self.intermixed = getattr(command, "INTERMIXED", False)
        if self.intermixed:  # words may stand between and after options
            self.intermixed = False
            return self.parse_known_intermixed_args(args, namespace)
        return super().parse_known_args(args, namespace)


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


def _complain(error: Exception) -> None:
    """One line, whatever line breaks a file name or a library's message brought in."""
    print(f"borealis: {' '.join(str(error).split())}", file=sys.stderr)


@contextmanager
def _output(path: str | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears only when it is complete."""
    if path is None:
        yield sys.stdout
        return
    target = Path(path)
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        stream = partial.open("w", encoding="utf-8")
    except OSError as error:
        raise BorealisError(f"'{path}' can't be written: {error.strerror}.") from None
    try:
        with stream:
            yield stream
        try:
            partial.replace(target)
        except OSError as error:  # the target is a folder
            raise BorealisError(f"'{path}' can't be written: {error.strerror}.") from None
    finally:
        partial.unlink(missing_ok=True)


def _source(name: str) -> str | bytes:
    return sys.stdin.buffer.read() if name == "-" else name


# ---- transcribe ----


def _transcribe(commands: Any) -> None:
    parser = _command(commands, "transcribe", _run_transcribe, "write down what is said")
    parser.add_argument("files", nargs="+", metavar="FILE", help="audio or video; - is stdin")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--language", choices=("ru", "en"), help="language of the prompt")
    parser.add_argument("--batch-size", type=_positive, default=8, help="parts at once (8)")
    parser.add_argument("--output", metavar="FILE", help="write there instead of to the screen")
    _model_options(parser)


def _run_transcribe(args: argparse.Namespace) -> int:
    from borealis.audio import load_audio

    # Files are read before the model is loaded: a typing mistake is told at once. A bad one costs
    # the others nothing.
    clips = []
    for name in args.files:
        try:
            clips.append((name, load_audio(_source(name))))
        except BorealisError as error:
            _complain(error)
    if not clips:
        return USER_MISTAKE
    single = len(args.files) == 1
    with _output(args.output) as out:
        results = _load(args).transcribe(
            [clip for _, clip in clips], language=args.language, batch_size=args.batch_size
        )
        named = [(name, result) for (name, _), result in zip(clips, results, strict=True)]
        if args.format == "json":
            rows = [{"file": name, **result.to_dict()} for name, result in named]
            print(json.dumps(rows[0] if single else rows, ensure_ascii=False), file=out)
        else:
            for name, result in named:
                print(result.text if single else f"{name}: {result.text}", file=out)
    return USER_MISTAKE if len(clips) < len(args.files) else 0


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
    parser.add_argument("--language", choices=("ru", "en"), help="language of the prompt")
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
            out.write(json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    if args.format == "json":
        print(json.dumps(record, ensure_ascii=False))
    else:
        print(runner.summary(report))


if __name__ == "__main__":
    sys.exit(main())
