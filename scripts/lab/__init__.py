"""A private LAN in network namespaces: the cables, switches and faults that tests, demo and benchmarks share."""

from lab.lan import Counters, Lan
from lab.leftover import clean
from lab.place import available

__all__ = ["Counters", "Lan", "available", "clean"]
