"""dfedge export: write images into a bundle, to be carried where no network is."""

import os
import shutil
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Final

from dfedge.cli.argument import add_dry_run, ref, telling
from dfedge.cli.bundlefile import drafting, first_part, sync
from dfedge.cli.field import counted, image_label, rows, whole
from dfedge.cli.output import Output
from dfedge.cli.progress import progress_of
from dfedge.cli.reach import any_agent, config_of
from dfedge.core.errors import Corrupt, NotFound, Refused, UsageError
from dfedge.core.units import parse_size, size

EXAMPLE: Final = "dfedge export gateway:2.4.1 -o /media/stick/"
PROGRAM: Final = "dfedge.pyz"


def arguments(parser: ArgumentParser) -> None:
    """What, and where to."""
    parser.add_argument("refs", type=ref, nargs="*", metavar="REF", help="name, name:version or sha256:DIGITS")
    parser.add_argument("-o", "--output", required=True, metavar="PATH", help="a file, or a folder (DIR/)")
    parser.add_argument("--with-trust", action="store_true", help="carry the fleet's root and revocation list too")
    parser.add_argument("--with-dfedge", type=Path, metavar="PYZ", help="put a copy of the program beside it")
    parser.add_argument("--missing-for", metavar="NODE", help="only what this neighbour says that it lacks; name or id")
    parser.add_argument(
        "--part-size", type=telling(parse_size), metavar="SIZE", help="the most bytes of one file (default: 4 GiB - 1)"
    )
    parser.add_argument("--force", action="store_true", help="replace what is at PATH")
    add_dry_run(parser)


def run(args: Namespace, out: Output) -> int:
    """Write it whole, or leave what was there."""
    if not args.refs and not args.with_trust:
        raise UsageError("export: name an image, or give --with-trust", EXAMPLE)
    first = first_part(Path(args.output), args.output)
    if not first.parent.is_dir():
        raise NotFound(f"{first.parent}: there is no such folder")
    if os.path.lexists(first) and not args.force:
        raise Refused(f"{first}: is there already", f"dfedge export … -o {args.output} --force")
    if args.with_dfedge and not args.with_dfedge.is_file():
        raise NotFound(f"{args.with_dfedge}: there is no such file")
    params = {
        "refs": [str(each) for each in args.refs],
        "with_trust": args.with_trust,
        "part_bytes": args.part_size,
        "missing_for": args.missing_for,
        "dry_run": args.dry_run,
    }
    label = ", ".join(params["refs"]) or "trust"
    with any_agent(config_of(args), network=False) as agent:
        if args.dry_run:
            answer = agent.call("export", params)
            names = ", ".join(map(image_label, rows(answer, "images"))) or "trust"
            out.result({**answer, "path": str(first)}, f"would export {names} to {first}")
            return 0
        out.kept = f"{first} was not written"
        progress = progress_of(out, "export", label)
        try:
            with drafting(first) as draft:

                def reply(question: dict[str, object]) -> tuple[dict[str, object], list[int]]:
                    match question:
                        case {"type": "part", "number": int(number)}:
                            return {}, [draft.open(number)]
                        case _:
                            raise Corrupt(f"export: the agent asked {str(question)[:80]}")

                answer = agent.call("export", params, on_event=progress.update, on_ask=reply)
        finally:
            progress.close()
    if args.with_dfedge:
        _copy_program(args.with_dfedge, first.parent)
    names = ", ".join(map(image_label, rows(answer, "images"))) or "trust"
    amount = f"{size(whole(answer, 'bytes'))} in {counted(whole(answer, 'parts'), 'file')}"
    out.result({**answer, "path": str(first)}, f"exported {names} to {first}  {amount}")
    return 0


def _copy_program(source: Path, folder: Path) -> None:
    draft = folder / f"{PROGRAM}.tmp"
    try:
        with source.open("rb") as old, draft.open("wb") as new:
            shutil.copyfileobj(old, new)
            new.flush()
            os.fsync(new.fileno())
        draft.replace(folder / PROGRAM)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync(folder)
