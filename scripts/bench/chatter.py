"""What mDNS costs the LAN: bytes/s that one node sends and hears while a fleet starts, and while it idles.

python scripts/bench/chatter.py --nodes 20 --seconds 180

Needs root (network namespaces, nft). Counts UDP 5353 with its IP headers at node 0, apart for questions and answers.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from board import Member
from lab import Lan
from lab.command import run
from lab.place import prefix

from dfedge.jobs.enroll import enroll
from dfedge.jobs.init_fleet import init_fleet
from dfedge.jobs.join import join

SETTLED_S: Final = 30.0  # after the last agent's start: the questions of a start end 14 s after it
ENOUGH: Final = 8  # neighbours, to begin with
RULES: Final = """
table netdev chatter {
  chain heard {
    type filter hook ingress device eth0 priority 0;
    udp dport 5353 @th,80,1 0 counter comment "questions heard"
    udp dport 5353 @th,80,1 1 counter comment "answers heard"
  }
}
table inet chatter {
  chain sent {
    type filter hook output priority 0;
    udp dport 5353 @th,80,1 0 counter comment "questions sent"
    udp dport 5353 @th,80,1 1 counter comment "answers sent"
  }
}
"""  # bit 80 behind the start of UDP is QR of the DNS header (RFC 1035, 4.1.1)

Counts = dict[str, tuple[int, int]]


def counts(lan: Lan) -> Counts:
    """Packets and bytes of each kind so far."""
    listed = json.loads(run([*prefix(lan.namespace(0)), "nft", "-j", "list", "ruleset"]))["nftables"]
    found: Counts = {}
    for rule in (entry["rule"] for entry in listed if "rule" in entry):
        [counter] = [part["counter"] for part in rule["expr"] if "counter" in part]
        found[rule["comment"]] = (counter["packets"], counter["bytes"])
    return found


def tell(what: str, before: Counts, after: Counts, seconds: float) -> None:
    for kind, (packets, nbytes) in after.items():
        more, bytes_more = packets - before[kind][0], nbytes - before[kind][1]
        print(
            f"{what}, {kind}: {more:,} packets, {bytes_more:,} bytes, {bytes_more / seconds:,.0f} bytes/s", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=180.0, help="how long to look at the idle fleet")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dfchatter-") as made, Lan("chatter", args.nodes) as lan:
        folder = Path(made)
        (folder / "dfedge.toml").touch()
        init_fleet(folder / "fleet", "chatter")
        members = [Member(lan, number, f"node-{number}", folder / f"node-{number}") for number in range(args.nodes)]
        for member in members:
            enroll(folder / "fleet", member.name, {}, folder / f"enrol-{member.name}")
            join(folder / f"enrol-{member.name}", member.folder / "state")
        run([*prefix(lan.namespace(0)), "nft", "-f", "-"], RULES)
        zero, began = counts(lan), time.monotonic()
        for member in members:
            member.start()
        for member in members:
            member.await_peers(min(args.nodes - 1, ENOUGH), 120.0)
        time.sleep(SETTLED_S)
        started, since = counts(lan), time.monotonic()
        tell(f"{args.nodes} agents start, {since - began:.0f} s", zero, started, since - began)
        time.sleep(args.seconds)
        tell(f"{args.nodes} agents idle, {args.seconds:.0f} s", started, counts(lan), time.monotonic() - since)


if __name__ == "__main__":
    main()
