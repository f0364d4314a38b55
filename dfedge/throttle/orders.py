"""What the settings say of the throttle. A value; `throttle.steering` makes policies of it."""

from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path

from dfedge.throttle.policy import Policy
from dfedge.throttle.quota import Allotment
from dfedge.throttle.timetable import Window


@dataclass(frozen=True, slots=True)
class Orders:
    """What the settings say."""

    policy: Policy = field(default_factory=Policy)
    hold_file: Path | None = None
    windows: tuple[Window, ...] = ()
    zone: tzinfo | None = None  # of windows, days and months; None: this host's
    uplink: Allotment = field(default_factory=Allotment)
