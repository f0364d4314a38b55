"""dfedge status: how this node is, on one screen."""

from argparse import ArgumentParser, Namespace
from typing import Final

from dfedge.cli import budget
from dfedge.cli.field import counted, image_label, number, part, rows, whole, word, words
from dfedge.cli.output import Output
from dfedge.cli.reach import config_of, running_agent
from dfedge.core.units import duration, line_rate, size

EXAMPLE: Final = "dfedge status --json"


def arguments(parser: ArgumentParser) -> None:
    """It takes nothing of its own."""


def run(args: Namespace, out: Output) -> int:
    """Ask the agent."""
    with running_agent(config_of(args)) as agent:
        answer = agent.call("status", {})
    out.answer(answer, _text(answer, out))
    return 0


def _text(answer: dict[str, object], out: Output) -> str:
    node = part(answer, "node")
    name = word(node, "name") or word(node, "id")[:12]
    degraded = answer.get("degraded")
    head = [f"● {out.bold(name)}  {'degraded' if degraded else 'serving'}"]
    if number(answer, "uptime"):
        head.append(f"for {duration(number(answer, 'uptime'))}")
    head.append(f"  fleet {word(answer, 'fleet_name') or word(answer, 'fleet')[:12]}")
    if "certificate_days" in answer:
        head.append(f"  cert {whole(answer, 'certificate_days')} d left")
    lines = [" ".join(head), f"  node id   {word(node, 'id')}"]
    store = part(answer, "store")
    images = counted(whole(answer, "images"), "image")
    if store:
        of = f" of {size(whole(store, 'quota'))}" if whole(store, "quota") else ""
        images += f", {size(whole(store, 'bytes'))}{of}   {word(store, 'path')} ({size(whole(store, 'free'))} free)"
    lines.append(f"  store     {images}")
    evicted = part(store, "evicted")
    if whole(evicted, "images"):
        what = f"{counted(whole(evicted, 'images'), 'image')}, {size(whole(evicted, 'bytes'))}"
        last = f"the last {word(evicted, 'last')}: {word(evicted, 'because')}"
        lines.append(f"            evicted {what} since the start; {last}")
    network = f"{counted(whole(answer, 'peers'), 'peer')}, listening on {word(answer, 'listen', '-')}"
    for way, key in (("down", "rate_down"), ("up", "rate_up")):
        if key in answer:
            network += f", {way} {line_rate(number(answer, key))}"
    lines.append(f"  network   {network}")
    throttle = part(answer, "throttle")
    if throttle:
        lines.append(f"  throttle  {budget.standing(throttle)}{budget.resume(throttle)}")
    lines += [f"  rot       {_rot(damage)}" for damage in rows(answer, "rot") if damage.get("repaired")]
    lines += [f"  ! {warning}" for warning in words(answer, "warnings")]
    if degraded:
        lines.append(f"  ! {degraded if isinstance(degraded, str) else 'degraded'}      try: dfedge doctor")
    return "\n".join(lines)


def _rot(damage: dict[str, object]) -> str:
    pieces = sum(whole(file, "pieces") for file in rows(damage, "files"))
    files = ", ".join(word(file, "path") for file in rows(damage, "files"))
    peers = ", ".join(words(damage, "repaired_from"))
    what = f"{counted(pieces, 'piece')} of {image_label(damage)} ({files}), found {word(damage, 'found')}"
    return f"{what}, repaired {word(damage, 'repaired')}{f' from {peers}' if peers else ''}"
