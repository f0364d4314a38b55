"""`python scripts/faults ROW…`: inject what the row names into real agents and print what became of them."""

import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "tests")]

if TYPE_CHECKING:
    from faults.row import Measure

BAD_USAGE = 2  # the exit code


def main(words: Sequence[str]) -> int:
    """Measure the rows named, or one with its own options; not 0 if one does not hold."""
    own, rows = _rows_with_options(), _rows()
    if len(words) > 1 and words[0] in own and words[1].startswith("-"):
        return own[words[0]](words[1:])
    known = own | rows
    if not words or not set(words) <= set(known):
        print(f"usage: python scripts/faults ROW…\nrows: {', '.join(known)}")
        print(f"python scripts/faults ROW --help tells the options of {', '.join(own)}")
        return BAD_USAGE
    return max(known[name](()) for name in words)


def _rows_with_options() -> dict[str, Callable[[Sequence[str]], int]]:
    from faults import moment, rot

    return {"powercut": partial(moment.main, "powercut"), "kill": partial(moment.main, "kill"), "rot": rot.main}


def _rows() -> dict[str, Callable[[Sequence[str]], int]]:
    from faults import fakes, malformed, memory, network, revoked, storm

    measures: dict[str, Measure] = {
        "malformed": malformed.measure,
        "storm": storm.measure,
        "fakes": fakes.measure,
        "revoked": revoked.measure,
        "memory": memory.measure,
        **{name: network.measure(name) for name in network.FAULTS},
    }
    return {name: partial(_measure, name, measure) for name, measure in measures.items()}


def _measure(name: str, measure: "Measure", _options: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="dff.") as folder:
        row = measure(Path(folder))
    print(f"{name}\n{row}\n", flush=True)
    return 0 if row.holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
