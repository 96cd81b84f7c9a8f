"""`borealis demo`: the live demo in a browser, with the site around it where there is one."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=_port, default=7860, help="port (7860)")
    parser.add_argument(
        "--model", default="nano", help="bundled name, checkpoint folder or hub id (nano)"
    )
    parser.add_argument("--device", help="cpu, cuda, ...; by default CUDA where there is one")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16; by default by device")
    site = parser.add_mutually_exclusive_group()
    site.add_argument("--site", metavar="DIR", help="folder of the built site to serve at /")
    site.add_argument("--no-site", action="store_true", help="serve the demo alone")


def run(args: argparse.Namespace) -> None:
    """Serve until stopped."""
    from borealis.demo import launch
    from borealis.demo.site import ready_site

    site = args.site or (None if args.no_site else ready_site())
    launch(
        host=args.host,
        port=args.port,
        model=args.model,
        device=args.device,
        dtype=args.dtype,
        site=site,
    )


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"'{text}' isn't a port, 1 to 65535")
    return int(text)
