"""What `dfedge throttle` shows and does: policy, what holds now, what this host tells and what it does not."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from dfedge.core.errors import Refused, UsageError
from dfedge.core.units import size
from dfedge.node.control import Call, Handler
from dfedge.node.controlframe import Document
from dfedge.throttle.controller import Budget
from dfedge.throttle.load import Load
from dfedge.throttle.policy import Caps, Policy

if TYPE_CHECKING:
    from dfedge.node.wiring import Node


def throttle_handlers(node: "Node") -> Mapping[str, Handler]:
    """The verb, by name."""

    async def throttle(params: Document, _call: Call) -> Document:
        verb = params.get("verb")
        if verb in ("pause", "resume"):
            _steer(node, str(verb), params)
        elif verb != "show":
            raise UsageError("throttle: show, pause or resume", "dfedge throttle show")
        return {**standing(node), **_details(node)}

    return {"throttle": throttle}


def _steer(node: "Node", verb: str, params: Document) -> None:
    if not node.config.throttle.enabled:
        raise Refused(f"{verb}: the throttle is off, so nothing can be paused", "dfedge config show throttle.enabled")
    seconds = params.get("seconds")
    if seconds is not None and not (isinstance(seconds, int | float) and 0 < seconds < math.inf):
        raise UsageError(f"pause: {seconds} s is no pause; none lasts until resume", "dfedge throttle pause 2h")
    if params.get("dry_run") is True:
        return
    if verb == "pause":
        node.steering.pause(seconds)
    else:
        node.steering.resume()


def standing(node: "Node") -> Document:
    """What may be moved each way, in bytes/s (null: no limit), and the one reason."""
    throttle, enabled = node.throttle, node.config.throttle.enabled
    left = node.steering.pause_left_s
    return {
        "enabled": enabled,
        "max_up": throttle.policy.host.up,
        "max_down": throttle.policy.host.down,
        "budget_up": _rate(throttle.budget.up.rate),
        "budget_down": _rate(throttle.budget.down.rate),
        "reason": throttle.budget.reason if enabled else "off",
        "setting": _setting(throttle.budget) if enabled else "throttle.enabled",
        "paused": throttle.budget.paused or None,
        "paused_by": _paused_by(node),
        "pause_left": None if left is None or left == math.inf else round(left, 1),
    }


def _details(node: "Node") -> Document:
    throttle = node.throttle
    return {
        "policy": _policy(throttle.policy),
        "windows": [window.text for window in node.steering.windows],
        "uplink": _uplink(node),
        "limits": [
            {
                "way": way,
                "rate": _rate(limit.rate),
                "reason": limit.reason,
                "setting": limit.setting,
                "partial": limit.is_partial,
            }
            for way, limit in throttle.budget.limits
        ],
        "load": load_numbers(throttle.load),
        "sources": [{"source": source, "value": value} for source, value in _sources(throttle.load)],
        "missing": throttle.missing,
    }


def _uplink(node: "Node") -> Document:
    """Bytes beyond the LAN: spent, and the most."""
    used, most = node.steering.used, node.steering.orders.uplink
    return {"day": used.in_day, "most_day": most.day, "month": used.in_month, "most_month": most.month}


def load_numbers(load: Load) -> Document:
    """What the host is doing, for programs: shares from 0 to 1, bytes, bytes/s; what it does not tell is left out."""
    told: Document = {}
    if load.cpu is not None:
        cpu = {"own": load.cpu.own, "others": load.cpu.others, "steal": load.cpu.steal, "busy": load.cpu.busy}
        told["cpu"] = {**{key: round(share, 4) for key, share in cpu.items()}, "cores": len(load.cpu.cores)}
    if load.memory is not None:
        told["memory"] = asdict(load.memory)
    if load.disk is not None:
        told["disk"] = {key: round(value, 4) for key, value in asdict(load.disk).items()}
    if load.celsius is not None:
        told["celsius"] = load.celsius
    if load.battery is not None:
        told["battery"] = asdict(load.battery)
    if load.pressure:
        told["pressure"] = {name: asdict(pressure) for name, pressure in load.pressure.items()}
    return told


def _setting(budget: Budget) -> str:
    """The one that would change the one reason."""
    return next((each.setting for each in (budget.down, budget.up) if each.reason == budget.reason), "")


def _paused_by(node: "Node") -> str | None:
    """`command`, or the setting that did it; null: nothing did."""
    if not node.throttle.budget.paused:
        return None
    if node.steering.pause_left_s is not None:
        return "command"
    return node.throttle.policy.paused_by or "throttle.battery_action"


def _policy(policy: Policy) -> Document:
    def caps(prefix: str, each: Caps) -> Document:
        return {f"{prefix}_up": each.up, f"{prefix}_down": each.down}

    return {
        "profile": policy.profile.value,
        **caps("max", policy.host),
        **caps("lan_max", policy.lan),
        **caps("uplink_max", policy.uplink),
        "floor": policy.floor,
        "cpu": policy.cpu,
        "memory": policy.memory,
        "celsius": policy.celsius,
        "battery": policy.battery,
        "pressure_io": policy.pressure_io,
        "pressure_memory": policy.pressure_memory,
    }


def _sources(load: Load) -> Iterator[tuple[str, str]]:
    if load.cpu is not None:
        yield "CPU", f"{load.cpu.busy:.0%} busy, others {load.cpu.others:.0%}, dfedge {load.cpu.own:.0%}"
    if load.memory is not None:
        yield "memory", f"{size(load.memory.available)} of {size(load.memory.total)} left"
    if load.disk is not None:
        yield "disk", f"{load.disk.busy:.0%} busy, queue {load.disk.queue:.1f}"
    if load.celsius is not None:
        yield "temperature", f"{load.celsius:.0f} °C"
    if load.battery is not None:
        yield "battery", f"{load.battery.charge:.0%}{', discharging' if load.battery.discharging else ''}"
    for name, pressure in load.pressure.items():
        yield f"PSI {name}", f"{pressure.some:.1f} % some, {pressure.full:.1f} % full"


def _rate(rate: float) -> int | None:
    return None if rate == math.inf else round(rate)
