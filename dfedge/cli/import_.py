"""dfedge import: take in a bundle, or serve it in place; or take in a revocation list."""

import base64
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dfedge.cli.argument import add_dry_run
from dfedge.cli.bundlefile import first_part, open_to_read, revocation_in
from dfedge.cli.field import counted, image_label, rows, whole, word
from dfedge.cli.output import Output
from dfedge.cli.progress import progress_of
from dfedge.cli.reach import any_agent, config_of
from dfedge.core.errors import Corrupt, Refused, Untrusted, UsageError
from dfedge.core.units import size
from dfedge.node.client import Client

EXAMPLE: Final = "dfedge import /media/stick"


def arguments(parser: ArgumentParser) -> None:
    """From where, and how."""
    parser.add_argument("path", metavar="PATH", help="a folder with a bundle, its first file, or a revocation list")
    parser.add_argument("--in-place", action="store_true", help="copy nothing: serve the stick until Ctrl-C")
    add_dry_run(parser)


def run(args: Namespace, out: Output) -> int:
    """Do it; the exit code is 1 where an image is not whole afterwards."""
    if args.in_place and args.dry_run:
        raise UsageError("import: --in-place writes nothing, so there is nothing for --dry-run to spare", EXAMPLE)
    first = first_part(Path(args.path), args.path)
    statement = revocation_in(first)
    with any_agent(config_of(args), network=args.in_place) as agent:
        if statement is not None:
            return _revocation(statement, first, agent, args, out)
        if args.in_place:
            return _serve(first, agent, out)
        return _take_in(first, agent, args, out)


def _reply(question: dict[str, object], first: Path) -> tuple[dict[str, object], list[int]]:
    match question:
        case {"type": "part", "number": int(number)}:
            fd = open_to_read(first, number)
            return {}, [] if fd is None else [fd]
        case _:
            raise Corrupt(f"import: the agent asked {str(question)[:80]}, which this program can't answer")


@contextmanager
def _of(first: Path) -> Iterator[None]:
    """The agent never hears what the parts are called: name the bundle in what it finds wrong with one."""
    try:
        yield
    except (Corrupt, Refused, Untrusted) as error:
        if str(error).startswith(str(first)):
            raise
        raise type(error)(f"{first}: {error}", error.hint) from None


def _revocation(statement: bytes, first: Path, agent: Client, args: Namespace, out: Output) -> int:
    answer = agent.call("revoke", {"revocation": base64.b64encode(statement).decode(), "dry_run": args.dry_run})
    newer = answer.get("accepted") is True
    would = "would take in" if args.dry_run else "took in"
    text = f"{would} the revocation list {first}" if newer else f"{first}: this node knows that list or a newer one"
    out.result({"images": [], "revocation": "newer" if newer else "known", "dry_run": args.dry_run}, text)
    return 0


def _take_in(first: Path, agent: Client, args: Namespace, out: Output) -> int:
    out.kept = "what has been proven is kept, the same command goes on from there"
    progress = progress_of(out, "import", first.name)
    try:
        with _of(first):
            answer = agent.call(
                "import",
                {"dry_run": args.dry_run},
                on_event=progress.update,
                on_ask=lambda question: _reply(question, first),
            )
    finally:
        progress.close()
    images = rows(answer, "images")
    lacking = [image for image in images if image.get("complete") is not True]
    ok = not word(answer, "cut") and (args.dry_run or not lacking)
    lines = [_line(image, dry_run=args.dry_run) for image in images]
    if word(answer, "revocation"):
        newer = word(answer, "revocation") == "newer"
        lines.append(f"revocation list: {'newer than ours' if newer else 'known here'}")
    out.result(answer, "\n".join(lines) or "the bundle is empty", ok=ok)
    if word(answer, "root") == "newer":
        out.warn("the bundle carries a newer root; a node takes one with its enrolment: dfedge join DIR")
    if word(answer, "cut"):
        out.warn(f"{first}: {word(answer, 'cut')}; what came before it was used")
    if not args.dry_run:
        for image in lacking:
            out.note(f"  try: dfedge get {image_label(image)}")
    return 0 if ok else 1


def _line(image: Mapping[str, object], *, dry_run: bool) -> str:
    total, done, reused = (size(whole(image, key)) for key in ("bytes_total", "bytes_done", "bytes_reused"))
    bad = len(image["bad_pieces"]) if isinstance(image.get("bad_pieces"), list) else 0  # type: ignore[arg-type]
    said = f", {counted(bad, 'bad piece')}" if bad else ""
    if dry_run:
        return f"{image_label(image)}: {total}, {size(whole(image, 'bytes_carried'))} of it in the bundle{said}"
    state = "complete" if image.get("complete") is True else "not complete"
    return f"{image_label(image)}: {done} of {total} proven, {state}, {reused} were here{said}"


def _serve(first: Path, agent: Client, out: Output) -> int:
    out.kept = "nothing was copied"

    def heard(event: Mapping[str, object]) -> None:
        out.event(event)
        names = ", ".join(map(image_label, rows(event, "images")))
        out.note(f"serving {names} from {first} until Ctrl-C")

    with _of(first):
        answer = agent.call("lend", {}, on_event=heard, on_ask=lambda question: _reply(question, first))
    out.result(answer, f"{first}: gives bad bytes or is gone; it is served no more", ok=False)
    return 1
