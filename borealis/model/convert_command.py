"""`borealis convert`: assemble a model or convert a checkpoint."""

from __future__ import annotations

import argparse

from borealis.files import folder_aside, refuse_inputs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `borealis convert`."""
    kinds = parser.add_subparsers(metavar="WHAT", required=True)
    assemble = kinds.add_parser("assemble", help="join a Whisper encoder and a language model")
    assemble.add_argument("--audio-tower", required=True, help="Whisper: hub id or folder")
    assemble.add_argument("--language-model", required=True, help="hub id or folder")
    assemble.add_argument("--adapter-type", choices=("mlp", "deep"), default="mlp")
    assemble.add_argument("--output", required=True, help="folder of the new checkpoint")
    assemble.set_defaults(make=_run_assemble)
    vikhr = kinds.add_parser("vikhr", help="read the layout of VikhrModels' Borealis")
    vikhr.add_argument("source", help="folder with the safetensors weights")
    vikhr.add_argument(
        "--audio-tower", required=True, help="Whisper for the config: hub id or folder"
    )
    vikhr.add_argument(
        "--language-model", required=True, help="for config and tokenizer: hub id or folder"
    )
    vikhr.add_argument("--output", required=True, help="folder of the new checkpoint")
    vikhr.set_defaults(make=_run_vikhr)
    pickle = kinds.add_parser("pickle", help="pickled tensors to safetensors, running no code")
    pickle.add_argument("source", help="a .bin or .pt file")
    pickle.add_argument("output", help="the .safetensors file to write")
    pickle.set_defaults(make=_run_pickle)


def run(args: argparse.Namespace) -> int:
    """Run what `add_arguments` parsed."""
    args.make(args)
    return 0


def _run_assemble(args: argparse.Namespace) -> None:
    from borealis.model.convert import assemble

    refuse_inputs(args.output, [args.audio_tower, args.language_model])
    assemble(
        args.audio_tower,
        args.language_model,
        output=args.output,
        adapter_type=args.adapter_type,
    )
    print(f"The checkpoint is in {args.output}")


def _run_vikhr(args: argparse.Namespace) -> None:
    from borealis.model.convert import load_vikhr

    refuse_inputs(args.output, [args.source, args.audio_tower, args.language_model])
    model, processor = load_vikhr(
        args.source, audio_tower=args.audio_tower, language_model=args.language_model
    )
    with folder_aside(args.output) as partial:
        model.save_pretrained(partial)
        processor.save_pretrained(partial)
    print(f"The checkpoint is in {args.output}")


def _run_pickle(args: argparse.Namespace) -> None:
    from borealis.model.convert import convert_pickle

    refuse_inputs(args.output, [args.source])
    print(f"{convert_pickle(args.source, args.output)} tensors written to {args.output}")
