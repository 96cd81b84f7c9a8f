"""`borealis space build` and `borealis space push`."""

from __future__ import annotations

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    from borealis.demo.space import KINDS

    steps = parser.add_subparsers(dest="step", metavar="STEP", required=True)
    build = steps.add_parser("build", help="write a folder that is ready to push")
    build.add_argument("folder", metavar="DIR", help="a new or empty folder")
    build.add_argument("--kind", choices=KINDS, default="gradio", help="kind of Space (gradio)")
    build.add_argument("--title", default="Borealis", help="title of the Space (Borealis)")
    build.add_argument("--model", default="nano", help="bundled name or checkpoint folder (nano)")
    build.add_argument(
        "--site", metavar="DIR", help="built site; by default the one of this checkout"
    )
    build.add_argument("--no-site", action="store_true", help="the demo alone")
    push = steps.add_parser("push", help="send a built folder to Hugging Face")
    push.add_argument("folder", metavar="DIR", help="what 'space build' wrote")
    push.add_argument("repo", metavar="NAME", help="owner/name of the Space")
    push.add_argument("--private", action="store_true", help="make a new Space private")
    push.add_argument("--message", default="Update Borealis", help="message of the commit")


def run(args: argparse.Namespace) -> None:
    """Build or push."""
    from borealis.demo import space

    if args.step == "push":
        print(space.push(args.folder, args.repo, private=args.private, message=args.message))
        return
    from borealis.demo.site import ready_site

    site = args.site or (None if args.no_site else ready_site())
    report = space.build(args.folder, kind=args.kind, title=args.title, model=args.model, site=site)
    print(json.dumps(report, ensure_ascii=False))
