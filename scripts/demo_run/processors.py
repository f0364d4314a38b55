"""How busy the processors of this machine are: six nodes on one machine may be short of them, not of the line."""

from pathlib import Path

_IDLE = slice(3, 5)  # idle and iowait in the first line of /proc/stat (proc(5))


class Processors:
    """Measures from when it is made."""

    def __init__(self) -> None:
        self._before = _ticks()

    def busy(self) -> float:
        """The share of all processors that was used since, 0 to 1."""
        spent = [now - then for now, then in zip(_ticks(), self._before, strict=True)]
        return 1 - sum(spent[_IDLE]) / max(sum(spent), 1)


def _ticks() -> list[int]:
    line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    return [int(word) for word in line.split()[1:9]]
