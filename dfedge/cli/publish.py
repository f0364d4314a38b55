"""dfedge publish: hand files to the agent, which cuts and stores them, and sign what it made of them.

Signing happens here, by the operator's key; the agent never sees it. Before we sign we compare the manifest with what
was asked for. That the digests are those of our files is the agent's word.
"""

import base64
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dfedge.cli import description, source
from dfedge.cli.argument import add_dry_run, add_fleet, image_name, version
from dfedge.cli.field import counted, image_label, short, whole, word
from dfedge.cli.output import Output
from dfedge.cli.progress import Silence, progress_of
from dfedge.cli.reach import any_agent, config_of
from dfedge.cli.source import Source
from dfedge.core.errors import Corrupt, NotFound, UsageError
from dfedge.core.units import size
from dfedge.node.config import Config

EXAMPLE: Final = "dfedge publish gateway.img --name gateway --version 2.4.1"


@dataclass(frozen=True, slots=True)
class Order:
    """What the user wants published."""

    name: str
    version: str
    compatible: tuple[str, ...]
    sources: list[Source]

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(each.size for each in self.sources)


def arguments(parser: ArgumentParser) -> None:
    """What, under which name, signed by whom."""
    parser.add_argument(
        "path", type=Path, metavar="PATH", help="a file, a folder, or a description as in firmware_images/"
    )
    parser.add_argument("--name", type=image_name, metavar="NAME", help="as in gateway/os")
    parser.add_argument("--version", type=version, metavar="VERSION", help="as in 2.4.1", dest="image_version")
    parser.add_argument(
        "--compatible", action="append", metavar="BOARD", help="a board it is for, may be repeated; none means any"
    )
    parser.add_argument("--sign-with", type=Path, metavar="KEY", help="a key file, or a .pub whose key ssh-agent holds")
    add_fleet(parser)
    add_dry_run(parser)


def run(args: Namespace, out: Output) -> int:
    """Publish it, or say what that would be."""
    order = order_of(args)
    label = f"{order.name}:{order.version}"
    if args.dry_run:
        document = {
            "name": order.name,
            "version": order.version,
            "bytes": order.bytes,
            "files": [{"path": each.path, "size": each.size, "mode": each.mode} for each in order.sources],
            "dry_run": True,
        }
        out.result(document, f"would publish {label}: {counted(len(order.sources), 'file')}, {size(order.bytes)}")
        return 0
    config = config_of(args)
    key: Path = args.sign_with or config.fleet_dir / "signer"
    if not key.exists():
        raise NotFound(f"{key}: there is no key to sign with", "dfedge publish … --fleet DIR, or --sign-with KEY")
    out.kept = f"{label} was not published"
    with any_agent(config, network=False) as agent:
        progress = Silence() if out.json else progress_of(out, "publish", label)
        try:
            answer = agent.call(
                "publish",
                _params(order, config),
                on_event=progress.update,
                on_ask=lambda question: _reply(question, order, config.fleet_dir, key),
            )
        finally:
            progress.close()
    out.result(
        answer,
        f"published {image_label(answer) or label}  {short(word(answer, 'image'))}  {size(whole(answer, 'bytes'))} "
        f"in {counted(whole(answer, 'pieces'), 'piece')}",
    )
    return 0


def order_of(args: Namespace) -> Order:
    """What these words ask for. Raises UsageError where name or version is missing."""
    if description.is_description(args.path):
        described = description.read(args.path)
        return Order(
            args.name or described.name,
            args.image_version or described.version,
            tuple(args.compatible or described.compatible),
            source.of_files(described.files, args.path),
        )
    for flag, value in (("--name", args.name), ("--version", args.image_version)):
        if not value:
            raise UsageError(f"publish: {flag} is missing, and {args.path} is not a description", EXAMPLE)
    return Order(args.name, args.image_version, tuple(args.compatible or ()), source.of_path(args.path))


def _params(order: Order, config: Config) -> dict[str, object]:
    nodes = config.fleet_dir / "nodes"
    return {
        "name": order.name,
        "version": order.version,
        "compatible": list(order.compatible),
        "files": [{"path": each.path, "size": each.size, "mode": each.mode} for each in order.sources],
        "nodes": sum(1 for _ in nodes.iterdir()) if nodes.is_dir() else 0,
    }


def _reply(question: dict[str, object], order: Order, fleet: Path, key: Path) -> tuple[dict[str, object], list[int]]:
    match question:
        case {"type": "file", "index": int(index)} if 0 <= index < len(order.sources):
            return {}, [order.sources[index].open()]
        case {"type": "sign", "manifest": str(text)}:
            manifest = base64.b64decode(text, validate=True)
            check_manifest(manifest, order)
            return {"signature": base64.b64encode(_sign(manifest, fleet, key)).decode()}, []
        case _:
            raise Corrupt(f"publish: the agent asked {str(question)[:80]}, which this program can't answer")


def check_manifest(data: bytes, order: Order) -> None:
    """Before we sign: it must say what the user asked to publish, and nothing else. Raises Corrupt."""
    from dfedge.core.image.manifest import Manifest

    label = f"{order.name}:{order.version}"
    try:
        manifest = Manifest.decode(data)
    except ValueError as error:
        raise Corrupt(f"{label}: the agent made a manifest that can't be read: {error}") from None
    files = sorted((each.path, each.size, each.mode) for each in order.sources)
    for what, made, asked in (
        ("name", manifest.name, order.name),
        ("version", manifest.version, order.version),
        ("compatible", manifest.compatible, order.compatible),
        ("files", sorted((entry.path, entry.size, entry.mode) for entry in manifest.files), files),
    ):
        if made != asked:
            raise Corrupt(f"{label}: the agent made a manifest with other {what} than was asked: {str(made)[:120]}")


def _sign(manifest: bytes, fleet: Path, key: Path) -> bytes:
    from dfedge.jobs.sign import sign
    from dfedge.trust.signature import Namespace

    return sign(manifest, Namespace.MANIFEST, fleet=fleet if fleet.is_dir() else None, key=key).signature
