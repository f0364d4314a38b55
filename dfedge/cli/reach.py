"""How a command reaches the node: the settings its flags choose, the agent that runs, or one of its own."""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dfedge.cli.field import rows, word
from dfedge.core.errors import AgentDown, NotFound
from dfedge.core.image.name import Ref
from dfedge.node.client import Client
from dfedge.node.config import Config, load


def config_of(args: Namespace) -> Config:
    """The settings under this command's flags. Raises UsageError."""
    fleet: Path | None = getattr(args, "fleet", None)
    watch: list[Path] = getattr(args, "watch", None) or []
    flags = {"import.watch": ",".join(str(folder.absolute()) for folder in watch)} if watch else {}
    return load(state_dir=args.state_dir, config_file=args.config, fleet_dir=fleet, flags=flags)


def running_agent(config: Config) -> Client:
    """The agent that runs on this state dir. Raises AgentDown."""
    return Client.connect(config.runtime_dir)


@contextmanager
def any_agent(config: Config, *, network: bool) -> Iterator[Client]:
    """The agent that runs, or else this process is the node for as long as the command takes.

    Without `network` that node neither listens nor looks for peers: it is the store alone.
    """
    try:
        client = running_agent(config)
    except AgentDown:
        from dfedge.cli.embedded import embedded_agent

        with embedded_agent(config, network=network) as client:
            yield client
    else:
        with client:
            yield client


def held_image(agent: Client, ref: Ref) -> dict[str, object]:
    """What `ls` says of the image that `ref` means. Raises NotFound."""
    for row in rows(agent.call("ls", {}), "images"):
        digest = word(row, "image").removeprefix("sha256:")
        if digest.startswith(ref.digest) if ref.digest else ref.matches(b"", word(row, "name"), word(row, "version")):
            return row
    raise NotFound(f"{ref}: this node holds no such image", "dfedge ls")
