"""How many bytes went beyond the LAN today and this month, and whether more may. Pure: the wall's time comes in."""

from dataclasses import dataclass, replace
from datetime import date

from dfedge.core.units import size


@dataclass(frozen=True, slots=True)
class Used:
    """Bytes on the wire beyond the LAN, both ways together, since midnight and since the first of the month."""

    day: date
    in_day: int = 0
    in_month: int = 0

    def add(self, nbytes: int, today: date) -> "Used":
        """So many more. A clock that goes back clears nothing: what was spent stays spent."""
        new_day = today > self.day
        new_month = (today.year, today.month) > (self.day.year, self.day.month)
        return replace(
            self,
            day=today,
            in_day=(0 if new_day else self.in_day) + nbytes,
            in_month=(0 if new_month else self.in_month) + nbytes,
        )


@dataclass(frozen=True, slots=True)
class Allotment:
    """The most bytes that may go beyond the LAN; None: any."""

    day: int | None = None
    month: int | None = None

    def spent(self, used: Used) -> tuple[str, str]:
        """Why no more may go, and the setting; empty if more may."""
        for limit, there, what in ((self.day, used.in_day, "day"), (self.month, used.in_month, "month")):
            if limit is not None and there >= limit:
                return f"{size(there)} of {size(limit)} this {what} are spent", f"throttle.uplink_{what}"
        return "", ""
