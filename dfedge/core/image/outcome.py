"""What became of a piece that arrived: the answer of whoever stores pieces."""

from enum import Enum


class Outcome(Enum):
    """What became of a piece that arrived."""

    STORED = "stored"
    MISMATCH = "mismatch"
    DUPLICATE = "duplicate"
