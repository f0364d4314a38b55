"""What the switch drops: loss, multicast, partitions. One nft table, written anew at each change."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from lab.command import run
from lab.place import prefix


@dataclass(slots=True)
class Switch:
    """The faults of the bridge in `namespace`, whose port of node i is `p<i>`."""

    namespace: str
    loss_permille: int = 0
    multicast_blocked: bool = False
    groups: tuple[frozenset[int], ...] = ()
    cut: set[int] = field(default_factory=set)

    def apply(self) -> None:
        """Make the bridge do what the fields say. Raises LabError."""
        rules = [*self._between_groups()]
        rules += [f'{side} "p{node}" drop' for node in sorted(self.cut) for side in ("iifname", "oifname")]
        if self.multicast_blocked:
            rules.append(
                "ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00 ether daddr != ff:ff:ff:ff:ff:ff counter drop"
            )
        if self.loss_permille >= 1000:
            rules.append("counter drop")
        elif self.loss_permille > 0:
            rules.append(f"numgen random mod 1000 < {self.loss_permille} counter drop")
        lines = [
            "table bridge lab",
            "delete table bridge lab",
            "table bridge lab {",
            "chain forward {",
            "type filter hook forward priority 0;",
            *rules,
            "}",
            "}",
        ]
        run([*prefix(self.namespace), "nft", "-f", "-"], "\n".join(lines) + "\n")

    def _between_groups(self) -> Iterable[str]:
        for group in self.groups:
            for other in self.groups:
                if other is not group and group and other:
                    yield f"iifname {_ports(group)} oifname {_ports(other)} drop"


def _ports(nodes: frozenset[int]) -> str:
    return "{ " + ", ".join(f'"p{node}"' for node in sorted(nodes)) + " }"
