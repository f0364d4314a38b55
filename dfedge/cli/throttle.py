"""dfedge throttle: what may be spent and why; pause and resume transfers."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Final

from dfedge.cli import budget
from dfedge.cli.argument import add_dry_run, seconds
from dfedge.cli.field import number, part, rows, word, words
from dfedge.cli.output import Output
from dfedge.cli.reach import config_of, running_agent
from dfedge.core.units import size

EXAMPLE: Final = "dfedge throttle pause 2h"


def arguments(parser: ArgumentParser) -> None:
    """What to do."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("show", help="the policy, what holds now, and what this host does not tell")
    pause = verbs.add_parser("pause", help="let no image move; sessions stay")
    pause.add_argument("time", nargs="?", type=seconds, metavar="TIME", help="as in 30m or 2h; none: until resume")
    add_dry_run(pause)
    add_dry_run(verbs.add_parser("resume", help="end a pause"))


def run(args: Namespace, out: Output) -> int:
    """Ask the agent."""
    params: dict[str, object] = {"verb": args.verb}
    if args.verb != "show":
        params["dry_run"] = args.dry_run
    if args.verb == "pause":
        params["seconds"] = args.time
    with running_agent(config_of(args)) as agent:
        answer = agent.call("throttle", params)
    out.answer(answer, _shown(answer) if args.verb == "show" else _paused(answer, dry_run=args.dry_run))
    return 0


def _paused(answer: dict[str, object], *, dry_run: bool) -> str:
    would = "would be " if dry_run else ""
    return f"{would}{budget.paused(answer) or 'not paused'}"


def _shown(answer: dict[str, object]) -> str:
    policy = part(answer, "policy")
    lines = [f"throttle  {'on' if answer.get('enabled') else 'off'}, profile {word(policy, 'profile')}"]
    if word(answer, "paused"):
        lines.append(f"  {budget.paused(answer)}{budget.resume(answer)}")
    lines.append(f"  now     {budget.ways(answer)}: {word(answer, 'reason')}")
    for limit in rows(answer, "limits"):
        setting = f"   ({word(limit, 'setting')})" if word(limit, "setting") else ""
        lines.append(f"  {word(limit, 'way'):<6}  {budget.most(limit, 'rate')}: {word(limit, 'reason')}{setting}")
    caps = [
        f"{where}{way} {budget.most(policy, key)}"
        for where, prefix in (("", "max"), ("LAN ", "lan_max"), ("uplink ", "uplink_max"))
        for way in ("up", "down")
        if policy.get(key := f"{prefix}_{way}") is not None
    ]
    lines.append(f"  caps    {', '.join(caps) or 'none'}; floor {budget.most(policy, 'floor')}")
    lines += [f"  window  {window}" for window in words(answer, "windows")]
    lines += _spent(part(answer, "uplink"))
    lines += [f"  {row['source']:<14} {row['value']}" for row in rows(answer, "sources")]
    if words(answer, "missing"):
        lines.append(f"  not on this host: {', '.join(words(answer, 'missing'))}")
    return "\n".join(lines)


def _spent(uplink: Mapping[str, object]) -> list[str]:
    """What went beyond the LAN, where that is limited."""
    told = [
        f"{size(number(uplink, name))} of {size(number(uplink, f'most_{name}'))} this {name}"
        for name in ("day", "month")
        if uplink.get(f"most_{name}") is not None
    ]
    return [f"  uplink  {', '.join(told)}"] if told else []
