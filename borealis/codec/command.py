"""`borealis codec`: sound into codec tokens and back."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from borealis.errors import CodecError
from borealis.files import aside, refuse_inputs
from borealis.model_options import quiet

SOUND = {".wav": "WAV", ".flac": "FLAC"}  # what decode writes, 16 bits a sample


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `borealis codec`."""
    kinds = parser.add_subparsers(metavar="WHAT", required=True)
    encode = kinds.add_parser("encode", help="sound into codes")
    encode.add_argument("file", metavar="FILE", help="audio or video")
    encode.add_argument(
        "-o", "--output", required=True, metavar="CODES", help="the .safetensors file to write"
    )
    encode.add_argument(
        "--codec", default="nano", help="name, folder or hub id; see codec info (nano)"
    )
    encode.add_argument(
        "--codebooks", type=int, metavar="N", help="only the first N codebooks; all if not given"
    )
    _device_option(encode)
    encode.set_defaults(make=_encode)
    decode = kinds.add_parser("decode", help="codes into sound")
    decode.add_argument("file", metavar="CODES", help="what encode wrote")
    decode.add_argument(
        "-o", "--output", required=True, metavar="SOUND", help="the .wav or .flac file to write"
    )
    decode.add_argument("--codec", help="by default the one that the file names")
    decode.add_argument(
        "--codebooks", type=int, metavar="N", help="only the first N codebooks; all if not given"
    )
    _device_option(decode)
    decode.set_defaults(make=_decode)
    info = kinds.add_parser("info", help="what is known of a file of codes or of a codec")
    info.add_argument(
        "what", metavar="WHAT", nargs="?", help="file of codes, or codec; none: names of codecs"
    )
    info.add_argument("--format", choices=("text", "json"), default="text")
    info.set_defaults(make=_info)


def run(args: argparse.Namespace) -> int:
    """Run what `add_arguments` parsed."""
    args.make(args)
    return 0


def _device_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="cpu, cuda, ...; by default CUDA where there is one")


def _load(name: str, device: str | None = None) -> Any:
    from borealis.codec.loading import load_codec

    quiet()
    return load_codec(name, device=device)


def _encode(args: argparse.Namespace) -> None:
    from borealis.audio import load_audio
    from borealis.codec.codes import check_suffix

    check_suffix(args.output)
    refuse_inputs(args.output, [args.file, args.codec])
    if not os.path.exists(args.file):
        load_audio(args.file)  # says what is wrong before a codec is loaded
    codec = _load(args.codec, args.device)
    waveform = load_audio(args.file, output_rate=codec.sampling_rate)
    codes = codec.encode(waveform, num_codebooks=args.codebooks)
    codes.save(args.output)
    print(
        f"{codes.seconds:.2f} s: {codes.num_frames} frames of {codes.num_codebooks} codebooks "
        f"written to {args.output}"
    )


def _decode(args: argparse.Namespace) -> None:
    import numpy as np
    import soundfile

    from borealis.codec.codes import load_codes
    from borealis.codec.loading import names

    kind = SOUND.get(Path(args.output).suffix.lower())
    if kind is None:
        raise CodecError(f"'{args.output}': the sound is written as .wav or .flac.")
    refuse_inputs(args.output, [args.file, *([args.codec] if args.codec else [])])
    codes = load_codes(args.file)
    if args.codebooks is not None:
        codes = codes.take(args.codebooks)
    if args.codec is None and codes.codec not in names():
        # A file doesn't decide where weights come from: it may be anybody's.
        raise CodecError(
            f"The codes are of the codec '{codes.codec}', which isn't one of {', '.join(names())}; "
            "name it with --codec."
        )
    sound = _load(args.codec or codes.codec, args.device).decode(codes)
    with aside(args.output) as partial:
        soundfile.write(
            partial, np.clip(sound, -1, 1), codes.sampling_rate, format=kind, subtype="PCM_16"
        )
    print(f"{codes.seconds:.2f} s written to {args.output}")


def _info(args: argparse.Namespace) -> None:
    from borealis.codec.loading import HUB, bundled

    if args.what is None:
        facts: dict[str, Any] = {name: "bundled" for name in bundled()} | HUB
    elif os.path.isfile(args.what):
        facts = _facts_of_codes(args.what)
    else:
        facts = _facts_of_codec(args.what)
    if args.format == "json":
        print(json.dumps(facts))
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        name = key if args.what is None else key.replace("_", " ")
        print(f"{name:{width}}  {f'{value:,}' if isinstance(value, int) else value}")


def _facts_of_codes(path: str) -> dict[str, Any]:
    from borealis.codec.codes import load_codes

    codes = load_codes(path)
    return {
        "codec": codes.codec,
        "seconds": round(codes.seconds, 3),
        "num_samples": codes.num_samples,
        "sampling_rate": codes.sampling_rate,
        "num_codebooks": codes.num_codebooks,
        "frames": codes.num_frames,
        "frames_per_second": round(codes.num_frames / codes.seconds, 3),
        "distinct_codes": [len(set(book)) for book in codes.codes.tolist()],
    }


def _facts_of_codec(name: str) -> dict[str, Any]:
    from borealis.codec.protocol import bits_per_second

    codec = _load(name, "cpu")
    return {
        "codec": codec.name,
        "sampling_rate": codec.sampling_rate,
        "hop_length": codec.hop_length,
        "frames_per_second": round(codec.sampling_rate / codec.hop_length, 3),
        "num_codebooks": codec.num_codebooks,
        "codebook_size": codec.codebook_size,
        "bits_per_second_of_a_codebook": round(bits_per_second(codec, 1)),
        "bits_per_second": round(bits_per_second(codec)),
        "parameters": sum(p.numel() for p in codec.model.parameters()),
    }
