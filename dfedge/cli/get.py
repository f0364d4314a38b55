"""dfedge get: fetch an image from whichever neighbours hold it; ends when every byte is proven."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Final

from dfedge.cli.argument import add_ref, rate, seconds
from dfedge.cli.field import counted, image_label, number, rows, whole, word
from dfedge.cli.output import Output
from dfedge.cli.progress import progress_of
from dfedge.cli.reach import any_agent, config_of
from dfedge.cli.target import Target, Wanted
from dfedge.core.errors import UsageError
from dfedge.core.units import duration, size
from dfedge.node.client import Client

EXAMPLE: Final = "dfedge get gateway:2.4.1 -o /srv/gateway.img"


def arguments(parser: ArgumentParser) -> None:
    """Which image, and where to."""
    add_ref(parser)
    parser.add_argument(
        "-o", "--output", metavar="PATH", help="write a file, or into a folder (DIR/); else only store it"
    )
    parser.add_argument("--force", action="store_true", help="replace what is at PATH")
    parser.add_argument("--timeout", type=seconds, metavar="TIME", help="give up after this long, as in 30s or 10m")
    parser.add_argument(
        "--priority",
        choices=("low", "normal", "high"),
        default="normal",
        help="while an image of a higher priority gets on, this one waits",
    )
    parser.add_argument("--max-rate", type=rate, metavar="RATE", help="the most for this image, as in 2MB/s")


def run(args: Namespace, out: Output) -> int:
    """Fetch, then write."""
    if args.output == "":
        raise UsageError("get: -o is empty; name a file or a folder", EXAMPLE)
    config, target = config_of(args), None
    if args.output is not None:
        target = Target.choose(args.output, str(args.ref), config.state_dir, force=args.force)
    out.kept = "what has been fetched is kept, the same command goes on from there"
    with any_agent(config, network=True) as agent:
        progress = progress_of(out, "get", str(args.ref))

        def heard(event: Mapping[str, object]) -> None:
            progress.update(event)
            if target is not None and event.get("type") == "manifest":
                target.check_room(image_label(event), whole(event, "bytes_total"))

        try:
            result = agent.call("get", _params(args, target), on_event=heard)
        finally:
            progress.close()
        place = image_label(result) or str(args.ref)
        if target is not None:
            out.kept = f"{place} is stored here, {target.path} was not written"
            place = _write(target, agent, result, place)
    out.result(result, f"{place}: {_summary(result)}")
    return 0


def _params(args: Namespace, target: Target | None) -> dict[str, object]:
    """What the agent is asked for; it refuses several files for one place before it fetches any."""
    one_file = target is not None and not target.folder
    return {
        "ref": str(args.ref),
        "timeout": args.timeout,
        "one_file": one_file,
        "priority": args.priority,
        "max_rate": args.max_rate,
    }


def _write(target: Target, agent: Client, result: dict[str, object], label: str) -> str:
    files = [Wanted(word(row, "path"), whole(row, "size"), whole(row, "mode")) for row in rows(result, "files")]

    def fill(index: int, fd: int) -> None:
        agent.call("output", {"image": word(result, "image"), "file": index}, fds=[fd])

    written = target.write(files, label, fill)
    return str(written[0] if len(written) == 1 else target.path)


def _summary(result: dict[str, object]) -> str:
    peers = len(rows(result, "peers"))
    fetched = size(whole(result, "bytes_fetched"))
    parts = [
        f"{fetched} from {counted(peers, 'peer')}" if peers else f"{fetched} fetched",
        f"{size(whole(result, 'bytes_reused'))} reused",
        counted(len(rows(result, "bad_pieces")), "bad piece"),
    ]
    if whole(result, "bytes_wasted"):
        parts.append(f"{size(whole(result, 'bytes_wasted'))} wasted")
    total, took = size(whole(result, "bytes_total")), duration(number(result, "seconds"))
    return f"{total} proven in {took}: {', '.join(parts)}"
