"""dfedge fleet list: the nodes that were issued, and what the agent here knows of them."""

from argparse import Namespace
from typing import TYPE_CHECKING

from dfedge.cli.field import rows, whole, word
from dfedge.cli.output import Output, utc
from dfedge.cli.reach import config_of, running_agent
from dfedge.core.errors import DfedgeError
from dfedge.core.units import duration
from dfedge.node.config import Config

if TYPE_CHECKING:
    from dfedge.jobs.enroll import EnrolledNode


def described(node: "EnrolledNode") -> dict[str, object]:
    """A node in JSON: what its enrolment says."""
    return {
        "id": node.id,
        "name": node.name,
        "labels": dict(node.labels),
        "serial": node.serial,
        "ends": utc(node.ends),
    }


def list_nodes(args: Namespace, out: Output) -> int:
    """List them."""
    from dfedge.jobs.enroll import list_nodes as issued

    config = config_of(args)
    nodes = issued(config.fleet_dir)
    peers = _peers(config) if nodes else {}
    documents: list[dict[str, object]] = []
    table = []
    for node in nodes:
        peer = peers.get(node.id, {})
        document = {
            **described(node),
            "revoked": node.revoked,
            "agent": word(peer, "agent") or None,
            "state": word(peer, "state") or None,
            "seen": whole(peer, "seen") if peer else None,
        }
        documents.append(document)
        table.append(
            [
                node.name,
                node.id[:12],
                "revoked" if node.revoked else "enrolled",
                utc(node.ends)[:10],
                word(peer, "agent", "-").removeprefix("dfedge "),
                _seen(peer),
                " ".join(f"{key}={value}" for key, value in node.labels),
            ]
        )
    header = ["NODE", "ID", "STATE", "ENDS", "VERSION", "SEEN", "LABELS"]
    out.answer({"nodes": documents}, out.table(header, table) if table else "")
    if not table and not out.json:
        out.note("no nodes yet; issue one: dfedge fleet enroll NAME --out DIR, or dfedge fleet deploy HOST")
    return 0


def _seen(peer: dict[str, object]) -> str:
    if not peer:
        return "-"
    if word(peer, "state") in ("connected", "snubbed"):
        return "now"
    return f"{duration(max(whole(peer, 'seen'), 10))} ago"


def _peers(config: Config) -> dict[str, dict[str, object]]:
    """What the agent here knows of each node: itself and its peers; nothing where none runs or answers."""
    try:
        with running_agent(config) as agent:
            status = agent.call("status", {})
            peers = rows(agent.call("peers", {}), "peers")
    except DfedgeError:
        return {}
    own = status.get("node")
    known = {word(row, "id"): row for row in peers if word(row, "id")}
    if isinstance(own, dict):
        known[word(own, "id")] = {"agent": f"dfedge {word(status, 'version')}", "state": "connected", "seen": 0}
    return known
