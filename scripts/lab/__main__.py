"""Open a LAN by hand: `python scripts/lab --nodes 3 --rate 100 -- sh`; `python scripts/lab clean` removes leftovers."""

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

if __package__ in {None, ""}:  # started by the folder's path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from lab import Lan, available, clean
from lab.command import LabError
from lab.place import prefix


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="lab",
        description="A LAN of network namespaces for as long as a command runs; 'lab clean' removes leftovers.",
        epilog='The command finds $LAB_NODES, $LAB_EXEC_0 … ("ip netns exec NAMESPACE") and $LAB_ADDRESS_0 …',
    )
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--rate", type=float, metavar="MBIT", help="Mbit/s of each link, both directions")
    parser.add_argument("--loss", type=int, default=0, metavar="PERMILLE")
    parser.add_argument("--mtu", type=int, default=1500)
    parser.add_argument("--ipv6-only", action="store_true")
    parser.add_argument("command", nargs="*", default=[os.environ.get("SHELL", "sh")])
    args = parser.parse_args(argv)
    try:
        if args.command == ["clean"]:
            if reason := available():
                raise LabError(reason)
            for namespace in clean():
                print(f"removed {namespace}")
            return 0
        with Lan("cli", args.nodes, args.rate, ipv6_only=args.ipv6_only, mtu=args.mtu) as lan:
            if args.loss:
                lan.loss(args.loss)
            hints = {"LAB_NODES": str(lan.nodes)}
            for node in range(lan.nodes):
                hints[f"LAB_EXEC_{node}"] = shlex.join(prefix(lan.namespace(node)))
                hints[f"LAB_ADDRESS_{node}"] = lan.address(node)
                print(f"node {node}  {lan.address(node):<16} {hints[f'LAB_EXEC_{node}']} COMMAND", file=sys.stderr)
            return subprocess.call(args.command, env=os.environ | hints)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
